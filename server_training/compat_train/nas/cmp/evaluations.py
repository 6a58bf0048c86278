"""Scores of architectures: measured once, by worker processes if wanted, and remembered on disk.

A worker that dies takes the whole pool of `concurrent.futures` with it and does not say which member it was working on.
So no more members are handed out than there are workers; those in flight at a death are run again one at a time, each
by a worker that has shown to be alive, and one that kills its worker alone is recorded as failed.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compat_sdk.errors import ConfigError, CorruptFileError, TrainingError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.documents import parse_json
from compat_sdk.files.plain import open_to_append, read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.seal import sealed, unsealed
from compat_sdk.workers import Workers
from compat_train.config.settings import changed_settings
from compat_train.models.search_space import Member
from compat_train.runs.saving import saving

Need = Literal["own", "across", "both"]
"""Which scores are wanted."""

_FORMAT, _VERSION = "compat-sdk-evaluations", 2


@dataclass(frozen=True)
class Score:
    """How good a candidate is on the validation split.

    Attributes:
        own: M(q,q), accuracy against a gallery that the candidate embedded itself, in [0, 1]; None: not measured.
        across: M(q,g), accuracy against the gallery model's embeddings, in [0, 1]; None: not measured.
        error: Why something that was wanted could not be measured; None when nothing failed.
    """

    own: float | None = None
    across: float | None = None
    error: str | None = None

    def has(self, need: Need) -> bool:
        """Whether everything wanted was measured."""
        return (need == "across" or self.own is not None) and (need == "own" or self.across is not None)


Measure = Callable[[Member, Need], Score]
"""Measures one member; the scores depend on the member only."""

_Task = tuple[Member, Need]


class Evaluations:
    """A memo of scores by architecture name, in a file with one JSON object a line.

    The first line says what decides the scores; each later line is one member's score, in the order in which they came,
    and of two lines on one member the later counts. A line that a kill cut off is dropped. Each line is sealed with its
    own digest; up to 0.7, in version 1, none was.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], make: Callable[[], Measure], *, workers: int = 0
    ) -> None:
        """Reads what was measured before, or starts a new file.

        Args:
            path: The file; only one process may use it at a time.
            settings: What decides the scores, as JSON values: digests of weights and images, and the like.
            make: Prepares the measurement. Called in this process once at most, when something is to be measured; with
                workers it is pickled and called once in each.
            workers: Processes that measure; 0: this process.

        Raises:
            ConfigError: ``workers`` is negative.
            TrainingError: The file was written with other settings.
            CorruptFileError: The file is damaged beyond a last line that was cut off.
        """
        if workers < 0:
            raise ConfigError(f"workers is {workers}; expected 0 for this process, or a number of processes")
        self._make, self._workers = make, workers
        self._measure: Measure | None = None
        self._pool: Workers | None = None
        self._scores = _open(path, settings)
        self._path = path
        with saving(path):
            self._file = open_to_append(path)

    def scores(self, members: Sequence[Member], need: Need) -> list[Score]:
        """Scores of members in their order; what is not known yet is measured and recorded.

        A number that is missing is measured alone. A failed member is not measured again: its error stands for
        whatever it lacks.

        Raises:
            TrainingError: Workers cannot be started, or the disk is full. Without workers, whatever ``make`` raises.
        """
        tasks: dict[str, _Task] = {}
        for member in members:
            known = self._scores.get(member.name, Score())
            if not known.has(need) and known.error is None:
                only: Need = "own" if known.own is None else "across"
                tasks[member.name] = (member, only if need == "both" and known != Score() else need)
        try:
            if tasks and self._workers:
                self._in_workers(deque(tasks.values()))
            elif tasks:
                self._measure = self._measure or self._make()
                for member, missing in tasks.values():
                    self._record(member, _score(self._measure, member, missing))
        except BaseException:
            self._stop(now=True)
            raise
        found = [self._scores[member.name] for member in members]
        # An error in what is not wanted here is no error: the answer must not depend on what else was asked for before.
        return [Score(score.own, score.across) if score.has(need) else score for score in found]

    def close(self) -> None:
        """Ends the workers and closes the file."""
        self._stop(now=False)
        self._file.close()

    def __enter__(self) -> Evaluations:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _record(self, member: Member, new: Score) -> None:
        known = self._scores.get(member.name, Score())
        own = new.own if known.own is None else known.own
        across = new.across if known.across is None else known.across
        with saving(self._path):
            self._file.write(_line({"arch": member.name, "own": own, "across": across, "error": new.error}))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._scores[member.name] = Score(own, across, new.error)

    def _in_workers(self, waiting: deque[_Task]) -> None:
        while waiting:
            if lost := self._until_a_worker_dies(waiting):
                self._stop(now=True)
                for task in lost:
                    self._record(task[0], self._alone(task))
                self._stop(now=False)

    def _until_a_worker_dies(self, waiting: deque[_Task]) -> list[_Task]:
        """Takes tasks until none is left or a worker dies, and returns those without a score that were in flight."""
        pool = self._pool = self._pool or Workers(self._workers, _prepare_worker, self._make)
        running: dict[Future[Score], _Task] = {}
        lost: list[_Task] = []
        while running or (waiting and not lost):
            while waiting and not lost and len(running) < self._workers:
                task = waiting.popleft()
                try:
                    running[pool.submit(_work, task)] = task
                except BrokenProcessPool:
                    lost.append(task)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    self._record(task[0], future.result())
                except BrokenProcessPool:
                    lost.append(task)
        return lost

    def _alone(self, task: _Task) -> Score:
        """The score of a member that was in flight when a worker died."""
        pool = self._pool = self._pool or Workers(1, _prepare_worker, self._make)
        try:
            pool.submit(_work, None).result()  # shows that a worker is alive
        except BrokenProcessPool as error:
            raise TrainingError(
                "worker processes die before they measure anything: memory is short, or they were started by a script "
                "without `if __name__ == '__main__':`; with workers 0 the failure shows in this process"
            ) from error
        try:
            return pool.submit(_work, task).result()
        except BrokenProcessPool:
            self._stop(now=True)
            return Score(error="worker process died")

    def _stop(self, *, now: bool) -> None:
        if self._pool is not None:
            self._pool.stop(now=now)
            self._pool = None


