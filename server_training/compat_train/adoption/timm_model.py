"""A network of timm, as it was pretrained: its pooled features are the embedding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from compat_sdk.errors import ConfigError
from compat_train.adoption.files import outputs_of, require_steady
from compat_train.adoption.found import Found, Original, Wanted, adopted_checkpoint, through
from compat_train.adoption.source import AdoptSource
from compat_train.models.build import build_model
from compat_train.models.optional_package import import_timm
from compat_train.models.pretrained import matched_state
from compat_train.models.timm_network import TimmNetwork, require_size, timm_preprocessing
from compat_train.runs.run_files import on_cpu
from compat_train.runs.weights_file import read_weights


def timm_model_of(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """A network of timm with the weights of a file, its pooled features as the embedding.

    Raises:
        ConfigError: timm knows no such network, no weights are told, or its size is one that it does not take.
        DataError: The weights are another network's.
        MissingExtraError: timm is not installed.
    """
    name = f"timm:{source.name}"
    if wanted.weights is None:
        raise ConfigError(f"{name} needs --weights FILE: a network with fresh weights embeds nothing of use")
    preprocessing = wanted.over(timm_preprocessing(name).to_json())
    arch = name if name.endswith("/pooled") else f"{name}/pooled"
    dim = _pooled_features(name.removesuffix("/pooled"))
    network = build_model(arch, dim=dim)
    require_size(network, arch, preprocessing.size)
    weights = read_weights(wanted.weights)
    network.load_state_dict(matched_state(network, arch, weights.tensors, weights.name))
    network.eval()
    require_steady(network, preprocessing.size, name)
    checkpoint = adopted_checkpoint(
        out=out,
        arch=arch,
        dim=dim,
        preprocessing=preprocessing,
        state=on_cpu(network.state_dict()),
        wanted=wanted,
        network={},
        origin={"kind": "timm", "name": source.name, "file": wanted.weights.name, "sha256": weights.sha256},
    )
    run = outputs_of(network)
    transform = None if wanted.prepares else through(_timm_transform(network), run)
    return Found(checkpoint=checkpoint, original=Original(run, transform))


def _pooled_features(arch: str) -> int:
    """Numbers that a network of timm pools, before any head; no weights are drawn to tell."""
    with torch.device("meta"):
        head = build_model(arch, dim=2).head
    assert isinstance(head, nn.Linear)
    return head.in_features


def _timm_transform(network: nn.Module) -> Callable[[Image.Image], Tensor]:
    """The preprocessing of timm itself."""
    assert isinstance(network, TimmNetwork)
    data = import_timm("timm.data")
    stated = data.resolve_data_config(model=network.features)
    transform: Callable[[Image.Image], Tensor] = data.create_transform(**stated, is_training=False)
    return transform
