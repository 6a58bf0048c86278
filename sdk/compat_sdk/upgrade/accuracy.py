"""How near transformed vectors are to the new model's own vectors of the same images, and to what that compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError
from compat_sdk.spread import spread
from compat_sdk.upgrade.quality import MOST_QUERIES, neighbours, shared

MOST_ROWS = 10_000


@dataclass(frozen=True)
class Accuracy:
    """Transformed vectors beside re-embedded ones.

    A cosine or an agreement says little alone: 8 % can be a good upgrade. So each stands beside what it is for another
    image, by chance, and for the vectors that are replaced.

    Attributes:
        rows: Images compared.
        mean_cosine: Mean cosine similarity of the two vectors of an image, in [-1, 1].
        lowest_cosine: The lowest of them.
        overlap: Of the ``neighbours`` nearest re-embedded images of a re-embedded query, the fraction that is also
            among the nearest transformed ones; mean over queries, in [0, 1]. It depends on how many rows there are.
        neighbours: 10, or one less than ``rows`` where there are fewer.
        other_cosine: Mean cosine similarity of an image's transformed vector to the re-embedded one of another image.
        old_overlap: ``overlap`` of the old vectors, asked by old vectors: what there is without an upgrade.
        chance_overlap: ``overlap`` of vectors that say nothing.
    """

    rows: int
    mean_cosine: float
    lowest_cosine: float
    overlap: float
    neighbours: int
    other_cosine: float
    old_overlap: float
    chance_overlap: float


def compare(transformed: NDArray[np.float32], embedded: NDArray[np.float32], old: NDArray[np.float32]) -> Accuracy:
    """Compare the vectors of every image, and the neighbours that they give.

    Args:
        transformed: ``[n, dim]`` unit rows; n at least 2.
        embedded: ``[n, dim]`` unit rows by the new model, of the same images.
        old: ``[n, old_dim]`` unit rows that were transformed.

    Raises:
        ConfigError: Fewer than two rows.
    """
    rows = len(transformed)
    if rows < 2:
        raise ConfigError(f"found {rows} images with vectors of both kinds, expected at least 2")
    cosines = np.einsum("nd,nd->n", transformed, embedded)
    others = np.einsum("nd,nd->n", transformed, np.roll(embedded, rows // 2, axis=0))
    asked = spread(rows, MOST_QUERIES)
    wanted = neighbours(embedded, embedded[asked], asked)
    k = len(wanted[0])
    return Accuracy(
        rows=rows,
        mean_cosine=float(cosines.mean()),
        lowest_cosine=float(cosines.min()),
        overlap=float(shared(wanted, neighbours(transformed, embedded[asked], asked)).mean()),
        neighbours=k,
        other_cosine=float(others.mean()),
        old_overlap=float(shared(wanted, neighbours(old, old[asked], asked)).mean()),
        chance_overlap=k / (rows - 1),
    )
