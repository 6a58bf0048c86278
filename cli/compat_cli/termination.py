"""What a signal that asks a process to end does to a command: it leaves as it does on an error, and tidies up.

`docker stop`, a job scheduler and a machine that shuts down send SIGTERM; a terminal that is closed sends SIGHUP. By
default either ends Python on the spot: temporary files stay, and nothing is said.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = ("SIGTERM", "SIGHUP")
EXIT_CODES = {128 + int(getattr(signal, name)) for name in _SIGNALS if hasattr(signal, name)}
"""Exit codes of a command that was asked to end, as shells count: 143 and 129."""


@contextlib.contextmanager
def leaving_when_told() -> Iterator[None]:
    """Turn such a signal into a SystemExit with its exit code; a second one ends the process on the spot.

    A signal that is ignored, as under nohup, stays ignored, and a handler of the program around this stays.
    """
    if threading.current_thread() is not threading.main_thread():  # the only one that may set handlers
        yield
        return
    found = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    taken = [number for number in found if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    sys.exit(128 + number)
