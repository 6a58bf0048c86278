"""Which arithmetic a training runs in, by what the hardware has, and how a scaled loss is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compat_sdk.errors import ConfigError, TrainingError
from compat_train.config.parts import Execution
from compat_train.device import device_of
from compat_train.methods.gallery import train_gallery
from compat_train.precision import autocast_type
from compat_train.readings import Readings
from compat_train.runs.log import read_log
from tests.train.two_processes import gallery_config

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "capability", "kind"),
    [
        ("auto", (7, 0), torch.float16),  # V100
        ("auto", (7, 5), torch.float16),  # T4
        ("auto", (8, 0), torch.bfloat16),  # A100
        ("bf16", (9, 0), torch.bfloat16),
        ("fp16", (9, 0), torch.float16),
        ("fp32", (9, 0), None),
    ],
)
def test_a_gpu_runs_in_what_it_has_units_for(
    asked: str, capability: tuple[int, int], kind: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)  # as torch says of those that emulate it
    assert autocast_type(Execution(precision=asked), GPU) is kind  # type: ignore[arg-type]


def test_bf16_is_not_emulated_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(TrainingError, match="Tesla V100 has no units for it; use fp16"):
        autocast_type(Execution(precision="bf16"), GPU)


def test_the_cpu_runs_in_float32_unless_asked_otherwise() -> None:
    assert autocast_type(Execution(), CPU) is None
    assert autocast_type(Execution(precision="bf16"), CPU) is torch.bfloat16


@pytest.mark.parametrize("name", ["cuda:1", "cuda:12", "cuda", "cpu", "auto"])
def test_a_gpu_may_be_named_by_number(name: str) -> None:
    assert Execution(device=name).device == name


@pytest.mark.parametrize("name", ["cuda:", "cuda:-1", "gpu", "cuda:1,2", "mps", "cuda: 1", "cuda:1\n", ""])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="device is"):
        Execution(device=name)
    with pytest.raises(ConfigError, match="device is"):
        device_of(name)


def test_a_gpu_that_is_not_there_is_refused_and_each_process_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("cuda:1") == torch.device("cuda:1")
    with pytest.raises(TrainingError, match="cuda:2 was asked for, but torch sees 2"):
        device_of("cuda:2")
    launch = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for key, value in launch.items():
        monkeypatch.setenv(key, value)
    assert device_of("auto") == device_of("cuda") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="each of 4 processes takes the GPU of its own number"):
        device_of("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(TrainingError, match="as many processes on a machine as it has GPUs"):
        device_of("auto")


class Stop(BaseException):
    """Ends a training."""


def stop(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
    if stage.startswith("train") and done == 2:
        raise Stop


@pytest.fixture(scope="module")
def as_read_at_once(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("once") / "run"
    train_gallery(gallery_config(clothes), run)
    return run


def test_losses_read_of_several_steps_at_once_are_those_read_at_each(
    as_read_at_once: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    usual = Readings.read

    def counted(readings: Readings) -> object:
        found = usual(readings)
        reads.append(len(found))
        return found

    monkeypatch.setattr(Readings, "read", counted)
    monkeypatch.setattr("compat_train.readings._every", lambda device: 10)
    config = gallery_config(clothes)
    config = replace(config, execution=replace(config.execution, checkpoint_steps=9))
    train_gallery(config, tmp_path / "run")
    assert reads == [1, 2]  # the first step at once, the last two together
    assert read_log(tmp_path / "run") == read_log(as_read_at_once)
    weights, expected = (load_file(run / "model.safetensors") for run in (tmp_path / "run", as_read_at_once))
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_a_loss_that_is_not_finite_is_named_by_its_own_step_though_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compat_train.readings._every", lambda device: 10)
    readings = Readings(CPU, tmp_path)
    for step, loss in enumerate((1.0, float("nan"), 2.0)):
        value = torch.tensor(loss)
        readings.note(step, 1, 0.1, torch.arange(step, step + 8), value, {"own": value})
    with pytest.raises(TrainingError, match=r"at step 2 .* training rows 1, 2, 3, 4, 5. It was read at step 3"):
        readings.read()


def test_float16_with_a_scaled_loss_is_resumed_with_its_scale(clothes: Path, tmp_path: Path) -> None:
    config = gallery_config(clothes)
    half = replace(config.execution, precision="fp16")
    config = replace(config, execution=half)
    train_gallery(config, tmp_path / "whole")
    with pytest.raises(Stop):
        train_gallery(config, tmp_path / "run", stop)
    point = load_file(sorted((tmp_path / "run" / "state").glob("*.safetensors"))[-1])
    assert point["scaler.scale"].item() > 0 and "scaler.steps" in point
    train_gallery(config, tmp_path / "run")
    weights, expected = (load_file(tmp_path / run / "model.safetensors") for run in ("run", "whole"))
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
