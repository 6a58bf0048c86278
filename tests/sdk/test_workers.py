"""Worker processes: prepared before they work, left alone by interrupts, gone when they must be."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from compat_sdk.workers import Workers, usable_cores

_prepared = ""


def prepare(word: str) -> None:
    global _prepared
    _prepared = word


def prepared() -> tuple[str, bool]:
    return _prepared, signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def sleep_after(mark: str) -> None:
    Path(mark).touch()
    time.sleep(600)


def test_a_worker_is_prepared_first_and_leaves_interrupts_to_its_starter() -> None:
    with Workers(1, prepare, "ready") as workers:
        assert workers.submit(prepared).result() == ("ready", True)


def test_workers_that_are_stopped_now_do_not_finish_what_they_do(tmp_path: Path) -> None:
    workers = Workers(1)
    running = workers.submit(sleep_after, str(tmp_path / "begun"))
    while not (tmp_path / "begun").exists():
        assert not running.done()
        time.sleep(0.01)
    workers.stop(now=True)
    with pytest.raises(BrokenProcessPool):
        running.result()


def test_there_is_a_core_to_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
