"""The space of a global search: depth, width, and the operation and kernel of every layer.

A network is a 3x3 stem, ``depth`` layers in stages, a global average pool and the embedding. The first layer of each
stage but the first has stride 2 and doubles the channels, so the width of the first stage gives all others. A layer is
a convolution or a separable one, with a kernel of 3 or 5. Nothing else is chosen: no pools, no strides, no hidden
linear layers, and no skips in the kind ``plain``.

The paper does not say how the layers are spread, nor what comes before them; its authors' release does. Stage i of S
starts at layer ``i * depth // S``, and the image is read by a stem of *twice* the width, which the depth does not
count. So the parameters in the release's logs come out to the last digit: of the networks of Fig. 1 466,312 (CIFAR-10,
0.46 M), 405,647 (EMNIST, 0.40 M), 419,660 (KMNIST, 0.42 M) and 508,258 (Fashion-MNIST, 0.50 M), with the operations and
kernels that were found, at the width of the macro search. All-separable networks of the same depths and widths have
413,826, 322,197, 317,810 and 368,506.

Source: Siddiqui, Kyrkou and Theocharides, Efficient Global Neural Architecture Search (Global NAS),
https://arxiv.org/abs/2502.03553, sections 3.1 and 4.2;
release at https://github.com/siddikui/Efficient-Macro-Micro-NAS.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compat_sdk.errors import ConfigError
from compat_train.config.checks import check_choice, check_range
from compat_train.config.fields import setting
from compat_train.models.search_space import BlockShape

if TYPE_CHECKING:
    import numpy as np


Operation = Literal["separable", "conv"]
Kind = Literal["plain", "residual"]

OPERATIONS: tuple[Operation, ...] = ("separable", "conv")  # of a layer, the cheapest first
KERNELS = (3, 5)
"""Sides of a layer's kernel that a search chooses from, in pixels, the cheapest first."""
_START_KERNELS = (*KERNELS, 7)  # those that it may start from; table 2 has 3 and 7
STEM_KERNEL = 3  # side of the stem's kernel, pixels

PREFIX = "global:"
_MAX_WIDTH = 4096


@dataclass(frozen=True)
class Layer:
    """What one layer is.

    Attributes:
        operation: ``separable`` (a depthwise convolution, then a 1x1) or ``conv``.
        kernel: Side of the kernel, 3 or 5 pixels, or 7 where a search started from it.
    """

    operation: Operation = "separable"
    kernel: int = 3

    def __post_init__(self) -> None:
        check_choice("layer.operation", self.operation, OPERATIONS)
        if self.kernel not in _START_KERNELS:
            raise ConfigError(f"layer.kernel is {self.kernel!r}; expected 3, 5 or 7")


