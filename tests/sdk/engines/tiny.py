"""The network of tests/golden/engines, in numpy: a convolution, ReLU, mean, a linear layer, L2 normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GRAPHS = Path(__file__).parents[2] / "golden" / "engines"
SIZE, DIM = 8, 8


def wave(*shape: int, step: float) -> NDArray[np.float32]:
    """Numbers in [-1, 1] that are the same everywhere."""
    return np.round(np.sin(np.arange(1, np.prod(shape) + 1) * step), 3).astype(np.float32).reshape(shape)


CONV_WEIGHT, CONV_BIAS = wave(4, 3, 3, 3, step=0.7), wave(4, step=0.9)
LINEAR_WEIGHT, LINEAR_BIAS = wave(DIM, 4, step=1.3), wave(DIM, step=0.4)


def images(count: int) -> NDArray[np.float32]:
    return wave(count, 3, SIZE, SIZE, step=0.37)


def embed(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    windows = np.lib.stride_tricks.sliding_window_view(batch, (3, 3), (2, 3))[:, :, ::2, ::2]
    features = np.einsum("nchwij,ocij->nohw", windows, CONV_WEIGHT) + CONV_BIAS[:, None, None]
    vectors = np.maximum(features, 0).mean((2, 3)) @ LINEAR_WEIGHT.T + LINEAR_BIAS
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
