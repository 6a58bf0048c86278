"""timm as tests need it: also beside a torchvision that was built for another torch; without timm they are skipped."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

_KEPT: list[Any] = []
"""Definitions end with the object that made them."""


def make_timm_loadable() -> None:
    """Define the two operators without which torchvision does not load, where its own library cannot.

    That is so beside a torch for the CPU alone: the torchvision that registries have is built for GPUs. timm takes
    transforms of images from it, and none of its operators.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if _KEPT or spec is None or spec.origin is None:
        return
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(library)
        except OSError:
            _KEPT.append(torch.library.Library("torchvision", "FRAGMENT"))
            for name in ("nms", "qnms"):
                _KEPT[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            return
