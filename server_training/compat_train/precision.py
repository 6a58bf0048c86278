"""The arithmetic of a training: full precision, or half of it where the hardware has it."""

from __future__ import annotations

import torch

from compat_sdk.errors import TrainingError
from compat_train.config.parts import Execution


def autocast_type(execution: Execution, device: torch.device) -> torch.dtype | None:
    """The type under autocast, None for float32: as asked, or by what a GPU has where that is left to us.

    ``auto`` is bfloat16 on a GPU with units for it, from compute capability 8.0 on, and float16 on an older one. On the
    CPU it is float32. There bfloat16 is left to the caller: it speeds up plain convolutions and slows down depthwise
    ones (benchmarks/speed/train_step.py).

    Raises:
        TrainingError: bfloat16 was asked for on a GPU that would emulate it.
    """
    asked = execution.precision
    if asked == "fp32" or (asked == "auto" and device.type == "cpu"):
        return None
    if asked == "fp16":
        return torch.float16
    if device.type != "cuda" or _has_bf16(device):
        return torch.bfloat16
    if asked == "auto":
        return torch.float16
    raise TrainingError(
        f"precision 'bf16' was asked for, but {torch.cuda.get_device_name(device)} has no units for it; use "
        f"fp16, fp32 or auto"
    )


def _has_bf16(device: torch.device) -> bool:
    """Not `torch.cuda.is_bf16_supported`, which counts emulation, and asks the current device alone."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def loss_scaler(kind: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler:
    """Scales losses so that float16 gradients do not vanish, and skips steps where they overflow; else it is idle.

    Args:
        kind: Of `autocast_type`.
        device: Where the gradients are.
    """
    return torch.amp.GradScaler(device.type, enabled=kind is torch.float16)
