"""Sides for test images of sets that have no queries of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.shuffle import shuffled
from compat_sdk.datasets.split import Split, numbered_ids

_SEED, _ONE_IN = 20, 5


def divided(images: NDArray[np.uint8], labels: tuple[str, ...]) -> dict[str, Split]:
    """``query`` and ``gallery`` of test images: one in five of each class, at least one, asks, by a fixed shuffle."""
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    asks = np.zeros(len(labels), np.bool_)
    for own in rows.values():
        order = [int(name.rpartition("/")[2]) for name in shuffled((f"test/{row}" for row in own), _SEED)]
        asks[order[: max(1, round(len(own) / _ONE_IN))]] = True
    found = {}
    for name, chosen in (("query", np.flatnonzero(asks)), ("gallery", np.flatnonzero(~asks))):
        found[name] = Split(name, images[chosen], tuple(labels[row] for row in chosen), numbered_ids(name, len(chosen)))
    return found


def searched_in_itself(test: Split) -> dict[str, Split]:
    """``query`` and ``gallery`` that are one set: each image asks for the others of its class, and never for itself.

    Source: Ramanujan et al., Forward Compatible Training, CVPR 2022, https://arxiv.org/abs/2112.02805, section 4.
    """
    return {name: replace(test, name=name) for name in ("query", "gallery")}
