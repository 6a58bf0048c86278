"""Images that a transform does not learn from, as the models of an upgrade see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compat_sdk.datasets import Split
from compat_sdk.errors import ConfigError
from compat_train.config.upgrade import UpgradeConfig
from compat_train.data.canvas import decoding
from compat_train.data.pairs import divide
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import split_rows, training_split
from compat_train.methods.earlier import EarlierUpgrades
from compat_train.methods.held_out import StoredRows
from compat_train.methods.unseen_classes import training_embeddings
from compat_train.methods.watched import validation_split
from compat_train.runs.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class HeldOutImages:
    """Vectors of images that nothing is learnt from.

    Attributes:
        stop: What tells when to stop.
        judge: What tells how good the transform is; other images.
        labels: Of the images of ``judge``.
    """

    stop: StoredRows
    judge: StoredRows
    labels: tuple[str, ...]


def held_out_split(config: UpgradeConfig) -> tuple[Split | None, frozenset[str]]:
    """The images that a transform does not learn from, not decoded.

    They are the split val. Where there is none, they are the part of the training images that ``held_out`` says.

    Returns:
        The images, or None where nothing is held out; and the ids of those that come from the training split.

    Raises:
        ConfigError: A part is to be held out, and there is a split val.
        DataError: The dataset cannot be used.
    """
    val = None if config.held_out == 0 else validation_split(config.images)
    if val is not None and config.held_out:
        raise ConfigError(
            f"held_out is {config.held_out}, and {config.images.data} has a split val, which judges; leave it out",
            setting="held_out",
        )
    if val is not None or not config.held_out:
        return val, frozenset()
    split = training_split(config.images)
    parts = divide(split.labels, config.held_out, config.execution.seed)
    held = split_rows(split, np.union1d(parts.stop, parts.judge))
    return held, frozenset(held.ids)


def held_out_vectors(
    split: Split,
    models: Mapping[str, Checkpoint],
    earlier: EarlierUpgrades,
    seed: int,
    device: torch.device,
) -> HeldOutImages | None:
    """Embed held-out images by the models of an upgrade; None where they are too few to be divided.

    Args:
        split: The images; at most 6,000 of them are taken, and those that cannot be read are left out.
        models: ``old``, ``new``, and ``side`` where there is side-information.
        earlier: The upgrades that the gallery went through before.
        seed: Of the choice.
        device: Where to run.

    Raises:
        DataError: None of the images can be read.
    """
    parts = divide(split.labels, 1.0, seed)
    split = split_rows(split, np.union1d(parts.stop, parts.judge))
    decoded = decode_split(split, decoding(models["new"].preprocessing), skip_budget=len(split) - 1)
    split, pixels = split_rows(split, decoded.kept), {decoding(models["new"].preprocessing): decoded.images}
    parts = divide(split.labels, 1.0, seed)
    if not len(parts.stop) or not len(parts.judge):
        return None

    def embedded(name: str) -> Tensor:
        as_seen = decoding(models[name].preprocessing)
        if as_seen not in pixels:
            pixels[as_seen] = decode_split(split, as_seen).images
        return training_embeddings(models[name], pixels[as_seen], device, ids=split.ids)

    inputs, new = earlier(embedded("old"), embedded("side") if "side" in models else None), embedded("new")

    def rows(chosen: NDArray[np.int64]) -> StoredRows:
        picked = torch.from_numpy(chosen).to(device)
        return StoredRows(tuple(one[picked] for one in inputs), new[picked])

    return HeldOutImages(rows(parts.stop), rows(parts.judge), tuple(split.labels[row] for row in parts.judge))
