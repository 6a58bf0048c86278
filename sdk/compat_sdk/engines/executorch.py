"""ExecuTorch programs (``.pte``), run by executorch's Python runtime on the CPU.

This is the runtime for checking a program on a development machine; a phone runs it without Python. It takes and
gives torch tensors only and imports torch itself, so this one module of the runtime does too, once it is used.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.engines.batches import (
    Arrays,
    Input,
    check_threads,
    checked,
    failed,
    fixed_batch,
    not_loadable,
    run_in_blocks,
)
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError

_METHOD = "forward"
_NOTE = re.compile(r"\[\w+\.cpp:\d+\] ")
_FLOAT = 6  # executorch's ScalarType::Float


class ExecuTorchEngine:
    """The method ``forward`` of an ExecuTorch program, on the CPU.

    A method keeps one set of tensors, so calls from several threads wait for each other. Its inputs and outputs
    have no names, only an order, and the first output is the embedding.

    executorch has one pool of threads for the whole process, and loaded programs point into it: its size can be
    chosen only while no other engine of this kind is in use.

    Args:
        graph: Content of a ``.pte`` file. It is parsed by native code: verify its digest first.
        batch: The one number of samples that the program takes. A program does not say whether its batch is fixed;
            None stands for any number up to the one that its memory was planned for.
        threads: Threads that one run uses; None leaves it to executorch (one per core).

    Raises:
        MissingExtraError: executorch is not installed.
        BundleError: The program cannot be loaded, needs operators that this build lacks, or takes or gives other
            things than float tensors.
        ConfigError: ``threads`` is below 1, or differs from that of an engine in use.
    """

    name = "executorch"

    def __init__(self, graph: bytes, *, batch: int | None = None, threads: int | None = None) -> None:
        runtime, self._torch = _import_runtime()
        check_threads(threads)
        if problem := _problem(graph):
            raise not_loadable(self.name, problem)
        with _POOL, _quiet():
            _size_pool(threads)
            try:
                self._program = runtime.load_program(graph)  # the method points into it
                self._method: Any = self._program.load_method(_METHOD)
                meta = self._method.metadata
                found = [meta.input_tensor_meta(place) for place in range(meta.num_inputs())]
                outputs = [meta.output_tensor_meta(place) for place in range(meta.num_outputs())]
            except Exception as error:  # RuntimeError, KeyError without the method; more in other releases
                raise not_loadable(self.name, error) from error
            if not found or not outputs or any(info.dtype() != _FLOAT for info in (*found, outputs[0])):
                raise BundleError(f"the program is {meta}; expected float inputs and output; export the model again")
            _IN_USE.add(self)
        self._inputs = [Input(f"input {place}", tuple(info.sizes()[1:])) for place, info in enumerate(found)]
        planned = {int(info.sizes()[0]) for info in found}
        if len(planned) != 1 or (batch is not None and batch > min(planned)):
            raise BundleError(f"batch is {batch}, but the program is planned for {sorted(planned)}; export it again")
        self._batch, self._most = fixed_batch(batch, self._inputs), planned.pop()
        self._lock = threading.Lock()

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 ``[n, dim]`` for one float32 ``[n, *shape]`` per input, n at least 1.

        Raises:
            BundleError: The program does not take these shapes, or fails on them.
        """
        arrays = checked(self.name, self._inputs, inputs)
        return run_in_blocks(self._run, arrays, batch=self._batch, most=self._most)

    def _run(self, arrays: Arrays) -> NDArray[np.float32]:
        # torch warns about arrays that it may not write to; these are copied.
        tensors = [self._torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays]
        try:
            with self._lock:
                embeddings: NDArray[np.float32] = self._method.execute(tensors)[0].numpy()  # outputs are copies
        except Exception as error:  # as above
            raise failed(self.name, arrays, error) from error
        return embeddings


_POOL = threading.Lock()
_IN_USE: weakref.WeakSet[ExecuTorchEngine] = weakref.WeakSet()


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Without what its dependencies log as they load, of kernels for GPUs that are not here; errors still come."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without its notes of the processor and its threads, which come through Python's own standard error.

    Whatever else is written meanwhile is passed on, and everything where loading fails.
    """
    said, failed_here = io.StringIO(), True
    try:
        with contextlib.redirect_stderr(said):
            yield
        failed_here = False
    finally:
        lines = said.getvalue().splitlines(keepends=True)
        kept = "".join(line for line in lines if failed_here or not _NOTE.match(line))
        if kept and sys.stderr is not None:
            sys.stderr.write(kept)


def _import_runtime() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings(), _unlogged():
            warnings.simplefilter("ignore")  # that its interface is experimental, and its dependencies' own
            import torch
            from executorch.runtime import Runtime

            return Runtime.get(), torch
    except ModuleNotFoundError as error:
        raise MissingExtraError((error.name or "executorch").partition(".")[0], "executorch") from error


def _problem(graph: bytes) -> str | None:
    """What is wrong with the beginning of a program, or None; a file cut short is noticed here, not in its kernels."""
    if graph[4:8] != b"ET12":
        return f"bytes 4 to 8 are {graph[4:8]!r}, a .pte file has {b'ET12'!r} there"
    if graph[8:12] != b"eh00" or len(graph) < 40:
        return "its extended header is missing"
    # After the header's own length: size of the program, start of the segments, and their size where it is written.
    length = int.from_bytes(graph[12:16], "little")
    program, segments, size = (int.from_bytes(graph[at : at + 8], "little") for at in (16, 24, 32))
    expected = max(program, segments + (size if length >= 32 else 0))
    return None if len(graph) >= expected else f"it has {len(graph)} bytes, its header says {expected}"


def _size_pool(threads: int | None) -> None:
    from executorch.extension.pybindings import portable_lib

    found = portable_lib._threadpool_get_thread_count()
    if threads is None or threads == found:
        return
    if len(_IN_USE):
        raise ConfigError(
            f"threads is {threads}, but executorch runs with {found} in this process; close the other "
            f"engine first, or ask for the same number"
        )
    portable_lib._unsafe_reset_threadpool(threads)
