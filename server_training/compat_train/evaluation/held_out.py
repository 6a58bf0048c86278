"""How often a finished gallery model finds another picture of the same identity, on pictures it has not learnt from."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from compat_sdk.datasets import open_dataset
from compat_sdk.errors import CorruptFileError, TrainingError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.files.documents import read_json
from compat_sdk.files.seal import sealed_json, unsealed
from compat_train.config.gallery import GalleryConfig
from compat_train.data.pixels import decode_split
from compat_train.device import device_of
from compat_train.embed import embed_images
from compat_train.methods.watched import drawn, same_label
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.saving import saving
from compat_train.watch import chance_of, hits_at_1

_FILE = "held_out.json"
_IMAGES = 256


@dataclass(frozen=True)
class HeldOut:
    """What was found.

    Attributes:
        accuracy: M(g,g) at top-1, in [0, 1].
        chance: What guessing gives, in [0, 1].
        queries: Images asked with.
        gallery: Images searched, that of the query aside.
    """

    accuracy: float
    chance: float
    queries: int
    gallery: int

    def __str__(self) -> str:
        return (
            f"M(g,g) {100 * self.accuracy:.1f} % at top-1 of {self.queries} held-out images by their labels among "
            f"{self.gallery} (chance {100 * self.chance:.1f} %)"
        )


def held_out_once(done: Checkpoint, config: GalleryConfig) -> HeldOut | None:
    """What `held_out_accuracy` finds, measured once: a RUN keeps it in ``held_out.json``, under the name of its space.

    Args:
        done: The gallery model, in its RUN folder.
        config: What it was trained with, which names the data.

    Returns:
        None, which is not kept, where there is nothing to measure with.

    Raises:
        CorruptFileError: What was kept was changed since.
        DataError: None of the images can be read.
    """
    path = done.path / _FILE
    if (kept := _kept(path, done.space)) is not None:
        return kept
    found = held_out_accuracy(done, config)
    if found is not None:
        with suppress(TrainingError), saving(path):  # of a RUN that is read-only or on a full disk it is not kept
            write_atomic(path, sealed_json({"space": done.space, **asdict(found)}))
    return found


def _kept(path: Path, space: str) -> HeldOut | None:
    """What was measured of the model of this space; None where nothing was."""
    if not os.path.lexists(path):
        return None
    try:
        told = unsealed(read_json(path), str(path))
    except OSError as error:
        raise CorruptFileError(
            f"cannot read {path}: {error.strerror or error}; delete it, and it is measured"
        ) from error
    if told.pop("space", None) != space:
        return None
    if {name: type(value).__name__ for name, value in told.items()} == {
        each.name: each.type for each in fields(HeldOut)
    }:
        found = HeldOut(**told)  # type: ignore[arg-type]
        if 0 <= found.accuracy <= 1 and 0 <= found.chance <= 1 and 1 <= found.queries and 1 <= found.gallery:
            return found
    raise CorruptFileError(f"{path} holds no held-out accuracy; delete it, and it is measured again")


def held_out_accuracy(done: Checkpoint, config: GalleryConfig) -> HeldOut | None:
    """M(g,g) at top-1 among at most 256 images of the split val, each searching the others.

    Args:
        done: The gallery model.
        config: What it was trained with, which names the data.

    Returns:
        None where there is no val split, or no image in it has another of its label.

    Raises:
        DataError: None of the images can be read.
    """
    root = config.source.root
    split = open_dataset(config.source.data, None if root is None else Path(root)).splits.get("val")
    if split is None or not len(split) or not split.labelled:
        return None
    split = drawn(split, _IMAGES, config.execution.seed)
    decoded = decode_split(split, done.preprocessing, skip_budget=max(0, len(split) - 1))
    right = same_label([split.labels[row] for row in decoded.kept])
    asking = right.any(1)
    if not asking.any():
        return None
    vectors = torch.from_numpy(
        np.asarray(
            embed_images(
                done.build(), decoded.images, done.preprocessing, device=device_of(config.execution.device),
                channels_last=True,
            )
        )
    )  # fmt: skip
    own = torch.eye(len(vectors), dtype=torch.bool)
    hits = hits_at_1(vectors, vectors, right, own)[asking]
    chance = chance_of(right[asking], own[asking])
    return HeldOut(float(hits.float().mean()), chance, int(asking.sum()), len(vectors) - 1)
