"""Which networks there are by name, and what each costs."""

from __future__ import annotations

import fnmatch
from dataclasses import asdict, dataclass
from typing import Any

import torch

from compat_sdk.errors import ConfigError
from compat_sdk.nearest import nearest_names
from compat_sdk.shown import shortened
from compat_train.models.build import ARCHITECTURES, build_model
from compat_train.models.cost import count_cost
from compat_train.models.optional_package import import_timm
from compat_train.models.timm_network import as_deployed, is_timm_name, require_size

_MOST_COUNTED = 40
"""Networks of one listing that are built and counted; of more, the names alone are listed."""


@dataclass(frozen=True)
class Listed:
    """A network and its cost for one image, in millions; None where it was not counted.

    Attributes:
        arch: Name, as ``--arch`` takes it.
        mmacs: Multiply-accumulates.
        mmacs_paper: The same by the papers' count, with 2 per batch-norm element.
        params_m: Parameters.
        problem: Why it cannot be built so, such as a size that it does not take; empty where it can.
    """

    arch: str
    mmacs: float | None = None
    mmacs_paper: float | None = None
    params_m: float | None = None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def list_architectures(
    pattern: str = "*", *, size: int = 112, width: float = 1.0, dim: int = 128, stem_stride: int = 1
) -> tuple[Listed, ...]:
    """Every network whose name matches, with its cost at a size and width.

    Args:
        pattern: With ``*`` and ``?`` as a shell has them; ``timm:`` before it asks the package timm.
        size: Side of the image, in pixels.
        width: Factor on the channel counts; networks of timm have their own.
        dim: Length of the embedding.
        stem_stride: Stride of the first convolution.

    Raises:
        ConfigError: No name matches, or a setting is out of its range.
        MissingExtraError: The pattern is of timm, which is not installed.
    """
    names = _timm_names(pattern) if is_timm_name(pattern) else _own_names(pattern)
    if len(names) > _MOST_COUNTED:
        return tuple(Listed(name) for name in names)
    return tuple(_counted(name, size, width, dim, stem_stride) for name in names)


def _own_names(pattern: str) -> list[str]:
    names = fnmatch.filter(ARCHITECTURES, pattern)
    if not names:
        near = nearest_names(pattern, ARCHITECTURES)
        raise ConfigError(
            f"no architecture is called {shortened(repr(pattern))}; nearest: {', '.join(near or ARCHITECTURES)}. For "
            f"networks of timm write 'timm:PATTERN', such as 'timm:mobilenetv4*'"
        )
    return names


def _timm_names(pattern: str) -> list[str]:
    wanted = pattern.partition(":")[2]
    known = import_timm().list_models()
    names = fnmatch.filter(known, wanted)
    if not names:
        near = nearest_names(wanted, known)
        raise ConfigError(
            f"timm has no network that matches {shortened(repr(wanted))}; nearest: "
            f"{', '.join(near) or 'none'}; write a pattern such as 'timm:mobilenetv4*'"
        )
    return [f"timm:{name}" for name in names]


def _counted(name: str, size: int, width: float, dim: int, stem_stride: int) -> Listed:
    with torch.random.fork_rng(devices=[]):
        model = build_model(name, dim=dim, width=width, stem_stride=stem_stride).eval()
    try:
        require_size(model, name, size)
    except ConfigError as error:
        return Listed(name, problem=str(error))
    cost = count_cost(as_deployed(model, size), size)
    return Listed(name, cost.mmacs, cost.mmacs_paper, cost.params_m)
