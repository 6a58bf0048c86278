"""One device's latencies beside another's: whether a model that is fast here is fast there.

Numbers of operations are the same everywhere, times are not. Rank correlations tell whether one may stand for the
other: of operations and time on each device, and of the two devices' times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compat_sdk.errors import ConfigError
from compat_sdk.metrics import rank_correlation
from compat_sdk.profile.latency_table import LatencyTable

_SAME_COST = 0.01  # multiply-accumulates of one model may differ by this share between tables


@dataclass(frozen=True)
class Pair:
    """One model on both devices.

    Attributes:
        here: Its profile on the first device, as `Profile.to_json` gives it.
        there: The same model's profile on the second.
    """

    here: Mapping[str, Any]
    there: Mapping[str, Any]

    @property
    def here_ms(self) -> float:
        """Median latency on the first device, in milliseconds."""
        return float(self.here["latency_ms"]["p50"])

    @property
    def there_ms(self) -> float:
        """Median latency on the second device, in milliseconds."""
        return float(self.there["latency_ms"]["p50"])

    @property
    def ratio(self) -> float | None:
        """How many times as long the second device takes; None where the first one's clock saw no time pass."""
        return self.there_ms / self.here_ms if self.here_ms else None


@dataclass(frozen=True)
class Comparison:
    """Two devices' tables, matched row by row.

    Attributes:
        pairs: Models that both have measured, in the first table's order; at least one.
        only_here: Profiles without a counterpart in the second table.
        only_there: Profiles without a counterpart in the first.
    """

    pairs: tuple[Pair, ...]
    only_here: tuple[Mapping[str, Any], ...]
    only_there: tuple[Mapping[str, Any], ...]

    @property
    def correlations(self) -> dict[str, float | None]:
        """Spearman's rank correlations over the pairs, in [-1, 1]; None for fewer than three or where all are equal.

        Of multiply-accumulates and latency ``here`` and ``there``, and of the latencies on ``both`` devices.
        """
        mmacs = [float(pair.here["mmacs"]) for pair in self.pairs]
        here, there = [pair.here_ms for pair in self.pairs], [pair.there_ms for pair in self.pairs]
        return {
            "here": rank_correlation(mmacs, here),
            "there": rank_correlation(mmacs, there),
            "both": rank_correlation(here, there),
        }

    def to_json(self) -> dict[str, object]:
        """The object under ``comparison`` of ``compat-sdk profile --compare --json``."""
        pairs = [
            {name: pair.here[name] for name in ("name", "size", "precision", "mmacs")}
            | {"here": {"engine": pair.here["engine"], "p50": pair.here_ms}}
            | {"there": {"engine": pair.there["engine"], "p50": pair.there_ms}, "ratio": pair.ratio}
            for pair in self.pairs
        ]
        alone = {"only_here": list(map(label, self.only_here)), "only_there": list(map(label, self.only_there))}
        return {"pairs": pairs, **alone, "rank_correlation": self.correlations}


def compare_tables(here: LatencyTable, there: LatencyTable) -> Comparison:
    """Matches the rows of two devices' tables.

    Rows are of one model where name, image size, precision and multiply-accumulates agree. Rows of the same engine are
    matched first. Devices seldom share one, so what is left is matched across engines where each side has one row of
    the model.

    Args:
        here: The first table.
        there: The second.

    Raises:
        ConfigError: The tables have no model in common.
    """
    left, right = list(here.profiles), list(there.profiles)
    found: dict[int, Mapping[str, Any]] = {}
    for place, profile in enumerate(left):
        same = [other for other in right if _one_model(profile, other) and profile["engine"] == other["engine"]]
        if same:
            found[place] = same[0]
            right = [other for other in right if other is not same[0]]
    for place, profile in enumerate(left):
        mine = [i for i, other in enumerate(left) if i not in found and _one_model(profile, other)]
        others = [other for other in right if _one_model(profile, other)]
        if mine == [place] and len(others) == 1:
            found[place] = others[0]
            right = [other for other in right if other is not others[0]]
    if not found:
        raise ConfigError(
            f"the two devices have no model in common: here {_labels(left)}; there {_labels(right)}; expected the same "
            f"name, image size, precision and multiply-accumulates at least once: profile the same bundles"
        )
    pairs = tuple(Pair(left[place], found[place]) for place in sorted(found))
    return Comparison(pairs, tuple(one for i, one in enumerate(left) if i not in found), tuple(right))


def label(profile: Mapping[str, Any]) -> str:
    """A profile's name, image size, engine and precision in a few words."""
    return f"{profile['name']} ({profile['size']} px, {profile['engine']}, {profile['precision']})"


def _one_model(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(first[name] == second[name] for name in ("name", "size", "precision")) and math.isclose(
        first["mmacs"], second["mmacs"], rel_tol=_SAME_COST
    )


def _labels(profiles: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(map(label, profiles)) or "none"
