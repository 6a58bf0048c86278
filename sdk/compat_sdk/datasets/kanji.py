"""Opens a kanji set that the builder wrote, without reading its images into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compat_sdk.arrays import read_array
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.documents import read_json
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened

FORMAT, VERSION = "compat-sdk-kanji", 1
_BUILD = "build it with: compat-sdk data build kanji --out DIR, then pass --root DIR"


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
    if root is None:
        raise DataError(f"the kanji set needs the folder it was built into, found none; {_BUILD}")
    if not is_kanji_folder(root):
        raise DataError(f"{root} holds no kanji set (meta.json, images.npy, rows.npy); {_BUILD}")
    try:
        meta: Any = read_json(root / "meta.json")
        if meta["format"] != FORMAT or meta["version"] != VERSION:
            raise DataError(
                f"{root} has format {shortened(repr(meta['format']))} version {shortened(repr(meta['version']))}, "
                f"expected {FORMAT} version {VERSION}; {_BUILD}"
            )
        characters: str = meta["characters"]
        faces = [str(face["name"]) for face in meta["faces"]]
        of_queries = {number for number, face in enumerate(meta["faces"]) if face["role"] == "query"}
        sizes = {str(name): int(size) for name, size in meta["splits"].items()}
        images = read_array(root / "images.npy", mapped=True)
        rows = read_array(root / "rows.npy")
        if rows.shape != (sum(sizes.values()), 2) or len(images) != len(rows):
            raise DataError(
                f"{root} lists {shortened(str(sum(sizes.values())), 24)} images but holds {len(images)} and "
                f"{len(rows)} rows; {_BUILD}"
            )
        names = [f"U+{ord(character):04X}/" for character in characters]
        splits: dict[str, Split] = {}
        start = 0
        for name, size in sizes.items():
            part = rows[start : start + size].tolist()
            if name == "train" and identities is not None:
                firsts = dict.fromkeys(character for character, _ in part)
                wanted = set(list(firsts)[:identities])
                part = [pair for pair in part if pair[0] in wanted]  # a prefix: stored by identity
            stored = images[start : start + len(part)]
            if name == "train" and query_faces_only:
                kept = [place for place, (_, face) in enumerate(part) if face in of_queries]
                part, stored = [part[place] for place in kept], stored[kept]
            splits[name] = Split(
                name=name,
                images=stored,
                labels=tuple(characters[character] for character, _ in part),
                ids=tuple(names[character] + faces[face] for character, face in part),
                query_side=tuple(face in of_queries for _, face in part) if name == "val" else None,
            )
            start += size
        if seen:
            splits = _seen(splits["train"])
    except (CorruptFileError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, OSError):
            raise_if_refused(error.filename or root, error)
        raise DataError(f"{root} is not a readable kanji set ({shortened(str(error))}); {_BUILD}") from error
    count = len(set(splits["train"].labels)) if "train" in splits else 0
    return Dataset(
        name=("kanji" if identities is None else f"kanji-{identities}")
        + "-query-faces" * query_faces_only
        + "-seen" * seen,
        splits=splits,
        description=f"{count} training characters; {'these' if seen else 'unseen'} characters searched from "
        f"{'unseen ' * seen}brush, pen and display faces to {'unseen ' * seen}print faces",
    )


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
