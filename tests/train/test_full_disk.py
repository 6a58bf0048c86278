"""A disk that is full while a training or a search writes: one error that says where, and nothing lost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from compat_sdk.errors import TrainingError
from compat_sdk.files.atomic import write_atomic
from compat_train.models.global_names import global_named
from compat_train.models.search_space import Member, space_named
from compat_train.nas.cmp.evaluations import Evaluations, Score
from compat_train.nas.global_nas.log import CandidateLog
from compat_train.nas.global_nas.search import Step
from compat_train.runs.log import TrainingLog, read_log
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import write_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
WEIGHTS = {"a": torch.ones(2)}


@contextmanager
def full() -> Iterator[None]:
    """No file may grow, as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def log_line(log: TrainingLog) -> None:
    with log:
        log.write(2, 1, 0.1, {"loss": 1.0})


def log_flushed(log: TrainingLog) -> None:
    with log:
        log.write(2, 1, 0.1, {"loss": 1.0})
        log.flush()


def evaluated(path: Path) -> None:
    member = Member(space_named("shuffle,stem=4,channels=8-16-24-32,repeats=1-1-2-1,last=16"), (0,) * 5, (4,) * 5)
    with Evaluations(path, {}, lambda: lambda member, need: Score(0.5, 0.5)) as scores, full():
        scores.scores([member], "both")


def searched(path: Path) -> None:
    log = CandidateLog(path, {})
    step = Step("depth", global_named("global:plain:4:c3s3c3"), 1, 0.5, "first")
    with full():
        log.record(step)


@pytest.mark.parametrize("write", [log_line, log_flushed])
def test_a_log_line_that_finds_no_room_is_told_with_its_file(
    write: Callable[[TrainingLog], None], tmp_path: Path
) -> None:
    with TrainingLog(tmp_path, 0) as log:
        log.write(1, 1, 0.1, {"loss": 2.0})
    log = TrainingLog(tmp_path, 1)
    with full(), pytest.raises(TrainingError, match=r"cannot write to .*log\.jsonl: File too large; what was saved"):
        write(log)
    assert [row["step"] for row in read_log(tmp_path)] == [1]


def test_a_log_is_there_whole_whenever_a_run_goes_on(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as log:
        for step in (1, 2, 3):
            log.write(step, 1, 0.1, {"loss": 2.0})
    with full(), pytest.raises(TrainingError, match=r"cannot write to .*log\.jsonl"):
        TrainingLog(tmp_path, 2)
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize(
    "write",
    [
        lambda place: ResumePoints(place).save(3, WEIGHTS, {}),
        lambda place: write_run(place, {"role": "gallery"}, WEIGHTS),
    ],
)
def test_weights_that_find_no_room_are_told_with_their_folder(write: Callable[[Path], None], tmp_path: Path) -> None:
    with full(), pytest.raises(TrainingError, match=f"cannot write to {tmp_path}.*: File too large; what was saved"):
        write(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("search", [evaluated, searched])
def test_a_score_that_finds_no_room_is_told_with_its_file(search: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot write to .*scores\.jsonl: File too large; what was saved"):
        search(tmp_path / "scores.jsonl")


def test_a_write_that_finds_no_room_names_its_file(tmp_path: Path) -> None:
    with full(), pytest.raises(OSError, match="File too large") as refused:
        write_atomic(tmp_path / "f", b"content")
    assert refused.value.filename == str(tmp_path / "f")


@pytest.mark.parametrize("line", [b"3", b"[]", b'{"step": "x"}', b'{"a": 1}', b"\xff", b"[" * 100_000])
def test_a_line_that_is_no_step_ends_the_log(line: bytes, tmp_path: Path) -> None:
    first, last = b'{"step": 1, "epoch": 0}', b'{"step": 2, "epoch": 0}'
    (tmp_path / "log.jsonl").write_bytes(first + b"\n" + line + b"\n" + last + b"\n")
    assert read_log(tmp_path) == [{"step": 1, "epoch": 0}]
