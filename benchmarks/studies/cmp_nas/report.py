"""cmp_nas.md and its plots from the rows of the study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.pages import Hits, difference_cell, mean_cell, unpacked, write_page
from benchmarks.rows import Row
from compat_sdk.metrics import rank_correlation

QUERIES = 4000
GALLERY_MMACS = 33.5
DRAWS = 2000  # bootstrap resamples of a correlation


def hits(rows: Sequence[Row], side: str) -> Hits:
    """Hits at rank 1, 0 or 1, float64 ``[rows, queries]``."""
    return np.stack([unpacked(row["hits"][side], QUERIES) for row in rows])


def write_report(results: Row, page: Path) -> None:
    """Writes the tables of every stage that has rows below the mark of a page, its plot beside it, and prints them."""
    rows = results["rows"]
    for row in rows:
        row["hits"]["paragon"] = results["paragon"][str(row["seed"])]
    parts = [
        _table4(rows),
        _rewards(rows),
        _static(rows),
        _tiers(rows),
        _fig4(rows, page),
        _searches(results),
    ]
    write_page(page, "benchmarks.studies.cmp_nas.run", parts)


def _of(rows: Sequence[Row], keep: Callable[[Row], bool]) -> list[Row]:
    return sorted((row for row in rows if keep(row)), key=lambda row: (row["seed"], row.get("place", 0)))


def _line(name: str, rows: Sequence[Row]) -> str:
    own, across = hits(rows, "own"), hits(rows, "across")
    held = sum(row["across"] > row["own"] for row in rows)
    mmacs = np.mean([row["mmacs"] for row in rows])
    return (
        f"| {name} | {mmacs:.2f} | {mean_cell(own)} | {mean_cell(across)} "
        f"| {difference_cell(across, own)} | {held} of {len(rows)} |"
    )


_HEADER = "| {} | MMACs | M(q,q) | M(q,g) | M(q,g) - M(q,q) | rule holds in |\n|---|---|---|---|---|---|"


def _table4(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(row["name"] for row in rows if row["stage"] == "table4"))
    lines = [_line(name.removeprefix("pruned-"), _of(rows, lambda row, n=name: row["name"] == n)) for name in names]  # type: ignore[misc]
    if not lines:
        return ""
    return "\n".join(
        ["### Table 4: the gallery model pruned, trained four ways", "", _HEADER.format("training"), *lines]
    )


def _rewards(rows: Sequence[Row]) -> str:
    found = [row for row in rows if row["stage"] == "search"]
    if not found:
        return ""
    main = (
        sorted({row["budget"] for row in found})[1] if len({row["budget"] for row in found}) > 1 else found[0]["budget"]
    )
    lines = []
    variants = ("vanilla-nas", "r1", "r2", "r3", "random")
    for variant in variants:
        chosen = _of(found, lambda row, v=variant: row["variant"] == v and row["budget"] == main)  # type: ignore[misc]
        if chosen:
            gain = ""
            if variant != "r3":
                best = [row for row in found if row["variant"] == "r3" and row["budget"] == main]
                gain = f" (R3 gains {_difference_of_seeds(best, chosen)})"
            lines.append(_line(f"{variant}, all {len(chosen)}{gain}", chosen))
    means = []
    for variant in variants:
        per_seed = {
            seed: np.mean(
                [
                    row["across"]
                    for row in found
                    if row["variant"] == variant and row["budget"] == main and row["seed"] == seed
                ]
            )
            for seed in sorted({row["seed"] for row in found if row["variant"] == variant and row["budget"] == main})
        }
        if per_seed:
            means.append(f"{variant}: " + ", ".join(f"{100 * value:.1f}" for value in per_seed.values()))
    return "\n".join(
        [f"### Rewards at {main:g} MMACs, every retrained network", "", _HEADER.format("search"), *lines, "",
         "Mean M(q,g) of each seed's networks: " + "; ".join(means) + "."]
    )  # fmt: skip


def _difference_of_seeds(rows: Sequence[Row], others: Sequence[Row]) -> str:
    """Difference of M(q,g), each seed's networks taken together; intervals over seeds and queries."""
    seeds = sorted({row["seed"] for row in rows} & {row["seed"] for row in others})

    def by_seed(of: Sequence[Row]) -> Hits:
        return np.stack([hits([row for row in of if row["seed"] == seed], "across").mean(0) for seed in seeds])

    return difference_cell(by_seed(rows), by_seed(others))


def _static(rows: Sequence[Row]) -> str:
    static = [row for row in rows if row["stage"] == "static"]
    found = [row for row in rows if row["stage"] == "search" and row["variant"] == "r3"]
    if not static or not found:
        return ""
    budgets = sorted({row["budget"] for row in found})
    main = budgets[1] if len(budgets) > 1 else budgets[0]
    best = _of(found, lambda row: row["budget"] == main and row["place"] == 1)
    by_seed = {row["seed"]: row for row in best}
    five = _of(found, lambda row: row["budget"] == main)
    lines = [_line("CMP-NAS (R3), its best by reward", best), _line(f"CMP-NAS (R3), all {len(five)}", five)]
    for name in dict.fromkeys(row["name"] for row in static):
        chosen = _of(static, lambda row, n=name: row["name"] == n)  # type: ignore[misc]
        pairs = [(by_seed[row["seed"]], row) for row in chosen if row["seed"] in by_seed]
        gain = ""
        if pairs:
            best_one = difference_cell(hits([a for a, _ in pairs], "across"), hits([b for _, b in pairs], "across"))
            gain = f" (searched gains {best_one}; all five {_difference_of_seeds(five, chosen)})"
        lines.append(_line(f"{name.removeprefix('static-')} x{chosen[0]['width']:g}{gain}", chosen))
    return "\n".join([f"### Static networks at {main:g} MMACs, trained alike", "", _HEADER.format("network"), *lines])


