"""Where a run computes, and how its modules lie in memory there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import current_process, parent_process
from typing import TypeVar

import torch
from torch import nn

from compat_sdk.errors import ConfigError, TrainingError
from compat_train.config.checks import check_device
from compat_train.parallel.launch import launched

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def device_of(wanted: str | torch.device) -> torch.device:
    """The device a setting means; ``auto`` is CUDA when there is one. What is a device already is that.

    Of several processes on a machine each takes the GPU of its own number, so that none is named then.

    Raises:
        ConfigError: It is no device's name, or several processes were to share the GPU that it names.
        TrainingError: CUDA was asked for and there is none, or not so many GPUs.
    """
    if isinstance(wanted, torch.device):
        return wanted
    check_device("device", wanted)
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrainingError(f"device {wanted!r} was asked for, but torch sees no CUDA device; use --device cpu or auto")
    launch = launched()
    if launch.count > 1 and ":" in wanted:
        raise ConfigError(
            f"device is {wanted!r}, but each of {launch.count} processes takes the GPU of its own number; use "
            f"--device auto or cuda",
            setting="device",
        )
    device = torch.device("cuda", launch.local) if launch.count > 1 else torch.device(wanted.replace("auto", "cuda"))
    if (device.index or 0) >= (seen := torch.cuda.device_count()):
        raise TrainingError(
            f"device cuda:{device.index} was asked for, but torch sees {seen} CUDA device(s), numbered from 0; use "
            f"another number, or start as many processes on a machine as it has GPUs"
        )
    return device


def device_of_worker(wanted: str) -> torch.device:
    """The device of this worker process: of those that one process started, one after the other has the next GPU.

    A GPU that is named by its number is that of all of them. In a process that nobody started it is `device_of`.
    """
    device = device_of(wanted)
    if str(device) != "cuda" or parent_process() is None:
        return device
    number = current_process().name.rpartition("-")[2]  # multiprocessing counts them from 1, such as SpawnProcess-1
    return torch.device("cuda", (int(number) - 1) % torch.cuda.device_count()) if number.isdigit() else device


def place(module: ModuleT, device: torch.device) -> ModuleT:
    """Moves a module to a device, in place, with channels-last weights: faster for convolutions on CPU and CUDA."""
    return module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Sets how many CPU threads torch uses inside the block; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else max(1, threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
