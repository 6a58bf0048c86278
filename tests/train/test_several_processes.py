"""Two processes train what one does with the same batch; a process that is killed is named by the other.

The processes are started once. Their gradients are those of one process to 1e-10 in double precision. In float32 the
sums round otherwise, and three steps make that grow: losses agree to 1e-3 of themselves, weights to 1e-2 of the
largest.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file

from compat_sdk.errors import CompatError, ConfigError
from compat_train.methods.gallery import train_gallery
from compat_train.parallel.heartbeat import Heartbeat
from compat_train.parallel.launch import Launch, launched, require_single
from compat_train.runs.log import read_log
from tests.train.two_processes import TRAININGS, gallery_config, train_all

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """Folders of one process and of two, and what the two said."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")

    def stop(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage.startswith("train") and done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_gallery(gallery_config(clothes), two / "resumed", stop)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.train.two_processes", str(clothes), str(two)]
    launch = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | launch | {"RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    train_all(clothes, one)
    return one, two, [process.communicate(timeout=600)[0] for process in processes]


def test_a_batch_of_two_processes_has_the_loss_gradients_and_statistics_of_one(
    runs: tuple[Path, Path, list[str]],
) -> None:
    assert all(float(said.splitlines()[0]) < 1e-10 for said in runs[2])


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_end_with_the_losses_and_weights_of_one(name: str, runs: tuple[Path, Path, list[str]]) -> None:
    one, two = (side / name for side in runs[:2])
    expected, found = read_log(one), read_log(two)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=1e-3)
    weights, others = (load_file(side / "model.safetensors") for side in (one, two))
    largest = max(float(value.abs().max()) for value in weights.values())
    for key, value in weights.items():
        assert float((value - others[key]).abs().max()) < 1e-2 * largest, key
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())


def test_a_killed_process_is_named_by_the_other(runs: tuple[Path, Path, list[str]]) -> None:
    leader, killed = runs[2]
    assert "the training ended: rank 1 (process" in leader and "was killed or has stopped" in leader
    assert "the training ended" not in killed


class Store(dict[str, bytes]):
    """A store that all see, in memory."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()

    def get(self, key: str) -> bytes:  # type: ignore[override]
        return self[key]

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


def test_a_process_at_an_earlier_step_hangs_and_one_that_failed_is_quoted() -> None:
    store = Store()
    hearts = [Heartbeat(store, rank, 3, 60.0, beat=0.02) for rank in range(3)]
    try:
        for heart, step in zip(hearts, (7, 6, 7), strict=True):
            heart.at(step)
        (hanging,) = hearts[0].absent()
        assert hanging.startswith("rank 1 (process") and hanging.endswith("hangs at step 7")
        hearts[2].tell_failure("DataError: no such image")
        assert hearts[0].absent() == ["rank 2 gave up: DataError: no such image"]
    finally:
        for heart in hearts:
            heart.close()


def test_a_process_that_cannot_be_woken_names_who_is_missing_and_ends(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("compat_train.parallel.heartbeat._GRACE_S", 0.0)
    store, ended = Store(), list[int]()
    gone = Heartbeat(store, 1, 2, 60.0, beat=0.02)
    gone.close()
    heart = Heartbeat(store, 0, 2, 0.05, beat=0.02, end=ended.append)
    heart.at(3)
    heart._thread.join(20)  # it ends with the process
    heart.at(None)
    heart.close()
    assert ended == [1]
    said = capfd.readouterr().err
    assert "error: no step in 0.05 seconds: rank 1 (process" in said and "was killed or has stopped" in said


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}, "RANK is 2"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "1"}, "LOCAL_RANK is 1"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}, "MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "²", "RANK": "0"}, "WORLD_SIZE is"),
    ],
)
def test_spoilt_variables_of_a_launch_are_refused(
    variables: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == Launch()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=problem):
        launched()


def test_what_runs_in_one_process_is_refused_to_several(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CompatError, match="index runs in one process, and 2 were started; start it without torchrun"):
        require_single("index")