def _tiers(rows: Sequence[Row]) -> str:
    found = [row for row in rows if row["stage"] in ("search", "remedy")]
    lines = []
    for budget in sorted({row["budget"] for row in found}, reverse=True):
        for variant, label in (
            ("r3", "BCT"),
            ("regression-mixed", "regression, also on cut-and-paste images"),
            ("regression-unlabelled", "regression on 1,800 characters without labels"),
            ("infonce-unlabelled", "InfoNCE on 1,800 characters without labels"),
        ):
            chosen = _of(
                found,
                lambda row, b=budget, v=variant: (
                    row["budget"] == b and row["variant"] == v and row.get("place", 1) == 1
                ),  # type: ignore[misc]
            )
            if chosen:
                gap = difference_cell(hits(chosen, "across"), hits(chosen, "paragon"))
                ratio = GALLERY_MMACS / np.mean([row["mmacs"] for row in chosen])
                lines.append(_line(f"{budget:g}, {label} ({ratio:.0f}x fewer; to M(g,g) {gap})", chosen))
    if not lines:
        return ""
    seeds = {row["seed"]: row for row in found}
    paragon = mean_cell(hits(list(seeds.values()), "paragon"))
    return "\n".join(
        ["### Tiers: the best network by reward (R3)", "", _HEADER.format("tier, training"), *lines, "",
         f"M(g,g): {paragon}."]
    )  # fmt: skip


def spearman(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Rank correlation and its 95 % bootstrap interval over the members."""
    a, b = np.asarray(first), np.asarray(second)
    generator = np.random.default_rng(0)
    sampled = []
    for _ in range(DRAWS):
        rows = generator.integers(len(a), size=len(a))
        if (drawn := rank_correlation(a[rows], b[rows])) is not None:
            sampled.append(drawn)
    low, high = np.quantile(sampled, [0.025, 0.975]) if sampled else (np.nan, np.nan)  # of scores that are all equal
    value = rank_correlation(a, b)
    return float("nan") if value is None else value, float(low), float(high)


def _fig4(rows: Sequence[Row], page: Path) -> str:
    by_arch: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["stage"] == "fig4":
            by_arch.setdefault(row["arch"], {})[row["method"]] = row
    both = [pair for pair in by_arch.values() if len(pair) == 2]
    if len(both) < 5:
        return ""
    across = [pair["bct"]["across"] for pair in both]
    lines = []
    for name, values in (
        ("(a) MMACs", [pair["bct"]["mmacs"] for pair in both]),
        ("(b) M(q,q) of vanilla training", [pair["vanilla"]["own"] for pair in both]),
        ("(c) M(q,q) of BCT training", [pair["bct"]["own"] for pair in both]),
    ):
        rank, low, high = spearman(values, across)
        pearson = float(np.corrcoef(values, across)[0, 1])
        lines.append(f"| {name} | {rank:.2f} [{low:.2f}, {high:.2f}] | {pearson:.2f} |")
    spread = f"{100 * min(across):.1f} to {100 * max(across):.1f}"
    plot = page.with_name(f"{page.stem}_fig4.png")
    _plot_fig4(both, plot)
    return "\n".join(
        [f"### Fig. 4: {len(both)} random members of equal cost", "",
         "| against M(q,g) of BCT training | Spearman | Pearson |", "|---|---|---|", *lines, "",
         f"M(q,g) spans {spread} % at {both[0]['bct']['mmacs']:.2f} MMACs or so.", "", f"![Fig. 4]({plot.name})"]
    )  # fmt: skip


def _plot_fig4(both: Sequence[dict[str, Row]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    across = [100 * pair["bct"]["across"] for pair in both]
    for axes, (label, values) in zip(
        panels,
        (
            ("MMACs", [pair["bct"]["mmacs"] for pair in both]),
            ("M(q,q), vanilla training, %", [100 * pair["vanilla"]["own"] for pair in both]),
            ("M(q,q), BCT training, %", [100 * pair["bct"]["own"] for pair in both]),
        ),
        strict=True,
    ):
        axes.scatter(values, across, s=18, color="#3b82e0")
        axes.set_xlabel(label)
        axes.grid(linewidth=0.5, color="#d0d7de")
        axes.set_axisbelow(True)
    panels[0].set_ylabel("M(q,g), BCT training, %")
    figure.savefig(path, dpi=130)


def _searches(results: Row) -> str:
    if not results["searches"]:
        return ""
    lines = [
        f"| {found['variant']} | {found['budget']:g} | {found['seed']} "
        f"| {', '.join(format(best['reward'], '.3f') for best in found['best'])} |"
        for found in sorted(results["searches"], key=lambda found: (found["variant"], found["budget"], found["seed"]))
    ]
    return "\n".join(
        ["### Searches: rewards of the five best on the validation characters", "",
         "| search | budget | seed | rewards |", "|---|---|---|---|", *lines]
    )  # fmt: skip
