"""ROxford and RParis: buildings, searched by a part of a photograph. The ground truth is a pickle, read as plain data.

Source: Radenovic et al., "Revisiting Oxford and Paris", CVPR 2018, https://arxiv.org/abs/1803.11285, and its public
evaluation.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from compat_sdk.datasets.published.places import is_inside, require_file, require_folder
from compat_sdk.datasets.published.plain_pickle import read_pickle
from compat_sdk.datasets.relevance import Relevance, ascending
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import DataError
from compat_sdk.images.packed import CroppedPicture


def open_revisited(root: Path, name: str, hard: bool) -> Dataset:
    """Queries cut to their boxes, and the gallery, with ``gnd_NAME.pkl`` beside the folder ``jpg``.

    Medium finds easy and hard pictures, and junk counts neither way. Hard finds hard ones alone.

    Args:
        root: Folder of both.
        name: ``roxford5k`` or ``rparis6k``.
        hard: The protocol Hard instead of Medium.

    Raises:
        DataError: A file is missing or damaged, or holds anything but plain data.
    """
    path, folder = require_file(root, f"gnd_{name}.pkl"), require_folder(root, "jpg")
    value, file = read_pickle(path)
    if not isinstance(value, dict) or not isinstance(value.get("gnd"), list):
        raise DataError(f"{path} has no list 'gnd'; expected the ground truth of {name}; download it again")
    names, asked = (file.texts(value.get(key)) for key in ("imlist", "qimlist"))
    odd = next((each for each in (*names, *asked) if not is_inside(each)), None)
    if odd is not None or len(asked) != len(value["gnd"]) or not names or len(set(names)) != len(names):
        raise DataError(f"{path} lists no fitting pictures of {name}; download it again")
    positives, ignored, images = [], [], []
    for number, (each, query) in enumerate(zip(value["gnd"], asked, strict=True)):
        try:
            easy, difficult, junk = (_rows(each[key], len(names)) for key in ("easy", "hard", "junk"))
            left, top, right, bottom = (_edge(edge) for edge in _flat(each["bbx"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: query {number} has no easy, hard and junk rows below {len(names)} and box bbx of four "
                f"numbers; download it again"
            ) from error
        positives.append(ascending(difficult if hard else easy + difficult))
        ignored.append(np.setdiff1d(ascending(junk + easy if hard else junk), positives[-1]))
        images.append(CroppedPicture(folder / f"{query}.jpg", (left, top, right, bottom)))
    gallery = Split("gallery", tuple(folder / f"{each}.jpg" for each in names), ("",) * len(names), tuple(names))
    return Dataset(
        f"{name}-hard" if hard else name,
        {"query": Split("query", tuple(images), ("",) * len(asked), tuple(asked)), "gallery": gallery},
        f"{name}, {'Hard' if hard else 'Medium'}: buildings, searched by the part of a photograph in a box",
        files=(path,),
        relevance=Relevance(tuple(positives), tuple(ignored), trapezoid=True),
    )


def _rows(value: Any, count: int) -> list[int]:
    found = _flat(value)
    if not all(type(row) is int and 0 <= row < count for row in found):
        raise ValueError("rows")
    return found


def _flat(value: Any) -> list[Any]:
    """The items of a list or of an array of one dimension; a list in itself is left as it is, however deep."""
    found = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(found, list):
        raise TypeError("no list")
    return found


def _edge(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("an edge")
    return float(value)
