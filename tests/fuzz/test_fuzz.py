"""Every reader, given mutants and given what is no plain file: it answers as the file says, or refuses in one line.

COMPAT_FUZZ_SECONDS=10 gives each reader so many seconds; unset, a fixed number of mutants. `python -m tests.fuzz` goes
on for hours.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from compat_sdk.errors import CompatError
from tests.fuzz.engine import Fuzz, Tally, alarm
from tests.fuzz.reader import Reader
from tests.fuzz.readers import readers

_MUTANTS, _FEW = 50, 4
_SECONDS = float(os.environ.get("COMPAT_FUZZ_SECONDS", "0"))
_MAY_BE_ABSENT = ("scores", "supernet", "data-record", "quickstart", "backfilled")
_READERS = pytest.mark.parametrize("reader", readers(), ids=lambda reader: reader.name)


@_READERS
def test_a_mutant_is_read_as_the_file_or_refused_in_one_line(reader: Reader, tmp_path: Path) -> None:
    fuzz, tally, draw = Fuzz(reader, tmp_path), Tally(), random.Random(17)
    until = time.monotonic() + _SECONDS
    while tally.mutants < (_FEW if reader.dear else _MUTANTS) or time.monotonic() < until:
        fuzz.try_one(draw, tally)
    assert not tally.faults
    assert tally.refused or reader.notes


@_READERS
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "socket", "nothing"])
def test_what_is_no_plain_file_is_refused_and_never_waited_for(
    reader: Reader, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = reader.cases[0]
    folder = tmp_path / "case"
    shutil.copytree(case.folder, folder)
    target = folder / case.target
    target.unlink()
    if what == "pipe":
        os.mkfifo(target)
    elif what == "device":
        target.symlink_to("/dev/zero")
    elif what == "folder":
        target.mkdir()
    elif what == "socket":
        monkeypatch.chdir(target.parent)  # a socket's name has 100 bytes at most
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(target.name)
    else:
        target.symlink_to(folder / "not there")
    absence_is_fine = reader.notes or (what == "nothing" and reader.name in _MAY_BE_ABSENT)
    with alarm(3), suppress(CompatError) if absence_is_fine else pytest.raises(CompatError):
        reader.read(folder, case.target)
    assert not (folder / "not there").exists(), "it was written through a link"


def test_a_reader_that_answers_wrongly_raises_or_hangs_is_found(tmp_path: Path) -> None:
    sound = next(reader for reader in readers() if reader.name == "idx")

    def raises(folder: Path, target: str) -> object:
        return (folder / target).read_bytes()[0:4].decode("ascii")

    def answers(folder: Path, target: str) -> object:
        return (folder / target).read_bytes()

    for name, read, sealed in (("raises", raises, False), ("answers", answers, True)):
        cases = sound.cases if name == "answers" else sound.cases[1:]
        tally, draw = Tally(), random.Random(1)
        fuzz = Fuzz(Reader(name, read, cases, sealed), tmp_path, guided=True)
        for _ in range(50):
            fuzz.try_one(draw, tally)
        assert tally.faults
