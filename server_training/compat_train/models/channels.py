"""Channel counts at a width, for networks and for search spaces that load no torch."""

from __future__ import annotations


def scale_channels(channels: int, width: float, multiple: int = 8) -> int:
    """Channel count at a width multiplier, rounded to the nearest multiple.

    The result never falls more than 10 % below the requested count, so that narrow layers keep their
    capacity.

    Source: Howard et al., 2017, https://arxiv.org/abs/1704.04861, section 3.2 (width multiplier). The papers
    leave the rounding open; with this one the multiply-adds of the published networks come out.

    Args:
        channels: Channels at width 1, at least 1.
        width: Multiplier, above 0.
        multiple: Granularity of the result.

    Returns:
        A positive multiple of ``multiple``.
    """
    wanted = channels * width
    rounded = max(multiple, int(wanted / multiple + 0.5) * multiple)
    return rounded if rounded >= 0.9 * wanted else rounded + multiple
