"""Training images that nobody trains on, so that a training can be watched where there is no split val."""

from __future__ import annotations

import hashlib

import numpy as np

from compat_sdk.datasets import Split
from compat_sdk.errors import ConfigError
from compat_train.config.parts import Source
from compat_train.data.training_set import split_rows, training_split

_SHARE = 20
_MOST = 256


def held_out_count(split: Split, wanted: int | None) -> int:
    """How many images of a training split are held out.

    Args:
        split: The training split.
        wanted: None for what is usual: none of images with identities, whose sets have a split val for it; else one in
            twenty, and 256 at most.

    Raises:
        ConfigError: More than half of them are wanted.
    """
    if wanted is None:
        return 0 if len(set(split.labels)) > 1 else min(_MOST, len(split) // _SHARE)
    if wanted > len(split) // 2:
        raise ConfigError(
            f"held_out is {wanted}, more than half of the {len(split)} training images; hold fewer out",
            setting="held_out",
        )
    return wanted


def hold_out(split: Split, count: int) -> tuple[Split, Split]:
    """A split without some images, and those images: the ones whose ids have the lowest SHA-256.

    So an image stays on its side when others come or go, as far as the count allows.
    """
    digests = [hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest() for name in split.ids]
    order = sorted(range(len(split)), key=digests.__getitem__)
    held = np.sort(np.array(order[:count], np.int64))
    kept = np.setdiff1d(np.arange(len(split), dtype=np.int64), held)
    return split_rows(split, kept), split_rows(split, held)


def held_out_images(source: Source, wanted: int | None) -> Split:
    """The images of a source's training split that are held out; see `held_out_count`.

    Raises:
        ConfigError: More than half of the images are wanted.
        DataError: The dataset cannot be used.
    """
    split = training_split(source)
    return hold_out(split, held_out_count(split, wanted))[1]
