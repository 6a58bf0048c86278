"""MNIST and the sets of its form: KMNIST, Kuzushiji-49 and the six parts of EMNIST, under their own class names.

Sources: LeCun et al., MNIST; Clanuwat et al., 2018, https://arxiv.org/abs/1812.01718; Cohen et al., 2017,
https://arxiv.org/abs/1702.05373, whose pictures are stored with rows and columns exchanged.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.arrays import read_array
from compat_sdk.datasets.idx import read_idx
from compat_sdk.datasets.published.places import bad_line, lines_of, require_file
from compat_sdk.datasets.published.sides import divided
from compat_sdk.datasets.split import Dataset, Split, numbered_ids
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened

EMNIST_PARTS = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
"""The six parts of EMNIST, which differ in their classes."""
_TEN_HIRAGANA = "おきすつなはまやれを"
_HIRAGANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわゐゑをんゝ"
_LARGEST = 1 << 31  # bytes of an array that a .npz file unpacks to

_BROKEN = (
    CorruptFileError,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the reader of zip files raises for bytes that are none."""

_Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def open_mnist(root: Path) -> Dataset:
    """Handwritten digits: 60,000 to train on, and 10,000 to search.

    Raises:
        DataError: A file is missing or damaged.
    """
    train, test, files = _idx_files(root, "train", "t10k")
    return _dataset("mnist", train, test, dict(enumerate("0123456789")), "28x28 grey handwritten digits", files)


def open_kmnist(root: Path) -> Dataset:
    """Ten cursive hiragana, from the IDX files or the ``.npz`` files: 60,000 to train on, and 10,000 to search.

    Raises:
        DataError: A file is missing or damaged.
    """
    if (root / "kmnist-train-imgs.npz").is_file():
        train, test, files = _npz_files(root, "kmnist")
    else:
        train, test, files = _idx_files(root, "train", "t10k")
    return _dataset("kmnist", train, test, dict(enumerate(_TEN_HIRAGANA)), "28x28 grey cursive hiragana", files)


def open_k49(root: Path) -> Dataset:
    """Kuzushiji-49, from its ``.npz`` files: 48 hiragana and the iteration mark, of very different numbers.

    Raises:
        DataError: A file is missing or damaged.
    """
    train, test, files = _npz_files(root, "k49")
    return _dataset("k49", train, test, dict(enumerate(_HIRAGANA)), "28x28 grey cursive hiragana", files)


def open_emnist(root: Path, part: str) -> Dataset:
    """One part of EMNIST; its mapping file names the classes, and a class of both cases is called such as ``Aa``.

    Args:
        root: Folder of its four IDX files and its mapping, compressed or not.
        part: One of `EMNIST_PARTS`.

    Raises:
        DataError: A file is missing or damaged, or a label is not in the mapping.
    """
    train, test, files = _idx_files(root, f"emnist-{part}-train", f"emnist-{part}-test")
    mapping = require_file(root, f"emnist-{part}-mapping.txt")
    train, test = ((np.ascontiguousarray(images.transpose(0, 2, 1)), labels) for images, labels in (train, test))
    classes = _mapping(mapping)
    described = f"28x28 grey handwritten characters, EMNIST {part}"
    return _dataset(f"emnist-{part}", train, test, classes, described, (*files, mapping))


def _mapping(path: Path) -> dict[int, str]:
    """Characters of each label, from lines of a label and the code points of one or two characters."""
    found: dict[int, str] = {}
    for number, line in lines_of(path):
        words = line.split()
        known = 2 <= len(words) <= 3 and all(word.isascii() and word.isdigit() and len(word) < 4 for word in words)
        if not known or not all(32 < int(word) < 127 for word in words[1:]) or int(words[0]) in found:
            raise bad_line(path, number, line, "a new label and one or two code points, such as 10 65")
        found[int(words[0])] = "".join(chr(int(word)) for word in words[1:])
    if len(set(found.values())) != len(found):
        raise DataError(f"{path} gives two labels one character; download the file again")
    return found


def _idx_files(root: Path, train: str, test: str) -> tuple[_Arrays, _Arrays, tuple[Path, ...]]:
    places = [
        require_file(root, *(f"{part}-{kind}{dot}{form}-ubyte{end}" for dot in "-." for end in ("", ".gz")))
        for part in (train, test)
        for kind, form in (("images", "idx3"), ("labels", "idx1"))
    ]
    arrays = [read_idx(place, 3 if row % 2 == 0 else 1) for row, place in enumerate(places)]
    return (arrays[0], arrays[1]), (arrays[2], arrays[3]), tuple(places)


def _npz_files(root: Path, name: str) -> tuple[_Arrays, _Arrays, tuple[Path, ...]]:
    places = [
        require_file(root, f"{name}-{part}-{kind}.npz") for part in ("train", "test") for kind in ("imgs", "labels")
    ]
    arrays = [_npz(place, 3 if row % 2 == 0 else 1) for row, place in enumerate(places)]
    return (arrays[0], arrays[1]), (arrays[2], arrays[3]), tuple(places)


def _npz(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The one array of a ``.npz`` file, uint8; what unpacks to more than 2 GiB is refused."""
    with _unpacking(path), open_plain(path) as file, zipfile.ZipFile(file) as archive:
        entry = archive.getinfo("arr_0.npy")
        if entry.file_size > _LARGEST:
            raise CorruptFileError(f"arr_0 says that it has {entry.file_size:,} bytes")
        with archive.open(entry) as member:
            content = member.read(entry.file_size + 1)
        array = read_array(content, name="arr_0")
        if array.dtype != np.uint8 or array.ndim != dimensions:
            raise CorruptFileError(f"arr_0 is {array.dtype} of shape {list(array.shape)}")
        return array


@contextmanager
def _unpacking(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        if isinstance(error, OSError):
            raise_if_refused(path, error)
        raise DataError(
            f"cannot read {path}: {shortened(str(error), 120)}; expected a .npz file with one uint8 array; download "
            f"it again"
        ) from error


def _dataset(
    name: str, train: _Arrays, test: _Arrays, classes: Mapping[int, str], description: str, files: tuple[Path, ...]
) -> Dataset:
    images, labels = train
    of_train = Split("train", images, _named(name, images, labels, classes), numbered_ids("train", len(images)))
    splits = {"train": of_train, **divided(test[0], _named(name, *test, classes))}
    return Dataset(name, splits, f"{description}, {len(classes)} classes, the same in every split", files=files)


def _named(
    name: str, images: NDArray[np.uint8], labels: NDArray[np.uint8], classes: Mapping[int, str]
) -> tuple[str, ...]:
    if len(images) != len(labels):
        raise DataError(
            f"{name} has {len(images)} images and {len(labels)} labels; expected as many; use files of one set"
        )
    unknown = sorted(set(np.unique(labels).tolist()) - set(classes))
    if unknown:
        raise DataError(
            f"{name} has a label {unknown[0]}, expected one of its {len(classes)} classes, {min(classes)} to "
            f"{max(classes)}; the files are another set's: name that one"
        )
    return tuple(classes[label] for label in labels.tolist())
