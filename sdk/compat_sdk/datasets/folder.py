"""Datasets in plain folders: ``train/ query/ gallery/`` (``val/`` optional), a sub-folder per identity."""

from __future__ import annotations

import os
from pathlib import Path

from compat_sdk.datasets.split import SPLIT_NAMES, Dataset, Split
from compat_sdk.errors import DataError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
_LAYOUT = f"expected sub-folders named {', '.join(SPLIT_NAMES)}, each with one sub-folder of images per identity"


def open_folder(root: Path) -> Dataset:
    """Returns a dataset whose ids are the images' paths relative to ``root``, with ``/``.

    Files whose ending is not that of an image, and hidden files and folders, are left out. Folders within
    an identity's folder belong to that identity.

    Raises:
        DataError: No split's folder is there, or images lie outside an identity's folder.
    """
    present = [name for name in SPLIT_NAMES if (root / name).is_dir()]
    if not present:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
        raise DataError(f"{root} holds {found}; {_LAYOUT}")
    splits = {name: _read_split(root, name) for name in present}
    return Dataset(name=root.resolve().name, splits=splits, description=f"images in folders: {', '.join(present)}")


def _read_split(root: Path, name: str) -> Split:
    images: list[Path] = []
    labels: list[str] = []
    for entry in sorted((root / name).iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found = _images_under(entry)
            images.extend(found)
            labels.extend([entry.name] * len(found))
        elif entry.suffix.lower() in SUFFIXES:
            raise DataError(f"{entry} lies outside an identity's folder; {_LAYOUT}")
    ids = tuple(path.relative_to(root).as_posix() for path in images)
    return Split(name, tuple(images), tuple(labels), ids)


def _images_under(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(
            Path(parent) / name
            for name in sorted(files)
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        )
    return found
