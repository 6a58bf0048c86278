"""upgrades.md from the rows of the study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import Hits, difference_cell, mean_cell, unpacked, write_page
from benchmarks.rows import Row
from compat_sdk.metrics import upgrade_gain
from compat_sdk.metrics.scores import discriminativeness_degradation

KINDS = {
    "none": "none",
    "autoencoder": "autoencoder",
    "alternate": "alternate old model",
    "mixup": "alternate with mixup",
    "simclr": "SimCLR, old data",
    "simclr-new": "SimCLR, new data",
}
COMPATIBLE = {
    "new": "independent (oracle)",
    "bct": "BCT",
    "lce": "LCE",
    "sbc-entropy": "DMU, entropy as printed",
    "sbc-least": "DMU, least confidence",
    "sbc-sharp": "DMU, entropy at scale 30 and temperature 0.1",
    "sbc-certainty": "DMU, certainty, no softmax over the batch",
    "dmu": "DMU, entropy as printed, psi trained beside",
    "dmu-sharp": "DMU, entropy at scale 30 and temperature 0.1, psi trained beside",
}
_SIMILARITY = ("CKA(side,old)", "CKA(h,new)", "cosine(h,new)")
_PAIR = "| {} | top-1 | mAP |\n|---|---|---|"


class Results:
    """The rows of one dataset, seeds in order."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Keeps the rows as they are."""
        self._rows = sorted(rows, key=lambda row: row["seed"])

    def of(self, name: str) -> list[Row]:
        """Rows of one name, one per seed."""
        return [row for row in self._rows if row["name"] == name]

    def hits(self, name: str, pair: str, seeds: Sequence[int] | None = None) -> Hits:
        """Hits at rank 1, float64 ``[seeds, queries]``."""
        return np.stack([_hits(row[pair]) for row in self.of(name) if seeds is None or row["seed"] in seeds])

    def seeds(self, *names: str) -> list[int]:
        """Seeds that have all of these rows."""
        found = [{row["seed"] for row in self.of(name)} for name in names]
        return sorted(set.intersection(*found)) if found else []

    def difference(self, first: tuple[str, str], second: tuple[str, str]) -> str:
        """Top-1 of one row and pair minus that of another, on the seeds that have both; "" without any."""
        seeds = self.seeds(first[0], second[0])
        if not seeds:
            return ""
        return difference_cell(self.hits(*first, seeds), self.hits(*second, seeds))

    def map_differences(self, first: tuple[str, str], second: tuple[str, str]) -> str:
        """The difference in mAP, points, of each seed that has both."""
        seeds = self.seeds(first[0], second[0])
        ours, theirs = (
            [row[pair]["map"] for row in self.of(name) if row["seed"] in seeds] for name, pair in (first, second)
        )
        return ", ".join(f"{100 * (one - other):+.1f}" for one, other in zip(ours, theirs, strict=True))

    def mean(self, name: str, *keys: str, seeds: Sequence[int] | None = None) -> float:
        """Mean over the seeds, or some of them, of a figure."""
        found = []
        for row in self.of(name):
            if seeds is not None and row["seed"] not in seeds:
                continue
            value: Any = row
            for key in keys:
                value = value[key]
            found.append(value)
        return float(np.mean(found))

    def few(self, name: str) -> str:
        """Says which seeds a row has, where they are not all."""
        seeds = self.seeds(name)
        all_there = len(seeds) == len(self.seeds("models"))
        return "" if all_there else f" (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"

    def line(self, label: str, name: str, pair: str) -> str:
        """One row of a table of pairs; "" where nothing was measured."""
        if not self.of(name):
            return ""
        label += self.few(name)
        return f"| {label} | {mean_cell(self.hits(name, pair))} | {100 * self.mean(name, pair, 'map'):.1f} |"


def _hits(score: Row) -> Hits:
    return unpacked(score["hits"], score["queries"])


def write_report(results: dict[str, Any], page: Path) -> None:
    """Writes the tables of every dataset that has rows below the mark of a page, and prints them."""
    parts = []
    for dataset in dict.fromkeys(row["dataset"] for row in results["rows"]):
        found = Results([row for row in results["rows"] if row["dataset"] == dataset])
        if not found.of("models"):
            continue
        seeds = ", ".join(str(row["seed"]) for row in found.of("models"))
        parts.append(f"## {dataset} (seeds {seeds})")
        parts += [
            _systems(found),
            _claims(found),
            _kinds(found),
            _hops(found),
            _bytes(found),
            _dmu(found),
            _backfill(found),
        ]
    write_page(page, "benchmarks.studies.upgrades.run", parts)


