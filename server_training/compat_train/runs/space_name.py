"""The name of the space that a network writes in: a digest of what decides its vectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from torch import Tensor

from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing
from compat_train.runs.weights_digest import weights_digest

_OF_WEIGHTS = re.compile(r".+-[0-9]+-[0-9a-f]{12}")


def identity_of(
    state: Mapping[str, Tensor],
    *,
    arch: str,
    dim: int,
    width: float,
    stem_stride: int,
    preprocessing: Preprocessing,
    network: Mapping[str, int | float | str] | None = None,
) -> Identity:
    """Everything that decides the vectors of a network with these weights; its ``space`` is the name to give them.

    Args:
        state: Weights of the embedding network by name.
        arch: Architecture name, for `build_model`, as are the next three.
        dim: Embedding dimension.
        width: Factor on the channel counts.
        stem_stride: Stride of the first convolution.
        preprocessing: From an image file to the network's input.
        network: What else decides a network that was not trained here.

    Raises:
        ConfigError: A value is of the wrong type or out of its range.
    """
    return Identity(
        weights=weights_digest(state),
        arch=arch,
        dim=dim,
        preprocessing=preprocessing,
        network={"width": float(width), "stem_stride": stem_stride, **(network or {})},
    )


def is_old_name(space: str) -> bool:
    """Whether a space is named as releases up to 0.7 named those of networks trained here."""
    return _OF_WEIGHTS.fullmatch(space) is not None


def old_name(arch: str, dim: int, state: Mapping[str, Tensor]) -> str:
    """What releases up to 0.7 called the space of these weights: a digest of them alone."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return f"{arch.partition(':')[0]}-{dim}-{digest.hexdigest()[:12]}"
