"""Templates: several images of one person as one vector, as IJB-B and IJB-C compare them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compat_sdk.errors import DataError, VectorError

_BLOCK_BYTES = 64 * 2**20


def pool_templates(
    features: NDArray[np.float32],
    templates: ArrayLike,
    media: ArrayLike,
    *,
    flipped: NDArray[np.float32] | None = None,
    quality: ArrayLike | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """One unit vector per template: frames of a medium are averaged, media are summed.

    A video of a hundred frames so counts as much as a photograph. Features are taken with their lengths, which say how
    sure the network is of an image: normalise them first and the figures differ.

    Source: IARPA Janus Benchmark C, ICB 2018, and the pooling of published evaluations (flip test on, detector score
    on, norms kept).

    Args:
        features: Vectors as the network gives them, not normalised. [images, dim] A memory-mapped array is read in
            parts.
        templates: Template of each image. [images], whole numbers
        media: Medium of each image: all frames of a video share one. [images], whole numbers
        flipped: The same of the mirrored images, added to ``features``.
        quality: Weight of each image, such as the detector's score. [images], at least 0

    Returns:
        Template numbers, ascending [t], and their unit vectors [t, dim].

    Raises:
        VectorError: Vectors are not finite float32 [images, dim], or a template's sum has no direction.
        DataError: An argument has another number of rows, or there is no image.
    """
    for vectors in (features,) if flipped is None else (features, flipped):
        if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape != features.shape:
            raise VectorError(
                f"features must be float32 [images, dim], flipped ones in the same shape, not {vectors.dtype} of "
                f"shape {vectors.shape}"
            )
    template, medium = (
        _whole(values, len(features), what) for values, what in ((templates, "templates"), (media, "media"))
    )
    weights = np.ones(len(features)) if quality is None else np.asarray(quality, np.float64)
    if weights.shape != (len(features),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(
            f"quality must be {len(features)} finite numbers that are at least 0, got shape {weights.shape}"
        )
    if not len(features):
        raise DataError("there are no images; give at least one")
    order = np.lexsort((medium, template))
    template, medium = template[order], medium[order]
    new_medium = np.concatenate([[True], (np.diff(template) != 0) | (np.diff(medium) != 0)])
    starts = np.flatnonzero(new_medium)
    frames = np.diff(np.append(starts, len(order)))
    numbers, first_medium = np.unique(template[starts], return_index=True)
    pooled = np.empty((len(numbers), features.shape[1]), np.float32)
    # Whole templates at a time, so that memory does not grow with the number of images.
    images_at = np.append(starts[first_medium], len(order))
    media_at = np.append(first_medium, len(starts))
    rows = max(1, _BLOCK_BYTES // (8 * features.shape[1]))
    done = 0
    while done < len(numbers):
        end = max(done + 1, int(np.searchsorted(images_at, images_at[done] + rows, side="right")) - 1)
        images = order[images_at[done] : images_at[end]]
        block = features[images].astype(np.float64)
        if flipped is not None:
            block += flipped[images]
        block *= weights[images, None]
        if not np.isfinite(block).all():
            raise VectorError("a feature is not finite; embed that image again")
        means = np.add.reduceat(block, starts[media_at[done] : media_at[end]] - images_at[done], axis=0)
        means /= frames[media_at[done] : media_at[end], None]
        sums = np.add.reduceat(means, media_at[done:end] - media_at[done], axis=0)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        if not (norms > 0).all():
            raise VectorError(f"template {numbers[done + int(np.argmin(norms))]} sums to zero; it has no direction")
        pooled[done:end] = sums / norms
        done = end
    return numbers, pooled


def _whole(values: ArrayLike, rows: int, what: str) -> NDArray[np.int64]:
    found = np.asarray(values)
    if found.shape != (rows,) or (rows and found.dtype.kind not in "iu"):
        raise DataError(f"{what} must be {rows} whole numbers, got {found.dtype} of shape {found.shape}")
    return found.astype(np.int64)
