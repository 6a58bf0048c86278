"""upgrades.md from the rows of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import mean_cell, write_page
from benchmarks.studies.upgrades.dmu_report import dmu
from benchmarks.studies.upgrades.results import PAIR, Results, hits_of, titled

KINDS = {
    "none": "none",
    "autoencoder": "autoencoder",
    "alternate": "alternate old model",
    "mixup": "alternate with mixup",
    "simclr": "SimCLR, old data",
    "simclr-new": "SimCLR, new data",
}
_SIMILARITY = ("CKA(side,old)", "CKA(h,new)", "cosine(h,new)")


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
            dmu(found),
            _backfill(found),
        ]
    write_page(page, "benchmarks.studies.upgrades.run", parts)


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
    return titled("Old gallery, new queries", PAIR.format("query model, gallery"), lines, note)


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
    return titled("Differences", header, lines)


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
    return titled("Kinds of side-information, in the order of FCT's table 6", header, lines)


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
        value = mean_cell(np.stack([hits_of(score) for score in with_images]))
        gap = found.difference(("two-hops", "new_transformed"), ("direct", "new_transformed"))
        ours = found.difference(("two-hops-through", "new_transformed"), ("direct", "new_transformed"))
        note = (
            f"Two hops minus direct: {gap}; with h3 trained on h2's vectors: {ours or 'not measured'}. Two hops with "
            f"side-information embedded anew from the images: {value}."
        )
    return titled("v1 -> old -> new", PAIR.format("gallery of v1, queries of new"), lines, note)


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
    return titled("Accuracy and storage of side-information", header, lines)


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
        parts.append(titled(title, header + "|", lines, note))
    return "\n\n".join(parts)
