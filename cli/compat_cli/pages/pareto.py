"""The plot of a search: heterogeneous accuracy against cost, searched networks beside static ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compat_cli.pages.plots import COLOURS, INK, figure_and_axes, standalone_svg

LABELS = {"query_mmacs": "MMACs per query", "milliseconds": "milliseconds per query, by the table of the device"}
"""Costs that networks can be plotted against, as the JSON of a `CmpResult` names them."""


def pareto(result: Mapping[str, Any], cost: str = "query_mmacs") -> str:
    """M(q,g) against a cost, with 95 % intervals; the line joins networks that nothing cheaper beats.

    Args:
        result: The JSON of a `CmpResult`: ``networks``, each with ``name``, ``tier``, ``query_mmacs``,
            ``query_gallery`` and ``gallery_gallery``.
        cost: One of `LABELS`; networks without it are left out, and one at least has it.

    Returns:
        An SVG file.
    """
    known = [network for network in result["networks"] if network.get(cost) is not None]
    networks = sorted(known, key=lambda network: float(network[cost]))
    with figure_and_axes((7.2, 4.6)) as (figure, axes, _):
        for searched, colour, marker, label in (
            (True, COLOURS["het"], "o", "searched"),
            (False, COLOURS["large"], "s", "static"),
        ):
            rows = [network for network in networks if (network["tier"] is not None) == searched]
            if not rows:
                continue
            costs = [row[cost] for row in rows]
            values = [_percent(row) for row in rows]
            intervals = [_accuracy(row["query_gallery"])["ci95"] for row in rows]
            errors = [
                [value - 100 * low for value, (low, _) in zip(values, intervals, strict=True)],
                [100 * high - value for value, (_, high) in zip(values, intervals, strict=True)],
            ]
            axes.errorbar(
                costs, values, yerr=errors, fmt=marker, color=colour, markersize=6, capsize=2, elinewidth=1, label=label
            )
        front = _front([(row[cost], _percent(row)) for row in networks])
        axes.plot(*zip(*front, strict=True), color=COLOURS["small"], linewidth=1.4, drawstyle="steps-post", zorder=0)
        paragon = _percent(networks[0], "gallery_gallery")
        axes.axhline(paragon, color=INK, linestyle=":", linewidth=1)
        axes.text(1.0, paragon, "M(g,g)", ha="right", va="bottom", fontsize=9, transform=axes.get_yaxis_transform())
        axes.set_xscale("log")
        axes.set_xlabel(LABELS[cost])
        metric = _accuracy(networks[0]["query_gallery"])["metric"]
        axes.set_ylabel(f"M(q,g) {metric}, % (whiskers: 95 % interval)")
        axes.margins(x=0.08)
        ticks = _ticks(*axes.get_xlim())
        axes.set_xticks(ticks, [f"{tick:.6g}" for tick in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0)
        _write_names(axes, [network for network in networks if network["tier"] is None], cost)
        return standalone_svg(figure)


def _accuracy(scores: Mapping[str, Any]) -> Mapping[str, Any]:
    """The accuracy that was asked for; results of 0.7 have top-1 alone."""
    top1 = {"metric": "top-1", "value": scores["cmc"]["1"], "ci95": scores["ci95"]["1"]}
    found: Mapping[str, Any] = scores.get("accuracy", top1)
    return found


def _percent(network: Mapping[str, Any], pair: str = "query_gallery") -> float:
    return 100 * float(_accuracy(network[pair])["value"])


def _ticks(low: float, high: float) -> list[float]:
    """Round costs inside the axis: of one, two, three and five, or of equal steps where costs are close."""
    ticks = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 3, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) < 3:
        from matplotlib.ticker import MaxNLocator

        ticks = [float(tick) for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    return ticks


def _write_names(axes: Any, networks: list[Mapping[str, Any]], cost: str) -> None:
    """Names beside the points of static networks: inside the axes, and one line apart where points are close."""
    to_pixels = axes.transData.transform
    line = 10 * axes.figure.dpi / 72
    points = [(network[cost], _percent(network)) for network in networks]
    lowest = float("inf")
    for (x, y), network in sorted(zip(points, networks, strict=True), key=lambda pair: -pair[0][1]):
        across, height = to_pixels((x, y))
        level = min(height, lowest - line)
        lowest = level
        left = axes.transAxes.inverted().transform((across, height))[0] > 0.7
        axes.annotate(
            network["name"],
            (x, y),
            xytext=(-7 if left else 7, (level - height) * 72 / axes.figure.dpi),
            textcoords="offset points",
            fontsize=8,
            ha="right" if left else "left",
            va="center",
        )


def _front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no cheaper or equally cheap point beats, by cost."""
    found: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or value > found[-1][1]:
            found.append((cost, value))
    return found
