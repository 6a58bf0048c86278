"""Opens `kanji-hard`: unseen characters whose gallery holds one brush, pen or display image of each.

Twenty-three print faces of a character in a gallery are easy: a small model embeds them as well as a large one, and
nothing is gained by a large one. One image in a face like the queries' is hard, and the gallery decides what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from compat_sdk.arrays import read_array
from compat_sdk.datasets.kanji import BUILD, open_kanji, read_tables, readable
from compat_sdk.datasets.shuffle import shuffled
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import DataError

DRAWS = {"kanji-hard": 0, **{f"kanji-hard-{draw}": draw for draw in range(1, 5)}}
"""Names of the published draws: which image of each unseen character is the gallery's."""

UNSEEN_FILES = ("unseen.npy", "unseen-rows.npy")
"""Files of a built set that hold every brush, pen and display image of the unseen characters."""

_SEED = 23


def open_kanji_hard(root: Path | None, draw: int = 0) -> Dataset:
    """Returns the kanji set with a hard gallery; training is the whole set's, 1,800 characters in all faces.

    ``gallery`` has one image of each of the 965 unseen characters in a brush, pen or display face, ``query`` the
    others in such faces. ``val`` is alike: one such image of each of 200 characters is on the gallery's side.

    Args:
        root: Folder that the builder wrote.
        draw: Which image is the gallery's, see `DRAWS`; 0 or more. Any number is a draw; those are published.

    Raises:
        DataError: As for `open_kanji`, or the set was built before 0.8 and lacks the files of `UNSEEN_FILES`.
    """
    whole = open_kanji(root)
    tables = read_tables(root)
    missing = [name for name in UNSEEN_FILES if not (tables.root / name).is_file()]
    if missing:
        raise DataError(f"{root} has no {' and no '.join(missing)}, which kanji-hard needs since 0.8; {BUILD}")
    with readable(tables.root):
        images, rows = (read_array(tables.root / name) for name in UNSEEN_FILES)
        if rows.ndim != 2 or rows.shape[1] != 2 or len(images) != len(rows):
            raise DataError(f"{root} holds {len(images)} unseen images and rows of shape {list(rows.shape)}; {BUILD}")
        everything = tables.split("query", images, rows)
        val = whole.split("val")
        faces = [name.partition("/")[2] for name in val.ids]
        of_queries = {tables.faces[face] for face in tables.of_queries}
        val = _taking(val, "val", [face in of_queries for face in faces])
    in_gallery = _one_of_each(everything, draw)
    splits = {
        "train": whole.split("train"),
        "val": replace(val, query_side=tuple(not chosen for chosen in _one_of_each(val, draw))),
        "query": _taking(everything, "query", [not chosen for chosen in in_gallery]),
        "gallery": _taking(everything, "gallery", in_gallery),
    }
    return Dataset(
        name=f"kanji-hard-{draw}" if draw else "kanji-hard",
        splits=splits,
        description=f"{len(splits['train'].classes)} training characters; unseen characters searched from brush, pen "
        f"and display faces to one such image of each",
    )


def _one_of_each(split: Split, draw: int) -> list[bool]:
    """Which images are the first of their label in the draw's order."""
    label = dict(zip(split.ids, split.labels, strict=True))
    first: dict[str, str] = {}
    for name in shuffled(split.ids, _SEED + draw):
        first.setdefault(label[name], name)
    chosen = set(first.values())
    return [name in chosen for name in split.ids]


def _taking(split: Split, name: str, kept: Sequence[bool]) -> Split:
    """Some images of a split, as a split of another name."""
    rows = np.flatnonzero(kept)
    return Split(
        name=name,
        images=np.asarray(split.images)[rows],
        labels=tuple(split.labels[row] for row in rows),
        ids=tuple(split.ids[row] for row in rows),
    )
