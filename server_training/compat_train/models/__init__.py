"""Backbones that map images to embeddings, and what they cost.

A name is loaded when it is first used: search spaces are described without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compat_train.models.build import ARCHITECTURES, build_model
    from compat_train.models.cost import Cost, LayerCost, count_cost, per_layer

__all__ = ["ARCHITECTURES", "Cost", "LayerCost", "build_model", "count_cost", "per_layer"]

_HOME = {
    "ARCHITECTURES": "build",
    "Cost": "cost",
    "LayerCost": "cost",
    "build_model": "build",
    "count_cost": "cost",
    "per_layer": "cost",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
