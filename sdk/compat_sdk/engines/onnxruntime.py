"""ONNX graphs, run by onnxruntime on the CPU, or on a device that is asked for."""

from __future__ import annotations

import os
import sys
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
from compat_sdk.engines.providers import provider_of, require_started
from compat_sdk.errors import BundleError, CompatError, MissingExtraError

# Nothing can be stored under a device, so a graph that points at weights outside itself finds none there.
_NO_FOLDER = os.devnull + "/none"


class OnnxRuntimeEngine:
    """An ONNX graph run by onnxruntime.

    A row does not depend on the other rows of its batch, but its last bits may depend on how many there are:
    onnxruntime picks kernels by shape. Differences of about 1e-7 between batch sizes are rounding. The same
    batch with the same number of threads gives the same bits, from however many threads it is called.

    Args:
        graph: Serialised model, weights included. It is parsed by native code: verify its digest first.
        input: Name of its input, or the names of several in the order in which `run` takes them.
        output: Name of its output.
        batch: The one number of samples that the graph takes; None for what the graph itself says.
        threads: Threads that one run uses; None leaves it to onnxruntime (one per core).
        device: ``"cpu"``, ``"cuda"`` or ``"coreml"``; nodes that a device cannot run are left to the CPU. Another than
            the CPU is part of ``name``, and is for graphs that passed a self-test on it.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BundleError: The graph cannot be loaded, keeps weights in other files, or has no such input or output.
        ConfigError: ``threads`` is below 1, or onnxruntime has no such device or cannot start it.
        CompatError: This process loaded usearch first, after which onnxruntime would kill it.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        input: str | Sequence[str] = "image",
        output: str = "embedding",
        batch: int | None = None,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        onnxruntime = import_onnxruntime()
        check_threads(threads)
        provider = provider_of(onnxruntime, device)
        self.name = "onnxruntime" if device == "cpu" else f"onnxruntime:{device}"
        # The first field of every ONNX model is its version, a varint with field number 1.
        if graph[:1] != b"\x08":
            raise not_loadable(self.name, f"it starts with {graph[:8]!r}, an ONNX file with the byte 8")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors come as exceptions, warnings are for whoever exported the graph
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Given bytes, onnxruntime would look for outside weights in the working directory.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
        try:
            # Without enable_fallback=0, what fails on a device would be tried again on the CPU, in silence.
            self._session: Any = onnxruntime.InferenceSession(
                graph, options, [(provider.name, dict(provider.options))], enable_fallback=0
            )
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise not_loadable(self.name, error) from error
        require_started(self._session, device)
        _require_port("output", output, self._session.get_outputs())
        self._inputs = [_input(name, self._session.get_inputs()) for name in names_of(input)]
        check_all_named([port.name for port in self._session.get_inputs()], names_of(input))
        self._outputs = [output]
        self._batch = fixed_batch(batch, self._inputs)

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 ``[n, dim]`` for one float32 ``[n, *shape]`` per input, n at least 1.

        Raises:
            BundleError: The graph does not take these shapes, or fails on them.
        """
        return run_in_blocks(self._run, checked(self.name, self._inputs, inputs), batch=self._batch)

    def _run(self, arrays: Arrays) -> NDArray[np.float32]:
        feed = {one.name: array for one, array in zip(self._inputs, arrays, strict=True)}
        try:
            embeddings: NDArray[np.float32] = self._session.run(self._outputs, feed)[0]
        except Exception as error:  # as above
            raise failed(self.name, arrays, error) from error
        return embeddings


def import_onnxruntime() -> Any:
    """Return the module onnxruntime, unless importing it would kill the process: see `compat_sdk.index.approximate`.

    Whoever imports a part of onnxruntime calls this first.

    Raises:
        CompatError: This process loaded usearch first.
        MissingExtraError: onnxruntime is not installed.
    """
    if sys.platform == "linux" and "usearch" in sys.modules and "onnxruntime" not in sys.modules:
        raise CompatError(
            "this process imported usearch before onnxruntime, and loading onnxruntime now would kill it (signal 11); "
            "import onnxruntime, or open the bundle, before usearch is imported"
        )
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime") from error
    return onnxruntime


def _input(name: str, ports: list[Any]) -> Input:
    _require_port("input", name, ports)
    shape = next(port.shape for port in ports if port.name == name)
    axes = [axis if isinstance(axis, int) else None for axis in shape]  # a free axis is a name or None
    return Input(name, tuple(axes[1:]), axes[0] if axes else None)


def _require_port(kind: str, name: str, ports: list[Any]) -> None:
    found = {port.name: port.type for port in ports}
    if found.get(name) != "tensor(float)":
        raise BundleError(f"the graph has the {kind}s {found}; expected a tensor(float) named {name!r}")
