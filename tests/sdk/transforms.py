"""A small bundle of a transform, and an engine without native code that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle, Graph, Manifest, TransformSource, write_bundle
from compat_sdk.transform_identity import TransformIdentity

OLD, SIDE, NEW = 6, 3, 5
WITH_SIDE = TransformSource("old-6-aaaaaaaaaaaa", OLD, "side-3-bbbbbbbbbbbb", SIDE)
ALONE = TransformSource("old-6-aaaaaaaaaaaa", OLD)
OF_OLD = np.random.default_rng(1).standard_normal((OLD, NEW)).astype(np.float32)
OF_SIDE = np.random.default_rng(2).standard_normal((SIDE, NEW)).astype(np.float32)


class LinearTransform:
    """A fixed linear map of each row, not normalised."""

    name = "linear"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(inputs[0]))
        found = inputs[0] @ OF_OLD
        return (found + inputs[1] @ OF_SIDE if len(inputs) > 1 else found).astype(np.float32)


def unit_rows(rows: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def expected(*inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors = LinearTransform().run(*inputs)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def golden(source: TransformSource) -> tuple[NDArray[np.float32], ...]:
    inputs = [unit_rows(4, OLD, 3)] + ([] if source.side_dim is None else [unit_rows(4, SIDE, 4)])
    return (*inputs, expected(*inputs))


def identity_of(of: TransformSource, space: str = "new-5-cccccccccccc", arch: str = "linear") -> TransformIdentity:
    return TransformIdentity("ab" * 32, arch, {"hidden": 4}, of.to(space, NEW))


def make_transform(path: Path, of: TransformSource = WITH_SIDE, **changes: Any) -> Bundle:
    settings: dict[str, Any] = {
        "name": "tiny transform",
        "role": "transform",
        "space": "new-5-cccccccccccc",
        "searches": (),
        "dim": NEW,
        "preprocessing": None,
        "tier": "transform",
        "mmacs": 0.5,
        "mmacs_paper": 0.6,
        "params_m": 0.01,
        "license": "Apache-2.0",
        "arch": "linear",
        "graphs": (Graph(target="onnx", precision="fp32", file="model.onnx", inputs=of.inputs),),
        "graph_files": {"model.onnx": b"\x08\x08 not parsed by the fake engine"},
        "golden": golden(of),
        "source": of,
    }
    settings |= changes
    settings = {"identity": identity_of(of, settings["space"], settings["arch"])} | settings
    files, vectors, overwrite = settings.pop("graph_files"), settings.pop("golden"), settings.pop("overwrite", False)
    return write_bundle(path, Manifest(**settings), files, vectors, overwrite=overwrite)


def onnx_transform() -> bytes:
    """The map of `LinearTransform` and the normalisation in ONNX; skips the test where a package is missing."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("MatMul", ["old", "of_old"], ["a"]),
        helper.make_node("MatMul", ["side", "of_side"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["embedding"], axis=1, p=2),
    ]
    ports = [helper.make_tensor_value_info(n, floats, ["batch", d]) for n, d in (("old", OLD), ("side", SIDE))]
    output = helper.make_tensor_value_info("embedding", floats, ["batch", NEW])
    weights = [onnx.numpy_helper.from_array(v, n) for n, v in (("of_old", OF_OLD), ("of_side", OF_SIDE))]
    graph = helper.make_graph(nodes, "tiny", ports, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
