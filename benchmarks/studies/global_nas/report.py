"""global_nas.md from the rows of the study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.pages import Hits, difference_cell, mean_cell, table, unpacked, write_page
from benchmarks.rows import Row
from benchmarks.studies.global_nas.ranking_report import rankings
from compat_train.nas.global_nas.result import relative_improvement

SEARCHES = {"search": "dynamic", "search-static": "static"}
CMP = {"cmp": "CMP-NAS", "cmp-equal": "CMP-NAS at equal cost"}


def write_report(results: Row, page: Path) -> None:
    """Writes the tables of every dataset that has rows below the mark of a page, and prints them.

    Args:
        results: What the study found.
        page: Markdown file; what is above its mark stays.
    """
    parts = []
    for dataset in dict.fromkeys(row["dataset"] for row in results["rows"]):
        found = sorted((row for row in results["rows"] if row["dataset"] == dataset), key=lambda row: row["seed"])
        seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in found}))
        parts.append(f"## {dataset} (seeds {seeds})")
        parts += [_searches(found), _accuracy(found), _longer(found), _whole(found), rankings(found)]
        parts += [_kanji(found), _costs(found), _steps(found)]
    write_page(page, "benchmarks.studies.global_nas.run", parts)


def _of(rows: Sequence[Row], name: str) -> dict[int, Row]:
    """Rows of one name by seed, seeds rising."""
    return {row["seed"]: row for row in rows if row["name"] == name}


def _hits(rows: Sequence[Row], side: str, who: str = "network") -> Hits:
    """Hits of each row's network, or the mean of those of its random ones, float64 ``[rows, images]``."""
    found = []
    for row in rows:
        count = row["test_images"] if side == "test" else row["queries"]
        found.append(np.mean([unpacked(network["hits"][side], count) for network in _networks(row, who)], axis=0))
    return np.stack(found)


def _networks(row: Row, who: str) -> list[Row]:
    """A row's random networks, or the one that it is about."""
    return list(row["random"]) if who == "random" else [row.get("network", row)]


def _improvement(row: Row, others: Row | None) -> float | None:
    """RI in percent over the random members of another row of the same seed; None without any."""
    if others is None or not others["random"]:
        return None
    return relative_improvement(row["network"]["score"], [network["score"] for network in others["random"]])


def _searches(rows: Sequence[Row]) -> str:
    """One line per search."""
    lines, notes = [], []
    for name, ranking in (SEARCHES | {"kanji-r3": "dynamic"}).items():
        found = _of(rows, name)
        random = found if name == "kanji-r3" else _of(rows, "random")
        gains = {seed: _improvement(row, random.get(seed)) for seed, row in found.items()}
        for seed, row in found.items():
            network, gain = row["network"], gains[seed]
            trained = row["depth_evaluated"] + row["width_evaluated"] + row["micro_evaluated"]
            figures = (row["D"], row["W"], row["O"], row["K"], row["depth_evaluated"], row["width_evaluated"])
            lines.append(
                [
                    f"{ranking}, {row['macro_epochs']} epochs" if "macro_epochs" in row else ranking,
                    str(seed),
                    *(str(figure) for figure in figures),
                    f"{row['evaluated']} ({trained})",
                    f"{network['parameters']:,}",
                    f"{network['mmacs']:.2f}",
                    f"{100 * network['score']:.2f}",
                    f"{row['search_cpu_seconds'] / 3600:.2f}",
                    "" if gain is None else f"{gain:+.2f}",
                ]
            )
        known = [gain for gain in gains.values() if gain is not None]
        if known:
            above = sum(gain > 0 for gain in known)
            notes.append(
                f"{ranking} ranking: RI above 0 in {above} of {len(known)} seeds, {np.mean(known):+.2f} % in the mean; "
                f"search {np.mean([row['search_cpu_seconds'] for row in found.values()]) / 3600:.2f} CPU hours."
            )
    searches = [row for name in (*SEARCHES, "kanji-r3") for row in _of(rows, name).values()]
    if resumed := sum(row.get("resumed", 0) for row in searches):
        notes.append(f"{resumed} trainings were resumed, and lack the seconds before that.")
    if silent := sum("resumed" not in row for row in searches):
        notes.append(
            f"{silent} of the searches do not say whether a training was resumed: seconds before that would be missing."
        )
    header = ["ranking", "seed", "D", "W", "O", "K", "D'", "W'", "2D+D'+W' (trained)", "parameters", "MMACs", "%"]
    what = "M(q,q) x M(q,g)" if _of(rows, "kanji-r3") else "accuracy on the query split"
    note = f"%: {what}. RI in percent, over random members that are trained as the network is."
    return table("Searches", [*header, "search, CPU hours", "RI"], lines, note, *notes)


