"""How long a training would take on GPUs that are not here, from its arithmetic and its memory traffic."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value
from compat_train.models.cost import LayerCost

_TRILLION, _BILLION, _MILLION = 1e12, 1e9, 1e6
_STEP = 3  # a step is a forward pass and a backward pass of twice its work
# A convolution's output is written and read; a batch norm reads its input for the statistics, and its output is
# written, read and written by a ReLU, and read.
_TOUCHED = {"convolution": 2, "linear": 2, "batch norm": 4}


@dataclass(frozen=True)
class Machine:
    """GPUs of one kind, by the peaks of their makers' data sheets.

    Attributes:
        name: As it was asked for, such as ``v100:8``.
        gpus: How many.
        half_tflops: 16-bit arithmetic of one, in 10^12 operations a second; a multiply-accumulate is two.
        single_tflops: 32-bit arithmetic of one, in the same unit.
        gigabytes: Memory traffic of one, in GB a second.
    """

    name: str
    gpus: int
    half_tflops: float
    single_tflops: float
    gigabytes: float

    @staticmethod
    def named(text: str) -> Machine:
        """The machine of a name and a number of GPUs, such as ``v100`` or ``v100:8``.

        Raises:
            ConfigError: No such GPU is known, or the number is not 1 to 1024.
        """
        found = re.fullmatch(r"([a-z0-9]+)(?::([0-9]{1,4}))?", text)
        count = int(found[2] or 1) if found else 0
        if found is None or found[1] not in _GPUS or not 1 <= count <= 1024:
            raise ConfigError(
                f"there is no machine {shown_value(text)}; expected one of {', '.join(_GPUS)}, and how many of them, "
                f"as in v100:8"
            )
        return Machine(text, count, *_GPUS[found[1]])

    def seconds(self, layers: Sequence[LayerCost], *, half: bool) -> float:
        """The least time that a training step takes for one image.

        No network reaches both peaks, and no loader, host or wait for other GPUs is counted: published trainings take
        two to three times as long.

        Args:
            layers: Of the network, by `compat_train.models.cost.per_layer`.
            half: Whether arithmetic and activations have 16 bits, or 32.

        Returns:
            Seconds an image, on all GPUs together.
        """
        operations = 2 * _MILLION * math.fsum(layer.mmacs for layer in layers)
        touched = sum(_TOUCHED.get(layer.kind, 0) * math.prod(layer.output_shape) for layer in layers)
        arithmetic = operations / ((self.half_tflops if half else self.single_tflops) * _TRILLION)
        traffic = touched * (2 if half else 4) / (self.gigabytes * _BILLION)
        return _STEP * (arithmetic + traffic) / self.gpus


def in_half(precision: Literal["auto", "fp32", "bf16", "fp16"]) -> bool:
    """Whether a training of this precision computes in 16 bits on a GPU."""
    return precision != "fp32"


_GPUS: dict[str, tuple[float, float, float]] = {
    "v100": (125.0, 15.7, 900.0),
    "rtx8000": (130.5, 16.3, 672.0),
    "t4": (65.0, 8.1, 320.0),
    "a100": (312.0, 19.5, 2039.0),
    "h100": (989.0, 67.0, 3350.0),
    "h200": (989.0, 67.0, 4800.0),
}
