"""The command that installs an extra: of the released package, or of the clone that is running."""

from __future__ import annotations

from pathlib import Path


def install_command(extra: str) -> str:
    """Return what to type for an extra, such as ``pip install "compat-sdk[timm]"``.

    Code that runs in a clone is of no release, so there it is the clone that is installed again, with the extra.
    """
    clone = Path(__file__).resolve().parents[2]
    if not (clone / "pyproject.toml").is_file() or not (clone / "sdk" / "compat_sdk").is_dir():
        return f'pip install "compat-sdk[{extra}]"'
    return f'pip install -e "{"." if clone == _here() else clone}[{extra}]"'


def _here() -> Path | None:
    try:
        return Path.cwd().resolve()
    except OSError:  # the folder is gone
        return None
