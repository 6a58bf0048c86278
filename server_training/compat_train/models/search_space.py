"""Search spaces of query networks, and the members of a space.

A member chooses, for each of the 20 blocks, an operation and a channel scale. Both choices change the inside of
the block only, never the channels that enter or leave it, so a member's cost is a sum over its blocks.

Source: Compatibility-aware Heterogeneous Visual Search, section 3.2.2, https://arxiv.org/abs/2105.06047, after
Guo et al., Single Path One-Shot, ECCV 2020, https://arxiv.org/abs/1904.00420.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

from compat_sdk.errors import ConfigError
from compat_train.models.channels import scale_channels

Kind = Literal["shuffle", "ane"]

SCALES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
"""Channel scales of CMP-NAS; a member stores their positions."""

OPERATIONS: dict[Kind, tuple[str, ...]] = {
    "shuffle": ("shuffle3", "shuffle5", "shuffle7", "xception"),
    "ane": ("inverted3", "inverted5", "inverted7", "fused3"),
}
"""Operations a block chooses from; a member stores their positions."""

_CHANNELS: dict[Kind, tuple[int, int, int, int]] = {"shuffle": (64, 160, 320, 640), "ane": (24, 48, 96, 192)}
_PREFIX = "cmp:"
_MEMBER = re.compile(r"cmp:(?P<space>[a-z0-9,=-]+):(?P<operations>[0-9]+):(?P<scales>[0-9]+)")


@dataclass(frozen=True)
class BlockShape:
    """What a block must do, whatever it chooses: channels in and out, and its stride."""

    channels_in: int
    channels_out: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A family of networks: stem, four stages of choice blocks, last convolution, embedding.

    ``shuffle`` is CMP-NAS's. ``ane`` holds inverted residuals with plain ReLU and no channel shuffle: shuffles cost
    far more on phones than their multiply-adds say, and hard-swish loses precision on Apple's engine.

    Attributes:
        kind: Which operations a block chooses from; see `OPERATIONS`.
        stem: Channels of the first 3x3 convolution.
        channels: Channels of the four stages; None: those of the kind.
        repeats: Blocks per stage; the first block of each has stride 2.
        last: Channels of the 1x1 convolution before the pool. With the published 1024 the smallest member of
            ``shuffle`` takes 101 MMACs at 112 pixels, so a tier below needs fewer.
    """

    kind: Kind = "shuffle"
    stem: int = 16
    channels: tuple[int, ...] | None = None
    repeats: tuple[int, ...] = (4, 4, 8, 4)
    last: int = 1024

    def __post_init__(self) -> None:
        if self.kind not in OPERATIONS:
            raise ConfigError(f"space.kind is {self.kind!r}; expected one of {', '.join(OPERATIONS)}")
        if self.channels is None:
            object.__setattr__(self, "channels", _CHANNELS[self.kind])
        if len(self.widths) != 4 or len(self.repeats) != 4 or min(self.repeats) < 1:
            raise ConfigError(
                f"space.channels is {self.channels} and space.repeats {self.repeats}; expected four numbers each, "
                f"every stage with at least 1 block"
            )
        if self.stem < 2 or self.last < 1 or any(width < 4 or width % 4 for width in self.widths):
            raise ConfigError(
                f"space has stem {self.stem}, channels {self.widths} and last {self.last}; expected a stem of at "
                f"least 2, stage channels that are multiples of 4, and a last convolution of at least 1"
            )
        if self.kind == "shuffle" and any(
            block.stride == 2 and block.channels_out <= block.channels_in for block in self.blocks
        ):
            raise ConfigError(
                f"space has stem {self.stem} and channels {self.widths}; a shuffle stage passes its input on beside "
                f"what it computes, so each stage needs more channels than the one before it"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return self.channels or ()

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations a block chooses from."""
        return OPERATIONS[self.kind]

    @property
    def blocks(self) -> tuple[BlockShape, ...]:
        """What each block must do, in order."""
        found: list[BlockShape] = []
        channels = self.stem
        for width, repeats in zip(self.widths, self.repeats, strict=True):
            found.append(BlockShape(channels, width, 2))
            found.extend(BlockShape(width, width, 1) for _ in range(repeats - 1))
            channels = width
        return tuple(found)

    def hidden(self, block: BlockShape, scale: int) -> int:
        """Channels inside a block at a position in `SCALES`.

        In ``shuffle`` half of the output channels times the scale, rounded down, as the published fixed model has
        it; in ``ane`` three times the input channels times the scale, in multiples of 8.
        """
        if self.kind == "shuffle":
            # Exact: scales are tenths, and floats would round 1.6 * 5 to 7.
            return max(1, block.channels_out // 2 * round(10 * SCALES[scale]) // 10)
        return scale_channels(3 * block.channels_in, SCALES[scale])

    @property
    def name(self) -> str:
        """Short text from which `space_named` makes an equal space."""
        standard = SearchSpace(kind=self.kind)
        changed = [
            f"{entry.name}={_text(getattr(self, entry.name))}"
            for entry in fields(self)
            if getattr(self, entry.name) != getattr(standard, entry.name)
        ]
        return ",".join((self.kind, *changed))


@dataclass(frozen=True)
class Member:
    """One architecture of a space.

    Attributes:
        space: The space it belongs to.
        operations: Position in ``space.operations`` for each block.
        scales: Position in `SCALES` for each block.
    """

    space: SearchSpace
    operations: tuple[int, ...]
    scales: tuple[int, ...]

    def __post_init__(self) -> None:
        blocks, kinds = len(self.space.blocks), len(self.space.operations)
        if len(self.operations) != blocks or len(self.scales) != blocks:
            raise ConfigError(
                f"a member of {self.space.name} chooses {len(self.operations)} operations and {len(self.scales)} "
                f"scales; expected {blocks} of each"
            )
        if not all(0 <= choice < kinds for choice in self.operations):
            raise ConfigError(f"operations are {self.operations}; expected numbers from 0 to {kinds - 1}")
        if not all(0 <= choice < len(SCALES) for choice in self.scales):
            raise ConfigError(f"scales are {self.scales}; expected numbers from 0 to {len(SCALES) - 1}")

    @property
    def name(self) -> str:
        """Architecture name, for `build_model`: ``cmp:SPACE:OPERATIONS:SCALES``, one digit per block."""
        return f"{_PREFIX}{self.space.name}:{''.join(map(str, self.operations))}:{''.join(map(str, self.scales))}"


def is_member_name(arch: str) -> bool:
    """Whether an architecture name is meant to be that of a member of a search space."""
    return arch.startswith(_PREFIX)


def member_named(name: str) -> Member:
    """The member that an architecture name means.

    Raises:
        ConfigError: The name is malformed or does not fit its space.
    """
    found = _MEMBER.fullmatch(name)
    if found is None:
        raise ConfigError(
            f"{name!r} is not a member of a search space; expected cmp:SPACE:OPERATIONS:SCALES, such as "
            f"cmp:shuffle:{'0' * 20}:{'4' * 20}"
        )
    return Member(
        space_named(found["space"]),
        tuple(int(digit) for digit in found["operations"]),
        tuple(int(digit) for digit in found["scales"]),
    )


def space_named(text: str) -> SearchSpace:
    """The space that a text such as ``shuffle`` or ``shuffle,last=512,channels=32-80-160-320`` means.

    Raises:
        ConfigError: A word is unknown or a number is malformed.
    """
    kind, *settings = text.split(",")
    values: dict[str, int | tuple[int, ...]] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        numbers = value.split("-")
        single = name in ("stem", "last")
        if name not in ("stem", "channels", "repeats", "last") or not all(map(str.isdigit, numbers)):
            raise ConfigError(
                f"search space {text!r} has the setting {setting!r}; expected stem=N, last=N, channels=A-B-C-D or "
                f"repeats=A-B-C-D"
            )
        if single and len(numbers) != 1:
            raise ConfigError(f"search space {text!r} has {setting!r}; expected one number")
        values[name] = int(numbers[0]) if single else tuple(map(int, numbers))
    return SearchSpace(kind=kind, **values)  # type: ignore[arg-type]  # checked on construction


def _text(value: int | tuple[int, ...]) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