def _table(title: str, header: str, lines: Sequence[str], note: str = "") -> str:
    kept = [line for line in lines if line]
    return "\n".join([f"### {title}", "", header, *kept, *(["", note] if note else [])]) if kept else ""


def _systems(found: Results) -> str:
    lines = [
        found.line("M(old,old)", "models", "old_old"),
        found.line("M(new,old), independent", "models", "new_old"),
        found.line("M(BCT,old)", "bct", "new_old"),
        found.line("M(BCT,BCT)", "bct", "new_new"),
        found.line("M(LCE,old)", "lce", "new_old"),
        found.line("M(new,h), FCT without side-information", "fct-none", "new_transformed"),
        found.line("M(new,h), FCT with SimCLR", "fct-simclr", "new_transformed"),
        found.line("M(new,h), classification and regression, no side-information", "fct-arc-none", "new_transformed"),
        found.line("M(new,h), classification and regression, SimCLR", "fct-arc-simclr", "new_transformed"),
        found.line("M(new,h), the same, SimCLR on the new data", "fct-arc-simclr-new", "new_transformed"),
        found.line("M(h,h), FCT with SimCLR", "fct-simclr", "transformed_transformed"),
        found.line("M(new,h), ridge regression in place of h, no side-information", "ridge-none", "new_transformed"),
        found.line("M(new,h), ridge regression with SimCLR", "ridge-simclr", "new_transformed"),
        found.line("M(new,new)", "models", "new_new"),
    ]
    note = f"Linear CKA of old and new embeddings: {found.mean('models', 'cka_old_new'):.2f}."
    return _table("Old gallery, new queries", _PAIR.format("query model, gallery"), lines, note)


def _claims(found: Results) -> str:
    ours = ("fct-simclr", "new_transformed")
    differences = {
        "M(new,h) - M(BCT,old)": (ours, ("bct", "new_old")),
        "M(new,h) - M(old,old)": (ours, ("models", "old_old")),
        "M(new,h) - M(new,new)": (ours, ("models", "new_new")),
        "M(h,h) - M(old,old)": (("fct-simclr", "transformed_transformed"), ("models", "old_old")),
        "M(BCT,old) - M(old,old)": (("bct", "new_old"), ("models", "old_old")),
        "M(BCT,BCT) - M(new,new)": (("bct", "new_new"), ("models", "new_new")),
        "without side-information: M(new,h) - M(BCT,old)": (("fct-none", "new_transformed"), ("bct", "new_old")),
        "more images: M(new,h) - the same on the new model's data": (("fct-more-images", "new_transformed"), ours),
        "arc loss: M(new,h) with SimCLR - the same by L2": (("fct-arc-simclr", "new_transformed"), ours),
        "arc loss: M(new,h) with SimCLR - M(BCT,old)": (("fct-arc-simclr", "new_transformed"), ("bct", "new_old")),
        "arc loss, SimCLR on new data: M(new,h) - M(BCT,old)": (
            ("fct-arc-simclr-new", "new_transformed"),
            ("bct", "new_old"),
        ),
        "h into BCT's space: M(BCT,h) - M(BCT,old)": (("fct-bct", "new_transformed"), ("bct", "new_old")),
        "random views: M(new,h) - the same without": (("fct-views", "new_transformed"), ours),
    }
    lines = [
        f"| {name} | {value} | {found.map_differences(*pair)} |"
        for name, pair in differences.items()
        if (value := found.difference(*pair))
    ]
    header = "| | points at top-1, paired | mAP, seed by seed |\n|---|---|---|"
    return _table("Differences", header, lines)


def _kinds(found: Results) -> str:
    lines = []
    for kind, label in KINDS.items():
        name = f"fct-{kind}"
        if not found.of(name):
            continue
        gain = found.difference((name, "new_transformed"), ("fct-none", "new_transformed"))
        ahead = found.difference((name, "new_transformed"), ("bct", "new_old"))
        cka = f"{found.mean(name, 'cka_side_old'):.2f}" if kind != "none" else "0"
        lines.append(
            f"{found.line(label, name, 'new_transformed')} {gain if kind != 'none' else ''} | {ahead} | {cka} "
            f"| {found.mean(name, 'cka_new'):.3f} | {found.mean(name, 'cosine'):.3f} |"
        )
    columns = "side-information", "M(new,h) top-1", "mAP", "over none", "over M(BCT,old)", *_SIMILARITY
    header = f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|"
    return _table("Kinds of side-information, in the order of FCT's table 6", header, lines)


