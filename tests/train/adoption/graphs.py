"""Small ONNX models as other people export them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402

SIDE, DIM = 32, 6
_FLOAT = onnx.TensorProto.FLOAT


def network(
    path: Path,
    *,
    layout: str = "nchw",
    side: Any = SIDE,
    batch: Any = "n",
    outputs: tuple[str, ...] = ("pooled",),
    names: tuple[str, str] = ("input:0", "conv"),
    opset: int = 13,
    flat: bool = True,
) -> Path:
    """A convolution, a mean over all pixels and a classifier: ``pooled`` ``[n, 6]`` and ``scores`` ``[n, 3]``."""
    generator = np.random.default_rng(5)
    image, inner = names
    weights = {
        "kernel": generator.standard_normal((DIM, 3, 3, 3)).astype(np.float32),
        "classes": generator.standard_normal((DIM, 3)).astype(np.float32),
    }
    axes = [batch, 3, side, side] if layout == "nchw" else [batch, side, side, 3]
    nodes = [helper.make_node("Transpose", [image], ["planes"], perm=[0, 3, 1, 2])] if layout == "nhwc" else []
    nodes += [
        helper.make_node("Conv", [image if layout == "nchw" else "planes", "kernel"], [inner], strides=[2, 2]),
        helper.make_node("Relu", [inner], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["pooled"])
        if flat
        else helper.make_node("Identity", ["mean"], ["pooled"]),
        helper.make_node("MatMul", ["pooled", "classes"], ["scores"]),
    ]
    if not flat:
        nodes.pop()
    shapes = {"pooled": [batch, DIM] if flat else [batch, DIM, 1, 1], "scores": [batch, 3], "mean": [batch, DIM, 1, 1]}
    graph = helper.make_graph(
        nodes,
        "made elsewhere",
        [helper.make_tensor_value_info(image, _FLOAT, axes)],
        [helper.make_tensor_value_info(name, _FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items() if flat or name == "kernel"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def expected(pixels: np.ndarray, mean: float, std: float) -> np.ndarray:
    """What `network` makes of uint8 ``[n, s, s, 3]``, by numpy alone, ``[n, 6]`` of unit norm."""
    kernel = np.random.default_rng(5).standard_normal((DIM, 3, 3, 3)).astype(np.float32)
    images = ((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    places = range(0, images.shape[2] - 2, 2)
    windows = np.stack([images[:, :, y : y + 3, x : x + 3] for y in places for x in places], 1)
    found = np.maximum(np.einsum("npcyx,dcyx->npd", windows, kernel), 0).mean(1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)
