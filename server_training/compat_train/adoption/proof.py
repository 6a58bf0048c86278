"""The proof of an adoption: the golden pictures through the original and through what was adopted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CheckFailedError
from compat_sdk.images import decode_many, to_input
from compat_train.adoption.found import Original
from compat_train.data.golden_pictures import standard_pictures
from compat_train.embed import embed_images
from compat_train.runs.checkpoint import Checkpoint

SAME_INPUT, SAME_FILE = 0.9999, 0.98
"""Smallest cosines that are accepted. Two packages that resize one picture differ by some grey levels."""


@dataclass(frozen=True)
class Proof:
    """How near the adopted model is to its original on the golden pictures, as the smallest cosines.

    Attributes:
        inputs: Given the same prepared input.
        files: Given the same picture file, each through its own preprocessing; None where the original has none.
        pictures: How many pictures.
    """

    inputs: float
    files: float | None
    pictures: int


def prove(checkpoint: Checkpoint, original: Original) -> Proof:
    """Embeds the golden pictures by both.

    Raises:
        CheckFailedError: They differ by more than rounding, or by more than two ways of resizing do.
    """
    pictures = standard_pictures()
    pixels = decode_many(pictures, checkpoint.preprocessing)
    adopted = embed_images(checkpoint.build(), pixels, checkpoint.preprocessing)
    inputs = _smallest_cosine(adopted, original.inputs(to_input(pixels, checkpoint.preprocessing)))
    if inputs < SAME_INPUT:
        raise CheckFailedError(
            f"what was adopted is not the original: on {len(pictures)} pictures prepared alike the smallest cosine is "
            f"{inputs:.6f}, expected {SAME_INPUT} or more; please report this with the model's name"
        )
    files = None if original.files is None else _smallest_cosine(adopted, original.files(pictures))
    if files is not None and files < SAME_FILE:
        raise CheckFailedError(
            f"the original prepares pictures otherwise: on {len(pictures)} files the smallest cosine is {files:.4f}, "
            f"expected {SAME_FILE} or more; give --size, --mean, --std, --resize or --crop as it was trained"
        )
    return Proof(inputs, files, len(pictures))


def _smallest_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / np.maximum(lengths, 1e-12)).min())
