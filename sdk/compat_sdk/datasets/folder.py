"""Datasets in plain folders: ``train/ query/ gallery/ (val/)``, with a sub-folder per identity, or pictures alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from compat_sdk.datasets.lock import LOCK
from compat_sdk.datasets.shards import is_shard, open_shards
from compat_sdk.datasets.split import SPLIT_NAMES, VAL_SIDES, Dataset, Split, identity_name
from compat_sdk.errors import DataError
from compat_sdk.images import FoundPictures, find_pictures
from compat_sdk.images.finding import HIDDEN, is_hidden, is_picture
from compat_sdk.kinds import instead_of
from compat_sdk.litter import is_litter
from compat_sdk.shown import shortened

_LAYOUT = f"expected sub-folders named {', '.join(SPLIT_NAMES)}, each with one sub-folder of images per identity"

_EMPTY = "identity without a picture"
_LOOSE, _BESIDE = "picture in no identity's folder", "folder beside the splits"


def open_folder(root: Path) -> Dataset:
    """Returns a dataset whose ids are the images' paths relative to ``root``, with ``/``.

    A folder with none of these sub-folders holds pictures without labels, however deep, all of them to train on; or tar
    files of such, see `compat_sdk.datasets.shards`. Beside ``query/`` and ``gallery/``, a ``train/`` without
    sub-folders holds pictures without labels too. ``val_query/`` and ``val_gallery/`` in the place of ``val/`` are that
    split with its two sides.

    What is no picture, and hidden files and folders, are left out and counted. Folders within an identity's folder,
    and those that links in it point to, belong to that identity. Two spellings of a name in Unicode are one identity.

    Raises:
        DataError: There is neither a split's folder nor a picture, images lie outside an identity's folder, pictures
            and tar files lie beside each other, or one side of ``val`` lacks the other or lies beside ``val/``.
    """
    present = split_folders(root)
    if not present:
        return _without_splits(root)
    sided = [name for name in present if name in VAL_SIDES]
    splits = {name: _read_split(root, name) for name in present if name != "train" and name not in sided}
    if sided:
        if len(sided) < 2 or "val" in present:
            raise DataError(
                f"{root} holds {' and '.join(name + '/' for name in present if name in ('val', *VAL_SIDES))}; expected "
                f"val/, or both val_query/ and val_gallery/"
            )
        splits = {"val": _both_sides(root)} | splits
    if "train" in present:
        flat = _is_flat(root / "train")
        train = _without_labels(root, find_pictures(root / "train")) if flat else _read_split(root, "train")
        splits = {"train": train} | splits
    return Dataset(
        name=root.resolve().name,
        splits=splits,
        description=f"images in folders: {', '.join(present)}",
        left_out=_beside(root, present),
    )


def open_identities(root: Path) -> Split:
    """Returns the pictures of a folder with one sub-folder per identity, as one split to train on.

    Raises:
        DataError: There are splits already, or no sub-folder has a picture.
    """
    present = split_folders(root)
    if present:
        raise DataError(
            f"{root} has the splits {', '.join(present)} already; use it as it is, or divide one of them, such as "
            f"{root / present[0]}"
        )
    split = _read_identities(root, root, "train", loose=True)
    if not len(split):
        inside = FoundPictures((), split.left_out).note() or "nothing in it"
        raise DataError(
            f"{root} has no pictures in folders ({shortened(inside, 120)}); expected one folder of pictures per "
            f"identity, or a CSV file path,label"
        )
    return split


def split_folders(root: Path) -> list[str]:
    """Names of the folders of splits that a folder has; ``val_query`` and ``val_gallery`` are two of them."""
    return [name for name in (*SPLIT_NAMES, *VAL_SIDES) if (root / name).is_dir()]


def _both_sides(root: Path) -> Split:
    """The split ``val`` of two folders, with its sides."""
    asks, stored = (_read_identities(root, root / name, "val", loose=False) for name in VAL_SIDES)
    return Split(
        "val",
        (*asks.images, *stored.images),
        asks.labels + stored.labels,
        asks.ids + stored.ids,
        (True,) * len(asks) + (False,) * len(stored),
        dict(Counter(asks.left_out) + Counter(stored.left_out)),
    )


def _beside(root: Path, present: list[str]) -> dict[str, int]:
    """What lies beside the folders of the splits and is no part of the dataset, by ending or reason."""
    left_out: Counter[str] = Counter()
    for entry in root.iterdir():
        ours = entry.name in present or entry.name == LOCK or is_litter(entry.name) or is_hidden(entry.name)
        if not ours:
            left_out[_BESIDE if entry.is_dir() else entry.suffix.lower() or "without an ending"] += 1
    return dict(left_out)


def _without_splits(root: Path) -> Dataset:
    if (other := instead_of("dataset", root)) is not None:  # a bundle has pictures in it
        raise DataError(other)
    found = find_pictures(root)
    shards = [path for path in sorted(root.iterdir()) if is_shard(path)]
    if shards and found.paths:
        raise DataError(
            f"{root} holds {len(found.paths)} pictures beside {len(shards)} tar files, such as "
            f"{shortened(shards[0].name)}; expected one or the other: move either elsewhere"
        )
    if shards:
        return open_shards(root)
    if not found.paths:
        inside = shortened(", ".join(sorted(path.name for path in root.iterdir())[:5])) or "nothing"
        raise DataError(f"{root} holds {inside}; {_LAYOUT}, or pictures without labels")
    split = _without_labels(root, found)
    return Dataset(name=root.resolve().name, splits={"train": split}, description="images without labels in a folder")


def _without_labels(root: Path, found: FoundPictures) -> Split:
    ids = tuple(path.relative_to(root).as_posix() for path in found.paths)
    return Split("train", found.paths, ("",) * len(ids), ids, left_out=found.left_out)


def _is_flat(folder: Path) -> bool:
    """Whether pictures lie in the folder itself, and no folder lies beside them that is looked into."""
    entries = [entry for entry in folder.iterdir() if not is_hidden(entry.name)]
    return any(is_picture(entry.name) for entry in entries) and not any(entry.is_dir() for entry in entries)


def _read_split(root: Path, name: str) -> Split:
    return _read_identities(root, root / name, name, loose=False)


def _read_identities(root: Path, folder: Path, name: str, *, loose: bool) -> Split:
    """The pictures of a folder's sub-folders; ``loose``: those in the folder itself are left out, else refused."""
    images: list[Path] = []
    labels: list[str] = []
    left_out: Counter[str] = Counter()
    for entry in sorted(folder.iterdir()):
        if is_litter(entry.name) and not entry.is_dir():
            continue
        if is_hidden(entry.name):
            if entry.is_dir() or is_picture(entry.name):
                left_out[HIDDEN] += 1
        elif entry.is_dir():
            found = find_pictures(entry)
            images.extend(found.paths)
            labels.extend([identity_name(entry.name, entry)] * len(found.paths))
            left_out.update(found.left_out)
            if not found.paths:
                left_out[_EMPTY] += 1
        elif is_picture(entry.name) and loose:
            left_out[_LOOSE] += 1
        elif is_picture(entry.name):
            raise DataError(f"{entry} lies outside an identity's folder; {_LAYOUT}")
        else:
            left_out[entry.suffix.lower() or "without an ending"] += 1
    ids = tuple(path.relative_to(root).as_posix() for path in images)
    return Split(name, tuple(images), tuple(labels), ids, left_out=dict(left_out))
