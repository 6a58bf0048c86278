"""Pairs of faces in one ``.bin`` file, as LFW, CFP-FP, CPLFW, AgeDB and CALFW are distributed: a pickle, read as data.

The pickle holds a list of encoded pictures, two for each pair, and a list that says which pairs are of one person. The
pictures stay in the file. Nothing in it is unpickled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compat_sdk.datasets.published.plain_pickle import read_pickle
from compat_sdk.datasets.published.strings_in_place import Span
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import DataError
from compat_sdk.images.packed import PackedPicture

SUFFIX = ".bin"


def open_face_pairs(path: Path) -> Dataset:
    """The left pictures as ``query``, the right ones as ``gallery``, and whether each pair is of one person.

    Raises:
        DataError: The file is damaged, or holds anything but pictures and truth values that fit together.
    """
    value, _ = read_pickle(path)
    pictures, same = value if isinstance(value, tuple | list) and len(value) == 2 else (None, None)
    truths = same.tolist() if isinstance(same, np.ndarray) else same
    if not isinstance(pictures, list) or not all(isinstance(each, Span) and each.size for each in pictures):
        raise DataError(f"{path} has no list of pictures; expected pairs of faces such as lfw.bin; download it again")
    if not isinstance(truths, list) or not all(type(each) in (bool, int) and each in (0, 1) for each in truths):
        truths = []
    if not truths or len(pictures) != 2 * len(truths):
        raise DataError(
            f"{path} has {len(pictures)} pictures and {len(truths)} truth values; expected two pictures for each truth "
            f"value; download it again"
        )
    splits = {}
    for side, name in enumerate(("query", "gallery")):
        spans = pictures[side::2]
        ids = tuple(f"{pair:06d}-{'left' if side == 0 else 'right'}" for pair in range(len(spans)))
        images = tuple(PackedPicture(path, id, span.offset, span.size) for id, span in zip(ids, spans, strict=True))
        splits[name] = Split(name, images, ("",) * len(ids), ids)
    described = f"{len(truths)} pairs of faces, {sum(map(bool, truths))} of them of one person"
    return Dataset(path.stem, splits, described, files=(path,), same=tuple(map(bool, truths)))
