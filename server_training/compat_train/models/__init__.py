"""Backbones that map images to embeddings, and what they cost.

A name is loaded when it is first used: search spaces are described without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_sdk.door import door

if TYPE_CHECKING:
    from compat_train.models.build import ARCHITECTURES, build_model
    from compat_train.models.cost import Cost, LayerCost, count_cost, per_layer

__all__ = ["ARCHITECTURES", "Cost", "LayerCost", "build_model", "count_cost", "per_layer"]

__getattr__, __dir__ = door(
    __name__,
    {
        "ARCHITECTURES": "build",
        "Cost": "cost",
        "LayerCost": "cost",
        "build_model": "build",
        "count_cost": "cost",
        "per_layer": "cost",
    },
)
