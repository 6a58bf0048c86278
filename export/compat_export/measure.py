"""One converted graph beside PyTorch: embeddings, neighbours, accuracy and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_export.compare import Probe
from compat_export.graphs import Converted, opened, parity_of
from compat_export.parity import Parity, require_parity
from compat_sdk.embedder import graph_input
from compat_sdk.engine import Engine
from compat_sdk.preprocess import Preprocessing
from compat_sdk.profile import Latency, measure_latency


@dataclass(frozen=True)
class GraphReport:
    """How well one graph agrees with PyTorch, and how fast it is.

    Attributes:
        target: Format of the graph.
        precision: Number format of its weights and activations.
        engine: What ran it here; ``coreml-twin`` is this package's own reader.
        bytes: Size of its files.
        parity: On the golden images.
        rank_overlap: Share of each probe query's 10 nearest that are PyTorch's too, in [0, 1].
        accuracy_change: M(q,g) at top-1 with the graph minus with PyTorch, a fraction; None where it was not measured.
        latency: One image on one thread; None for an engine that says nothing about the device.
        seconds: Conversion.
    """

    target: str
    precision: str
    engine: str
    bytes: int
    parity: Parity
    rank_overlap: float
    accuracy_change: float | None
    latency: Latency | None
    seconds: float

    def to_json(self) -> dict[str, object]:
        """The report as a JSON object."""
        return {
            "target": self.target,
            "precision": self.precision,
            "engine": self.engine,
            "bytes": self.bytes,
            "parity": self.parity.to_json(),
            "rank_overlap": self.rank_overlap,
            "accuracy_change": self.accuracy_change,
            "latency_ms": None if self.latency is None else {"p50": self.latency.p50_ms, "p95": self.latency.p95_ms},
            "seconds": self.seconds,
        }


def measure_graph(
    graph: Converted,
    pixels: NDArray[np.uint8],
    reference: NDArray[np.float32],
    preprocessing: Preprocessing,
    probe: Probe,
    what: str,
    min_cosine: float | None,
    seconds: float,
) -> GraphReport:
    """Compares a graph with PyTorch on every engine that runs it here, and times the last of them.

    Args:
        graph: Not in a bundle yet.
        pixels: Golden images, uint8 ``[n, size, size, 3]``.
        reference: PyTorch's embeddings of them, float32 ``[n, dim]``.
        preprocessing: Of the model.
        probe: Searches that are compared.
        what: The graph in words, for the message.
        min_cosine: Smallest cosine allowed; by default that of the precision.
        seconds: What the conversion took.

    Raises:
        CheckFailedError: The graph disagrees with PyTorch.
        MissingExtraError: Its engine is not installed.
    """
    record = graph.record
    with opened(graph) as engines:
        for engine in engines:
            parity = parity_of(engine, record, pixels, preprocessing, reference)
            require_parity(parity, what, precision=record.precision, min_cosine=min_cosine)
        found = _embedded(engine, graph, probe.queries, preprocessing)
        one = graph_input(pixels[:1], preprocessing, record)
        latency = None
        if engine.name != "coreml-twin":
            latency = measure_latency(lambda: engine.run(one), warmup=3, runs=30, budget_s=5.0)
    accuracy, ours = probe.accuracy(probe.reference), probe.accuracy(found)
    return GraphReport(
        target=record.target,
        precision=record.precision,
        engine=engine.name,
        bytes=graph.size,
        parity=parity,
        rank_overlap=probe.overlap(found),
        accuracy_change=None if accuracy is None or ours is None else ours - accuracy,
        latency=latency,
        seconds=seconds,
    )


def _embedded(
    engine: Engine, graph: Converted, pixels: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    blocks = [graph_input(pixels[start : start + 8], preprocessing, graph.record) for start in range(0, len(pixels), 8)]
    return np.concatenate([engine.run(block) for block in blocks])
