"""Golden files: a few images inside each bundle, and the vectors that the trained model makes of them."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

GOLDEN_IMAGES = "golden/images.npy"
GOLDEN_EMBEDDINGS = "golden/embeddings.npy"


def golden_files(images: NDArray[np.uint8], embeddings: NDArray[np.float32]) -> dict[str, bytes]:
    """Return the two golden files by name inside the bundle."""
    files = {}
    for name, array in ((GOLDEN_IMAGES, images), (GOLDEN_EMBEDDINGS, embeddings)):
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        files[name] = buffer.getvalue()
    return files


def golden_problem(images: NDArray[np.generic], embeddings: NDArray[np.generic], size: int, dim: int) -> str | None:
    """Say how golden arrays differ from uint8 ``[m, size, size, 3]`` finite float32 ``[m, dim]``; None if not."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3) or len(images) == 0:
        return f"golden images are {images.dtype} {list(images.shape)}, expected uint8 [m, {size}, {size}, 3]"
    if embeddings.dtype != np.float32 or embeddings.shape != (len(images), dim):
        found = f"{embeddings.dtype} {list(embeddings.shape)}"
        return f"golden embeddings are {found}, expected float32 [{len(images)}, {dim}]"
    if not np.isfinite(embeddings).all():
        return "golden embeddings hold NaN or infinity"
    return None
