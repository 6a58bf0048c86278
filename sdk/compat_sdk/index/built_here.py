"""Which index files this user built: native code reads no other, unless a signature vouches for it.

usearch trusts its files: 18 of 100 forged ones ended the process. A digest beside the file does not help, since whoever
forges the file writes the digest too. So the digest of each index that is built is noted where only its user can write:

    $COMPAT_SDK_STATE/built/SHA256    an empty file per index; by default in $XDG_STATE_HOME/compat-sdk, which is
                                      ~/.local/state/compat-sdk, and on Windows in %LOCALAPPDATA%/compat-sdk

What is lost with that folder is speed alone: an index is built again from the vectors at any time.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from compat_sdk.errors import ConfigError, SystemRefusedError
from compat_sdk.files.atomic import make_folder, sync_folder
from compat_sdk.files.refusal import raise_if_refused

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST = 4096
"""Index files that are remembered; beyond that the oldest are forgotten."""


def prepare() -> Path:
    """Return the folder of the notes, made if need be.

    Raises:
        ConfigError: Others than this user may write to it.
        SystemRefusedError: It cannot be made.
    """
    folder = _folder()
    try:
        make_folder(folder, 0o700)
    except OSError as error:
        raise SystemRefusedError(
            os.fspath(folder),
            error.errno,
            f"cannot note in {folder} which index files were built here: {error.strerror or error}; set "
            f"COMPAT_SDK_STATE to a folder that this user alone can write to",
        ) from error
    _require_own(folder)
    return folder


def note(content: bytes) -> None:
    """Note that an index file of this content was built here.

    Raises:
        ConfigError: Others than this user may write to the folder of the notes.
        SystemRefusedError: It cannot be made.
    """
    folder = prepare()
    path = folder / hashlib.sha256(content).hexdigest()
    try:
        path.touch(mode=0o600)
        sync_folder(folder)
        notes = (one for one in folder.iterdir() if _DIGEST.fullmatch(one.name))
        known = sorted(notes, key=lambda one: one.stat().st_mtime_ns)
        for oldest in known[: max(0, len(known) - _MOST)]:
            oldest.unlink(missing_ok=True)
    except FileNotFoundError:  # another process forgot one meanwhile
        pass
    except OSError as error:
        raise_if_refused(path, error, "write")
        raise


def was_built_here(sha256: str) -> bool:
    """Whether an index file of this digest was built by this user.

    Args:
        sha256: Of its content, 64 hexadecimal digits.

    Raises:
        ConfigError: Others than this user may write to the folder of the notes.
        SystemRefusedError: The system refused to look.
    """
    folder = _folder()
    try:
        found = stat.S_ISREG((folder / sha256).lstat().st_mode)
    except OSError as error:
        raise_if_refused(folder / sha256, error)
        return False
    if found:
        _require_own(folder)
    return found


def _folder() -> Path:
    if told := os.environ.get("COMPAT_SDK_STATE"):
        return Path(told).absolute() / "built"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "compat-sdk" / "built"
    told = os.environ.get("XDG_STATE_HOME", "")
    with suppress(RuntimeError):  # a user without a home
        base = Path(told) if Path(told).is_absolute() else Path.home() / ".local" / "state"
        return base / "compat-sdk" / "built"
    raise ConfigError(
        "this user has no home folder; set COMPAT_SDK_STATE to a folder that this user alone can write to"
    )


def _require_own(folder: Path) -> None:
    if os.name != "posix":
        return
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ConfigError(
            f"{folder} says which index files were built here, but others may write to it (owner {found.st_uid}, mode "
            f"{stat.S_IMODE(found.st_mode):o}); chmod 700 it, or set COMPAT_SDK_STATE to a folder of this user's own"
        )
