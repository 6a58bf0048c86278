"""Fashion-MNIST, whole from its IDX files, and the bundled sample of it.

Ten kinds of clothing on 28x28 grey images, MIT licence. The classes are the same in every split, so it
checks a pipeline and compares methods; open-set retrieval is what the kanji set is for.

Source: Xiao, Rasul and Vollgraf, 2017, https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.idx import read_idx
from compat_sdk.datasets.shuffle import shuffled
from compat_sdk.datasets.split import Dataset, Split, numbered_ids
from compat_sdk.errors import DataError

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SAMPLE_FOLDER = Path(__file__).parent / "sample_files"
SEED = 20
_SAMPLE_PER_CLASS = {"train": 600, "query": 100, "gallery": 300}
QUERIES_PER_CLASS = 200
_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def open_fashion_mnist(root: Path | None) -> Dataset:
    """Returns the whole set: 60,000 train; of the 10,000 test images 2,000 query and 8,000 gallery.

    Args:
        root: Folder with the four IDX files, compressed or not; ``None`` for where Debian puts them.

    Raises:
        DataError: A file is missing or damaged.
    """
    train, test = (_read_files(root or DEBIAN_FOLDER, part) for part in ("train", "t10k"))
    query = _pick_per_class(test[1], "t10k", 0, QUERIES_PER_CLASS)
    gallery = np.setdiff1d(np.arange(len(test[1])), query)
    return _dataset(
        "fashion-mnist",
        {"train": train, "query": (test[0][query], test[1][query]), "gallery": (test[0][gallery], test[1][gallery])},
        "Fashion-MNIST: 28x28 grey clothing, 10 classes, the same in every split",
    )


def open_sample() -> Dataset:
    """Returns the bundled sample: 6,000 train, 1,000 query and 3,000 gallery images of Fashion-MNIST.

    Raises:
        DataError: The installed package is damaged.
    """
    splits = {
        name: (
            read_idx(SAMPLE_FOLDER / f"{name}-images.idx.gz", 3),
            read_idx(SAMPLE_FOLDER / f"{name}-labels.idx.gz", 1),
        )
        for name in _SAMPLE_PER_CLASS
    }
    return _dataset("sample", splits, "a bundled sample of Fashion-MNIST: 28x28 grey clothing, 10 classes")


def cut_sample(root: Path) -> dict[str, Arrays]:
    """Returns the sample's splits, drawn with a fixed seed and balanced over the classes.

    Train comes from the train file; query and gallery, disjoint, from the test file.

    Raises:
        DataError: A file is missing or damaged.
    """
    files = {part: _read_files(root, part) for part in ("train", "t10k")}
    sample: dict[str, Arrays] = {}
    taken = {"train": 0, "t10k": 0}
    for name, count in _SAMPLE_PER_CLASS.items():
        part = "train" if name == "train" else "t10k"
        images, labels = files[part]
        rows = _pick_per_class(labels, part, taken[part], count)
        taken[part] += count
        sample[name] = (images[rows], labels[rows])
    return sample


def _pick_per_class(labels: NDArray[np.uint8], part: str, start: int, count: int) -> NDArray[np.int64]:
    """Returns rows, ascending: of each class the ``start``-th to the ``start + count``-th of a fixed shuffle."""
    picked: list[int] = []
    for number in range(len(CLASSES)):
        names = [f"{part}/{row}" for row in np.flatnonzero(labels == number)]
        chosen = shuffled(names, SEED)[start : start + count]
        picked.extend(int(name.rpartition("/")[2]) for name in chosen)
    return np.sort(np.array(picked, np.int64))


def _read_files(root: Path, part: str) -> Arrays:
    """Returns images ``[n, 28, 28]`` and labels ``[n]`` of ``"train"`` or ``"t10k"``.

    Raises:
        DataError: A file is missing or damaged, or images and labels do not fit together.
    """
    images, labels = (_find(root, part, kind) for kind in _KINDS)
    return read_idx(images, 3), read_idx(labels, 1)


def fashion_mnist_files(root: Path) -> list[Path]:
    """Returns the four IDX files in a folder, as `open_fashion_mnist` reads them.

    Raises:
        DataError: One is missing.
    """
    return [_find(root, part, kind) for part in ("train", "t10k") for kind in _KINDS]


def _find(root: Path, part: str, kind: str) -> Path:
    paths = [root / f"{part}-{kind}{ending}" for ending in ("", ".gz")]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise DataError(
            f"found no {paths[0].name} nor {paths[1].name} in {root}; install the Debian package "
            f"dataset-fashion-mnist, or pass --root with the folder of the four IDX files"
        )
    return path


def _dataset(name: str, splits: Mapping[str, Arrays], description: str) -> Dataset:
    opened: dict[str, Split] = {}
    for split, (images, labels) in splits.items():
        if labels.size and int(labels.max()) >= len(CLASSES):
            raise DataError(f"{name} has a label {labels.max()}, expected 0 to {len(CLASSES) - 1}; wrong label file")
        names = tuple(CLASSES[label] for label in labels.tolist())
        opened[split] = Split(split, images, names, numbered_ids(split, len(images)))
    return Dataset(name, opened, description)
