"""A checkpoint as an ONNX graph: embedder and L2 normalisation, dynamic batch, weights inline.

The graph's bytes depend on the weights and on the converter's version, and on nothing else: names of source
files, stack traces and the producer's build are stripped, so that two exports of one checkpoint are equal.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from compat_sdk.errors import MissingExtraError

if TYPE_CHECKING:
    import onnx

    from compat_train.checkpoint import Checkpoint

OPSET = 18
"""ONNX operator set of every graph written here.

torch.export's ONNX decompositions are written in opset 18 from torch 2.6 to 2.13; any other number sends the
graph through a version converter afterwards. ONNX Runtime has read it since 1.14.
"""
INPUT = "image"
OUTPUT = "embedding"
SMALLEST_NORM = 1e-12
"""Norms are clamped to this before dividing, as ``torch.nn.functional.normalize`` does."""


class UnitEmbedder(nn.Module):
    """An embedder followed by L2 normalisation, so that every engine returns unit vectors.

    Args:
        embedder: Module from float32 ``[n, 3, s, s]`` to float32 ``[n, dim]``.
    """

    def __init__(self, embedder: nn.Module) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, image: Tensor) -> Tensor:
        """Unit embeddings, float32 ``[n, dim]``, of prepared images, float32 ``[n, 3, s, s]``."""
        embedding: Tensor = self.embedder(image)
        # Spelt out rather than F.normalize: the same arithmetic without a Shape and an Expand in the graph.
        norm: Tensor = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
        return embedding / norm.clamp_min(SMALLEST_NORM)


def export_onnx(checkpoint: Checkpoint) -> bytes:
    """The checkpoint's embedder as a serialised ONNX model.

    Args:
        checkpoint: A trained model; its preprocessing gives the image size.

    Returns:
        The bytes of a ``.onnx`` file. Input ``image``: float32 ``[batch, 3, s, s]``. Output ``embedding``:
        float32 ``[batch, dim]`` with unit rows. Equal bytes for equal checkpoints.

    Raises:
        MissingExtraError: The converter is not installed.
    """
    return export_module(checkpoint.build(), checkpoint.preprocessing.size)


def export_module(embedder: nn.Module, size: int) -> bytes:
    """As ``export_onnx``, for a bare module in evaluation mode.

    Args:
        embedder: Module from float32 ``[n, 3, size, size]`` to float32 ``[n, dim]``, not normalised.
        size: Height and width of the input, in pixels.

    Returns:
        The bytes of a ``.onnx`` file.

    Raises:
        MissingExtraError: The converter is not installed.
    """
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "export-onnx")
    model = UnitEmbedder(embedder).eval()
    # A sample batch of 1 would be specialised into the graph; 2 is the smallest that stays symbolic.
    sample = torch.zeros(2, 3, size, size)
    with _quiet_converter(), torch.no_grad():
        program = torch.onnx.export(
            model,
            (sample,),
            None,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program although dynamo=True was asked for")
    proto = program.model_proto
    _strip(proto)
    return cast(bytes, proto.SerializeToString(deterministic=True))


def _strip(model: onnx.ModelProto) -> None:
    """Remove what names a machine or a build and what no engine reads."""
    model.producer_name = "compat-sdk"
    model.producer_version = ""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name = "embedder"
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]  # inferred again by every reader, and in the way of quantisers
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        item.doc_string = ""
        del item.metadata_props[:]


@contextmanager
def _quiet_converter() -> Iterator[None]:
    """Silence what the converter says about itself; warnings about the model still come through."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # "torchvision is not installed. Skipping torchvision::nms"
    try:
        with warnings.catch_warnings():
            # torch's own pytree, met while it copies its own graph.
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec.*is deprecated", FutureWarning)
            yield
    finally:
        registration.setLevel(level)