def _accuracy(rows: Sequence[Row]) -> str:
    """Accuracies on all test images and on the query split, and differences, on the seeds that have both sides."""
    found, static = ((f"found, {ranking} ranking", _of(rows, name), "network") for name, ranking in SEARCHES.items())
    random = ("random members", _of(rows, "random"), "random")
    equal = ("random members of the found networks' sizes", _of(rows, "random-equal"), "random")
    lines, counts = [], None
    for label, of, who in (found, static, random, equal):
        if every := list(of.values()):
            counts = counts or every[0]
            size = np.mean([network["parameters"] for row in every for network in _networks(row, who)])
            lines.append([label, *_accuracies(_hits(every, "test", who), every[0]["queries"]), f"{size:,.0f}"])
    for pair in ((found, random), (static, random), (found, equal), (found, static)):
        if both := [seed for seed in pair[0][1] if seed in pair[1][1]]:
            one, other = (_hits([of[seed] for seed in both], "test", who) for _, of, who in pair)
            each = ", ".join(f"{100 * value:+.1f}" for value in (one - other).mean(axis=1))
            apart = f"{difference_cell(one, other)}; seed by seed {each}"
            lines.append([f"{pair[0][0]} - {pair[1][0]}", apart, "", ""])
    if counts is None:
        return ""
    header = ["", f"all {counts['test_images']:,} test images", f"query split, {counts['queries']:,}", "parameters"]
    note = "Means over the seeds, 95 % intervals bootstrapped over seeds and images; no search saw a test image."
    return table("Accuracy in percent", header, lines, note)


def _accuracies(hits: Hits, queries: int) -> list[str]:
    """On all test images, and on those of the query split, which come first."""
    return [mean_cell(hits), mean_cell(hits[:, :queries])]


def _longer(rows: Sequence[Row]) -> str:
    """What longer training makes of the found networks and of random ones, seed by seed."""
    found, lines, gains = _of(rows, "longer"), [], []
    for seed, row in found.items():
        scores = []
        for label, who in (("found", "network"), ("random members", "random")):
            size = np.mean([network["parameters"] for network in _networks(row, who)])
            hits = _hits([row], "test", who)
            scores.append(float(hits[:, : row["queries"]].mean()))
            lines.append([str(seed), label, str(row["epochs"]), f"{size:,.0f}", *_accuracies(hits, row["queries"])])
        gain = relative_improvement(scores[0], scores[1:])
        gains.append("" if gain is None else f"{gain:+.2f}")
    if not found:
        return ""
    apart = difference_cell(*(_hits(list(found.values()), "test", who) for who in ("network", "random")))
    header = ["seed", "", "epochs", "parameters", "all test images", "query split"]
    note = f"All test images, found - random: {apart}. RI {', '.join(gains)} %."
    return table("Trained for longer, accuracy in percent", header, lines, note)


def _whole(rows: Sequence[Row]) -> str:
    """One line per found network that was trained on every training image."""
    lines = []
    for seed, row in _of(rows, "whole").items():
        hits = _hits([row], "test")
        figures = f"{row['parameters']:,}", f"{row['mmacs']:.2f}", f"{row['images']:,}", str(row["epochs"])
        lines.append([str(seed), *figures, *_accuracies(hits, row["queries"])])
    header = ["seed", "parameters", "MMACs", "training images", "epochs", "all test images", "query split"]
    note = (
        "The network of the search with dynamic ranking. In the paper: 95.90 % with 0.50 M parameters after 600 epochs."
    )
    return table("Trained on every training image, accuracy in percent", header, lines, note)


