"""Images that nobody trains on, chosen by their ids alone: adding an image to a dataset moves no other."""

from __future__ import annotations

import hashlib

import numpy as np

from compat_sdk.datasets import Split
from compat_sdk.errors import DataError
from compat_train.data.scenario_rows import split_rows


def held_out(split: Split, fraction: float) -> tuple[Split, Split]:
    """A split without the images that are held out, and those.

    An image is held out where the SHA-256 of its id, as a fraction of all digests, is below ``fraction``: the same
    images on every machine and with every seed, and those of a smaller fraction are among those of a larger.

    Args:
        split: Images with distinct ids.
        fraction: Share that is held out, in (0, 1), give or take chance.

    Raises:
        DataError: Either part would be empty.
    """
    out = np.array([_place(name) < fraction for name in split.ids], np.bool_)
    if not out.any() or out.all():
        raise DataError(
            f"held_out is {fraction:g}, which holds out {int(out.sum())} of the {len(out)} images of {split.name}; "
            f"expected some to train on and some held out: choose another fraction, or add images"
        )
    return split_rows(split, np.flatnonzero(~out)), split_rows(split, np.flatnonzero(out))


def _place(name: str) -> float:
    digest = hashlib.sha256(b"held out:" + name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)
