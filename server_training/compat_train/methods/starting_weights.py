"""The weights that a training starts from, where they were published: found, compared with the network, and noted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compat_train.config.gallery import GalleryConfig
from compat_train.config.query import QueryConfig
from compat_train.config.upgrade import SideInfoConfig
from compat_train.models.build import build_model
from compat_train.models.pretrained import hub_state, matched_state
from compat_train.models.timm_network import require_size
from compat_train.runs.weights_file import Weights, read_weights

_HUB = "hub"
"""What ``weights`` says for a download from timm's hub, which nothing else begins."""


def published_weights(config: GalleryConfig | QueryConfig) -> Weights | None:
    """What the setting ``weights`` names; None where training starts from fresh weights.

    Raises:
        DataError: The file is not there, or holds something else than weights.
        CorruptFileError: It is damaged.
        CompatError: The hub cannot be reached.
    """
    if config.weights is None:
        return None
    if config.weights == _HUB:
        tensors, digest = hub_state(config.arch)
        return Weights(f"the hub's {config.arch}", digest, tensors)
    return read_weights(config.weights)


def noted(weights: Weights | None) -> dict[str, str]:
    """What a run's settings say of the weights it starts from: another file is another run."""
    return {} if weights is None else {"weights_sha256": weights.sha256}


def starting_state(
    config: GalleryConfig | QueryConfig | SideInfoConfig, weights: Weights | None, *, dim: int, size: int
) -> Mapping[str, Tensor] | None:
    """The network's whole state with published weights in it, or None for fresh weights; before any image is read.

    Args:
        config: Network and seed, of which the weights are drawn that were not published.
        weights: What was published; None for nothing.
        dim: Length of the embedding.
        size: Side of the images, in pixels.

    Raises:
        ConfigError: There is no such network, or it takes no images of this side.
        DataError: The weights are another network's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.execution.seed)
        network = build_model(config.arch, dim=dim, width=config.width, stem_stride=config.stem_stride)
    require_size(network, config.arch, size)
    return None if weights is None else matched_state(network, config.arch, weights.tensors, weights.name)
