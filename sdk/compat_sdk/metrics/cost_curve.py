"""What one image costs on average when a gallery is embedded once and searched often.

Indexing is paid once, querying for as long as the system lives. Over both, a heterogeneous system starts at the
large model's cost and sinks to the small one's as queries outnumber gallery images.

Source: Compatibility-aware Heterogeneous Visual Search (CVPR 2021), section 3.1 and Fig. 3b,
https://arxiv.org/abs/2105.06047
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compat_sdk.errors import ConfigError

#: Queries per gallery image, from one per hundred to ten thousand, two a decade.
_DEFAULT_RATIOS: tuple[float, ...] = tuple(10 ** (exponent / 2) for exponent in range(-4, 9))


@dataclass(frozen=True)
class CostCurve:
    """Mean cost per embedded image against queries per gallery image.

    Attributes:
        ratios: Queries per gallery image, at least 0.
        baseline: The query model embeds everything, in MMACs per image; flat.
        heterogeneous: The gallery model embeds the gallery, the query model the queries, in MMACs per image.
        paragon: The gallery model embeds everything, in MMACs per image; flat.
    """

    ratios: tuple[float, ...]
    baseline: tuple[float, ...]
    heterogeneous: tuple[float, ...]
    paragon: tuple[float, ...]

    def to_json(self) -> dict[str, list[float]]:
        """The four lists, in MMACs per image."""
        return {
            "ratios": list(self.ratios),
            "baseline": list(self.baseline),
            "heterogeneous": list(self.heterogeneous),
            "paragon": list(self.paragon),
        }


def amortised_cost(query_mmacs: float, gallery_mmacs: float, ratio: float) -> float:
    """Mean cost per embedded image, in MMACs: ``(C_g + r * C_q) / (1 + r)``.

    Args:
        query_mmacs: Cost of embedding one query, in MMACs, at least 0.
        gallery_mmacs: Cost of embedding one gallery image, in MMACs, at least 0.
        ratio: Queries per gallery image over the life of the system, at least 0; may be infinite.

    Raises:
        ConfigError: An argument is negative or not a number.
    """
    for name, value in (("query_mmacs", query_mmacs), ("gallery_mmacs", gallery_mmacs), ("ratio", ratio)):
        if not value >= 0 or (name != "ratio" and math.isinf(value)):
            raise ConfigError(f"{name} is {value}; it must be a number that is at least 0")
    if math.isinf(ratio):
        return float(query_mmacs)
    return (gallery_mmacs + ratio * query_mmacs) / (1 + ratio)


def cost_curve(query_mmacs: float, gallery_mmacs: float, ratios: Sequence[float] = _DEFAULT_RATIOS) -> CostCurve:
    """The three curves of Fig. 3b: baseline (q, q), heterogeneous (q, g) and paragon (g, g).

    Args:
        query_mmacs: Cost of embedding one image with the query model, in MMACs.
        gallery_mmacs: Cost of embedding one image with the gallery model, in MMACs.
        ratios: Queries per gallery image, each at least 0.

    Raises:
        ConfigError: A cost or a ratio is negative or not a number, or ``ratios`` is empty.
    """
    if not len(ratios):
        raise ConfigError("ratios is empty; give at least one number of queries per gallery image")
    return CostCurve(
        ratios=tuple(float(ratio) for ratio in ratios),
        baseline=tuple(amortised_cost(query_mmacs, query_mmacs, ratio) for ratio in ratios),
        heterogeneous=tuple(amortised_cost(query_mmacs, gallery_mmacs, ratio) for ratio in ratios),
        paragon=tuple(amortised_cost(gallery_mmacs, gallery_mmacs, ratio) for ratio in ratios),
    )
