"""Inference engines: images in a model's input form go in, embeddings come out.

Only what differs between engines is in `compat_sdk.engines`. An `Engine` is anything with a ``name`` and a ``run``,
so a test, or an engine that this package does not know, is a small class given to `Embedder.load` as ``engine``.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle, Graph
from compat_sdk.engines.coreml import CoreMLEngine, coreml_problem
from compat_sdk.engines.executorch import ExecuTorchEngine
from compat_sdk.engines.litert import LiteRTEngine
from compat_sdk.engines.onnxruntime import OnnxRuntimeEngine
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError
from compat_sdk.install import install_command

__all__ = [
    "ENGINES",
    "CoreMLEngine",
    "Engine",
    "ExecuTorchEngine",
    "LiteRTEngine",
    "OnnxRuntimeEngine",
    "choose_graph",
    "engines_here",
    "open_engine",
    "open_graph",
]

# The order in which "auto" tries them: the two that give the same numbers on every machine, the one that does not
# (Core ML, see its engine), the one that needs torch. Each is the name of an extra too.
_TARGETS = {"onnxruntime": "onnx", "litert": "tflite", "coreml": "coreml", "executorch": "executorch"}
_PACKAGES = {
    "onnxruntime": "onnxruntime",
    "litert": "ai_edge_litert",
    "coreml": "coremltools",
    "executorch": "executorch",
}
_ON_DEVICES = {"onnxruntime:cuda": "onnxruntime", "onnxruntime:coreml": "onnxruntime"}
"""Engines on a device that has kernels of its own, which "auto" never takes."""
ENGINES = ("auto", *_TARGETS, *_ON_DEVICES)


class Engine(Protocol):
    """Turns images into embeddings. ``run`` may be called by several threads at once."""

    @property
    def name(self) -> str:
        """What to call the engine in a report."""

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 ``[n, dim]`` for one float32 ``[n, *shape]`` per input of the graph, n at least 1.

        A model of images has one input, ``[n, 3, size, size]``. A graph with a fixed batch is fed in blocks.
        """


def open_engine(
    bundle: Bundle, engine: str = "auto", threads: int | None = None, precision: str | None = None
) -> Engine:
    """Return an engine that runs a graph of a bundle, from bytes whose digest was checked.

    Args:
        bundle: An opened bundle.
        engine: ``"onnxruntime"``, ``"litert"``, ``"coreml"``, ``"executorch"``; or ``"auto"``: the first in this
            order that is installed, runs on this system, and has a graph in the bundle. ``"onnxruntime:cuda"`` and
            ``"onnxruntime:coreml"`` compute on that device, and are never what ``"auto"`` takes; see `proves_itself`.
        threads: Threads that one run uses; None leaves it to the engine. Core ML takes no number.
        precision: Of the graph, such as ``"fp16"``; None takes the engine's first listed one.

    Raises:
        ConfigError: Unknown engine, an engine that this system cannot run, or ``threads`` below 1.
        MissingExtraError: The engine is not installed.
        BundleError: The bundle has no graph for it, or the graph cannot be loaded.
    """
    return open_graph(bundle, choose_graph(bundle, engine, precision), threads, engine)


def proves_itself(engine: str) -> bool:
    """Whether a bundle must pass its self-test on an engine of this name before it is used there.

    True for a device that computes with kernels of its own, which no export was compared with.
    """
    return engine in _ON_DEVICES


def choose_graph(bundle: Bundle, engine: str = "auto", precision: str | None = None) -> Graph:
    """Return the graph that `open_engine` runs, of the same arguments, with the same errors."""
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
    able = [name for name in _TARGETS if name != "coreml" or coreml_problem() is None]
    here = [name for name in able if _graph(bundle, name, precision) is not None]
    engine = _ON_DEVICES.get(engine, engine)
    if engine != "auto":
        graph = bundle.graph(_TARGETS[engine], precision)
        if engine not in able:
            others = f"{', '.join(here)} can run this bundle here" if here else "export it for onnx too"
            raise ConfigError(f"{coreml_problem()}; {others}")
        return graph
    for name in here:
        if find_spec(_PACKAGES[name]) is not None:
            return bundle.graph(_TARGETS[name], precision)
    raise _nothing_runs(bundle, here, precision)


