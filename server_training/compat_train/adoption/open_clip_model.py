"""The image side of a model of open_clip, as it was pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compat_sdk.errors import ConfigError
from compat_train.adoption.files import outputs_of
from compat_train.adoption.found import Found, Original, Wanted, adopted_checkpoint, through
from compat_train.adoption.source import AdoptSource
from compat_train.models.adopted import (
    OpenClipNetwork,
    open_clip_model,
    output_dim,
)
from compat_train.models.optional_package import import_package
from compat_train.models.pretrained import matched_state
from compat_train.runs.run_files import on_cpu
from compat_train.runs.weights_file import read_weights


def open_clip_model_of(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """The image side of an open_clip model with the weights of a file.

    Raises:
        ConfigError: open_clip knows no such model, or the weights are another model's.
        MissingExtraError: open_clip is not installed.
    """
    assert source.file is not None
    model = open_clip_model(source.name)
    weights = read_weights(source.file)
    model.load_state_dict(matched_state(model, source.name, weights.tensors, weights.name))
    model.eval()
    stated: Mapping[str, Any] = import_package("open_clip", "open-clip").get_model_preprocess_cfg(model)
    preprocessing = wanted.over(_of_open_clip(stated, source.name))
    network = OpenClipNetwork(model).eval()
    dim = output_dim(network, preprocessing.size)
    prepared = import_package("open_clip.transform", "open-clip")
    transform = prepared.image_transform_v2(prepared.PreprocessCfg(**dict(stated)), is_train=False)
    checkpoint = adopted_checkpoint(
        out=out,
        arch=f"open_clip:{source.name}",
        dim=dim,
        preprocessing=preprocessing,
        state=on_cpu(network.state_dict()),
        wanted=wanted,
        network={},
        origin={"kind": "open_clip", "name": source.name, "file": source.file.name},
    )
    run = outputs_of(network)
    return Found(checkpoint=checkpoint, original=Original(run, None if wanted.prepares else through(transform, run)))


def _of_open_clip(stated: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Fields of `Preprocessing` from open_clip's own record.

    Raises:
        ConfigError: It does something that is not done here.
    """
    size = stated["size"]
    sides = {size} if isinstance(size, int) else set(size)
    fits = {"shortest": "crop", "squash": "stretch"}
    if len(sides) != 1 or stated["resize_mode"] not in fits:
        raise ConfigError(
            f"{name} prepares images of {size} by {stated['resize_mode']!r}; expected a square, by shortest or squash"
        )
    return {
        "size": sides.pop(),
        "mean": tuple(stated["mean"]),
        "std": tuple(stated["std"]),
        "resize": stated["interpolation"],
        "fit": fits[stated["resize_mode"]],
    }
