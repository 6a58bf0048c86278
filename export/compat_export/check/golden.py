"""Golden inputs: what every graph of an export is compared on, and what travels in its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from compat_export.check.compare import Probe, evenly
from compat_sdk.bundle import Graph, TransformSource
from compat_sdk.datasets import open_dataset
from compat_sdk.embedder import graph_input
from compat_sdk.errors import ConfigError, CorruptFileError, DataError
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images import Preprocessing, decode_many
from compat_sdk.space import Embeddings
from compat_train.data.golden_pictures import standard_pictures

Vectors = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""Old vectors, float32 ``[n, old_dim]``, and their side-information, float32 ``[n, side_dim]``, or None."""

Images: TypeAlias = NDArray[np.uint8] | Sequence[str | Path | bytes]
"""Prepared images, uint8 ``[n, size, size, 3]`` RGB; or JPEG and PNG files, by path or content."""

_IMAGES = 8
_VECTORS = 32
_LARGEST_PICTURE = 1 << 20


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs, and what PyTorch makes of them.

    Attributes:
        inputs: uint8 ``[n, size, size, 3]`` RGB alone for a model of images; for a transform one float32 ``[n, ...]``
            per input of its graphs.
        reference: PyTorch's unit vectors of them, float32 ``[n, dim]``.
        preprocessing: Of a model of images; None for a transform.
        probe: Searches by which graphs of a model of images are compared; None for a transform.
        pictures: Files that the first inputs were decoded from; none for a transform.
    """

    inputs: tuple[NDArray[Any], ...]
    reference: NDArray[np.float32]
    preprocessing: Preprocessing | None = None
    probe: Probe | None = None
    pictures: tuple[bytes, ...] = ()

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


def golden_pixels(own: Images | None, preprocessing: Preprocessing) -> tuple[tuple[bytes, ...], NDArray[np.uint8]]:
    """The golden pictures of a model, and all of its golden images.

    Args:
        own: A caller's, of which the first 8 are kept, after the standard pictures.
        preprocessing: How the model wants its images.

    Returns:
        Content of the JPEG and PNG files; uint8 ``[m, size, size, 3]`` RGB, the first rows decoded from the files.

    Raises:
        DataError: The caller's are neither prepared images nor JPEG or PNG files up to 1 MiB.
        ImageError: A file cannot be read.
    """
    pictures = standard_pictures()
    prepared: list[NDArray[np.uint8]] = []
    if isinstance(own, np.ndarray):
        prepared.append(_checked_images(own, preprocessing))
    elif own is not None:
        pictures += tuple(map(_checked_file, own[:_IMAGES]))
    return pictures, np.concatenate([decode_many(pictures, preprocessing), *prepared])


def _checked_file(file: str | Path | bytes) -> bytes:
    """Content of a caller's own golden picture."""
    try:
        content = file if isinstance(file, bytes) else read_plain(file, _LARGEST_PICTURE + 1)
    except CorruptFileError as error:
        raise DataError(f"the golden picture {error}; expected a JPEG or PNG file") from error
    except OSError as error:
        raise_if_refused(str(file), error)
        raise DataError(f"cannot read the golden picture {file!r}: {error.strerror or error}") from error
    what = "a golden picture" if isinstance(file, bytes) else f"the golden picture {file!s}"
    if len(content) > _LARGEST_PICTURE or not content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        raise DataError(f"{what} has {len(content)} bytes; expected a JPEG or PNG file of at most {_LARGEST_PICTURE}")
    return content


def _checked_images(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
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
