"""Blocks of a search space as graphs in a folder, and what they take on this device.

A block alone is not measured: its time would have the cost of a call and of the first read in it. Each graph has a
1x1 convolution before the block and a pool behind it, and a graph of these two alone is subtracted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compat_sdk.engines import Engine, engines_here
from compat_sdk.engines.choice import LiteRTEngine, OnnxRuntimeEngine
from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.digests import file_problem
from compat_sdk.files.documents import read_json
from compat_sdk.files.seal import unsealed
from compat_sdk.outputs import Layout
from compat_sdk.profile.block_table import BlockTable, Checked
from compat_sdk.profile.latency_table import device_facts
from compat_sdk.profile.profile import measure_latency
from compat_sdk.progress import Progress
from compat_sdk.shown import shortened, shown_value

BLOCKS = "blocks.json"
"""File of a folder of blocks that says what its graphs are."""

FORMAT, VERSION = "compat-sdk-blocks", 1
INPUT, OUTPUT = "features", "embedding"
"""Names of each graph's input and output."""

LAYOUT: Layout = {r"blocks\.json": None, r"\d{4}\.(onnx|tflite)": None}
"""What such a folder holds."""

_TARGETS = ("onnx", "tflite")
_FILE = re.compile(r"\d{4}\.(onnx|tflite)")
_WARM_UP, _RUNS, _SECONDS = 5, 30, 2.0
_LARGEST_SIDE = 65536


@dataclass(frozen=True)
class BlockGraph:
    """One graph of a folder.

    Attributes:
        name: Of the block, or the architecture name of a whole network.
        file: File in the folder.
        record: Its size and digest.
        shape: Of its input, without the batch axis.
        less: Name of the graph whose time is subtracted; None for none.
        weights: Of a whole network, its blocks and how often each counts; None for a block.
    """

    name: str
    file: str
    record: Mapping[str, Any]
    shape: tuple[int, ...]
    less: str | None
    weights: Mapping[str, float] | None


@dataclass(frozen=True)
class BlockFolder:
    """A folder of blocks that was read.

    Attributes:
        path: The folder.
        target: Format of the graphs.
        settings: What they are of, see `BlockTable`.
        graphs: Every graph, those that others subtract among them.
    """

    path: Path
    target: str
    settings: Mapping[str, object]
    graphs: tuple[BlockGraph, ...]


def read_blocks(folder: str | Path) -> BlockFolder:
    """Reads what ``compat-sdk nas blocks`` wrote; graphs are checked when they are loaded.

    Raises:
        ConfigError: It is no such folder.
        CorruptFileError: Its record is damaged.
    """
    path = Path(folder)
    if not (path / BLOCKS).is_file():
        raise ConfigError(
            f"{path} is no folder of blocks: it has no {BLOCKS}; make one with `compat-sdk nas blocks SPACE --out`"
        )
    found = unsealed(read_json(path / BLOCKS), str(path / BLOCKS))
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        raise CorruptFileError(
            f"{path / BLOCKS} has format {shown_value(found.get('format'))}, version "
            f"{shown_value(found.get('version'))}; expected {FORMAT!r} version {VERSION}"
        )
    target, settings, graphs = found.get("target"), found.get("settings"), found.get("graphs")
    if target not in _TARGETS or not isinstance(settings, dict) or not isinstance(graphs, list):
        raise CorruptFileError(f"{path / BLOCKS} lacks its target, settings or graphs; make the folder again")
    read = tuple(_graph(entry, path) for entry in graphs)
    names = {graph.name for graph in read}
    wanted = {name for graph in read for name in (graph.less, *(graph.weights or ())) if name is not None}
    if len(names) != len(read) or wanted - names:
        raise CorruptFileError(f"{path / BLOCKS} names a graph twice, or one that is not there; make the folder again")
    return BlockFolder(path, str(target), settings, read)


def measure_blocks(
    folder: str | Path, *, threads: int = 1, rounds: int = 5, progress: Progress | None = None
) -> BlockTable:
    """Measures every graph of a folder on this device.

    Each graph's time is the least of the medians of some rounds: what else the machine does adds time to a round, and
    never takes any away.

    Args:
        folder: Written by ``compat-sdk nas blocks``.
        threads: Threads of the engine, at least 1.
        rounds: Times that all graphs are measured, at least 1.
        progress: Called after each graph.

    Raises:
        ConfigError: It is no such folder, this machine cannot run its graphs, or a number is out of range.
        CorruptFileError: A file is damaged.
    """
    if threads < 1 or rounds < 1:
        raise ConfigError(f"found threads={threads}, rounds={rounds}; expected at least 1 of each")
    found = read_blocks(folder)
    if found.target not in engines_here():
        raise ConfigError(
            f"{found.path} holds {shortened(found.target)} graphs, and this machine runs "
            f"{', '.join(engines_here()) or 'none'}; install an engine for them, or make other graphs"
        )
    times: dict[str, float] = {}
    for number in range(rounds):
        for done, graph in enumerate(found.graphs, 1):
            times[graph.name] = min(times.get(graph.name, np.inf), _milliseconds(found, graph, threads))
            if progress is not None:
                progress("measure blocks", number * len(found.graphs) + done, rounds * len(found.graphs), {})
    blocks = {
        graph.name: max(0.0, times[graph.name] - (0.0 if graph.less is None else times[graph.less]))
        for graph in found.graphs
        if graph.weights is None
    }
    table = BlockTable(device_facts(), engines_here()[found.target], threads, found.settings, blocks, ())
    networks = tuple(
        Checked(graph.name, table.milliseconds(graph.weights), times[graph.name])
        for graph in found.graphs
        if graph.weights is not None
    )
    return BlockTable(table.device, table.engine, threads, found.settings, blocks, networks)


def _milliseconds(folder: BlockFolder, graph: BlockGraph, threads: int) -> float:
    engine = _engine(folder, graph, threads)
    features = np.random.default_rng(0).standard_normal((1, *graph.shape)).astype(np.float32)
    return measure_latency(lambda: engine.run(features), warmup=_WARM_UP, runs=_RUNS, budget_s=_SECONDS).p50_ms


def _engine(folder: BlockFolder, graph: BlockGraph, threads: int) -> Engine:
    path = folder.path / graph.file
    if problem := file_problem(path, graph.record):
        raise CorruptFileError(f"{path} {problem}; make the folder again with `compat-sdk nas blocks`")
    kind = OnnxRuntimeEngine if folder.target == "onnx" else LiteRTEngine
    return kind(path.read_bytes(), input=INPUT, output=OUTPUT, batch=1, threads=threads)


def _graph(entry: Any, folder: Path) -> BlockGraph:
    """A graph's record, checked."""
    bad = CorruptFileError(f"{folder / BLOCKS} has a graph without name, file or shape; make the folder again")
    if not isinstance(entry, dict):
        raise bad
    name, file, record, shape = (entry.get(key) for key in ("name", "file", "record", "shape"))
    less, weights = entry.get("less"), entry.get("weights")
    if not (isinstance(name, str) and isinstance(file, str) and _FILE.fullmatch(file) and isinstance(record, dict)):
        raise bad
    if not (
        isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and 0 < n < _LARGEST_SIDE for n in shape)
    ):
        raise bad
    if not (less is None or isinstance(less, str)) or not (weights is None or isinstance(weights, dict)):
        raise bad
    if any(type(value) not in (int, float) or not abs(value) < 1e6 for value in (weights or {}).values()):
        raise bad
    return BlockGraph(name, file, record, tuple(shape), less, weights)