def open_graph(bundle: Bundle, graph: Graph, threads: int | None = None, engine: str = "auto") -> Engine:
    """Return the engine of one graph of a bundle, see `open_engine`.

    Args:
        bundle: An opened bundle.
        graph: One of its graphs.
        threads: Threads that one run uses.
        engine: Names the device of an ONNX graph, as `open_engine` takes it.

    Raises:
        ConfigError: ``threads`` is below 1 or cannot be chosen, or this system cannot run the graph or the device.
        MissingExtraError: The engine is not installed.
        BundleError: The bundle has no such graph, the graph is of a target without an engine, or cannot be loaded.
    """
    device = engine.partition(":")[2]
    if device and graph.target != "onnx":
        raise ConfigError(
            f"engine is {engine}, which runs ONNX graphs, and {graph.file} is {graph.target}; leave it out"
        )
    match graph.target:
        case "onnx":
            return OnnxRuntimeEngine(
                bundle.read(graph.file),
                input=graph.inputs,
                output=graph.output,
                batch=graph.batch,
                threads=threads,
                device=device or "cpu",
            )
        case "tflite":
            return LiteRTEngine(
                bundle.read(graph.file), input=graph.inputs, output=graph.output, batch=graph.batch, threads=threads
            )
        case "executorch":
            return ExecuTorchEngine(bundle.read(graph.file), batch=graph.batch, threads=threads)
        case "coreml":
            if threads is not None:
                raise ConfigError(f"threads is {threads}, but Core ML chooses its own; leave threads out")
            return _open_package(bundle, graph)
    raise BundleError(f"no engine runs {graph.target} graphs; this release runs {', '.join(_TARGETS.values())}")


def engines_here() -> dict[str, str]:
    """Engines that this machine can run: target of the graphs, name of the engine."""
    return {
        target: name
        for name, target in _TARGETS.items()
        if find_spec(_PACKAGES[name]) is not None and (name != "coreml" or coreml_problem() is None)
    }


def _graph(bundle: Bundle, engine: str, precision: str | None) -> Graph | None:
    """The graph that an engine would run, or None."""
    fitting = (
        graph
        for graph in bundle.manifest.graphs
        if graph.target == _TARGETS[engine] and precision in (None, graph.precision)
    )
    return next(fitting, None)


def _nothing_runs(bundle: Bundle, here: list[str], precision: str | None) -> Exception:
    """The error for a bundle with graphs that no installed engine runs: what it has, and what would help."""
    listed = ", ".join(f"{graph.target} {graph.precision}" for graph in bundle.manifest.graphs)
    if not here:
        wanted = f" of precision {precision}" if precision else ""
        return BundleError(
            f"{bundle.path} has the graphs {listed}; expected one{wanted} that an engine runs on this system; export "
            f"it for onnx too" + ("" if precision is None else ", or ask for another precision")
        )
    # Its usual sentence names one package, where any of several would do.
    error = MissingExtraError(_PACKAGES[here[0]], here[0])
    commands = " or ".join(install_command(name) for name in here)
    error.args = (f"no installed engine runs a graph of {bundle.path}, which has {listed}; run: {commands}",)
    return error


def _open_package(bundle: Bundle, graph: Graph) -> CoreMLEngine:
    """A Core ML engine on a private copy of its verified files, which goes when the engine does."""
    contents = bundle.graph_files(graph)
    folder = Path(tempfile.mkdtemp(prefix="compat-sdk-"))  # readable by this user alone
    try:
        package = folder / "model.mlpackage"  # coremltools goes by the suffix
        for name, data in contents.items():
            file = package / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        engine = CoreMLEngine(package, input=graph.inputs, output=graph.output, batch=graph.batch)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(engine, shutil.rmtree, folder, ignore_errors=True)
    return engine