def _hops(found: Results) -> str:
    lines = [
        found.line("M(v1,v1)", "models", "v1_v1"),
        found.line("two hops, h3(h2, g2)", "two-hops", "new_transformed"),
        found.line("two hops, h3 trained on what h2 and g2 give", "two-hops-through", "new_transformed"),
        found.line("direct, h1->3", "direct", "new_transformed"),
        found.line("two hops without side-information", "two-hops-none", "new_transformed"),
        found.line("direct without side-information", "direct-none", "new_transformed"),
    ]
    with_images = [row["images_anew"]["new_transformed"] for row in found.of("two-hops")]
    note = ""
    if with_images:
        value = mean_cell(np.stack([_hits(score) for score in with_images]))
        gap = found.difference(("two-hops", "new_transformed"), ("direct", "new_transformed"))
        ours = found.difference(("two-hops-through", "new_transformed"), ("direct", "new_transformed"))
        note = (
            f"Two hops minus direct: {gap}; with h3 trained on h2's vectors: {ours or 'not measured'}. Two hops with "
            f"side-information embedded anew from the images: {value}."
        )
    return _table("v1 -> old -> new", _PAIR.format("gallery of v1, queries of new"), lines, note)


def _bytes(found: Results) -> str:
    lines = []
    for kind in ("simclr", "simclr-32"):
        if not found.of(f"fct-{kind}"):
            continue
        full = 4 * (found.mean(f"int8-{kind}", "bytes") if found.of(f"int8-{kind}") else float("nan"))
        for name, label, size in (
            (f"fct-{kind}", "float32", full),
            (f"fp16-{kind}", "float16", full / 2),
            (f"int8-{kind}", "int8", full / 4),
        ):
            if found.of(name):
                loss = found.difference((name, "new_transformed"), (f"fct-{kind}", "new_transformed"))
                size_text = "" if np.isnan(size) else f"{size:.0f}"
                lines.append(f"{found.line(f'{kind}, {label}', name, 'new_transformed')} {size_text} | {loss} |")
    if found.of("fct-none"):
        lines.append(f"{found.line('none', 'fct-none', 'new_transformed')} 0 | |")
    header = "| side-information | M(new,h) top-1 | mAP | bytes per image | against float32 |\n|---|---|---|---|---|"
    return _table("Accuracy and storage of side-information", header, lines)


