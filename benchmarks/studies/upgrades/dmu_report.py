"""Tables of DMU: new models that stay compatible, forward adaptation, and upgrades in a row."""

from __future__ import annotations

from benchmarks.pages import mean_cell
from benchmarks.studies.upgrades.results import PAIR, Results, titled
from compat_sdk.metrics import upgrade_gain
from compat_sdk.metrics.scores import discriminativeness_degradation

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


def dmu(found: Results) -> str:
    """All tables of DMU of one dataset."""
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
    parts = [titled("DMU: compatibility by choice of images, and forward adaptation", header, lines)]
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
    parts.append(titled("Losses of the forward adaptation", PAIR.format("new model, loss of psi"), lines))
    lines = [f"| {name} | {value} |" for name, pair in differences.items() if (value := found.difference(*pair))]
    parts.append(titled("DMU, differences at top-1, paired", "| | points |\n|---|---|", lines))
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
    parts.append(titled("Two upgrades in a row: model 1 is v1, 2 compatible with 1, 3 with 2", header, lines))
    if found.of("sequence-remedies-sbc-sharp"):
        through, direct = (
            mean_cell(found.hits("sequence-remedies-sbc-sharp", pair)) for pair in ("third_through", "third_direct")
        )
        parts.append(
            f"In place of M(3,psi(psi(1))): {through} with the second psi trained on what the first gives, {direct} "
            f"with one psi from 1 to 3."
        )
    return "\n\n".join(part for part in parts if part)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %"
