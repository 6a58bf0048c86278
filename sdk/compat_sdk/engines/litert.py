"""LiteRT graphs (``.tflite``), run by ai-edge-litert on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.engines.batches import (
    Arrays,
    Input,
    check_all_named,
    check_threads,
    checked,
    failed,
    fixed_batch,
    names_of,
    not_loadable,
    run_in_blocks,
)
from compat_sdk.errors import BundleError, MissingExtraError
from compat_sdk.workers import usable_cores


class LiteRTEngine:
    """A LiteRT graph run by ai-edge-litert on the CPU, by XNNPACK where it has the operator.

    An interpreter keeps one set of tensors, so it runs one batch at a time: calls from several threads wait for
    each other. One interpreter per thread would let them overlap, but each holds activations and its own repacked
    copy of the weights; on a device memory is scarcer, and ``threads`` uses the cores inside one run.

    Args:
        graph: Content of a ``.tflite`` file. It is parsed by native code: verify its digest first.
        input: Name of its input in the signature, or the names of several in the order in which `run` takes them.
        output: Name of its output in the signature.
        batch: The one number of samples that the graph takes; None for what the graph itself says.
        threads: Threads that one run uses; None takes one per usable core (LiteRT's own default is one in all).

    Raises:
        MissingExtraError: ai-edge-litert is not installed.
        BundleError: The graph cannot be loaded, has no such input or output, or one that is not float32.
        ConfigError: ``threads`` is below 1.
    """

    name = "litert"

    def __init__(
        self,
        graph: bytes,
        *,
        input: str | Sequence[str] = "image",
        output: str = "embedding",
        batch: int | None = None,
        threads: int | None = None,
    ) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError as error:
            raise MissingExtraError("ai-edge-litert", "litert") from error
        check_threads(threads)
        if graph[4:8] != b"TFL3":
            raise not_loadable(self.name, f"bytes 4 to 8 are {graph[4:8]!r}, a .tflite file has {b'TFL3'!r} there")
        try:
            interpreter = Interpreter(model_content=graph, num_threads=threads or usable_cores())
            interpreter.allocate_tensors()
            self._runner = _runner(interpreter)
            found, outputs = self._runner.get_input_details(), self._runner.get_output_details()
        except BundleError:
            raise
        except Exception as error:  # ValueError or RuntimeError, depending on which part of the file is damaged
            raise not_loadable(self.name, error) from error
        _require_float("output", (output,), outputs)
        _require_float("input", names_of(input), found)
        check_all_named(found, names_of(input))
        self._inputs = [_input(name, found[name]) for name in names_of(input)]
        self._output = output
        self._batch = fixed_batch(batch, self._inputs)
        self._lock = threading.Lock()

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 ``[n, dim]`` for one float32 ``[n, *shape]`` per input, n at least 1.

        Raises:
            BundleError: The graph does not take these shapes, or fails on them.
        """
        return run_in_blocks(self._run, checked(self.name, self._inputs, inputs), batch=self._batch)

    def _run(self, arrays: Arrays) -> NDArray[np.float32]:
        feed = {one.name: array for one, array in zip(self._inputs, arrays, strict=True)}
        try:
            with self._lock:
                embeddings: NDArray[np.float32] = self._runner(**feed)[self._output]  # a copy
        except Exception as error:  # as above
            raise failed(self.name, arrays, error) from error
        return embeddings


def _runner(interpreter: Any) -> Any:
    """The runner of the graph's one signature: only a signature says which tensor has which name."""
    signatures = list(interpreter.get_signature_list())
    if len(signatures) != 1:
        raise BundleError(f"the graph has the signatures {signatures}; expected one, as compat-sdk exports them")
    return interpreter.get_signature_runner(signatures[0])


def _require_float(kind: str, names: Sequence[str], found: dict[str, Any]) -> None:
    types = {name: np.dtype(details["dtype"]).name for name, details in found.items()}
    if any(types.get(name) != "float32" for name in names):
        raise BundleError(
            f"the graph has the {kind}s {types}; expected float32 {kind}s named {list(names)}; export it again, a "
            f"quantised graph too with float inputs and outputs"
        )


def _input(name: str, details: dict[str, Any]) -> Input:
    # shape holds what is allocated now; shape_signature has -1 for an axis that is free.
    axes = [int(axis) if axis >= 0 else None for axis in details["shape_signature"]]
    return Input(name, tuple(axes[1:]), axes[0] if axes else None)
