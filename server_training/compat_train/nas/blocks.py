"""Blocks of a search space that a device measures, and a network as a weighted sum of them.

Networks of both spaces are chains, so that a network's time is a sum over its blocks. Blocks of every width that a
search draws are measured; only the micro search of `nas global` comes to a width between two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from compat_train.models.layers import ConvBN, GlobalAveragePool


@dataclass(frozen=True)
class Block:
    """A part of a network as a network that can be exported and measured.

    Attributes:
        name: What a table of milliseconds calls it.
        shape: Of its input, ``(channels, height, width)``.
        build: Makes it with fresh weights; it maps ``[1, *shape]`` to ``[1, n]``.
        less: Name of the block whose time is subtracted; None: nothing is.
    """

    name: str
    shape: tuple[int, int, int]
    build: Callable[[], nn.Module]
    less: str | None = None


@dataclass(frozen=True)
class BlockSpace:
    """A search space as a device measures it.

    Attributes:
        settings: What a table of its blocks must be of, see `compat_sdk.profile.block_table`.
        size: Side of the input in pixels.
        blocks: Every block, after the one whose time is subtracted.
        networks: Draws so many networks: by architecture name, how often each block counts.
        build: Makes a network of an architecture name, with fresh weights.
    """

    settings: Mapping[str, object]
    size: int
    blocks: tuple[Block, ...]
    networks: Callable[[int], Mapping[str, Mapping[str, float]]]
    build: Callable[[str], nn.Module]


def in_context(name: str, channels: int, side: int, build: Callable[[], nn.Module]) -> Block:
    """A block between a 1x1 convolution and a pool, less these two alone: what it takes inside a network."""
    return Block(
        name,
        (channels, side, side),
        lambda: nn.Sequential(ConvBN(channels, channels), build(), GlobalAveragePool()),
        _context_name(channels, side),
    )


def tail(name: str, channels: int, side: int, layers: Callable[[], Sequence[nn.Module]]) -> Block:
    """The end of a network, from features to the embedding, with a pool of its own."""
    return Block(
        name,
        (channels, side, side),
        lambda: nn.Sequential(ConvBN(channels, channels), *layers()),
        _context_name(channels, side),
    )


def stem(name: str, size: int, build: Callable[[], nn.Module]) -> Block:
    """The beginning of a network, with the cost of one call."""
    return Block(name, (3, size, size), lambda: nn.Sequential(build(), GlobalAveragePool()))


def with_contexts(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Each block once, after what its time is less."""
    found: dict[str, Block] = {}
    for block in blocks:
        channels, side, _ = block.shape
        if block.less is not None:
            found.setdefault(block.less, _context(channels, side))
        found.setdefault(block.name, block)
    return tuple(found.values())


def between(value: float, measured: Sequence[int]) -> dict[int, float]:
    """Weights of measured widths for a width: those of the two around it, or of the two nearest beyond either end.

    Args:
        value: The width.
        measured: At least two, ascending.
    """
    above = next((place for place, known in enumerate(measured) if known >= value), len(measured) - 1)
    low, high = measured[max(0, above - 1)], measured[max(1, above)]
    share = (value - low) / (high - low)
    return {known: weight for known, weight in ((low, 1 - share), (high, share)) if weight}


def summed(*parts: Mapping[str, float]) -> dict[str, float]:
    """Weights of blocks that several parts of a network have, added up."""
    found: dict[str, float] = {}
    for part in parts:
        for name, weight in part.items():
            found[name] = found.get(name, 0.0) + weight
    return found


def _context(channels: int, side: int) -> Block:
    return Block(
        _context_name(channels, side),
        (channels, side, side),
        lambda: nn.Sequential(ConvBN(channels, channels), GlobalAveragePool()),
    )


def _context_name(channels: int, side: int) -> str:
    return f"around:{channels}@{side}"
