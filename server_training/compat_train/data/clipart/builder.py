"""Builds the clipart set: coloured drawings without labels to train on, and unseen ones to search for.

An identity is a drawing. The gallery holds the drawing itself, and queries are instances of it: turned, cropped, seen
from aside, under coloured light. Training drawings lie in one flat folder, for models that learn from the outputs of
another model alone.

Run it with ``compat-sdk data build clipart --out DIR``.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as pillow_version

from compat_sdk.datasets.near_copies import ink_hash, near_copies
from compat_sdk.datasets.shuffle import shuffled
from compat_sdk.errors import CompatError, ConfigError, DataError
from compat_sdk.files.documents import read_json
from compat_sdk.images import find_pictures
from compat_sdk.outputs import Layout, delete_own, require_own
from compat_sdk.progress import Progress
from compat_sdk.workers import Workers, usable_cores
from compat_train.data.clipart.instances import instance
from compat_train.data.clipart.sheets import read_sheet

FORMAT, VERSION = "compat-sdk-clipart", 1
DEBIAN_FOLDER = Path("/usr/share/openclipart/png")
PACKAGE = "openclipart-png"
HELD_OUT = 600
"""Drawings that are searched for, and not trained on, where there are at least four times as many."""
_INSTANCES = 3
"""Queries of each drawing."""
SEED = 0
_LEAST = 8  # drawings
_NEAR = 0.3
"""Part of the fainter's ink below which two drawings are one."""
_PICTURE: Layout = {r"[^/]+\.png": None}
_LAYOUT: Layout = {
    "train": _PICTURE,
    "query": {r"[^/]+": _PICTURE},
    "gallery": {r"[^/]+": _PICTURE},
    r"meta\.json": None,
}


@dataclass(frozen=True)
class ClipartSet:
    """What was built.

    Attributes:
        path: Folder with ``train/``, ``query/``, ``gallery/`` and ``meta.json``.
        images: Pictures per split.
        identities: Drawings that are searched for.
        left_out: How many drawings were left out, by reason; ``near copy`` among them.
    """

    path: Path
    images: Mapping[str, int]
    identities: int
    left_out: Mapping[str, int]


def build_clipart(
    out: str | Path,
    *,
    source: str | Path | None = None,
    progress: Progress | None = None,
    processes: int | None = None,
) -> ClipartSet:
    """Writes the clipart set into a folder and returns what is in it.

    The same drawings and the same Pillow give the same bytes. The folder appears complete or not at all.

    Args:
        out: Folder to write. It must be absent, empty, or a clipart set, which is then replaced.
        source: Folder of drawings, however deep; by default where Debian's package puts them.
        progress: Called as ``(stage, done, total, values)`` after every hundred drawings.
        processes: How many processes read drawings, at least 1; by default one per usable core. They are spawned, so a
            script that calls this needs the usual ``if __name__ == "__main__"``.

    Raises:
        ConfigError: ``processes`` is below 1, or the folder holds other things.
        DataError: There are no drawings, or fewer than eight are fit; the message names the package.
    """
    if processes is not None and processes < 1:
        raise ConfigError(f"processes is {processes}; expected 1 or more")
    out = Path(out)
    _require_replaceable(out)
    paths, beside = _drawings(source)
    sheets, left_out = _read(paths, processes or usable_cores(), progress)
    left_out.update(beside)
    order = shuffled(sheets, SEED)
    copies = near_copies([ink_hash(sheets[name]) for name in order], _NEAR)
    if copies:
        left_out["near copy"] += len(copies)
    kept = [name for row, name in enumerate(order) if row not in copies]
    if len(kept) < _LEAST:
        reasons = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items())) or "nothing"
        raise DataError(
            f"{len(kept)} of {len(paths)} drawings are fit (left out: {reasons}); expected at least {_LEAST}: name a "
            f"folder with more of them, or on Debian run: apt install --no-install-recommends {PACKAGE}"
        )
    held_out = kept[: min(HELD_OUT, len(kept) // 4)]
    train = kept[len(held_out) :]
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for name in train:
            _save(folder / "train" / f"{name}.png", sheets[name])
        for name in held_out:
            _save(folder / "gallery" / name / "drawing.png", sheets[name])
            draws = np.random.default_rng(
                list(hashlib.sha256(f"{SEED}:{name}".encode("utf-8", "surrogatepass")).digest())
            )
            for number in range(1, _INSTANCES + 1):
                _save(folder / "query" / name / f"{number}.png", instance(sheets[name], draws))
        images = {"train": len(train), "query": _INSTANCES * len(held_out), "gallery": len(held_out)}
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "splits": images,
            "left_out": dict(sorted(left_out.items())),
            "seed": SEED,
            "pillow": pillow_version,
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
        folder.chmod(0o755)
        if out.exists():
            delete_own(out, _LAYOUT)
        folder.replace(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return ClipartSet(path=out, images=images, identities=len(held_out), left_out=left_out)


def _drawings(source: str | Path | None) -> tuple[Sequence[Path], Mapping[str, int]]:
    """Every picture of the folder, as files, and what else is there: what links lead to is read once."""
    folder = DEBIAN_FOLDER if source is None else Path(source)
    if source is None and not folder.is_dir():
        raise DataError(
            f"there are no drawings in {folder}; on Debian run: apt install --no-install-recommends {PACKAGE}, or name "
            f"a folder of drawings (--source)"
        )
    found = find_pictures(folder)
    paths = tuple(dict.fromkeys(path.resolve() for path in found.paths))
    if not paths:
        raise DataError(f"{folder} holds no pictures; expected a folder of drawings, such as Debian's {PACKAGE} has")
    return paths, found.left_out


def _read(
    paths: Sequence[Path], processes: int, progress: Progress | None
) -> tuple[dict[str, NDArray[np.uint8]], Counter[str]]:
    """The sheets of drawings that are fit, by name, and why the others are not."""
    sheets: dict[str, NDArray[np.uint8]] = {}
    left_out: Counter[str] = Counter()
    with Workers(processes) as workers:
        for done, coming in enumerate([workers.submit(read_sheet, path) for path in paths], 1):
            found = coming.result()
            if found.pixels is None:
                left_out[found.left_out] += 1
            else:
                name = _name(paths[done - 1], found.pixels)
                left_out["near copy"] += name in sheets
                sheets[name] = found.pixels
            if progress is not None and (done % 100 == 0 or done == len(paths)):
                progress("read drawings", done, len(paths), {"fit": float(len(sheets))})
    return sheets, +left_out


def _name(path: Path, pixels: NDArray[np.uint8]) -> str:
    """The file's own name for people, and a digest of the sheet that tells it from others of that name."""
    plain = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40]
    return f"{plain or 'drawing'}-{hashlib.sha256(pixels.tobytes()).hexdigest()[:12]}"


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _require_replaceable(out: Path) -> None:
    """Refuses a folder that is not absent, empty or a clipart set and nothing else."""
    require_own(out, _LAYOUT, "data build clipart")
    if out.is_symlink():
        raise ConfigError(f"{out} is a link, which the new folder cannot replace; name the folder itself")
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        meta: Any = read_json(out / "meta.json")
    except (CompatError, OSError):
        meta = None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ConfigError(f"{out} exists and is not a clipart set; choose another folder or empty this one")
