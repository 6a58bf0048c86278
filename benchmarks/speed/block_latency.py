"""Does a sum over measured blocks tell how long a network takes, and do multiply-accumulates?

A space of CMP-NAS, every block and whole networks of it, as `nas blocks` writes them, on one thread. The sum over a
network's blocks is compared with what the network takes, and so is a straight line through the networks'
multiply-accumulates. Lines are fitted on all networks but the one that is asked (leave one out).

    compat-sdk nas blocks SPACE --size 112 --networks 30 --out blocks-onnx
    compat-sdk nas blocks SPACE --size 112 --networks 30 --target tflite --out blocks-tflite
    python -m benchmarks.speed.block_latency --folders blocks-onnx blocks-tflite      # on an idle machine
    python -m benchmarks.speed.block_latency --report

SPACE is that of the study of CMP-NAS on kanji: ``shuffle,stem=4,channels=12-32-64-128,repeats=2-2-4-2,last=128``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.pages import table, write_page
from benchmarks.rows import Row, Rows
from compat_sdk.metrics.scores import rank_correlation
from compat_sdk.profile import measure_blocks
from compat_sdk.profile.block_table import BlockTable
from compat_train.models.search_space import member_named, space_named
from compat_train.nas.cmp.cost import cost_table
from compat_train.nas.cmp.latency import latency_costs
from compat_train.nas.cmp.sampling import MemberSampler

HERE = Path(__file__).parent
_DRAWN = 200  # random members at equal multiply-accumulates, and as many at equal milliseconds
_BAND = 0.03  # half-width of what counts as equal, a fraction


def row_of(folder: Path, rounds: int) -> Row:
    """Measures a folder of blocks: what is kept of it."""
    found = measure_blocks(folder, rounds=rounds)
    space, size, dim, stem_stride = (found.settings[name] for name in ("space", "size", "dim", "stem_stride"))
    assert isinstance(space, str) and isinstance(size, int) and isinstance(dim, int) and isinstance(stem_stride, int)
    costs = cost_table(space_named(space), size=size, dim=dim, stem_stride=stem_stride)
    networks = [
        {"measured_ms": one.measured_ms, "sum_ms": one.predicted_ms, "mmacs": costs.cost(member_named(one.name))}
        for one in found.networks
    ]
    return {
        "engine": found.engine,
        "settings": dict(found.settings),
        "machine": machine(),
        "blocks": len(found.blocks),
        "networks": networks,
        "alike": _alike(found, space, size, dim, stem_stride),
    }


def _alike(found: BlockTable, space: str, size: int, dim: int, stem_stride: int) -> Row:
    """Milliseconds of members of equal multiply-accumulates by the table, and the other way round."""
    macs = cost_table(space_named(space), size=size, dim=dim, stem_stride=stem_stride)
    times = latency_costs(space_named(space), found, size=size, dim=dim, stem_stride=stem_stride)
    generator = np.random.default_rng(0)
    kept = {}
    for name, same, other in (("mmacs", macs, times), ("ms", times, macs)):
        middle = (same.lowest + same.highest) / 2
        sampler = MemberSampler(same)
        members = [sampler.draw(generator, middle * (1 - _BAND), middle * (1 + _BAND)) for _ in range(_DRAWN)]
        kept[name] = {"at": middle, "others": [round(other.cost(member), 6) for member in members]}
    return kept


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes tables and plot below the mark of a page, and prints them."""
    errors, spreads = [], []
    for row in rows:
        took, summed, macs = (
            np.array([one[key] for one in row["networks"]]) for key in ("measured_ms", "sum_ms", "mmacs")
        )
        ranks = [rank_correlation(values, took) or 0.0 for values in (summed, macs)]
        misses = [np.abs(summed - took) / took, _left_out(summed, took), _left_out(macs, took)]
        errors.append(
            [
                row["engine"],
                f"{row['settings']['size']} px, {row['blocks']} blocks",
                *(f"{100 * np.median(miss):.1f}" for miss in misses),
                *(f"{rank:.2f}" for rank in ranks),
                str(len(took)),
            ]
        )
        for name, unit, other in (("mmacs", "MMACs", "ms"), ("ms", "ms", "MMACs")):
            alike = row["alike"][name]
            low, middle, high = np.percentile(alike["others"], [5, 50, 95])
            spreads.append(
                [row["engine"], f"{alike['at']:.3g} {unit}", f"{low:.3g} to {high:.3g} {other}", f"{middle:.3g}"]
            )
    header = ["engine", "blocks of", "sum, error %", "sum through a line, %", "MMACs through a line, %"]
    header += ["Spearman of the sum", "of MMACs", "networks"]
    plot = page.with_suffix(".png")
    if rows:
        _plot(rows, plot)
    parts = [
        table("Median error over whole networks", header, errors, "Lines are fitted without the network asked."),
        f"![Sum over blocks against what a network takes]({plot.name})" if rows else "",
        table(
            "Random members of equal cost, by the table",
            ["engine", "all take", "5th to 95th percentile", "median"],
            spreads,
            f"{_DRAWN} members each, within {100 * _BAND:.0f} % of the cost.",
        ),
    ]
    write_page(page, "benchmarks.speed.block_latency", parts)


def _left_out(cost: NDArray[np.floating[Any]], took: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Relative error of each network by the line through all others, fitted to relative errors."""
    found = np.empty(len(took))
    for place in range(len(took)):
        others = np.arange(len(took)) != place
        sides = np.stack([cost[others] / took[others], 1 / took[others]], 1)
        slope, start = np.linalg.lstsq(sides, np.ones(len(sides)), rcond=None)[0]
        found[place] = abs(slope * cost[place] + start - took[place]) / took[place]
    return found


def _plot(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(rows), 3.8), layout="constrained")
    for axes, row in zip(np.ravel(figure.subplots(1, len(rows))), rows, strict=True):
        took, summed = (np.array([one[key] for one in row["networks"]]) for key in ("measured_ms", "sum_ms"))
        most = 1.05 * max(took.max(), summed.max())
        axes.plot([0, most], [0, most], color="#57606a", linewidth=0.8, linestyle=":")
        axes.scatter(took, summed, s=18, color="#3b82e0")
        axes.set_xlabel(f"whole network on {row['engine']}, ms")
        axes.set_ylabel("sum over its blocks, ms")
        axes.grid(linewidth=0.5, color="#d0d7de")
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measures the folders, keeps what has no row yet, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=Path, nargs="+", default=[], help="folders of blocks, of one engine each")
    parser.add_argument("--rounds", type=int, default=5, help="times that all graphs are measured")
    parser.add_argument("--out", type=Path, default=HERE / "block_latency.json")
    parser.add_argument("--report", action="store_true", help="only write the page from the rows")
    options = parser.parse_args()
    rows = Rows(options.out, "engine", "settings")
    if not options.report:
        rows.add([row_of(folder, options.rounds) for folder in options.folders])
    write_report(rows.rows, options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
