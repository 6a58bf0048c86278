"""Which processes of a training still live, and what each was last at: they tell each other in a shared store."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

_BEAT_S = 0.5
_GRACE_S = 10.0


class Store(Protocol):
    """The part of torch's key-value stores that is used here; each call answers at once."""

    def set(self, key: str, value: str, /) -> None:
        """Sets a key."""

    def get(self, key: str, /) -> bytes:
        """The value of a key that is set."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all of these keys are set."""


class Heartbeat:
    """Tells the others twice a second that this process lives, from a thread of its own."""

    def __init__(
        self,
        store: Store,
        rank: int,
        count: int,
        timeout: float,
        *,
        beat: float = _BEAT_S,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Begins to beat.

        Args:
            store: What all processes see; only this object's thread and its caller use it.
            rank: Of this process.
            count: How many processes there are.
            timeout: Seconds that a step may take. A process that waits much longer on a GPU for another cannot be
                woken; its thread then says who is missing, and ends it.
            beat: Seconds between two beats.
            end: Ends the process.
        """
        self._store, self._rank, self._count, self._timeout, self._beat, self._end = (
            store, rank, count, timeout, beat, end,
        )  # fmt: skip
        self._step: int | None = None
        self._moved = time.monotonic()
        self._stop = threading.Event()
        self._beats = 0
        self._send()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def at(self, step: int | None) -> None:
        """Notes the step that this process begins; None where it is at none, and so may take its time."""
        self._step, self._moved = step, time.monotonic()

    def close(self) -> None:
        """Beats no more."""
        self._stop.set()
        self._thread.join()

    def tell_failure(self, reason: str) -> None:
        """Leaves word of why this process gives up."""
        self._store.set(f"failed/{self._rank}", reason)

    def absent(self) -> list[str]:
        """Who does not go on, a phrase for each; empty where all do. It takes the time of a few beats."""
        try:
            if failed := self._failed():
                return failed
            before = self._seen()
            time.sleep(3 * self._beat)
            if failed := self._failed():
                return failed
            after = self._seen()
        except RuntimeError:  # of the store
            return ["rank 0, or the launcher that keeps the processes' list, is gone"]
        found = []
        for rank, now in after.items():
            where = "" if now.get("step") is None else f" at step {now['step'] + 1}"
            name = f"rank {rank} (process {now.get('pid')} on {now.get('host')})"
            if now == before[rank]:
                found.append(f"{name} was killed or has stopped{where}")
            elif self._step is not None and (now.get("step") is None or now["step"] < self._step):
                found.append(f"{name} hangs{where or ' before its first step'}")
        return found

    def _failed(self) -> list[str]:
        keys = [(rank, f"failed/{rank}") for rank in self._others]
        return [
            f"rank {rank} gave up: {self._store.get(key).decode(errors='replace')}"
            for rank, key in keys
            if self._store.check([key])
        ]

    def _seen(self) -> dict[int, dict[str, Any]]:
        keys = {rank: f"beat/{rank}" for rank in self._others}
        return {
            rank: json.loads(self._store.get(key)) if self._store.check([key]) else {} for rank, key in keys.items()
        }

    @property
    def _others(self) -> list[int]:
        return [rank for rank in range(self._count) if rank != self._rank]

    def _send(self) -> None:
        self._beats += 1
        said = {"beat": self._beats, "step": self._step, "pid": os.getpid(), "host": socket.gethostname()}
        self._store.set(f"beat/{self._rank}", json.dumps(said))

    def _run(self) -> None:
        while not self._stop.wait(self._beat):
            try:
                self._send()
            except RuntimeError:  # the store is gone; whoever waits for another process finds out
                pass
            if self._step is not None and time.monotonic() - self._moved > self._timeout + _GRACE_S:
                if not (absent := self.absent()):  # this process is the slow one
                    continue
                sys.stderr.write(f"error: no step in {self._timeout + _GRACE_S:g} seconds: {'; '.join(absent)}\n")
                sys.stderr.flush()
                self._end(1)
                return
