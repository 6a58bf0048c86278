"""What every converter is told, whatever it converts to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing

Precision = Literal["fp32", "fp16", "int8", "int8-static", "int4", "palette8", "palette6", "palette4"]
Layout = Literal["nchw", "nhwc"]

PRECISIONS: tuple[Precision, ...] = (
    "fp32",
    "fp16",
    "int8",
    "int8-static",
    "int4",
    "palette8",
    "palette6",
    "palette4",
)
"""Number formats. ``int8``, ``int4`` and ``palette*`` compress weights alone; ``int8-static`` also activations."""

SMALLEST_COMPRESSED = 2048
"""Numbers in the smallest weight that ``int8``, ``int4`` and ``palette*`` compress.

What is smaller stays float on every target: biases, batch norms that could not be folded and narrow depthwise kernels
are a small part of a file, and each of their numbers reaches a whole channel of the output.
"""

INPUT = "image"
"""Name of the input of a model of images."""
OUTPUT = "embedding"
"""Name of every graph's output."""


@dataclass(frozen=True)
class Port:
    """One input of a graph.

    Attributes:
        name: Its name on every target.
        shape: Shape of one sample, without the batch axis, such as ``(3, 112, 112)`` or ``(128,)``.
    """

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Options:
    """How a module is converted.

    Attributes:
        precision: Number format of weights and, for ``fp16`` and ``int8-static``, of activations.
        ios: Oldest iOS that must run a Core ML package: 16, 17 or 18.
        batch: Fixed batch of the graph, or None for a batch that is free at run time where the target allows it.
        layout: Order of an image input's axes.
        pixels: When given, the graph takes RGB values in [0, 255] and does this preprocessing's mean, standard
            deviation and channel order itself; None: the input is prepared already.
        calibration: Prepared inputs, float32 ``[n, *shape]`` of the first port, that ``int8-static`` needs.
    """

    precision: Precision = "fp32"
    ios: int = 16
    batch: int | None = None
    layout: Layout = "nchw"
    pixels: Preprocessing | None = None
    calibration: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}")
        if self.ios not in (16, 17, 18):
            raise ConfigError(f"ios is {self.ios!r}; expected 16, 17 or 18")
        if self.batch is not None and not 1 <= self.batch <= 1024:
            raise ConfigError(f"batch is {self.batch!r}; expected 1 to 1024, or none for a free batch")
        if self.layout not in ("nchw", "nhwc"):
            raise ConfigError(f"layout is {self.layout!r}; expected nchw or nhwc")
        if self.precision == "int8-static" and self.calibration is None:
            raise ConfigError("precision int8-static needs calibration images; give some of the training data")
        if self.calibration is not None and self.precision != "int8-static":
            raise ConfigError(f"calibration images have no use at precision {self.precision}; leave them out")


def require_precision(target: str, options: Options, supported: Sequence[str], inputs: Sequence[Port]) -> None:
    """Return only if a target has a precision, and the calibration fits the module.

    Raises:
        ConfigError: It has not, or calibration images are not those of the module's only input.
    """
    if options.precision not in supported:
        raise ConfigError(f"precision {options.precision} is not made for {target}; choose {', '.join(supported)}")
    if options.calibration is not None and (
        len(inputs) != 1 or len(options.calibration) == 0 or options.calibration.shape[1:] != inputs[0].shape
    ):
        raise ConfigError(
            f"found calibration of shape {list(options.calibration.shape)} for the inputs "
            f"{[(port.name, port.shape) for port in inputs]}; int8-static needs a module with one input "
            f"and prepared samples [n, *shape] of it, n at least 1"
        )
