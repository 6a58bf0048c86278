"""Where a run computes, and how its modules lie in memory there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from compat_sdk.errors import TrainingError

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def device_of(wanted: str | torch.device) -> torch.device:
    """The device a setting means; ``auto`` is CUDA when there is one. What is a device already is that.

    Raises:
        TrainingError: CUDA was asked for and there is none.
    """
    if isinstance(wanted, torch.device):
        return wanted
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device 'cuda' was asked for, but torch sees no CUDA device; use --device cpu or auto")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


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