def _kanji(rows: Sequence[Row]) -> str:
    """What the global search found for R3 beside what CMP-NAS found, and random members of the global space."""
    found = _of(rows, "kanji-r3")
    if not found:
        return ""
    others = {label: of_cmp for name, label in CMP.items() if (of_cmp := _of(rows, name))}
    every = [row for of in (found, *others.values()) for row in of.values()]
    if len(count := {row["queries"] for row in every}) != 1:
        raise ValueError(f"seeds were asked {sorted(count)} queries; expected the same for all")

    def line(label: str, of: Sequence[Row], who: str, cost: str) -> list[str]:
        sides = [_hits(of, side, who) for side in ("own", "across")]
        price = f"{np.mean([network['mmacs'] for row in of for network in _networks(row, who)]):.2f}"
        rule = difference_cell(sides[1], sides[0])
        return [label, price, *(mean_cell(hits) for hits in sides), rule, cost]

    of_global = list(found.values())
    cost = f"{np.mean([row['search_cpu_seconds'] for row in of_global]):,.0f}"
    lines = [line("global search", of_global, "network", cost)]
    if all(row["random"] for row in of_global):
        lines.append(line("random members of its space", of_global, "random", ""))
    notes = []
    for label, other in others.items():
        cost = f"{np.mean([_cmp_seconds(row) for row in other.values()]):,.0f}"
        lines.append(line(label, list(other.values()), "network", cost))
        if all(row.get("random") for row in other.values()):
            lines.append(line("random members of its space", list(other.values()), "random", ""))
        both = [seed for seed in found if seed in other]
        for side, name in (("own", "M(q,q)"), ("across", "M(q,g)")) if both else ():
            pair = [_hits([of[seed] for seed in both], side) for of in (found, other)]
            apart = difference_cell(*pair)
            each = ", ".join(f"{100 * (one.mean() - two.mean()):+.1f}" for one, two in zip(*pair, strict=True))
            notes.append(f"{name}, global search - {label}, paired: {apart}; seed by seed {each}.")
    header = ["", "MMACs", "M(q,q)", "M(q,g)", "M(q,g) - M(q,q)", "search, CPU seconds"]
    note = (
        "Top-1 in percent, means over the seeds, 95 % intervals bootstrapped over seeds and queries. All networks are "
        "trained alike. CPU seconds leave out reading images, embedding the gallery, and training what was found."
    )
    return table(f"R3 at {of_global[0]['limit']:g} MMACs", header, lines, note, *notes)


def _cmp_seconds(row: Row) -> float:
    return float(row["supernet_cpu_seconds"] + row["search_cpu_seconds"])


def _costs(rows: Sequence[Row]) -> str:
    """CPU seconds of both searches and what they found, seed by seed."""
    of_global, every = _of(rows, "kanji-r3"), [_of(rows, name) for name in CMP]
    lines = []
    for seed in sorted(of_global.keys() | {seed for of_cmp in every for seed in of_cmp}):
        if seed in of_global:
            row = of_global[seed]
            trained = row["depth_evaluated"] + row["width_evaluated"] + row["micro_evaluated"]
            spent = f"{row['search_cpu_seconds']:,.0f}, {trained} networks trained"
            lines.append([str(seed), "global search", spent, f"`{row['network']['arch']}`"])
        for label, of_cmp in zip(CMP.values(), every, strict=True):
            if seed in of_cmp:
                row = of_cmp[seed]
                parts = f"supernet {row['supernet_cpu_seconds']:,.0f}, {row['candidates']} judged"
                spent = f"{_cmp_seconds(row):,.0f} ({parts} {row['search_cpu_seconds']:,.0f})"
                lines.append([str(seed), label, spent, f"`{row['network']['arch']}`"])
    header = ["seed", "search", "CPU seconds", "found"]
    return table("CPU seconds of the searches", header, lines)


def _steps(rows: Sequence[Row]) -> str:
    lines, notes = [], []
    for row in _of(rows, "step").values():
        for name in ("separable", "conv"):
            found = row[name]
            figures = (found["mmacs"], found["epoch_cpu_seconds"], 100 * found["views_share_of_time"])
            rates = (found["sgemm_gflops"], found["share_of_peak"])
            shown = [f"{figures[0]:.2f}", f"{figures[1]:.2f} ({found['images']:,} images)", f"{figures[2]:.0f} %"]
            lines.append([f"`{found['arch']}`", *shown, f"{rates[0]:.0f}", f"{rates[1]:.2f}"])
        notes.append(
            f"{row['machine']}; {row['threads']} thread, medians of {row['rounds']} steps, CPU time throughout."
        )
    header = ["network", "MMACs", "CPU seconds an epoch", "of it augmentation", "sgemm, GFLOP/s", "share of the peak"]
    note = (
        "Share: 3 x 2 x MACs x images / seconds / peak, of making a batch and a step on it; the peak of the same run."
    )
    return table("A candidate's step", header, lines, note, *notes)