_in_worker: Measure | str = "not a worker process"


def _prepare_worker(make: Callable[[], Measure]) -> None:
    global _in_worker
    try:
        _in_worker = make()
    except Exception as error:
        _in_worker = f"{type(error).__name__}: {error}"


def _work(task: _Task | None) -> Score:
    if isinstance(_in_worker, str):
        # As text: not every exception survives the way back.
        raise TrainingError(f"a worker process cannot prepare the evaluation of candidates: {_in_worker}")
    return Score() if task is None else _score(_in_worker, *task)


def _score(measure: Measure, member: Member, need: Need) -> Score:
    """What is measured, checked; an exception becomes the score's error."""
    try:
        found = measure(member, need)
        own, across = (None if value is None else float(value) for value in (found.own, found.across))
        known = [value for value in (own, across) if value is not None]
        if (found.error is None and not found.has(need)) or not all(0 <= value <= 1 for value in known):
            raise ValueError(f"the evaluation returned {found}; expected {need}, in [0, 1]")
    except Exception as error:
        return Score(error=f"{type(error).__name__}: {error}")
    return Score(own, across, found.error)


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(sealed(value), allow_nan=False) + "\n").encode()


def _open(path: Path, settings: Mapping[str, Any]) -> dict[str, Score]:
    """Reads a file of scores and cuts off an unfinished last line; starts the file where there is none."""
    data = _content(path)
    if not data:
        make_folder(path.parent)
        write_atomic(path, _line({"format": _FORMAT, "version": _VERSION, "settings": settings}))
        return {}
    whole = data[: data.rfind(b"\n") + 1]
    header, *lines = whole.split(b"\n")
    is_sealed = _check_header(path, header, settings)
    scores = dict(_parsed(path, number, line, is_sealed) for number, line in enumerate(lines[:-1], start=2))
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return scores


def _content(path: Path) -> bytes:
    try:
        return read_plain(path) if os.path.lexists(path) else b""
    except OSError as error:
        raise_if_refused(path, error)
        raise CorruptFileError(f"cannot read {path}: {error.strerror or error}; move it away") from error


def _check_header(path: Path, line: bytes, settings: Mapping[str, Any]) -> bool:
    """Whether every line must be sealed: from version 2 on."""
    header: dict[str, Any] = parse_json(line, f"line 1 of {path}")
    saved, version = header.get("settings"), header.get("version")
    if header.get("format") != _FORMAT or version not in (1, _VERSION) or not isinstance(saved, dict):
        raise CorruptFileError(f"{path} has no header of {_FORMAT} version {_VERSION}; move it away to measure again")
    unsealed(header, f"line 1 of {path}", required=version == _VERSION)
    if changes := changed_settings(saved, settings):
        raise TrainingError(
            f"{path} holds scores that were measured with other settings: {changes}; use another folder, or move the "
            f"file away to measure again"
        )
    return bool(version == _VERSION)


def _parsed(path: Path, number: int, line: bytes, is_sealed: bool) -> tuple[str, Score]:
    where = f"line {number} of {path}"
    found: dict[str, Any] = unsealed(parse_json(line, where), where, required=is_sealed)
    name, own, across, error = (found.pop(key, None) for key in ("arch", "own", "across", "error"))
    numbers = all(value is None or (type(value) in (int, float) and 0 <= value <= 1) for value in (own, across))
    texts = isinstance(name, str) and (error is None or isinstance(error, str))
    if found or not numbers or not texts:
        raise CorruptFileError(f"{where} is not a score; restore the file, or move it away to measure again")
    return name, Score(own, across, error)
