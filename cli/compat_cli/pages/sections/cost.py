"""What an image costs: over the life of a system, for one image, and in a profile."""

from __future__ import annotations

from html import escape

from compat_cli.console import size_text
from compat_cli.pages import plots
from compat_cli.pages.sections.results import Results, as_pace, milliseconds_of, saving_of, speed_up


def costs(results: Results) -> str:
    """The cost over a system's life and of one image, as HTML; nothing where it is not known."""
    if (curve := results.get("cost_curve")) is None:
        return ""
    query, times = results["evaluation"]["query"], milliseconds_of(results)
    roles = (("large", "gallery", "large"), ("small", "query", "het"))
    rows = [
        {"name": name, "mmacs": query[f"{role}_mmacs"], "p50": None if times is None else times[role], "colour": colour}
        for name, role, colour in roles
    ]
    speed = ""
    if (faster := speed_up(results)) is not None:
        where = "exported, one CPU thread" if "profiles" in results else "as these models ran in this evaluation"
        speed = f"One image at a time, {where}: the small model is {as_pace(faster)} in the median. "
        if faster < (saving_of(results) or 0):
            speed += "Part of a call's work is fixed, so latency falls less than the multiply-accumulates do."
    return (
        '<div class="columns"><section><h2>Cost over the life of the system</h2>'
        "<p>The gallery is embedded once, queries keep coming. The more queries per gallery image, the closer the "
        "mean cost per image comes to that of the small model alone.</p>"
        f"{plots.amortised(curve['ratios'], curve)}</section>"
        f"<section><h2>Cost of one image</h2><p>{speed}</p>{plots.costs(rows)}</section></div>"
        f"{_profile(results)}"
    )


def _profile(results: Results) -> str:
    if "profiles" not in results:
        return ""
    profiles = (("large", results["profiles"]["gallery"]), ("small", results["profiles"]["query"]))
    cells = "".join(
        f"<tr><td>{name} model<small>{escape(results['models'][role])}</small></td><td>{found['mmacs']:.1f}</td>"
        f"<td>{found['mmacs_paper']:.1f}</td><td>{found['params_m']:.2f}</td><td>{found['latency_ms']['p50']:.2f}</td>"
        f"<td>{found['latency_ms']['p95']:.2f}</td><td>{_whole(found['latency_ms'].get('cold'))}</td>"
        f"<td>{_whole(found['peak_mib'])}</td><td>{size_text(results['bundles'][role]['graphs'][0]['bytes'])}</td></tr>"
        for (name, found), role in zip(profiles, ("gallery", "query"), strict=True)
    )
    return (
        '<section><h2>Profile</h2><div class="scroll"><table><tr><th>exported model</th><th>MMACs</th><th>paper’s count'
        "</th><th>params M</th><th>p50 ms</th><th>p95 ms</th><th>cold ms</th><th>peak MiB</th><th>graph</th></tr>"
        f"{cells}</table></div>"
        '<p class="note">MMACs: multiply-accumulates of convolutions and linear layers, in millions; the papers add 2 '
        "per batch-norm element. Cold: verify, load and embed the first image in a fresh process. Peak: resident "
        "memory of that process. Both graphs reproduce the trained network on every golden image; the worst cosine is "
        f"{min(found['graphs'][0]['parity']['worst_cosine'] for found in results['bundles'].values()):.7f}."
        "</p></section>"
    )


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
