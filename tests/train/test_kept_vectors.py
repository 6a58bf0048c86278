"""Vectors that outlive the process block by block: a killed run goes on, and what is damaged is made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.errors import TrainingError
from compat_train.data import kept_vectors as module
from compat_train.data.kept_vectors import LOCK, kept_vectors
from compat_train.runs.run_files import alone

ROWS, DIM = 10, 3
WHOLE = np.arange(ROWS * DIM, dtype=np.float32).reshape(ROWS, DIM)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 4)


def computing(asked: list[int], until: int = ROWS) -> Callable[[int, int], NDArray[np.float32]]:
    """Gives rows of WHOLE and notes which were asked for; from row ``until`` on it is killed."""

    def compute(start: int, end: int) -> NDArray[np.float32]:
        if start >= until:
            raise KeyboardInterrupt
        asked.extend(range(start, end))
        return WHOLE[start:end]

    return compute


def test_a_killed_run_goes_on_at_the_block_that_it_was_at(tmp_path: Path) -> None:
    path, asked = tmp_path / "kept" / "a.vectors", list[int]()
    with pytest.raises(KeyboardInterrupt):
        kept_vectors(path, ROWS, DIM, computing(asked, until=8))
    assert asked == list(range(8))
    asked.clear()
    done: list[int] = []
    found = kept_vectors(path, ROWS, DIM, computing(asked), done.append)
    assert asked == [8, 9] and done == [10] and np.array_equal(found, WHOLE)
    again = kept_vectors(path, ROWS, DIM, computing(asked, until=0))
    assert np.array_equal(again, WHOLE) and not again.flags.writeable
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.json", "a.vectors", LOCK]


@pytest.mark.parametrize("byte", [0, 50, 119])
def test_a_changed_byte_costs_its_own_block_alone(tmp_path: Path, byte: int) -> None:
    path, asked = tmp_path / "a.vectors", list[int]()
    kept_vectors(path, ROWS, DIM, computing([]))
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)
    assert np.array_equal(kept_vectors(path, ROWS, DIM, computing(asked)), WHOLE)
    block = byte // (4 * DIM * 4)
    assert asked == list(range(block * 4, min(block * 4 + 4, ROWS)))


def damaged_record(path: Path) -> None:
    record = path.with_suffix(".json")
    record.write_bytes(record.read_bytes().replace(b'"rows"', b'"Rows"'))


def no_record(path: Path) -> None:
    path.with_suffix(".json").unlink()


def no_vectors(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("damage", [damaged_record, no_record, no_vectors, cut_off, longer], ids=lambda it: it.__name__)
def test_without_a_sound_record_or_file_all_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path, asked = tmp_path / "a.vectors", list[int]()
    kept_vectors(path, ROWS, DIM, computing([]))
    damage(path)
    assert np.array_equal(kept_vectors(path, ROWS, DIM, computing(asked)), WHOLE)
    assert asked == list(range(ROWS))


def test_one_process_computes_in_a_folder_and_readers_need_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.vectors"
    kept_vectors(path, ROWS, DIM, computing([]))
    with alone(tmp_path / LOCK, "testing"):
        kept_vectors(path, ROWS, DIM, computing([], until=0))
        with pytest.raises(TrainingError, match="another process is computing vectors"):
            kept_vectors(tmp_path / "b.vectors", ROWS, DIM, computing([]))


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(kept_vectors(None, ROWS, DIM, computing([])), WHOLE)
    assert kept_vectors(tmp_path / "none.vectors", 0, DIM, computing([])).shape == (0, DIM)
    assert not list(tmp_path.iterdir())
