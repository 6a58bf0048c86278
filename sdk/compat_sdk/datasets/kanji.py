"""Opens a kanji set that the builder wrote, without reading its images into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.arrays import read_array
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.documents import read_json
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened

FORMAT, VERSION = "compat-sdk-kanji", 1
BUILD = "build it with: compat-sdk data build kanji --out DIR, then pass --root DIR"
"""What an error tells the user to do."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "query": (
        "aoyagi-soseki",
        "kiloji",
        "kiloji_b",
        "YOzRS_",
        "YOzBS_",
        "KleeOne-Regular",
        "DotGothic16-Regular",
        "TrainOne-Regular",
    ),
    "gallery": (
        "BabelStoneHan",
        "Konatu",
        "Mplus1-Regular",
        "Mplus1-Thin",
        "Mplus1-Black",
        "MTLmr3m",
        "OradanoGSRR",
        "sawarabi-mincho-medium",
    ),
}
"""Faces that the set of seen characters keeps out of training, all weights of a design together."""


FILES = ("meta.json", "images.npy", "rows.npy")
"""The files of a built set."""


def is_kanji_folder(folder: Path) -> bool:
    """Tells whether a folder holds a built kanji set."""
    return all((folder / name).is_file() for name in FILES)


def open_kanji(
    root: Path | None, identities: int | None = None, *, query_faces_only: bool = False, seen: bool = False
) -> Dataset:
    """Returns the kanji set: 32x32 grey images, memory-mapped; labels are the characters themselves.

    Args:
        root: Folder that the builder wrote.
        identities: How many training identities to keep, from the first; ``None`` for all 1,800.
        query_faces_only: Train on the faces that queries are drawn in (brush, pen, display) and on no print
            face: what a model sees that never embeds a gallery.
        seen: Query and gallery are the training characters in the faces of `HELD_OUT`, which training then lacks:
            a search among known classes, as on ImageNet. There is no ``val`` split.

    Raises:
        DataError: The folder is missing, of another version, or its files do not fit together.
    """
    tables = read_tables(root)
    with readable(tables.root):
        images = read_array(tables.root / "images.npy", mapped=True)
        rows = read_array(tables.root / "rows.npy")
        if rows.shape != (sum(tables.sizes.values()), 2) or len(images) != len(rows):
            raise DataError(
                f"{root} lists {shortened(str(sum(tables.sizes.values())), 24)} images but holds {len(images)} and "
                f"{len(rows)} rows; {BUILD}"
            )
        splits: dict[str, Split] = {}
        start = 0
        for name, size in tables.sizes.items():
            part = rows[start : start + size]
            if name == "train" and identities is not None:
                firsts = dict.fromkeys(part[:, 0].tolist())
                part = part[np.isin(part[:, 0], list(firsts)[:identities])]  # a prefix: stored by identity
            stored = images[start : start + len(part)]
            if name == "train" and query_faces_only:
                kept = np.isin(part[:, 1], list(tables.of_queries))
                part, stored = part[kept], stored[kept]
            splits[name] = tables.split(name, stored, part)
            start += size
        if seen:
            splits = _seen(splits["train"])
    count = len(set(splits["train"].labels)) if "train" in splits else 0
    return Dataset(
        name=("kanji" if identities is None else f"kanji-{identities}")
        + "-query-faces" * query_faces_only
        + "-seen" * seen,
        splits=splits,
        description=f"{count} training characters; {'these' if seen else 'unseen'} characters searched from "
        f"{'unseen ' * seen}brush, pen and display faces to {'unseen ' * seen}print faces",
    )


@dataclass(frozen=True)
class Tables:
    """What the rows of a built set's arrays stand for.

    Attributes:
        root: Folder of the set.
        characters: Every character; rows name their places.
        faces: Name of every face; rows name their places.
        of_queries: Places of the brush, pen and display faces.
        sizes: Images of each split, in the order of ``images.npy``.
    """

    root: Path
    characters: str
    faces: tuple[str, ...]
    of_queries: frozenset[int]
    sizes: dict[str, int]

    def split(self, name: str, images: NDArray[np.uint8], rows: NDArray[np.integer[Any]]) -> Split:
        """Returns a split of images ``[n, h, w]`` from rows ``[n, 2]``: the place of a character and of a face.

        Raises:
            ValueError: A place is below 0.
            IndexError: A place is beyond the tables.
        """
        if rows.size and rows.min() < 0:
            raise ValueError(f"a row names character or face {rows.min()}")
        pairs = rows.tolist()
        return Split(
            name=name,
            images=images,
            labels=tuple(self.characters[character] for character, _ in pairs),
            ids=tuple(f"U+{ord(self.characters[character]):04X}/{self.faces[face]}" for character, face in pairs),
            query_side=tuple(face in self.of_queries for _, face in pairs) if name == "val" else None,
        )


def read_tables(root: Path | None) -> Tables:
    """Returns the tables of a built set.

    Raises:
        DataError: As for `open_kanji`.
    """
    if root is None:
        raise DataError(f"the kanji set needs the folder it was built into, found none; {BUILD}")
    if not is_kanji_folder(root):
        raise DataError(f"{root} holds no kanji set (meta.json, images.npy, rows.npy); {BUILD}")
    with readable(root):
        meta: Any = read_json(root / "meta.json")
        if meta["format"] != FORMAT or meta["version"] != VERSION:
            raise DataError(
                f"{root} has format {shortened(repr(meta['format']))} version {shortened(repr(meta['version']))}, "
                f"expected {FORMAT} version {VERSION}; {BUILD}"
            )
        characters: str = meta["characters"]
        return Tables(
            root=root,
            characters=characters,
            faces=tuple(str(face["name"]) for face in meta["faces"]),
            of_queries=frozenset(number for number, face in enumerate(meta["faces"]) if face["role"] == "query"),
            sizes={str(name): int(size) for name, size in meta["splits"].items()},
        )


@contextmanager
def readable(root: Path) -> Iterator[None]:
    """Turns what damaged files of a set lead to into a DataError that says how to build it again."""
    try:
        yield
    except (CorruptFileError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, OSError):
            raise_if_refused(error.filename or root, error)
        raise DataError(f"{root} is not a readable kanji set ({shortened(str(error))}); {BUILD}") from error


def _seen(train: Split) -> dict[str, Split]:
    """A training split by its faces: those of `HELD_OUT` are query and gallery, the others stay."""
    faces = [name.partition("/")[2] for name in train.ids]
    held_out = {face: split for split, names in HELD_OUT.items() for face in names}
    images = np.asarray(train.images)
    splits = {}
    for split in ("train", *HELD_OUT):
        kept = [row for row, face in enumerate(faces) if held_out.get(face, "train") == split]
        if not kept:
            raise DataError(f"the kanji set has no image for {split} among its faces {', '.join(sorted(set(faces)))}")
        splits[split] = Split(
            name=split,
            images=images[kept],
            labels=tuple(train.labels[row] for row in kept),
            ids=tuple(train.ids[row] for row in kept),
        )
    return splits
