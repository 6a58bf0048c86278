"""Worker processes take one GPU after the other."""

from __future__ import annotations

from multiprocessing import current_process

import pytest
import torch

import compat_train.device as device
from compat_sdk.workers import Workers


def on_two_gpus(wanted: str) -> tuple[str, str]:
    """What this process would take of two GPUs, and its name. Runs in a worker process."""
    torch.cuda.is_available = lambda: True  # type: ignore[assignment]
    torch.cuda.device_count = lambda: 2
    return str(device.device_of_worker(wanted)), current_process().name


def test_workers_take_one_gpu_after_the_other_unless_one_is_named() -> None:
    with Workers(1) as pool:
        found, name = pool.submit(on_two_gpus, "cuda").result()
        assert found == f"cuda:{(int(name.rpartition('-')[2]) - 1) % 2}"
        assert pool.submit(on_two_gpus, "cuda:1").result()[0] == "cuda:1"
        assert pool.submit(on_two_gpus, "cpu").result()[0] == "cpu"


@pytest.mark.parametrize(("name", "expected"), [("SpawnProcess-1", 0), ("SpawnProcess-2", 1), ("SpawnProcess-5", 0)])
def test_the_number_of_a_worker_decides(name: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device, "parent_process", lambda: object())
    monkeypatch.setattr(current_process(), "name", name)
    assert device.device_of_worker("auto") == torch.device("cuda", expected)
    monkeypatch.setattr(device, "parent_process", lambda: None)
    assert device.device_of_worker("auto") == torch.device("cuda")
