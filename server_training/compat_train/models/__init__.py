"""Backbones that map images to embeddings, and what they cost."""

from __future__ import annotations

from compat_train.models.build import ARCHITECTURES, build_model
from compat_train.models.cost import Cost, LayerCost, count_cost, per_layer

__all__ = ["ARCHITECTURES", "Cost", "LayerCost", "build_model", "count_cost", "per_layer"]
