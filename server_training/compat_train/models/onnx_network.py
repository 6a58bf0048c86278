"""A network that exists as an ONNX graph alone: a gallery model that was trained elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from compat_sdk.engines.onnxruntime import OnnxRuntimeEngine

GRAPH = "graph"
"""Name of the one tensor in the state: the graph, byte by byte."""
_BATCH = 32


def graph_state(graph: bytes) -> dict[str, Tensor]:
    """The state of an `OnnxNetwork` with this graph."""
    return {GRAPH: torch.from_numpy(np.frombuffer(graph, np.uint8).copy())}


class OnnxNetwork(nn.Module):
    """An ONNX graph as a module from images to embeddings: onnxruntime computes it, on the CPU, and nothing learns.

    Args:
        graph: A model with the input ``image`` ``[n, 3, s, s]`` and the output ``embedding`` ``[n, dim]``, as
            `compat_train.adoption.onnx_file` makes it. It is parsed by native code: verify its digest first.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BundleError: The graph cannot be loaded.
    """

    def __init__(self, graph: bytes) -> None:
        super().__init__()
        self.graph: Tensor
        self.register_buffer(GRAPH, graph_state(graph)[GRAPH])
        self._engine = OnnxRuntimeEngine(graph, threads=torch.get_num_threads())

    @property
    def serialised(self) -> bytes:
        """The graph as it was given."""
        return self.graph.cpu().numpy().tobytes()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``[n, dim]``, not normalised, without gradient, of images ``[n, 3, s, s]``; on their device."""
        inputs = np.ascontiguousarray(images.detach().cpu().float().numpy())
        # Engines take no empty batch, and what asks for the dimension gives one.
        filled = inputs if len(inputs) else np.zeros((1, *inputs.shape[1:]), np.float32)
        # A graph's memory grows with its batch, and its speed does not.
        parts = [self._engine.run(filled[start : start + _BATCH]) for start in range(0, len(filled), _BATCH)]
        return torch.from_numpy(np.concatenate(parts)[: len(inputs)]).to(images.device)

    def __deepcopy__(self, memo: dict[int, object]) -> OnnxNetwork:
        """A copy with an engine of its own: sessions of onnxruntime cannot be copied."""
        return OnnxNetwork(self.serialised)