def _dmu(found: Results) -> str:
    if not found.of("models"):
        return ""
    lines = []
    for name, label in COMPATIBLE.items():
        own, across = ("models", "new_new"), ("models", "new_old")
        if name != "new":
            own, across = (name, "new_new"), (name, "new_old")
        if not found.of(own[0]):
            continue
        seeds = found.seeds(own[0])
        before = found.mean("models", "old_old", "top1", seeds=seeds)
        oracle = found.mean("models", "new_new", "top1", seeds=seeds)
        cells = [label + found.few(own[0]), *(mean_cell(found.hits(*pair)) for pair in (own, across))]
        cells.append(
            "" if name == "new" else _percent(discriminativeness_degradation(oracle, found.mean(*own, "top1")))
        )
        cells.append(_percent(upgrade_gain(found.mean(*across, "top1"), before)))
        psi = (name if name.startswith("dmu") else f"psi-{name}", "new_transformed")
        if found.of(psi[0]):
            cells.append(mean_cell(found.hits(*psi)))
            cells.append(_percent(upgrade_gain(found.mean(*psi, "top1"), before)))
        else:
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    header = (
        "| new model | M(n,n) | M(n,old) | degradation | gain | M(n,psi(old)) | gain with psi |\n"
        "|---|---|---|---|---|---|---|"
    )
    parts = [_table("DMU: compatibility by choice of images, and forward adaptation", header, lines)]
    lines = [
        found.line("independent, Eq. 11 (classification)", "psi-new", "new_transformed"),
        found.line("independent, Eq. 14 (regression)", "psi-new-regression", "new_transformed"),
        found.line("independent, both", "psi-new-both", "new_transformed"),
        found.line("BCT, Eq. 11", "psi-bct", "new_transformed"),
        found.line("BCT, Eq. 14", "psi-bct-regression", "new_transformed"),
        found.line("BCT, FCT's h with SimCLR", "fct-bct", "new_transformed"),
    ]
    differences = {
        "Eq. 12, first step: M(DMU,old) - M(old,old)": (("sbc-entropy", "new_old"), ("models", "old_old")),
        "Eq. 12, second step: M(DMU,psi(old)) - M(DMU,old)": (
            ("psi-sbc-entropy", "new_transformed"),
            ("sbc-entropy", "new_old"),
        ),
        "DMU's M(n,psi(old)) - BCT's M(n,old)": (("psi-sbc-entropy", "new_transformed"), ("bct", "new_old")),
        **{
            f"M(n,n), {COMPATIBLE[name]} - BCT": ((name, "new_new"), ("bct", "new_new"))
            for name in COMPATIBLE
            if name.startswith("sbc")
        },
    }
    parts.append(_table("Losses of the forward adaptation", _PAIR.format("new model, loss of psi"), lines))
    lines = [f"| {name} | {value} |" for name, pair in differences.items() if (value := found.difference(*pair))]
    parts.append(_table("DMU, differences at top-1, paired", "| | points |\n|---|---|", lines))
    pairs = {
        "M(2,2)": "second_second",
        "M(2,1)": "second_first",
        "M(2,psi(1))": "second_psi",
        "M(3,3)": "third_third",
        "M(3,2)": "third_second",
        "M(3,psi(2))": "third_psi",
        "M(3,psi(psi(1)))": "third_two_psi",
    }
    lines = [
        f"| {COMPATIBLE[name]} | "
        + " | ".join(mean_cell(found.hits(f"sequence-{name}", pair)) for pair in pairs.values())
        + " |"
        for name in COMPATIBLE
        if found.of(f"sequence-{name}")
    ]
    header = f"| models 2 and 3 | {' | '.join(pairs)} |\n" + "|---" * (len(pairs) + 1) + "|"
    parts.append(_table("Two upgrades in a row: model 1 is v1, 2 compatible with 1, 3 with 2", header, lines))
    if found.of("sequence-remedies-sbc-sharp"):
        through, direct = (
            mean_cell(found.hits("sequence-remedies-sbc-sharp", pair)) for pair in ("third_through", "third_direct")
        )
        parts.append(
            f"In place of M(3,psi(psi(1))): {through} with the second psi trained on what the first gives, {direct} "
            f"with one psi from 1 to 3."
        )
    return "\n\n".join(part for part in parts if part)


def _backfill(found: Results) -> str:
    """Accuracy while the upgraded gallery is embedded again, tenth by tenth; means over the seeds."""
    parts = []
    for kind in ("none", "simclr"):
        rows = found.of(f"backfill-{kind}")
        if not rows:
            continue
        shares = rows[0]["curves"]["oracle"]["fractions"]
        lines = []
        for order in ("uncertainty", "random", "oracle"):
            every = [[c["top1"] for name, c in row["curves"].items() if name.startswith(order)] for row in rows]
            values = np.mean([np.mean(curves, axis=0) for curves in every], axis=0)
            mean = np.mean([row["mean_top1"][order] for row in rows])
            lines.append(f"| {order} | {' | '.join(f'{100 * value:.1f}' for value in values)} | {100 * mean:.1f} |")
        gains = [100 * (row["mean_top1"]["uncertainty"] - row["mean_top1"]["random"]) for row in rows]
        header = (
            f"| order | {' | '.join(f'{share:.0%}' for share in shares)} | mean |" + "\n" + "|---" * (len(shares) + 2)
        )
        correlation = np.mean([row["rank_correlation"] for row in rows])
        note = (
            f"Uncertainty over random, mean of the curve, seed by seed: {', '.join(f'{gain:+.1f}' for gain in gains)}. "
            f"Rank correlation of the uncertainty with the true distance: {correlation:.2f}."
        )
        title = f"Backfilling after FCT {'without side-information' if kind == 'none' else 'with SimCLR'}"
        parts.append(_table(title, header + "|", lines, note))
    return "\n\n".join(parts)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %"
