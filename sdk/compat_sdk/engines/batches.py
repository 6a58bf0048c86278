"""What every engine does before and after its own run: check what comes in, and feed it in the graph's batches.

Native code is not asked whether an input fits: of a graph planned for 64 images ExecuTorch takes larger images too,
as long as their bytes have room, and LiteRT tries to resize whatever it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import BundleError, ConfigError

Arrays = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Input:
    """One input of a loaded graph.

    Attributes:
        name: Its name, or its position where the format has no names.
        shape: Shape of one sample, without the batch axis; None for an axis that the graph leaves free.
        batch: The one number of samples that the graph takes, or None for any.
    """

    name: str
    shape: tuple[int | None, ...]
    batch: int | None = None

    def takes(self, array: NDArray[np.float32]) -> bool:
        """Whether ``array`` is float32 ``[n, *shape]`` with n at least 1."""
        if array.dtype != np.float32 or array.ndim != len(self.shape) + 1 or len(array) == 0:
            return False
        return all(wanted in (None, found) for wanted, found in zip(self.shape, array.shape[1:], strict=True))

    def __str__(self) -> str:
        axes = ("n", *("any" if axis is None else str(axis) for axis in self.shape))
        return f"{self.name} float32 [{', '.join(axes)}]"


def names_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """The names of a graph's inputs, given one name or several."""
    return (value,) if isinstance(value, str) else tuple(value)


def fixed_batch(stated: int | None, inputs: Sequence[Input]) -> int | None:
    """The one number of samples that a graph takes, or None for any.

    Args:
        stated: What the bundle says, or None where it says nothing.
        inputs: What the graph says.

    Raises:
        BundleError: The two differ, or two inputs do.
    """
    found = {one.batch for one in inputs} - {None} | ({stated} - {None})
    if len(found) > 1:
        raise BundleError(
            f"batch is {stated or 'free'} in the manifest, but the graph takes {[one.batch for one in inputs]} samples "
            f"at its inputs {[one.name for one in inputs]}; export the model again"
        )
    return found.pop() if found else None


def checked(engine: str, inputs: Sequence[Input], arrays: Arrays) -> list[NDArray[np.float32]]:
    """The arrays, each in one piece, if a graph takes them.

    Args:
        engine: Name of the engine, for the message.
        inputs: What the graph takes, in order.
        arrays: What it is to be given, in order.

    Raises:
        BundleError: A number of arrays, type or shape that the graph does not take, or different lengths.
    """
    fits = len(arrays) == len(inputs) and all(one.takes(array) for one, array in zip(inputs, arrays, strict=True))
    if not fits or len({len(array) for array in arrays}) != 1:
        found = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
        raise BundleError(
            f"{engine} was given {found or 'nothing'}; this graph takes {', '.join(map(str, inputs))}, the same n of "
            f"at least 1 for each"
        )
    return [np.ascontiguousarray(array) for array in arrays]


def run_in_blocks(
    run: Callable[[Arrays], NDArray[np.float32]], arrays: Arrays, *, batch: int | None = None, most: int | None = None
) -> NDArray[np.float32]:
    """What ``run`` gives for all rows, called with as many rows at a time as it takes.

    Args:
        run: From arrays ``[m, ...]`` to float32 ``[m, dim]``.
        arrays: Arrays ``[n, ...]``, n at least 1.
        batch: The one m that ``run`` takes; the last block is filled up with its last row, and cut afterwards.
            None for any m.
        most: The largest m that ``run`` takes where ``batch`` is None; None for no bound.

    Returns:
        float32 ``[n, dim]``.
    """
    count, size = len(arrays[0]), batch or most
    if size is None or count == batch or (batch is None and count <= size):
        return run(arrays)
    results = []
    for start in range(0, count, size):
        block = [array[start : start + size] for array in arrays]
        rows = len(block[0])
        if batch is not None and rows < batch:
            block = [np.concatenate([part, np.repeat(part[-1:], batch - rows, axis=0)]) for part in block]
        results.append(run(block)[:rows])
    return np.concatenate(results)


def check_threads(threads: int | None) -> None:
    """Check a number of threads.

    Raises:
        ConfigError: It is below 1.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; expected at least 1, or none for the engine's own choice")


def check_all_named(found: Iterable[str], named: Sequence[str]) -> None:
    """Check that no input of a graph is left without a value.

    Raises:
        BundleError: The graph has an input that is not named.
    """
    if unfed := set(found) - set(named):
        raise BundleError(f"the graph has further inputs {sorted(unfed)}; name all of them")


def failed(engine: str, arrays: Arrays, error: Exception) -> BundleError:
    """The error for a graph that fails on what it was given."""
    return BundleError(f"{engine} failed on input {[list(array.shape) for array in arrays]}: {error}")


def not_loadable(engine: str, reason: object) -> BundleError:
    """The error for bytes that are no graph of this engine, or a damaged one."""
    return BundleError(f"{engine} cannot load the graph: {reason}; restore the bundle or export the model again")
