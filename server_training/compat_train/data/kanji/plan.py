"""Who is in which split of the kanji set, and which faces are fit to be in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.shuffle import shuffled
from compat_train.data.kanji.faces import Face
from compat_train.data.kanji.glyphs import face_similarity

SEED = 20
TEST_IDENTITIES, VAL_IDENTITIES, QUERY_IMAGES = 965, 200, 4000
_SAME_DESIGN = 0.95
_MOST_MISSING = 0.005


def split_identities(characters: Sequence[str], seed: int = SEED) -> dict[str, tuple[str, ...]]:
    """Deals the characters into ``train``, ``val`` and ``test``, disjoint and in a fixed shuffled order."""
    order = shuffled(characters, seed)
    after_val = TEST_IDENTITIES + VAL_IDENTITIES
    return {
        "train": tuple(order[after_val:]),
        "val": tuple(order[TEST_IDENTITIES:after_val]),
        "test": tuple(order[:TEST_IDENTITIES]),
    }


def plan_rows(
    identities: Mapping[str, Sequence[str]],
    characters: Sequence[str],
    faces: Sequence[Face],
    present: NDArray[np.bool_],
    *,
    queries: int = QUERY_IMAGES,
    seed: int = SEED,
) -> dict[str, NDArray[np.int32]]:
    """Lists the (character, face) pairs of every split, in the order in which they are stored.

    Args:
        identities: ``train``, ``val`` and ``test`` characters.
        characters: All characters, whose positions the pairs name.
        faces: Kept faces, whose positions the pairs name.
        present: ``[faces, characters]``, whether the face has the character.
        queries: How many of the test pairs with query faces to draw.
        seed: Of the drawing.

    Returns:
        For ``train``, ``val``, ``query`` and ``gallery``, int32 ``[n, 2]``, sorted by identity then face.
    """
    print_rows = [row for row, face in enumerate(faces) if face.role == "print"]

    def pairs(part: str, of: Iterable[int]) -> list[tuple[int, int]]:
        return _pairs(identities[part], of, characters, present)

    possible = pairs("test", _query_faces(faces))
    names = {f"{characters[position]}/{faces[face].name}": row for row, (position, face) in enumerate(possible)}
    drawn = sorted(names[name] for name in shuffled(names, seed)[:queries])
    splits = {
        "train": pairs("train", range(len(faces))),
        "val": pairs("val", range(len(faces))),
        "query": [possible[row] for row in drawn],
        "gallery": pairs("test", print_rows),
    }
    return {name: np.array(rows, np.int32).reshape(-1, 2) for name, rows in splits.items()}


def unseen_rows(
    identities: Mapping[str, Sequence[str]],
    characters: Sequence[str],
    faces: Sequence[Face],
    present: NDArray[np.bool_],
) -> NDArray[np.int32]:
    """Lists every (character, face) pair of a test character and a query face: what ``kanji-hard`` searches in.

    Args:
        identities: ``test`` characters, among others.
        characters: As for `plan_rows`.
        faces: As for `plan_rows`.
        present: As for `plan_rows`.

    Returns:
        int32 ``[n, 2]``, sorted by identity then face; the pairs of ``query`` are among them.
    """
    found = _pairs(identities["test"], _query_faces(faces), characters, present)
    return np.array(found, np.int32).reshape(-1, 2)


def _query_faces(faces: Sequence[Face]) -> list[int]:
    return [row for row, face in enumerate(faces) if face.role == "query"]


def _pairs(
    identities: Sequence[str], of: Iterable[int], characters: Sequence[str], present: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """The pairs that the faces can draw, by identity then face."""
    place = {character: position for position, character in enumerate(characters)}
    faces = list(of)
    every = [(place[character], face) for character in identities for face in faces]
    return [(position, face) for position, face in every if present[face, position]]


def unfit_faces(
    faces: Sequence[Face], tiles: NDArray[np.uint8], present: NDArray[np.bool_], samples: int = 60
) -> dict[str, str]:
    """Names the faces to leave out: with too many characters missing, or drawn like an earlier face.

    Args:
        faces: ``f`` faces.
        tiles: ``[f, n, h, w]``.
        present: ``[f, n]``.
        samples: How many characters to compare.

    Returns:
        Face name to reason, in the order of the faces.
    """
    dropped: dict[str, str] = {}
    kept: list[int] = []
    step = max(1, tiles.shape[1] // samples)
    for row, face in enumerate(faces):
        missing = int(np.count_nonzero(~present[row]))
        if missing > _MOST_MISSING * present.shape[1]:
            dropped[face.name] = f"lacks {missing} of {present.shape[1]} characters"
            continue
        likeness = {other: face_similarity(tiles[row, ::step], tiles[other, ::step]) for other in kept}
        nearest = max(likeness, key=likeness.__getitem__, default=None)
        if nearest is not None and likeness[nearest] > _SAME_DESIGN:
            dropped[face.name] = f"draws like {faces[nearest].name} (correlation {likeness[nearest]:.3f})"
            continue
        kept.append(row)
    return dropped
