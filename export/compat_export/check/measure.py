"""Graphs converted one by one, each beside PyTorch: vectors, neighbours, accuracy and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from compat_export.check.compare import Probe
from compat_export.check.parity import Parity, measure_parity, require_parity
from compat_export.convert.conversion import Options, Port
from compat_export.convert.graphs import Converted, convert, opened
from compat_sdk.bundle.manifest import Graph
from compat_sdk.embedder import graph_input
from compat_sdk.engines import Engine
from compat_sdk.images import Preprocessing
from compat_sdk.profile import Latency, measure_latency
from compat_sdk.progress import Progress

Feed = Callable[[Graph], Sequence[NDArray[np.float32]]]
"""From what a manifest says of a graph to the golden inputs in the form that the graph takes."""


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


def build_graphs(
    module: nn.Module,
    ports: Sequence[Port],
    pairs: Sequence[tuple[str, Options]],
    feed: Feed,
    reference: NDArray[np.float32],
    *,
    name: str,
    probe: tuple[Probe, Preprocessing] | None = None,
    min_cosine: float | None = None,
    progress: Progress | None = None,
) -> tuple[list[Converted], list[GraphReport]]:
    """Converts a module once per target and options, and compares each graph with PyTorch before the next.

    Args:
        module: What is exported, see the converters.
        ports: Its inputs.
        pairs: Target and options of each graph.
        feed: Gives the golden inputs.
        reference: PyTorch's vectors of them, float32 ``[n, dim]``.
        name: Of the model, for messages.
        probe: Searches that are compared, and how images are prepared; None for a transform.
        min_cosine: Smallest cosine allowed; by default that of each precision.
        progress: Called after each graph.

    Returns:
        The graphs, and how each agrees with PyTorch.

    Raises:
        CheckFailedError: A graph disagrees with PyTorch.
        ConfigError: Unknown target, or options that it does not have.
        MissingExtraError: A converter or an engine is not installed.
    """
    graphs, reports = [], []
    for done, (target, option) in enumerate(pairs, 1):
        before = time.perf_counter()
        graph = convert(module, ports, target, option)
        seconds = time.perf_counter() - before
        what = f"the {target} {option.precision} graph of {name}"
        inputs = feed(graph.record)
        reports.append(_measure_graph(graph, inputs, reference, what, seconds, probe=probe, min_cosine=min_cosine))
        graphs.append(graph)
        if progress is not None:
            progress("export", done, len(pairs), {})
    return graphs, reports


def _measure_graph(
    graph: Converted,
    inputs: Sequence[NDArray[np.float32]],
    reference: NDArray[np.float32],
    what: str,
    seconds: float,
    *,
    probe: tuple[Probe, Preprocessing] | None = None,
    min_cosine: float | None = None,
) -> GraphReport:
    """Compares a graph with PyTorch on every engine that runs it here, and times the last of them.

    Args:
        graph: Not in a bundle yet.
        inputs: Golden inputs in the form that the graph takes, float32 ``[n, ...]`` each.
        reference: PyTorch's vectors of them, float32 ``[n, dim]``.
        what: The graph in words, for the message.
        seconds: What the conversion took.
        probe: Searches that are compared, and how images are prepared; None for a transform.
        min_cosine: Smallest cosine allowed; by default that of the precision.

    Raises:
        CheckFailedError: The graph disagrees with PyTorch.
        MissingExtraError: Its engine is not installed.
    """
    record = graph.record
    with opened(graph) as engines:
        for engine in engines:
            parity = measure_parity(engine, inputs, reference)
            require_parity(parity, what, precision=record.precision, min_cosine=min_cosine)
        overlap, change = (None, None) if probe is None else _searched(engine, record, *probe)
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


def _searched(engine: Engine, record: Graph, probe: Probe, preprocessing: Preprocessing) -> tuple[float, float | None]:
    """Rank overlap with PyTorch, and the change of M(q,g)."""
    queries = probe.queries
    blocks = [graph_input(queries[start : start + 8], preprocessing, record) for start in range(0, len(queries), 8)]
    found = np.concatenate([engine.run(block) for block in blocks])
    accuracy, ours = probe.accuracy(probe.reference), probe.accuracy(found)
    return probe.overlap(found), None if accuracy is None or ours is None else ours - accuracy
