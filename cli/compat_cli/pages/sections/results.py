"""What was measured, and how much cheaper and faster that makes the small model for one image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Any]


def saving_of(results: Results) -> float | None:
    """How many times the small model's multiply-accumulates the large one costs; None where a cost is not known."""
    query = results["evaluation"]["query"]
    large, small = query["gallery_mmacs"], query["query_mmacs"]
    return float(large / small) if large and small else None


def speed_up(results: Results) -> float | None:
    """How many times as fast the small model is for one image; None where that was not measured."""
    times = milliseconds_of(results)
    return times["gallery"] / times["query"] if times else None


def milliseconds_of(results: Results) -> dict[str, float] | None:
    """Median time of one image by role, ``gallery`` and ``query``; None where one was not measured."""
    if "profiles" in results:
        return {role: float(found["latency_ms"]["p50"]) for role, found in results["profiles"].items()}
    times = results.get("milliseconds", {})
    return times if times and all(times.values()) else None


def as_part(saving: float) -> str:
    """What a query costs of a large one, such as ``1/12``, or ``80 %`` where little is saved."""
    return f"1/{saving:.0f}" if saving >= 1.5 else f"{100 / saving:.0f} %"


def as_pace(faster: float) -> str:
    """How fast the small model is in words, such as ``3.1 times as fast``."""
    return f"{faster:.1f} times as fast" if faster >= 1 else f"slower, at {1 / faster:.1f} times the time"
