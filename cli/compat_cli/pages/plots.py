"""The report's plots as inline SVG that takes its text colour from the page, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from compat_sdk.errors import MissingExtraError

COLOURS = {"large": "#e08a1e", "het": "#3b82e0", "small": "#2f9e68", "refused": "#d2495a"}
INK = "#010203"  # stands for the page's text colour until the SVG is written
_GRID = "#040506"  # stands for the page's line colour


def accuracy(bars: Sequence[Mapping[str, Any]], chance: float) -> str:
    """Top-1 accuracy per system with 95 % intervals, as horizontal bars.

    Args:
        bars: Each with ``name``, ``value``, ``low``, ``high`` (fractions) and ``colour``, a key of `COLOURS`.
        chance: Accuracy of a random ranking, a fraction.

    Returns:
        An SVG element.
    """
    with figure_and_axes((5.4, 0.62 * len(bars) + 0.9)) as (figure, axes, done):
        for row, bar in enumerate(bars):
            value = 100 * bar["value"]
            error = [[value - 100 * bar["low"]], [100 * bar["high"] - value]]
            axes.barh(
                row, value, height=0.62, color=COLOURS[bar["colour"]], xerr=error, ecolor=INK, capsize=3,
                error_kw={"elinewidth": 1.2},
            )  # fmt: skip
            axes.text(100 * bar["high"] + 2, row, f"{value:.1f}", va="center", color=INK, fontsize=11)
        axes.axvline(100 * chance, color=INK, linestyle=":", linewidth=1)
        axes.text(100 * chance + 1, -0.72, "chance", color=INK, fontsize=9, va="center")
        axes.set_yticks(range(len(bars)), [bar["name"] for bar in bars])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(bars) - 0.5, -1.0)
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("top-1, % (with 95 % interval)")
        axes.grid(axis="y", visible=False)
        done.append(_inline_svg(figure, "Top-1 accuracy per system with 95 percent intervals"))
    return done[0]


def amortised(ratios: Sequence[float], curves: Mapping[str, Sequence[float]]) -> str:
    """Mean cost per embedded image against queries per gallery image (CMP-NAS, Fig. 3b).

    Args:
        ratios: Queries per gallery image.
        curves: ``paragon``, ``heterogeneous`` and ``baseline``: mean MMACs per image at each ratio.

    Returns:
        An SVG element.
    """
    middle = len(ratios) // 2
    top, bottom = max(curves["paragon"]), min(curves["baseline"])
    lines = (
        ("paragon", "large", "--", "large model for both", (ratios[-1], top * 1.12), ("right", "bottom")),
        ("heterogeneous", "het", "-", "large gallery,\nsmall queries",
         (ratios[middle] * 1.6, curves["heterogeneous"][middle]), ("left", "bottom")),
        ("baseline", "small", "--", "small model for both", (ratios[0], bottom * 0.9), ("left", "top")),
    )  # fmt: skip
    with figure_and_axes((5.4, 3.5)) as (figure, axes, done):
        for key, colour, style, name, (x, y), (horizontal, vertical) in lines:
            axes.plot(ratios, curves[key], style, color=COLOURS[colour], linewidth=2.4)
            axes.text(x, y, name, color=COLOURS[colour], ha=horizontal, va=vertical)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("queries per gallery image")
        axes.set_ylabel("mean MMACs per image")
        axes.set_ylim(bottom * 0.5, top * 2)
        ticks = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if bottom * 0.5 <= tick <= top * 2]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        done.append(_inline_svg(figure, "Amortised cost of embedding against the ratio of queries to gallery images"))
    return done[0]


def costs(rows: Sequence[Mapping[str, Any]]) -> str:
    """Multiply-accumulates and measured latency of each model, side by side.

    Args:
        rows: Each with ``name``, ``mmacs``, ``p50`` (milliseconds, or None in all where that is not known) and
            ``colour``.

    Returns:
        An SVG element.
    """
    timed = all(row["p50"] is not None for row in rows)
    with figure_and_axes((5.4, 3.3), columns=1 + timed) as (figure, axes, done):
        panels = [("mmacs", axes[0] if timed else axes, "MMACs per image", ".3g")]
        panels += [("p50", axes[1], "ms per image, median", ".2f")] if timed else []
        names = [row["name"] for row in rows]
        places = range(len(rows))
        colours = [COLOURS[row["colour"]] for row in rows]
        for place, (key, axis, label, form) in enumerate(panels):
            most = max(row[key] for row in rows)
            axis.barh(places, [row[key] for row in rows], height=0.6, color=colours)
            for row_place, row in enumerate(rows):
                axis.text(
                    row[key] + 0.02 * most, row_place, format(row[key], form), va="center", color=INK, fontsize=10
                )
            axis.set_yticks(places, names if place == 0 else [""] * len(rows))
            axis.set_xlim(0, 1.3 * most)
            axis.set_xlabel(label)
            axis.invert_yaxis()
            axis.grid(axis="y", visible=False)
            axis.locator_params(axis="x", nbins=4)
            axis.tick_params(axis="y", length=0)
        done.append(_inline_svg(figure, "Multiply-accumulates and latency of each model"))
    return done[0]


def training(runs: Sequence[Mapping[str, Any]]) -> str:
    """Loss of each run under its own classifier, averaged over each tenth of an epoch, against the epoch.

    Args:
        runs: Each with ``name``, ``epoch`` and ``loss`` (equally long) and ``colour``.

    Returns:
        An SVG element.
    """
    with figure_and_axes((5.4, 3.3)) as (figure, axes, done):
        for run in runs:
            axes.plot(run["epoch"], run["loss"], color=COLOURS[run["colour"]], linewidth=1.8, label=run["name"])
        axes.set_xlabel("epoch")
        axes.set_ylabel("training loss")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, labelcolor=INK, fontsize=10)
        done.append(_inline_svg(figure, "Training loss of each run against the epoch"))
    return done[0]


@contextmanager
def figure_and_axes(size: tuple[float, float], columns: int = 1) -> Iterator[tuple[Any, Any, list[str]]]:
    """A figure without a window or global state, its axes, and a list for the finished SVG."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"{size}",
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": _GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.7,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(1, columns, squeeze=False)[0]
        yield figure, axes[0] if columns == 1 else tuple(axes), []


def standalone_svg(figure: Any) -> str:
    """The figure as an SVG file of its own, dark on white; equal figures give equal bytes."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return buffer.getvalue().replace(INK, "#1f2328").replace(_GRID, "#d0d7de")


def _inline_svg(figure: Any, description: str) -> str:
    """The figure as an SVG element that scales with the page and takes its colours from it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(INK, "currentColor").replace(_GRID, "var(--line)")
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{description}" xmlns:xlink="http://www.w3.org/1999/xlink">',
        text,
        count=1,
    )
