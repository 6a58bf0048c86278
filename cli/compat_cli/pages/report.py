"""The quickstart's report: one HTML file with everything inside, readable in light and dark and on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from compat_cli.console import fraction, size_text
from compat_cli.pages import plots

Results = Mapping[str, Any]


def render(results: Results, pictures: Mapping[str, str]) -> str:
    """The report as a self-contained HTML page.

    Args:
        results: What the quickstart measured, as in its ``results.json``.
        pictures: ``data:`` URI of each image named in the hits, by id.

    Returns:
        HTML text without any external resource.
    """
    body = "\n".join(
        (
            _headline(results),
            _flow(results),
            _accuracy(results),
            _hits(results, pictures),
            _cost(results),
            _training(results),
            _colophon(results),
        )
    )
    style = files("compat_cli.pages").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>compat-sdk quickstart</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def headline(results: Results) -> str:
    """The outcome in one sentence of plain text."""
    query = results["evaluation"]["query"]
    return (
        f"A query costs 1/{_saving(results):.0f} of the multiply-accumulates and still finds the right class "
        f"{fraction(query['query_gallery']['cmc']['1'])} % of the time"
    )


def _saving(results: Results) -> float:
    query = results["evaluation"]["query"]
    return float(query["gallery_mmacs"] / query["query_mmacs"])


def _headline(results: Results) -> str:
    query, vanilla = results["evaluation"]["query"], results["evaluation"]["vanilla"]
    top1 = {key: query[key]["cmc"]["1"] for key in ("query_gallery", "gallery_gallery")}
    kept = top1["query_gallery"] / top1["gallery_gallery"]
    strayed = vanilla["query_gallery"]["cmc"]["1"]
    saving = f"1/{_saving(results):.0f}"
    data = results["data"]
    tiles = (
        ("het", saving, "of the multiply-accumulates per query, small model against large"),
        ("het", f"{fraction(kept)} %", "of the large model's top-1 accuracy kept"),
        ("large", f"{fraction(top1['gallery_gallery'])} %", "top-1 when the large model embeds the queries too"),
        ("bad", f"{fraction(strayed)} %", "top-1 in the same gallery with the small model trained alone"),
    )
    sentence = escape(headline(results)).replace(saving, f"<b>{saving}</b>")
    accuracy = f"{fraction(top1['query_gallery'])} %"
    return (
        '<header><p class="kicker">compat-sdk quickstart</p>'
        f"<h1>{sentence.replace(accuracy, f'<b>{accuracy}</b>')}</h1>"
        f'<p class="lead">A large model embedded {data["gallery"]:,} gallery images once. A small model, trained to '
        f"write into the same embedding space, embeds the queries. {data['query']:,} real images that neither model "
        f"was trained on were searched; every figure on this page was measured in this run.</p></header>"
        '<div class="tiles">'
        + "".join(f'<div class="tile {kind}"><b>{value}</b><span>{text}</span></div>' for kind, value, text in tiles)
        + "</div>"
    )


def _flow(results: Results) -> str:
    query, names, data = results["evaluation"]["query"], results["models"], results["data"]
    arrow = "<i>→</i>"
    large = f"<b>large model</b>{escape(names['gallery'])}<span>{query['gallery_mmacs']:.1f} MMACs</span>"
    small = f"<b>small model</b>{escape(names['query'])}<span>{query['query_mmacs']:.1f} MMACs</span>"
    return (
        '<section><h2>What ran</h2><div class="flow">'
        f"<div><b>{data['gallery']:,} gallery images</b><span>once, on a server</span></div>{arrow}"
        f'<div class="large">{large}</div>{arrow}'
        f"<div><b>gallery</b><span>stored vectors, one embedding space</span></div><i></i><i></i>"
        f'<div class="row"><b>a query image</b><span>every time, on the device</span></div>{arrow}'
        f'<div class="het">{small}</div>{arrow}'
        f"<div><b>search</b><span>space checked first</span></div>{arrow}"
        f"<div><b>hits</b><span>ids, labels, cosine</span></div>"
        f"</div></section>"
    )


def _accuracy(results: Results) -> str:
    query, vanilla = results["evaluation"]["query"], results["evaluation"]["vanilla"]
    rows = (
        ("", "small model for both", "compatible training", query["query_query"], "M(q,q)"),
        ("mark", "small queries, large gallery", "compatible training", query["query_gallery"], "M(q,g)"),
        ("", "large model for both", "the expensive reference", query["gallery_gallery"], "M(g,g)"),
        ("", "small model for both", "trained alone", vanilla["query_query"], "M(q,q)"),
        ("", "small queries, large gallery", "trained alone", vanilla["query_gallery"], "M(q,g)"),
    )
    cells = "".join(
        f'<tr class="{kind}"><td>{name}<small>{symbol}, {how}</small></td><td>{_interval(scores, "1")}</td>'
        f"<td>{fraction(scores['cmc']['5'])}</td><td>{fraction(scores['cmc']['10'])}</td>"
        f"<td>{_interval(scores, 'map')}</td></tr>"
        for kind, name, how, scores, symbol in rows
    )
    bars = [
        _bar("small alone", vanilla["query_query"], "small"),
        _bar("small, not compatible,\nlarge gallery", vanilla["query_gallery"], "refused"),
        _bar("small compatible alone", query["query_query"], "small"),
        _bar("small compatible,\nlarge gallery", query["query_gallery"], "het"),
        _bar("large alone", query["gallery_gallery"], "large"),
    ]
    chance = 1 / results["data"]["classes"]
    good = "good" if query["compatible"] else "bad"
    return (
        "<section><h2>Accuracy</h2>"
        f"<p>{results['data']['query']:,} queries against {results['data']['gallery']:,} gallery images of "
        f"{results['data']['classes']} classes. A hit is a gallery image of the query's class. Percent, with 95 % "
        f"bootstrap intervals over the queries.</p>"
        '<div class="scroll"><table><tr><th>system</th><th>top-1</th><th>top-5</th><th>top-10</th>'
        "<th>mAP</th></tr>"
        f"{cells}</table></div>"
        f'<div class="beside"><div><div class="verdict {good}"><h3>The compatibility rule: M(q,g) above M(q,q)</h3>'
        f"<p>{verdict(query)}</p></div>"
        f"<p>{_contrast(vanilla, chance)}</p></div>{plots.accuracy(bars, chance)}</div></section>"
    )


def verdict(query: Mapping[str, Any]) -> str:
    """What the paired difference says about the rule, without claiming more than its interval allows."""
    rule = query["rule"]
    difference, low, high = (100 * rule[key] for key in ("difference", "lo", "hi"))
    figures = f"M(q,g) - M(q,q) at top-1 is {difference:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"
    if difference > 0 and low > 0:
        word = "It holds: the large gallery is worth having, beyond the noise of this many queries."
    elif difference > 0:
        word = "It holds in this run, but the interval includes zero: more queries could turn it."
    elif high >= 0:
        word = (
            "It does not hold in this run, though the interval includes zero. The search works; the large gallery "
            "just gains nothing over embedding everything with the small model."
        )
    else:
        word = (
            "It does not hold: on this small set, embedding everything with the small model is more accurate than "
            "searching the large model's gallery with it."
        )
    return f"{word} {figures}."


def _contrast(vanilla: Mapping[str, Any], chance: float) -> str:
    found = vanilla["query_gallery"]["cmc"]["1"]
    low, high = vanilla["query_gallery"]["ci95"]["1"]
    alone = fraction(vanilla["query_query"]["cmc"]["1"])
    near = "which is chance" if low <= chance <= high else f"where chance is {fraction(chance)} %"
    return (
        f"The same small network trained alone is a fine model ({alone} % in its own space), yet against the large "
        f"model's gallery it finds the right class {fraction(found)} % of the time, {near}: the dimensions agree, "
        f"the spaces do not."
    )


def _bar(name: str, scores: Mapping[str, Any], colour: str) -> dict[str, Any]:
    low, high = scores["ci95"]["1"]
    return {"name": name, "value": scores["cmc"]["1"], "low": low, "high": high, "colour": colour}


def _interval(scores: Mapping[str, Any], key: str) -> str:
    value = scores["map"] if key == "map" else scores["cmc"][key]
    low, high = scores["ci95"][key]
    return f"{fraction(value)}<small>{fraction(low)} – {fraction(high)}</small>"


def _hits(results: Results, pictures: Mapping[str, str]) -> str:
    rows = "".join(_hit_row(row, row["hits"], pictures) for row in results["hits"])
    stray = results["hits"][:2]
    strayed = "".join(_hit_row(row, row["unchecked"], pictures) for row in stray)
    return (
        "<section><h2>Queries and their five nearest gallery images</h2>"
        f"<p>The first query of each class, not chosen by hand. Embedded by the exported small model, found in the "
        f"gallery that the exported large model wrote; below each hit its cosine similarity. Green ✓ is the query's "
        f"class, red ✗ another.</p>"
        f'<div class="hits">{rows}</div>'
        '<h3 style="margin-top:22px">What the space check prevents</h3>'
        "<p>The model that was trained alone is refused, although its vectors have the right dimension. Had its "
        "queries been let through, these would have been the answers:</p>"
        f'<div class="hits">{strayed}</div><pre>{escape(results["refused"])}</pre></section>'
    )


def _hit_row(row: Mapping[str, Any], hits: Sequence[Mapping[str, Any]], pictures: Mapping[str, str]) -> str:
    query = _picture(pictures[row["id"]], row["label"], "query", escape(row["label"]))
    found = "".join(
        _picture(
            pictures[hit["id"]],
            hit["label"],
            "right" if hit["label"] == row["label"] else "wrong",
            f"<i>{'✓' if hit['label'] == row['label'] else '✗'}</i> {hit['score']:.2f}",
        )
        for hit in hits
    )
    return f'<div class="hit">{query}<div class="arrow">→</div>{found}</div>'


def _picture(source: str, label: str, kind: str, caption: str) -> str:
    name = escape(label, quote=True)
    return (
        f'<figure class="{kind}" title="{name}"><img src="{source}" alt="{name}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _cost(results: Results) -> str:
    profiles = (("large", results["profiles"]["gallery"]), ("small", results["profiles"]["query"]))
    cells = "".join(
        f"<tr><td>{name} model<small>{escape(results['models'][role])}</small></td><td>{found['mmacs']:.1f}</td>"
        f"<td>{found['mmacs_paper']:.1f}</td><td>{found['params_m']:.2f}</td><td>{found['latency_ms']['p50']:.2f}</td>"
        f"<td>{found['latency_ms']['p95']:.2f}</td><td>{_whole(found['latency_ms'].get('cold'))}</td>"
        f"<td>{_whole(found['peak_mib'])}</td><td>{size_text(results['bundles'][role]['graphs'][0]['bytes'])}</td></tr>"
        for (name, found), role in zip(profiles, ("gallery", "query"), strict=True)
    )
    rows = [
        {"name": name, "mmacs": found["mmacs"], "p50": found["latency_ms"]["p50"], "colour": colour}
        for (name, found), colour in zip(profiles, ("large", "het"), strict=True)
    ]
    curve = results["cost_curve"]
    faster = rows[0]["p50"] / rows[1]["p50"]
    fixed = (
        "Images this small leave much fixed work per call, so latency falls less than the multiply-accumulates do."
        if faster < _saving(results)
        else ""
    )
    return (
        '<div class="columns"><section><h2>Cost over the life of the system</h2>'
        "<p>The gallery is embedded once, queries keep coming. The more queries per gallery image, the closer the "
        "mean cost per image comes to that of the small model alone.</p>"
        f"{plots.amortised(curve['ratios'], curve)}</section>"
        "<section><h2>Cost of one image</h2>"
        f"<p>One image at a time on {escape(profiles[0][1]['engine'])}, one CPU thread: the small model is "
        f"{faster:.1f} times as fast in the median. {fixed}</p>{plots.costs(rows)}</section></div>"
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


def _training(results: Results) -> str:
    seconds = results["seconds"]
    parts = "".join(f"<dt>{escape(name)}</dt><dd>{value:.1f} s</dd>" for name, value in seconds.items())
    return (
        '<div class="columns"><section><h2>Training</h2>'
        "<p>The loss of each model under its own classifier. The compatible model is also trained under the large "
        f"model’s frozen classifier and towards its embeddings (method {escape(results['method'])}).</p>"
        f"{plots.training(results['training'])}</section>"
        f'<section><h2>Where the time went</h2><dl>{parts}</dl><p class="note">{sum(seconds.values()):.0f} seconds in '
        f"all on {results['machine']['cpus']} CPUs.</p></section></div>"
    )


def _colophon(results: Results) -> str:
    machine, data, models = results["machine"], results["data"], results["models"]
    counts = ", ".join(f"{data[split]:,} {split}" for split in ("train", "query", "gallery"))
    spaces = results["spaces"]
    versions = f"compat-sdk {results['compat_sdk']}, Python {machine['python']}"
    facts = {
        "data": f"{data['description']} ({counts})",
        "large model": f"{models['gallery']}, space {spaces['gallery']}",
        "small model": f"{models['query']}, space {spaces['query']}, searches {spaces['gallery']}",
        "seed": str(results["seed"]),
        "made": f"{results['created']}, {versions}, {machine['system']}",
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return (
        f"<section><h2>How this was made</h2><dl>{rows}</dl>"
        f"<p>The same steps by hand:</p><pre>{escape(results['commands'])}</pre></section>"
    )
