"""Datasets in plain folders: ``train/ query/ gallery/`` (``val/`` optional), a sub-folder per identity."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from compat_sdk.datasets.split import SPLIT_NAMES, Dataset, Split, identity_name
from compat_sdk.errors import DataError
from compat_sdk.images import find_pictures
from compat_sdk.images.finding import is_picture
from compat_sdk.litter import is_litter

_LAYOUT = f"expected sub-folders named {', '.join(SPLIT_NAMES)}, each with one sub-folder of images per identity"

_EMPTY = "identity without a picture"


def open_folder(root: Path) -> Dataset:
    """Returns a dataset whose ids are the images' paths relative to ``root``, with ``/``.

    What is no picture, and hidden files and folders, are left out and counted. Folders within an identity's folder,
    and those that links in it point to, belong to that identity. Two spellings of a name in Unicode are one identity.

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
    left_out: Counter[str] = Counter()
    for entry in sorted((root / name).iterdir()):
        if entry.name.startswith(".") or (is_litter(entry.name) and not entry.is_dir()):
            continue
        if entry.is_dir():
            found = find_pictures(entry)
            images.extend(found.paths)
            labels.extend([identity_name(entry.name, entry)] * len(found.paths))
            left_out.update(found.left_out)
            if not found.paths:
                left_out[_EMPTY] += 1
        elif is_picture(entry.name):
            raise DataError(f"{entry} lies outside an identity's folder; {_LAYOUT}")
        else:
            left_out[entry.suffix.lower() or "without an ending"] += 1
    ids = tuple(path.relative_to(root).as_posix() for path in images)
    return Split(name, tuple(images), tuple(labels), ids, left_out=dict(left_out))
