"""The embedder and the transform that every converter is tested on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from compat_export.convert import to_onnx
from compat_export.convert.conversion import INPUT, Options, Port
from compat_export.convert.unit import UnitEmbedder, without_in_place
from compat_sdk.images import Preprocessing
from compat_train.runs.checkpoint import Checkpoint

PREPROCESSING = Preprocessing(size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), channels="bgr")
FEW_LAYERS = "global:residual,stages=2:8:c3s3s3c3"
"""A network for what does not depend on the network: residual, and of few layers, by which converters take time."""
IMAGE = Port("image", (3, 32, 32))


def small_embedder() -> UnitEmbedder:
    """Every kind of layer that quantisers treat apart, few of each; two weights are large enough to be compressed."""
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.Hardswish(),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 16),
    )
    return UnitEmbedder(nn.Sequential(*layers)).eval()


def onnx_of(checkpoint: Checkpoint) -> bytes:
    """The float32 ONNX graph of a checkpoint."""
    size = checkpoint.preprocessing.size
    module = UnitEmbedder(without_in_place(checkpoint.build())).eval()
    return to_onnx.convert(module, [Port(INPUT, (3, size, size))], Options())["model.onnx"]


class Transform(nn.Module):
    """Two inputs, as a transformation of stored embeddings has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(24, 16)

    def forward(self, embedding: Tensor, side: Tensor) -> Tensor:
        return nn.functional.normalize(self.layer(torch.cat((embedding, side), 1)), dim=1)


def embed(module: nn.Module, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        found: NDArray[np.float32] = module(*map(torch.from_numpy, inputs)).numpy()
    return found


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found
