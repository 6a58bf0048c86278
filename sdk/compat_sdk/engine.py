"""Inference engines: images in a model's input form go in, embeddings come out.

Only what differs between engines is here. An `Engine` is anything with a ``name`` and a ``run``, so a test, or
an engine that this package does not know, is a small class given to ``Embedder.load(bundle, engine=...)``.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError

ENGINES = ("auto", "onnxruntime")

# Nothing can be stored under a device, so a graph that points at weights outside itself finds none there.
_NO_FOLDER = os.devnull + "/none"


class Engine(Protocol):
    """Turns images into embeddings. ``run`` may be called by several threads at once."""

    @property
    def name(self) -> str:
        """What to call the engine in a report."""

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 ``[n, dim]`` for float32 ``[n, 3, size, size]``, n at least 1."""


class OnnxRuntimeEngine:
    """An ONNX graph run by onnxruntime on the CPU.

    A row does not depend on the other rows of its batch, but its last bits may depend on how many there are:
    onnxruntime picks kernels by shape. Differences of about 1e-7 between batch sizes are rounding. The same
    batch with the same number of threads gives the same bits, from however many threads it is called.

    Args:
        graph: Serialised model, weights included. It is parsed by native code: verify its digest first.
        input: Name of its input.
        output: Name of its output.
        threads: Threads that one run uses; None leaves it to onnxruntime (one per core).

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BundleError: The graph cannot be loaded, keeps weights in other files, or has no such input or output.
        ConfigError: ``threads`` is below 1.
    """

    name = "onnxruntime"

    def __init__(
        self, graph: bytes, *, input: str = "image", output: str = "embedding", threads: int | None = None
    ) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingExtraError("onnxruntime", "onnxruntime") from error
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}; expected at least 1, or none for one per core")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors come as exceptions, warnings are for whoever exported the graph
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Given bytes, onnxruntime would look for outside weights in the working directory.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
        try:
            self._session: Any = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise BundleError(f"onnxruntime cannot load the graph: {error}; export the model again") from error
        _require_port("input", input, self._session.get_inputs())
        _require_port("output", output, self._session.get_outputs())
        self._input, self._outputs = input, [output]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 ``[n, dim]`` for float32 ``[n, 3, size, size]``.

        Raises:
            BundleError: The graph does not take this shape, or fails on it.
        """
        try:
            embeddings: NDArray[np.float32] = self._session.run(self._outputs, {self._input: images})[0]
        except Exception as error:
            raise BundleError(f"onnxruntime failed on input {list(images.shape)}: {error}") from error
        return embeddings


def open_engine(bundle: Bundle, engine: str = "auto", threads: int | None = None) -> Engine:
    """Return an engine that runs a bundle's graph, from bytes whose digest was checked.

    Args:
        bundle: An opened bundle.
        engine: ``"onnxruntime"``, or ``"auto"``: the first installed engine that a graph of the bundle fits.
        threads: Threads that one run uses; None leaves it to the engine.

    Raises:
        ConfigError: Unknown engine, or ``threads`` below 1.
        MissingExtraError: The engine is not installed.
        BundleError: The bundle has no graph for it, or the graph cannot be loaded.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
    graph = bundle.graph("onnx")
    return OnnxRuntimeEngine(bundle.read(graph.file), input=graph.input, output=graph.output, threads=threads)


def _require_port(kind: str, name: str, ports: list[Any]) -> None:
    found = {port.name: port.type for port in ports}
    if found.get(name) != "tensor(float)":
        raise BundleError(f"the graph has the {kind}s {found}; expected a tensor(float) named {name!r}")
