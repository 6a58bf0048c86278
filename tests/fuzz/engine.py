"""Mutants given to a reader one after the other, and what became of each."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from compat_sdk.errors import CompatError
from compat_sdk.shown import escaped
from tests.fuzz.mutate import mutant
from tests.fuzz.reader import LONGEST_MESSAGE, Case, Reader

_HANGS_AFTER_S = 20
_MOST_KEPT = 1000
_OURS = tuple(f"/{name}/" for name in ("compat_sdk", "compat_train", "compat_cli"))


class _Hang(BaseException):
    """A reader did not return."""


@dataclass
class Tally:
    """How many mutants were read, how many refused, and what else happened, with the files that show it."""

    read: int = 0
    refused: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def mutants(self) -> int:
        """All of them."""
        return self.read + self.refused + sum(self.faults.values())


class Fuzz:
    """A reader with copies of its cases.

    Args:
        reader: What is tried.
        work: Folder for the copies.
        findings: Folder for the files that show a fault; None keeps none.
        guided: Keep each mutant that reaches a line of ours that none before it reached, and mutate it further.
    """

    def __init__(self, reader: Reader, work: Path, *, findings: Path | None = None, guided: bool = False) -> None:
        self._reader, self._findings, self._guided = reader, findings, guided
        self._lines: set[tuple[CodeType, int]] = set()
        self._pool: list[tuple[Path, str, bytes]] = []
        self._expected: dict[Path, object] = {}
        for number, case in enumerate(reader.cases):
            folder = work / reader.name / str(number)
            shutil.copytree(case.folder, folder, ignore=_unused(case))
            self._pool.append((folder, case.target, (folder / case.target).read_bytes()))
            self._expected[folder] = reader.read(folder, case.target)

    def try_one(self, draw: random.Random, tally: Tally) -> None:
        """Make one mutant, read it, and judge what happened."""
        folder, target, data = draw.choice(self._pool)
        forged = self._reader.forge is not None and draw.random() < 0.5
        if forged:
            assert self._reader.forge is not None
            contents = self._reader.forge(folder, target, draw)
        else:
            others = [other for _, _, other in self._pool]
            contents = {target: mutant(data, others, self._reader.words or (b"\0",), draw)}
        before = {name: (folder / name).read_bytes() for name in contents}
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        try:
            fault = self._judge(folder, target, tally, must_equal=self._reader.sealed and not forged)
            if fault is not None:
                tally.faults[fault] += 1
                if self._findings is not None and tally.faults[fault] == 1:
                    _keep(self._findings / f"{self._reader.name}-{tally.mutants}", fault, contents)
        finally:
            for name, content in before.items():
                (folder / name).write_bytes(content)

    def _judge(self, folder: Path, target: str, tally: Tally, *, must_equal: bool) -> str | None:
        found: object = None
        new_lines = False
        try:
            with alarm(), _lines_of_ours(self._lines, self._guided) as reached:
                found = self._reader.read(folder, target)
        except CompatError as error:
            fault = _message_fault(error, folder)
            tally.refused += fault is None
        except _Hang:
            fault = f"hang of {_HANGS_AFTER_S} s"
        except (Exception, SystemExit) as error:
            fault = f"{type(error).__name__} at {_place(error)}: {str(error)[:100]!r}"
        else:
            fault = "another answer than the file's" if must_equal and found != self._expected[folder] else None
            tally.read += fault is None
        if fault is None and self._guided and reached() and len(self._pool) < _MOST_KEPT:
            new_lines = True
        if new_lines:
            self._pool.append((folder, target, (folder / target).read_bytes()))
        return fault


@contextmanager
def alarm(seconds: float = _HANGS_AFTER_S) -> Iterator[None]:
    """Interrupt what does not return; only Python code and system calls hear it."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _lines_of_ours(known: set[tuple[CodeType, int]], on: bool) -> Iterator[Callable[[], bool]]:
    """Collect in ``known`` the lines of our packages that are run; yields what says whether there were new ones."""
    before = len(known)

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        known.add((frame.f_code, frame.f_lineno))
        return local

    def entered(frame: FrameType, event: str, arg: Any) -> Any:
        return local if any(part in frame.f_code.co_filename for part in _OURS) else None

    if on:
        sys.settrace(entered)
    try:
        yield lambda: len(known) > before
    finally:
        if on:
            sys.settrace(None)


def _message_fault(error: CompatError, folder: Path) -> str | None:
    """What is wrong with a message, as a command shows it: it is short, wherever the file lies."""
    said = escaped(str(error)).replace(str(folder), "CASE")
    if len(said) > LONGEST_MESSAGE:
        return f"{type(error).__name__} of more than {LONGEST_MESSAGE} characters at {_place(error)}"
    return None


def _place(error: BaseException) -> str:
    """Our innermost line that the error passed."""
    found, step = "?", error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if any(part in name for part in _OURS):
            found = f"{name.rpartition('/compat_')[2]}:{step.tb_lineno}"
        step = step.tb_next
    return found


def _unused(case: Case) -> Callable[[str, list[str]], list[str]]:
    """What need not be copied: the neighbours of a case whose folder holds much else."""

    def ignore(folder: str, names: list[str]) -> list[str]:
        top = Path(folder) == case.folder
        alone = case.folder.name == "0.7" or (top and case.target.endswith(".zip"))
        return [name for name in names if alone and name != case.target]

    return ignore


def _keep(folder: Path, fault: str, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "fault.json").write_text(json.dumps(fault))
