"""A run that is stopped at any moment and started again ends with the weights of an undisturbed one."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from compat_sdk.errors import TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.readings import DivergedError
from compat_train.runs.log import read_log


def gallery_config(data: str | Path, *, lr: float = 0.1) -> GalleryConfig:
    return GalleryConfig(
        source=Source(data=str(data)),
        arch="resnet18",
        width=0.125,
        dim=16,
        preprocessing=Preprocessing(size=28),
        optimisation=Optimisation(epochs=3, batch=16, lr=lr),
        augmentation=Augmentation(shift=0.1, flip=True, colour=0.2),
        execution=Execution(device="cpu", checkpoint_steps=2),
    )


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


class Stop(BaseException):
    """Stands for whatever ends a process in the middle of a step."""


def stop_after(steps: int) -> object:
    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage.startswith("train") and done == steps:
            raise Stop

    return progress


@pytest.fixture(scope="module")
def undisturbed(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    train_gallery(gallery_config(clothes), run)
    return run


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_a_run_stopped_after_any_step_ends_with_the_same_weights(
    steps: int, clothes: Path, undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        train_gallery(gallery_config(clothes), tmp_path / "run", progress=stop_after(steps))  # type: ignore[arg-type]
    train_gallery(gallery_config(clothes), tmp_path / "run")
    assert weights(tmp_path / "run") == weights(undisturbed)
    assert read_log(tmp_path / "run") == read_log(undisturbed)
    assert [row["step"] for row in read_log(undisturbed)] == list(range(1, 10))


def train_and_say_each_step(data: Path, run: Path, said: Connection) -> None:
    """What a process that is killed was doing: ``said`` gets a message for each step."""
    train_gallery(gallery_config(data), run, progress=lambda *report: said.send("step"))


def test_a_process_killed_at_random_moments_ends_with_the_same_weights(
    clothes: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # Torch is loaded once, by the process that these are copies of; none is a copy of this one and of its threads.
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["compat_train.methods.gallery"])
    chance = random.Random(3)
    for _ in range(3):
        heard, said = processes.Pipe(duplex=False)
        process = processes.Process(target=train_and_say_each_step, args=(clothes, out, said))
        process.start()
        said.close()
        for _ in range(chance.randrange(1, 6)):
            heard.recv()
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    train_gallery(gallery_config(clothes), out)
    assert weights(out) == weights(undisturbed)
    assert not (out / "state").exists()


def test_a_folder_that_another_process_trains_in_is_left_to_it(
    clothes: Path, undisturbed: Path, tmp_path: Path
) -> None:
    other = (
        "import sys; from compat_sdk.files.lock import open_locked; f = open_locked(sys.argv[1]); "
        "print(flush=True); input()"
    )
    (tmp_path / "run" / "state").mkdir(parents=True)
    command = [sys.executable, "-c", other, str(tmp_path / "run" / "state" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(TrainingError, match=r"another process is training in .*run; wait"):
            train_gallery(gallery_config(clothes), tmp_path / "run")
        assert not (tmp_path / "run" / "log.jsonl").exists()
        process.kill()
    train_gallery(gallery_config(clothes), tmp_path / "run")
    assert weights(tmp_path / "run") == weights(undisturbed)


def test_a_damaged_newest_resume_point_falls_back_to_the_one_before(
    clothes: Path, undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        train_gallery(gallery_config(clothes), tmp_path / "run", progress=stop_after(7))  # type: ignore[arg-type]
    points = sorted((tmp_path / "run" / "state").glob("*.safetensors"))
    assert len(points) == 2, "the last two are kept"
    damaged = bytearray(points[-1].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    points[-1].write_bytes(damaged)
    with pytest.warns(UserWarning, match="resume point was skipped"):
        train_gallery(gallery_config(clothes), tmp_path / "run")
    assert weights(tmp_path / "run") == weights(undisturbed)


def test_resume_points_that_are_all_damaged_stop_the_run_with_advice(clothes: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train_gallery(gallery_config(clothes), tmp_path / "run", progress=stop_after(7))  # type: ignore[arg-type]
    for point in (tmp_path / "run" / "state").glob("*.safetensors"):
        point.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"every resume point.*delete the folder"):
        train_gallery(gallery_config(clothes), tmp_path / "run")


def test_other_settings_are_refused_for_a_folder_in_use(clothes: Path, undisturbed: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train_gallery(gallery_config(clothes), tmp_path / "run", progress=stop_after(3))  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=r"optimisation\.lr was 0\.1 and is now 0\.2"):
        train_gallery(gallery_config(clothes, lr=0.2), tmp_path / "run")
    with pytest.raises(TrainingError, match="already holds a model"):
        train_gallery(gallery_config(clothes, lr=0.2), undisturbed)


def test_a_finished_run_is_returned_and_not_trained_again(clothes: Path, undisturbed: Path) -> None:
    before = (undisturbed / "model.safetensors").stat().st_mtime_ns
    assert train_gallery(gallery_config(clothes), undisturbed).space.startswith("resnet18-16-")
    assert (undisturbed / "model.safetensors").stat().st_mtime_ns == before


def test_a_loss_that_is_not_finite_stops_with_a_message_that_says_where(clothes: Path, tmp_path: Path) -> None:
    config = gallery_config(clothes, lr=1e30)
    with pytest.raises(TrainingError, match=r"not finite at step \d+ \(epoch \d, learning rate .*\): .*own"):
        train_gallery(config, tmp_path / "run")


def test_a_last_step_that_breaks_the_weights_leaves_no_model(clothes: Path, tmp_path: Path) -> None:
    config = gallery_config(clothes, lr=3e38)
    one_step = replace(config.optimisation, epochs=1, batch=48, warmup_epochs=0, weight_decay=1e3)
    with pytest.raises(DivergedError, match=r"after the last of 1 steps \d+ tensors of .*run are not finite, such as"):
        train_gallery(replace(config, optimisation=one_step), tmp_path / "run")
    assert not (tmp_path / "run" / "model.json").exists()


def test_a_gradient_longer_than_its_limit_is_shortened(clothes: Path, undisturbed: Path, tmp_path: Path) -> None:
    config = gallery_config(clothes)
    for name, limit in (("wide", 1e9), ("narrow", 1e-3)):
        train_gallery(replace(config, optimisation=replace(config.optimisation, gradient_norm=limit)), tmp_path / name)
    assert weights(tmp_path / "wide") == weights(undisturbed)
    assert weights(tmp_path / "narrow") != weights(undisturbed)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
def test_a_disk_that_fills_up_is_an_error_and_the_run_goes_on_once_there_is_room(
    clothes: Path, undisturbed: Path, tmp_path: Path
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage.startswith("train") and done == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))

    try:
        with pytest.raises(TrainingError, match=r"cannot write to .*log\.jsonl: File too large; .*repeat the command"):
            train_gallery(gallery_config(clothes), tmp_path / "run", progress=fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    train_gallery(gallery_config(clothes), tmp_path / "run")
    assert weights(tmp_path / "run") == weights(undisturbed)
    assert read_log(tmp_path / "run") == read_log(undisturbed)


def test_a_query_run_is_resumed_to_the_same_weights(clothes: Path, undisturbed: Path, tmp_path: Path) -> None:
    config = QueryConfig(
        source=Source(data=str(clothes)),
        gallery=str(undisturbed),
        method="bct-regression",
        mixed=True,
        arch="resnet18",
        width=0.0625,
        optimisation=Optimisation(epochs=2, batch=16, lr=0.05),
        augmentation=Augmentation(shift=0.1),
        execution=Execution(device="cpu", checkpoint_steps=1),
    )
    train_query(config, tmp_path / "whole")
    with pytest.raises(Stop):
        train_query(config, tmp_path / "parts", progress=stop_after(3))  # type: ignore[arg-type]
    train_query(config, tmp_path / "parts")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
