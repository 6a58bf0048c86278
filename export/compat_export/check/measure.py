"""One graph beside PyTorch: vectors, neighbours, accuracy and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compat_export.check.golden import Golden
from compat_export.check.parity import Parity, measure_parity, require_parity
from compat_export.convert.graphs import Converted, opened
from compat_sdk.bundle import Graph
from compat_sdk.embedder import graph_input
from compat_sdk.engines import Engine
from compat_sdk.profile import Latency, measure_latency


@dataclass(frozen=True)
class GraphReport:
    """How well one graph agrees with PyTorch, and how fast it is.

    Attributes:
        target: Format of the graph.
        precision: Number format of its weights and activations.
        engine: What ran it here; ``coreml-twin`` is this package's own reader.
        bytes: Size of its files.
        parity: On the golden inputs.
        rank_overlap: Share of each probe query's 10 nearest that are PyTorch's too, in [0, 1]; None for a transform,
            whose inputs are no queries.
        accuracy_change: M(q,g) at top-1 with the graph minus with PyTorch, a fraction; None where it was not measured.
        latency: One image or vector on one thread; None for an engine that says nothing about the device.
        seconds: Conversion.
    """

    target: str
    precision: str
    engine: str
    bytes: int
    parity: Parity
    rank_overlap: float | None
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
    graph: Converted, golden: Golden, name: str, *, seconds: float, min_cosine: float | None = None
) -> GraphReport:
    """Compares a graph with PyTorch on every engine that runs it here, and times the last of them.

    Args:
        graph: Not in a bundle yet.
        golden: What it is compared on.
        name: Of the model, for messages.
        seconds: What the conversion took.
        min_cosine: Smallest cosine allowed; by default that of the precision.

    Raises:
        CheckFailedError: The graph disagrees with PyTorch.
        MissingExtraError: Its engine is not installed.
    """
    record = graph.record
    what = f"the {record.target} {record.precision} graph of {name}"
    inputs = golden.fed_to(record)
    with opened(graph) as engines:
        for engine in engines:
            parity = measure_parity(engine, inputs, golden.reference)
            require_parity(parity, what, precision=record.precision, min_cosine=min_cosine)
        overlap, change = _searched(engine, record, golden)
        one = [array[:1] for array in inputs]
        latency = None
        if engine.name != "coreml-twin":
            latency = measure_latency(lambda: engine.run(*one), warmup=3, runs=30, budget_s=5.0)
    return GraphReport(
        target=record.target,
        precision=record.precision,
        engine=engine.name,
        bytes=graph.size,
        parity=parity,
        rank_overlap=overlap,
        accuracy_change=change,
        latency=latency,
        seconds=seconds,
    )


def _searched(engine: Engine, record: Graph, golden: Golden) -> tuple[float | None, float | None]:
    """Rank overlap with PyTorch, and the change of M(q,g); None for what was not asked for."""
    probe, preprocessing = golden.probe, golden.preprocessing
    if probe is None or preprocessing is None:
        return None, None
    queries = probe.queries
    blocks = [graph_input(queries[start : start + 8], preprocessing, record) for start in range(0, len(queries), 8)]
    found = np.concatenate([engine.run(block) for block in blocks])
    accuracy, ours = probe.accuracy(probe.reference), probe.accuracy(found)
    return probe.overlap(found), None if accuracy is None or ours is None else ours - accuracy