@dataclass(frozen=True, kw_only=True)
class GlobalMember:
    """One network of the space.

    ``residual`` is the variant for faces (section 4.2): layers go in pairs, each with a shortcut around it. The paper
    calls it based on an inverted ResNet and gives the greatest widths (32, 64) and, of what it found, the depths (58,
    34) and last channels (256, 512), so four stages; it does not say what a block is. Here a pair is a ResNet's basic
    block whose two convolutions are layers of the space, and the stem has the width itself, so that the first shortcut
    is the identity.

    Attributes:
        kind: ``plain`` or ``residual``.
        width: Channels of the first stage, at least 1.
        layers: The layers in order, at least one per stage; for ``residual`` two, and an even number.
        stages: Stages, between which the resolution halves and the channels double.
    """

    kind: Kind = "plain"
    width: int
    layers: tuple[Layer, ...]
    stages: int = 3

    def __post_init__(self) -> None:
        _check_stages(self.kind, self.stages)
        check_range("width", self.width, 1, _MAX_WIDTH)
        group = _layers_per_step(self.kind)
        if self.depth < group * self.stages or self.depth % group:
            raise ConfigError(
                f"a {self.kind} network of {self.stages} stages has {self.depth} layers; expected at least "
                f"{group * self.stages}" + (", and an even number: a shortcut spans two" if group == 2 else "")
            )

    @property
    def depth(self) -> int:
        """Number of layers; a separable one counts once, and the stem does not count."""
        return len(self.layers)

    @property
    def stem(self) -> int:
        """Channels of the stem."""
        return 2 * self.width if self.kind == "plain" else self.width

    @property
    def shapes(self) -> tuple[BlockShape, ...]:
        """Channels in and out, and the stride, of every layer."""
        group = _layers_per_step(self.kind)
        starts = [stage * (self.depth // group) // self.stages * group for stage in range(1, self.stages)]
        found: list[BlockShape] = []
        channels_in, channels_out = self.stem, self.width
        for position in range(self.depth):
            stride = 2 if position in starts else 1
            channels_out *= stride
            found.append(BlockShape(channels_in, channels_out, stride))
            channels_in = channels_out
        return tuple(found)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that every layer puts out."""
        return tuple(shape.channels_out for shape in self.shapes)

    @property
    def name(self) -> str:
        """Architecture name, for `build_model`, such as ``global:plain:54:s3s3c5``: a letter and a digit per layer."""
        kind = self.kind if self.stages == 3 else f"{self.kind},stages={self.stages}"
        layers = "".join(f"{layer.operation[0]}{layer.kernel}" for layer in self.layers)
        return f"{PREFIX}{kind}:{self.width}:{layers}"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Which networks a search may visit. The defaults are section 4.1's tiny setting; mobile has max_width 128."""

    kind: Kind = setting("plain", "kind of network; residual has shortcuts around pairs of layers")
    stages: int = setting(3, "stages, between two of which the resolution halves", unit="stages")
    min_depth: int = setting(10, "fewest layers", unit="layers")
    max_depth: int = setting(100, "most layers", unit="layers")
    min_width: int = setting(16, "least width of the first stage", unit="channels")
    max_width: int = setting(64, "greatest width of the first stage", unit="channels")
    width_step: int = setting(2, "channels between two widths", unit="channels")
    operation: Operation = setting("separable", "operation of every layer that the search starts from", added=True)
    kernel: int = setting(3, "kernel of every layer that the search starts from: 3, 5 or 7", unit="pixels", added=True)

    def __post_init__(self) -> None:
        _check_stages(self.kind, self.stages)
        check_choice("operation", self.operation, OPERATIONS)
        if self.kernel not in _START_KERNELS:
            raise ConfigError(f"kernel is {self.kernel!r}; expected 3, 5 or 7", setting="kernel")
        group = _layers_per_step(self.kind)
        check_range("min_depth", self.min_depth, group * self.stages)
        check_range("max_depth", self.max_depth, self.min_depth)
        if self.min_depth % group:
            raise ConfigError(
                f"min_depth is {self.min_depth}; a residual network has an even number of layers, since a "
                f"shortcut spans two",
                setting="min_depth",
            )
        check_range("min_width", self.min_width, 1)
        check_range("max_width", self.max_width, self.min_width, _MAX_WIDTH)
        check_range("width_step", self.width_step, 1)

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths from the smallest up: every one, or every second one where layers go in pairs."""
        return tuple(range(self.min_depth, self.max_depth + 1, _layers_per_step(self.kind)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths from the largest down."""
        return tuple(range(self.max_width, self.min_width - 1, -self.width_step))

    @property
    def start(self) -> Layer:
        """What every layer of the macro search is; separable 3x3 is the best of table 2's four."""
        return Layer(self.operation, self.kernel)

    def member(self, depth: int, width: int) -> GlobalMember:
        """The network of starting layers that the search comes to at a depth and a width."""
        return GlobalMember(kind=self.kind, stages=self.stages, width=width, layers=(self.start,) * depth)

    def members(self, final_depth: int) -> int:
        """How many networks the space has, counted as Eq. 1 does.

        Args:
            final_depth: Depth that the search found; the equation takes every depth to have as many choices.
        """
        choices: int = (len(OPERATIONS) * len(KERNELS)) ** final_depth
        return choices * len(self.depths) * len(self.widths)


def _layers_per_step(kind: Kind) -> int:
    """Layers by which the depth grows: 1, or the 2 of a residual block."""
    return 2 if kind == "residual" else 1


def random_member(bounds: Bounds, generator: np.random.Generator) -> GlobalMember:
    """A network with depth, width, operations and kernels each drawn uniformly."""
    depth, width = (int(generator.choice(choices)) for choices in (bounds.depths, bounds.widths))
    layers = tuple(
        Layer(OPERATIONS[operation], KERNELS[kernel])
        for operation, kernel in generator.integers(0, (len(OPERATIONS), len(KERNELS)), (depth, 2))
    )
    return GlobalMember(kind=bounds.kind, stages=bounds.stages, width=width, layers=layers)


def _check_stages(kind: str, stages: int) -> None:
    check_choice("kind", kind, typing.get_args(Kind))
    check_range("stages", stages, 1, 6)
