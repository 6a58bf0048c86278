"""Images that judge candidates, which none of the networks may have been trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset, Split, own_rows, require_consistent, require_labels
from compat_sdk.errors import DataError
from compat_sdk.spread import spread
from compat_train.data.training_set import split_rows
from compat_train.runs.checkpoint import Checkpoint


def check_held_out(dataset: Dataset, gallery: Checkpoint | None) -> Split:
    """The validation split, once it is sure that nobody trained on its identities.

    Raises:
        DataError: There is none, it lists an image twice, cannot judge anything, or shares identities with the training
            split or the gallery model's classes.
    """
    split = dataset.splits.get("val")
    if split is None or not len(split):
        raise DataError(
            f"{dataset.name} has no validation split, and rewards measured on training identities would choose the "
            f"wrong networks; move some identities from train/ to val/ (5 to 10 percent, before the gallery model is "
            f"trained)"
        )
    require_consistent(split)
    require_labels(split, dataset.name, "judging candidates")
    known = set(dataset.splits["train"].classes) if "train" in dataset.splits else set()
    trained = {"the training split": known}
    if gallery is not None:
        trained[f"the gallery model {gallery.name}"] = set(gallery.classes)
    for where, identities in trained.items():
        shared = sorted(identities & set(split.labels))
        if shared:
            raise DataError(
                f"{len(shared)} of the {len(split.classes)} validation identities of {dataset.name} also belong to "
                f"{where} (such as {shared[0]!r}); rewards must be measured on identities that no model was trained "
                f"on: keep them in val/ only"
            )
    return split


def sides(split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the query and the gallery side of a validation split, of identities that are on both.

    The split's own marks tell the sides apart; without any, every second image of each identity is a query. An image
    of the query side whose very picture is on the gallery side too is no query: it would find itself.

    Raises:
        DataError: Fewer than two identities are on both sides.
        SystemRefusedError: The system refused to read an image.
    """
    labels = np.unique(np.array(split.labels), return_inverse=True)[1].astype(np.int64)
    side = np.array(split.query_side) if split.query_side is not None else alternate(labels)
    queries, others = np.flatnonzero(side), np.flatnonzero(~side)
    queries = queries[own_rows(split_rows(split, queries), split_rows(split, others))[0] < 0]
    both = np.intersect1d(labels[queries], labels[others])
    if len(both) < 2:
        raise DataError(
            f"the validation split has {len(both)} identities with images on the query and the gallery side; "
            f"expected at least 2, each with two images or more that are not copies"
        )
    return queries[np.isin(labels[queries], both)], others[np.isin(labels[others], both)]


def alternate(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of each class, the second, fourth, ... image is a query."""
    side = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        side[np.flatnonzero(labels == label)[1::2]] = True
    return side


def thinned(
    labels: NDArray[np.int64],
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
    most_queries: int,
    most_gallery: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At most so many rows of both sides, evenly spaced, and every query that is left still has a match.

    Where evenly spaced gallery rows lack a query's identity, one row of each identity is taken first and evenly spaced
    others beside it. Where there is no room for every identity, queries of evenly spaced identities are left.

    Args:
        labels: Identity of every row of the split.
        queries: Rows of the query side, each of an identity that the gallery side has. [q]
        gallery: Rows of the gallery side. [n]
        most_queries: Queries at most; 0: all.
        most_gallery: Gallery rows at most; 0: all.
    """
    few, rows = _evenly(queries, most_queries), _evenly(gallery, most_gallery)
    if np.isin(labels[few], labels[rows]).all():
        return few, rows
    identities = np.unique(labels[few])
    identities = identities[spread(len(identities), most_gallery)]
    few = few[np.isin(labels[few], identities)]
    of_query = np.flatnonzero(np.isin(labels[gallery], identities))
    _, first = np.unique(labels[gallery[of_query]], return_index=True)
    needed = gallery[of_query[first]]
    others = np.setdiff1d(gallery, needed)
    return few, np.sort(np.concatenate([needed, others[spread(len(others), most_gallery - len(needed))]]))


def _evenly(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows[spread(len(rows), most)] if most else rows
