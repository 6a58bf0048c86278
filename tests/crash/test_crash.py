"""Every write path, killed and without power: what was acknowledged is there, and the rest wholly or not at all.

`python -m tests.crash --kills 500 --power-loss 2000` does the same for minutes.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from compat_sdk.files.atomic import write_atomic
from tests.crash.__main__ import write_paths
from tests.crash.kills import kill
from tests.crash.power import lose_power
from tests.crash.write_path import WritePath

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children begin as copies of this process")
_PATHS = pytest.mark.parametrize("path", list(write_paths()), ids=lambda path: path.name)


@_PATHS
def test_a_kill_leaves_what_was_acknowledged_and_no_half_of_the_rest(path: WritePath, tmp_path: Path) -> None:
    assert not kill(path, tmp_path, 3, random.Random(17)).faults


@_PATHS
def test_a_loss_of_power_leaves_what_was_acknowledged_and_no_half_of_the_rest(path: WritePath, tmp_path: Path) -> None:
    assert not lose_power(path, tmp_path, 12, random.Random(17)).faults


@pytest.mark.parametrize("careless", ["no sync of the file", "no sync of the folder", "no temporary file"])
def test_a_write_that_a_crash_can_spoil_is_found(tmp_path: Path, careless: str) -> None:
    def write(content: bytes) -> object:
        def step(folder: Path) -> None:
            place = folder / "file"
            if careless == "no sync of the file":
                (folder / "new").write_bytes(content)
                (folder / "new").replace(place)
                descriptor = os.open(folder, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
            elif careless == "no sync of the folder":
                with (folder / "new").open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                (folder / "new").replace(place)
            else:
                with place.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())

        return step

    def look(folder: Path) -> object:
        return (folder / "file").read_bytes()

    def prepare(folder: Path) -> None:
        write_atomic(folder / "file", b"old")

    path = WritePath("careless", prepare, (write(b"new"), write(b"newer")), look)  # type: ignore[arg-type]
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    assert lose_power(path, tmp_path / "bad", 60, random.Random(1)).faults
    sound = tuple(
        lambda folder, content=content: write_atomic(folder / "file", content) for content in (b"new", b"newer")
    )
    assert not lose_power(WritePath("sound", prepare, sound, look), tmp_path / "good", 60, random.Random(1)).faults
