"""Golden files: a few inputs inside each bundle, and the vectors that the trained model makes of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk import arrays
from compat_sdk.bundle.manifest import TransformSource
from compat_sdk.errors import BundleError, CheckFailedError
from compat_sdk.images import Preprocessing

Arrays = Sequence[NDArray[Any]]
_SELF_TEST_COSINE = 0.999


@dataclass(frozen=True)
class SelfTest:
    """How this machine's vectors of the golden inputs differ from the trained model's.

    Attributes:
        min_cosine: Worst cosine similarity over the rows, 1 at best.
        max_abs_difference: Largest difference of any number of any vector.
        rows: Golden images, or golden vectors of a transform, in the bundle.
    """

    min_cosine: float
    max_abs_difference: float
    rows: int


def golden_names(source: TransformSource | None) -> tuple[str, ...]:
    """Names of the golden files inside a bundle, the inputs first and the embeddings last.

    Args:
        source: What a transform takes; None for a model of images.
    """
    inputs = ("images",) if source is None else source.inputs
    return tuple(f"golden/{name}.npy" for name in (*inputs, "embeddings"))


def golden_files(source: TransformSource | None, arrays: Arrays) -> dict[str, bytes]:
    """Return the golden files by name inside the bundle; ``arrays`` in the order of `golden_names`."""
    files = {}
    for name, array in zip(golden_names(source), arrays, strict=True):
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        files[name] = buffer.getvalue()
    return files


def read_array(data: bytes, name: object) -> NDArray[Any]:
    """Return the array of a golden file.

    Args:
        data: Its content.
        name: What to call it in an error.

    Raises:
        BundleError: It is no plain array.
    """
    return arrays.read_array(data, name=str(name), error=BundleError)


def golden_problem(
    arrays: Arrays, *, dim: int, preprocessing: Preprocessing | None, source: TransformSource | None
) -> str | None:
    """Say how golden arrays differ from what a manifest says; None if they do not.

    Args:
        arrays: Of a model of images, uint8 ``[m, size, size, 3]``; of a transform, float32 ``[m, old_dim]`` and,
            where it takes side-information, ``[m, side_dim]``, all finite; then float32 ``[m, dim]``, finite.
        dim: Numbers per embedding.
        preprocessing: Of a model of images.
        source: What a transform takes.
    """
    names = golden_names(source)
    if len(arrays) != len(names):
        return f"there are {len(arrays)} golden arrays, expected {', '.join(names)}"
    *inputs, embeddings = arrays
    count = len(inputs[0]) if inputs[0].ndim else 0
    if source is None:
        if preprocessing is None:
            return "the manifest has neither preprocessing nor a source"
        size, images = preprocessing.size, inputs[0]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3) or count == 0:
            return f"golden images are {images.dtype} {list(images.shape)}, expected uint8 [m, {size}, {size}, 3]"
    else:
        dims = dict(zip(source.inputs, (source.old_dim, source.side_dim), strict=False))
        for (name, wanted), vectors in zip(dims.items(), inputs, strict=True):
            if vectors.dtype != np.float32 or vectors.shape != (count, wanted) or count == 0:
                shape = f"{vectors.dtype} {list(vectors.shape)}"
                return f"golden {name} vectors are {shape}, expected float32 [{count or 'm'}, {wanted}]"
            if not np.isfinite(vectors).all():
                return f"golden {name} vectors hold NaN or infinity"
    if embeddings.dtype != np.float32 or embeddings.shape != (count, dim):
        found = f"{embeddings.dtype} {list(embeddings.shape)}"
        return f"golden embeddings are {found}, expected float32 [{count}, {dim}]"
    if not np.isfinite(embeddings).all():
        return "golden embeddings hold NaN or infinity"
    return None


def compare_golden(found: NDArray[np.float32], expected: NDArray[np.float32], engine: str, bundle: object) -> SelfTest:
    """Compare an engine's vectors of the golden inputs with the trained model's.

    Args:
        found: float32 ``[m, dim]``, unit rows.
        expected: float32 ``[m, dim]``.
        engine: Name of the engine, for the message.
        bundle: Where the bundle is, for the message.

    Raises:
        CheckFailedError: A cosine similarity is below 0.999.
    """
    lengths = np.linalg.norm(expected, axis=1)
    cosines = np.einsum("ij,ij->i", found, expected) / np.maximum(lengths, np.finfo(np.float32).tiny)
    result = SelfTest(float(cosines.min()), float(np.abs(found - expected).max()), len(expected))
    if not result.min_cosine >= _SELF_TEST_COSINE:
        raise CheckFailedError(
            f"{engine} turns golden row {int(cosines.argmin())} of {bundle} into a vector with cosine "
            f"{result.min_cosine:.6f} to the trained model's, expected at least {_SELF_TEST_COSINE}; use another "
            f"engine or export the model again"
        )
    return result
