"""Golden inputs: what every graph of an export is compared on, and what travels in its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_export.check.compare import Probe, evenly
from compat_sdk.bundle import Graph, TransformSource
from compat_sdk.datasets import open_dataset
from compat_sdk.embedder import graph_input
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.images import Preprocessing
from compat_sdk.space import Embeddings

Vectors = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""Old vectors, float32 ``[n, old_dim]``, and their side-information, float32 ``[n, side_dim]``, or None."""

_IMAGES = 8
_VECTORS = 32


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs, and what PyTorch makes of them.

    Attributes:
        inputs: uint8 ``[n, size, size, 3]`` RGB alone for a model of images; for a transform one float32 ``[n, ...]``
            per input of its graphs.
        reference: PyTorch's unit vectors of them, float32 ``[n, dim]``.
        preprocessing: Of a model of images; None for a transform.
        probe: Searches by which graphs of a model of images are compared; None for a transform.
    """

    inputs: tuple[NDArray[Any], ...]
    reference: NDArray[np.float32]
    preprocessing: Preprocessing | None = None
    probe: Probe | None = None

    def fed_to(self, graph: Graph) -> Sequence[NDArray[np.float32]]:
        """The inputs in the form that a graph takes, one float32 array per input of it."""
        if self.preprocessing is None:
            return self.inputs
        return [graph_input(self.inputs[0], self.preprocessing, graph)]


def golden_images(preprocessing: Preprocessing, count: int = _IMAGES) -> NDArray[np.uint8]:
    """Real images for self-tests: evenly spaced through the sample data's queries, always the same.

    Args:
        preprocessing: How the model wants its images.
        count: How many, at least 1.

    Returns:
        uint8 ``[count, size, size, 3]``, RGB.
    """
    return evenly(open_dataset("sample").splits["query"], count, preprocessing)[0]


def checked_images(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The first 8 of a caller's own golden images.

    Raises:
        DataError: They are not uint8 ``[n, size, size, 3]`` with n at least 1.
    """
    expected = (preprocessing.size, preprocessing.size, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected or len(images) == 0:
        raise DataError(
            f"found golden images {images.dtype} {list(images.shape)}; expected uint8 "
            f"[n, {expected[0]}, {expected[0]}, 3] with n at least 1; prepare them with to_pixels"
        )
    return np.ascontiguousarray(images[:_IMAGES])


def random_vectors(source: TransformSource) -> tuple[NDArray[np.float32], ...]:
    """Seeded random unit vectors, float32 ``[32, dim]`` for each input of a transform.

    They show whether a graph computes what PyTorch does, not what real embeddings make of its rounding.
    """
    generator = np.random.default_rng(0)
    rows = [generator.standard_normal((_VECTORS, dim)) for dim in _dims(source)]
    return tuple((row / np.linalg.norm(row, axis=1, keepdims=True)).astype(np.float32) for row in rows)


def checked_vectors(vectors: Vectors, source: TransformSource) -> tuple[NDArray[np.float32], ...]:
    """The first 32 of a caller's own golden vectors, one array for each input of a transform.

    Raises:
        ConfigError: They are not those that the transform takes, or there are none.
        VectorError: They are not finite, or not of unit norm.
    """
    old, side = vectors
    given = (old,) if side is None else (old, side)
    wanted = _dims(source)
    shapes = [array.shape for array in given]
    if [shape[1:] for shape in shapes] != [(dim,) for dim in wanted] or len({shape[0] for shape in shapes}) != 1:
        raise ConfigError(
            f"found golden vectors of shape {[list(shape) for shape in shapes]}; this transform takes "
            f"{', '.join(f'{name} [n, {dim}]' for name, dim in zip(source.inputs, wanted, strict=True))}, one row each"
        )
    if len(old) == 0:
        raise ConfigError("found no golden vectors; give at least one row, or none at all for random ones")
    rows = [np.ascontiguousarray(array[:_VECTORS]) for array in given]
    return tuple(Embeddings(array, source.old_space).vectors for array in rows)


def _dims(source: TransformSource) -> tuple[int, ...]:
    """Numbers per vector of each input."""
    return (source.old_dim,) if source.side_dim is None else (source.old_dim, source.side_dim)
