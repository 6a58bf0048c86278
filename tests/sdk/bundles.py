"""A small bundle, and an engine without native code that runs it."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compat_sdk.bundle import Bundle, Graph, Manifest, write_bundle
from compat_sdk.bundle.self_test import input_statistics
from compat_sdk.images import Preprocessing, to_input, to_pixels

SIZE, DIM = 16, 8
PREPROCESSING = Preprocessing(size=SIZE)
WEIGHTS = np.random.default_rng(7).standard_normal((3 * 4, DIM)).astype(np.float32)

PACKAGE = {
    "Manifest.json": b"{}",
    "Data/com.apple.CoreML/model.mlmodel": b"\x08\x07 program",
    "Data/com.apple.CoreML/weights/weight.bin": b"\x02\x00 weights",
}
"""Files of a graph that is a folder, by name inside it."""


class LinearEngine:
    """Embeds an image as a fixed linear map of the means of its four quarters, each row on its own."""

    name = "linear"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.lock = threading.Lock()

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        with self.lock:
            self.batches.append(len(images))
        half = SIZE // 2
        quarters = images.reshape(len(images), 3, 2, half, 2, half).mean((3, 5)).reshape(len(images), 12)
        return np.stack([row @ WEIGHTS for row in quarters]).astype(np.float32)


def golden() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Golden images, the first of which is the picture's, and their vectors."""
    images = np.random.default_rng(3).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    images[0] = to_pixels(picture(), PREPROCESSING)
    vectors = LinearEngine().run(to_input(images, PREPROCESSING))
    return images, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def picture() -> bytes:
    """A PNG in colour, of which every bundle of a model of images has one at least."""
    file = io.BytesIO()
    colours = np.random.default_rng(5).integers(0, 256, (2 * SIZE, 3 * SIZE, 3), dtype=np.uint8)
    Image.fromarray(colours).save(file, "PNG")
    return file.getvalue()


def with_inputs(
    images: NDArray[Any], vectors: NDArray[Any], preprocessing: Preprocessing = PREPROCESSING
) -> tuple[NDArray[Any], ...]:
    """Golden arrays as a bundle with pictures has them: the statistics of the model's input lie between the two."""
    if not len(images):
        return images, np.empty((0, 3, 2), np.float32), vectors
    whole = images.dtype == np.uint8 and images.shape[1] == preprocessing.size
    fed = to_input(images, preprocessing) if whole else np.ones((len(images), 3, 2, 2))
    return images, input_statistics(np.asarray(fed, np.float32)), vectors


def make_bundle(path: Path, graph: bytes = b"\x08\x08 not parsed by the fake engine", **changes: Any) -> Bundle:
    settings: dict[str, Any] = {
        "name": "tiny query model",
        "role": "query",
        "space": "tiny-8-aaaaaaaaaaaa",
        "searches": ("big-8-bbbbbbbbbbbb",),
        "dim": DIM,
        "preprocessing": PREPROCESSING,
        "tier": "100",
        "mmacs": 0.5,
        "mmacs_paper": 0.6,
        "params_m": 0.01,
        "license": "Apache-2.0",
        "arch": "tiny",
        "graphs": (Graph(target="onnx", precision="fp32", file="model.onnx"),),
        "graph_files": {"model.onnx": graph},
    }
    settings = {"golden": golden(), "pictures": (picture(),)} | settings | changes
    if settings["pictures"] and len(settings["golden"]) == 2:
        settings["golden"] = with_inputs(*settings["golden"], settings["preprocessing"])
    pictures = settings.pop("pictures")
    files, vectors, overwrite = settings.pop("graph_files"), settings.pop("golden"), settings.pop("overwrite", False)
    return write_bundle(path, Manifest(**settings), files, vectors, pictures=pictures, overwrite=overwrite)


def onnx_graph(*, dim: int = DIM, external: str | None = None, output: str = "embedding") -> bytes:
    """The same map as `LinearEngine` in ONNX; skips the test where onnx or onnxruntime is missing."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    half = SIZE // 2
    weights = onnx.numpy_helper.from_array(np.ascontiguousarray(WEIGHTS[:, :dim]), "weights")
    if external is not None:
        onnx.external_data_helper.set_external_data(weights, external)
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
    nodes = [
        helper.make_node("AveragePool", ["image"], ["means"], kernel_shape=[half, half], strides=[half, half]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], [output], axis=1, p=2),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["batch", dim])],
            [weights],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    return bytes(model.SerializeToString())
