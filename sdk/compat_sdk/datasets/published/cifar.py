"""CIFAR-10 and CIFAR-100, from the binary or the Python version; of the latter nothing is unpickled.

Source: Krizhevsky, 2009, "Learning Multiple Layers of Features from Tiny Images".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.published.places import lines_of, require_file
from compat_sdk.datasets.published.plain_pickle import read_pickle
from compat_sdk.datasets.published.sides import searched_in_itself
from compat_sdk.datasets.split import Dataset, Split, numbered_ids
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened

_PIXELS = 3 * 32 * 32
_LARGEST = 1 << 30
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))

_Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def open_cifar(root: Path, classes: int) -> Dataset:
    """32x32 RGB images: 50,000 to train on, and 10,000 of the same classes that are query and gallery at once.

    Args:
        root: Folder of the ``.bin`` files, or of the Python version's files.
        classes: 10, or 100: the fine labels.

    Raises:
        DataError: A file is missing or damaged, or holds more than plain data.
    """
    parts = (_BATCHES, ("test_batch",)) if classes == 10 else (("train",), ("test",))
    packed = (root / f"{parts[0][0]}.bin").is_file()
    if packed:
        meta = require_file(root, "batches.meta.txt" if classes == 10 else "fine_label_names.txt")
        names = [line for _, line in lines_of(meta)]
    else:
        require_file(root, f"{parts[0][0]}.bin", parts[0][0])
        meta = require_file(root, "batches.meta" if classes == 10 else "meta")
        value, file = read_pickle(meta)
        names = file.texts(
            value.get("label_names" if classes == 10 else "fine_label_names") if isinstance(value, dict) else None
        )
    if len(names) != classes or len(set(names)) != classes:
        raise DataError(f"{meta} names {len(set(names))} classes, expected {classes}; download it again")
    files = [[require_file(root, f"{name}.bin" if packed else name) for name in part] for part in parts]
    splits = {}
    for name, places in zip(("train", "query"), files, strict=True):
        read = [_packed(place, classes) if packed else _pickled(place, classes) for place in places]
        images, labels = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
        named = tuple(names[label] for label in labels.tolist())
        splits[name] = Split(name, images, named, numbered_ids("train" if name == "train" else "test", len(images)))
    return Dataset(
        f"cifar-{classes}",
        {"train": splits["train"], **searched_in_itself(splits["query"])},
        f"32x32 colour images, {classes} classes, the same in every split; the test images search each other",
        files=(meta, *files[0], *files[1]),
    )


def _packed(path: Path, classes: int) -> _Arrays:
    """Images and labels of a ``.bin`` file: one or two bytes of labels, then red, green and blue."""
    head = 1 if classes == 10 else 2
    try:
        data = read_plain(path, _LARGEST)
    except (OSError, CorruptFileError) as error:
        if isinstance(error, OSError):
            raise_if_refused(path, error)
        raise DataError(f"cannot read {path}: {shortened(str(error))}; download it again") from error
    if not data or len(data) % (head + _PIXELS):
        raise DataError(
            f"{path} has {len(data):,} bytes; expected a multiple of {head + _PIXELS}, one image each; download it "
            f"again"
        )
    table = np.frombuffer(data, np.uint8).reshape(-1, head + _PIXELS)
    return _checked(path, table[:, head:], table[:, head - 1].astype(np.int64), classes)


def _pickled(path: Path, classes: int) -> _Arrays:
    value, _ = read_pickle(path)
    found = value if isinstance(value, dict) else {}
    images, labels = found.get("data"), found.get("labels" if classes == 10 else "fine_labels")
    whole = isinstance(labels, list) and all(type(label) is int for label in labels)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2 or not whole:
        raise DataError(f"{path} has no images and labels of CIFAR-{classes}; use the files of that set")
    return _checked(path, images, np.array(labels, np.int64), classes)


def _checked(path: Path, rows: NDArray[np.uint8], labels: NDArray[np.int64], classes: int) -> _Arrays:
    if rows.shape != (len(labels), _PIXELS) or not len(labels) or labels.min() < 0 or labels.max() >= classes:
        highest = labels.max(initial=0)
        raise DataError(
            f"{path} has {len(labels)} labels up to {highest} for images of shape {list(rows.shape)}; expected labels "
            f"below {classes}, and {_PIXELS} bytes each; use the files of CIFAR-{classes}"
        )
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels
