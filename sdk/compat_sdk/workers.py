"""How many cores there are, and worker processes that end with the process that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.connection import Connection

ResultT = TypeVar("ResultT")


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Worker processes that end with the process that started them, however that ends.

    They are started afresh, so what they run is a function of a module, and a script that uses them must be guarded
    by ``if __name__ == "__main__"``. An interrupt is left to the starting process. A worker that dies breaks the
    whole pool: `submit`, and every result that is still to come, raise `concurrent.futures.process.BrokenProcessPool`.
    """

    def __init__(self, count: int, prepare: Callable[..., None] | None = None, *arguments: Any) -> None:
        """Starts nothing yet.

        Args:
            count: Processes, at least 1.
            prepare: Called first in each process; it must not raise.
            arguments: What it is given.
        """
        # Imported here, because most who import this module only count cores.
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        context = get_context("spawn")
        # Nothing is ever sent: the workers see the other end close, by `stop` or because this process is gone.
        self._watched, self._held = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            count, context, initializer=_start, initargs=(self._watched, prepare, arguments)
        )

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Hand out one call.

        Raises:
            BrokenProcessPool: A worker has died.
        """
        return self._executor.submit(function, *arguments)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, *, now: bool = False) -> None:
        """End the workers once calls that were begun are done, or ``now``, whatever they are doing."""
        if now:
            self._held.close()
        self._executor.shutdown(cancel_futures=True)
        self._held.close()
        self._watched.close()


def _start(watched: Connection, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # The starting process decides what an interrupt means; Ctrl-C reaches all processes of a terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_starter, args=(watched,), daemon=True).start()
    if prepare is not None:
        prepare(*arguments)


def _exit_with_starter(watched: Connection) -> None:
    with suppress(EOFError, OSError):
        watched.recv_bytes()
    os._exit(1)
