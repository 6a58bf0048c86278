"""IJB-B and IJB-C: templates of several face pictures, compared one to one and searched one to many.

Source: Maze et al., "IARPA Janus Benchmark - C", ICB 2018, with the lists of landmarks of published evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.published.places import bad_line, is_inside, lines_of, require_file, require_folder
from compat_sdk.datasets.split import Split
from compat_sdk.errors import DataError
from compat_sdk.images.packed import WarpedPicture

SIZE = 112
_PLACES = np.array(  # of both eyes, the nose and both corners of the mouth, in a picture of 112 x 112
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


@dataclass(frozen=True, eq=False)
class Subjects:
    """Templates with the person of each.

    Attributes:
        templates: Template numbers. [t]
        people: The person of each, by number. [t]
    """

    templates: NDArray[np.int64] = field(repr=False)
    people: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True, eq=False)
class FaceTemplates:
    """What IJB-B or IJB-C holds.

    Attributes:
        name: ``ijbb`` or ``ijbc``.
        images: All pictures, each brought to 112 x 112 by its landmarks; no labels.
        quality: The detector's score of each picture. [n], in [0, 1]
        templates: Template of each picture. [n]
        media: Medium of each picture: frames of a video share one. [n]
        pairs: Templates to compare one to one. [p, 2]
        same: Whether a pair is of one person. [p]
        galleries: The two galleries, which hold different people.
        probes: What is searched for in both.
    """

    name: str
    images: Split = field(repr=False)
    quality: NDArray[np.float64] = field(repr=False)
    templates: NDArray[np.int64] = field(repr=False)
    media: NDArray[np.int64] = field(repr=False)
    pairs: NDArray[np.int64] = field(repr=False)
    same: NDArray[np.bool_] = field(repr=False)
    galleries: tuple[Subjects, Subjects] = field(repr=False)
    probes: Subjects = field(repr=False)


def open_ijb(root: Path, name: Literal["ijbb", "ijbc"]) -> FaceTemplates:
    """The pictures in ``loose_crop/`` with the lists in ``meta/``.

    These are ``NAME_name_5pts_score.txt``, ``NAME_face_tid_mid.txt``, ``NAME_template_pair_label.txt``, the galleries
    ``NAME_1N_gallery_G1.csv`` and ``G2``, and the probes ``NAME_1N_probe_mixed.csv``.

    Raises:
        DataError: A list is missing, a line is not as it should be, or two lists do not fit together.
    """
    folder, meta = require_folder(root, "loose_crop"), require_folder(root, "meta")
    points = require_file(meta, f"{name}_name_5pts_score.txt")
    faces = require_file(meta, f"{name}_face_tid_mid.txt")
    compared = require_file(meta, f"{name}_template_pair_label.txt")
    images, quality, names = [], [], []
    for number, line in lines_of(points):
        file, *words = line.split()
        values = [_real(points, number, word) for word in words]
        if len(values) != 11 or not is_inside(file) or not 0 <= values[10] <= 1:
            raise bad_line(points, number, line, "a picture, five points and a score in [0, 1]")
        matrix = _to_place(np.array(values[:10]).reshape(5, 2))
        if matrix is None:
            raise bad_line(points, number, line, "five different points")
        names.append(file)
        images.append(WarpedPicture(folder / file, matrix, (SIZE, SIZE)))
        quality.append(values[10])
    rows = list(_numbers(faces, 1))
    if [file for file, _ in rows] != names or not names:
        odd = next((place for place, (row, file) in enumerate(zip(rows, names, strict=False)) if row[0] != file), 0)
        raise DataError(
            f"{faces.name} lists {len(rows)} pictures and {points.name} {len(names)}; expected the same in one order, "
            f"and they differ at line {odd + 1}; download both again"
        )
    table = np.array([numbers for _, numbers in rows], np.int64)
    pairs = np.array([numbers for _, numbers in _numbers(compared, 0)], np.int64).reshape(-1, 3)
    known = set(table[:, 0].tolist())
    gallery_files = [require_file(meta, f"{name}_1N_gallery_G{part}.csv") for part in (1, 2)]
    probe_file = require_file(meta, f"{name}_1N_probe_mixed.csv")
    galleries = tuple(_subjects(path, known) for path in gallery_files)
    lost = set(pairs[:, :2].ravel().tolist()) - known
    if lost or not set(pairs[:, 2].tolist()) <= {0, 1}:
        raise DataError(
            f"{compared} compares {len(lost)} templates that {faces.name} lacks, or has a label other than 0 and 1; "
            f"download both again"
        )
    return FaceTemplates(
        name=name,
        images=Split("gallery", tuple(images), ("",) * len(names), tuple(names)),
        quality=np.array(quality),
        templates=table[:, 0],
        media=table[:, 1],
        pairs=pairs[:, :2],
        same=pairs[:, 2] == 1,
        galleries=(galleries[0], galleries[1]),
        probes=_subjects(probe_file, known),
    )


def _to_place(points: NDArray[np.float64]) -> tuple[float, float, float, float, float, float] | None:
    """The turn, scale and shift that takes a face's points to their places, by least squares; None of a point alone.

    From the result's pixels to the picture's, whose centres are half a pixel from their corners.
    """
    goal, found = _PLACES @ [1, 1j], points @ [1, 1j]
    centred = goal - goal.mean()
    spread = found - found.mean()
    if np.abs(spread).max() < 1e-6:
        return None
    onto = (centred * spread.conj()).sum() / (np.abs(spread) ** 2).sum()  # from the picture to the result
    if abs(onto) < 1e-9:
        return None
    turn = 1 / onto
    shift = found.mean() - turn * goal.mean() + (0.5 + 0.5j) - turn * (0.5 + 0.5j)
    return (turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag)


def _real(path: Path, number: int, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e6:
        raise bad_line(path, number, word, "a finite number of pixels")
    return value


def _numbers(path: Path, names: int) -> Iterator[tuple[str, list[int]]]:
    """A name, where a line begins with one, and the two or three whole numbers of each line."""
    for number, line in lines_of(path):
        words = line.split()
        wanted = 2 if names else 3
        if len(words) != names + wanted or not all(_is_number(word) for word in words[names:]):
            raise bad_line(path, number, line, f"{'a picture and ' * bool(names)}{wanted} whole numbers")
        yield words[0] if names else "", [int(word) for word in words[names:]]


def _subjects(path: Path, known: set[int]) -> Subjects:
    """Template and person of a list, each template once: lists have a line for each picture."""
    found: dict[int, int] = {}
    for number, line in lines_of(path):
        words = [word.strip() for word in line.split(",")]
        if number == 1 and not words[0].isdigit():
            continue
        if len(words) < 2 or not all(map(_is_number, words[:2])) or int(words[0]) not in known:
            raise bad_line(path, number, line, "a template of the set and a person, by their numbers")
        if found.setdefault(int(words[0]), int(words[1])) != int(words[1]):
            raise bad_line(path, number, line, "one person for each template")
    if not found:
        raise DataError(f"{path} lists no templates; download it again")
    return Subjects(np.array(list(found), np.int64), np.array(list(found.values()), np.int64))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10
