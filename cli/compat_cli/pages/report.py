"""The report of a system: one HTML file with everything inside, readable in light and dark and on a phone.

The demo, `quickstart --data` and `evaluate --report` give what they measured; a section is there where its figures are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from compat_cli.console import fraction, size_text
from compat_cli.pages import open_set, plots

Results = Mapping[str, Any]
MARK = "compat-sdk report"
"""Title of every report, by which a file is known as one."""
_HALF = 0.5


def render(results: Results, pictures: Mapping[str, str]) -> str:
    """The report as a self-contained HTML page.

    Args:
        results: What was measured, as in the quickstart's ``results.json``; of an evaluation alone without
            ``profiles``, ``training``, ``refused``, ``seconds`` and the evaluation of a model that was trained alone.
        pictures: ``data:`` URI of each image named in the hits, by id.

    Returns:
        HTML text without any external resource.
    """
    sections = [_headline(results), _flow(results), _accuracy(results)]
    if results["data"].get("easy"):
        sections.append(_open_set())
    sections += [_hits(results, pictures), _cost(results)]
    if "training" in results:
        sections.append(_training(results))
    body = "\n".join((*sections, _colophon(results)))
    style = files("compat_cli.pages").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{MARK}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def headline(results: Results) -> str:
    """The outcome in one sentence of plain text, which praises nothing that finds less than half of what it might."""
    query = results["evaluation"]["query"]
    across, paragon = (query[system]["cmc"]["1"] for system in ("query_gallery", "gallery_gallery"))
    share = f"the right class {fraction(across)} % of the time"
    saving = _saving(results)
    costs = "A query" if saving is None else f"A query costs {_part(saving)} of the multiply-accumulates and"
    if across < _HALF * paragon:
        return f"{costs} finds {share}, where the large model finds it {fraction(paragon)} %"
    return f"{costs} finds {share}" if saving is None else f"{costs} still finds {share}"


def _saving(results: Results) -> float | None:
    query = results["evaluation"]["query"]
    large, small = query["gallery_mmacs"], query["query_mmacs"]
    return float(large / small) if large and small else None


def _faster(results: Results) -> float | None:
    """How many times as fast the small model is for one image; None where that was not measured."""
    times = _milliseconds(results)
    return times["gallery"] / times["query"] if times else None


def _milliseconds(results: Results) -> dict[str, float] | None:
    if "profiles" in results:
        return {role: float(found["latency_ms"]["p50"]) for role, found in results["profiles"].items()}
    times = results.get("milliseconds", {})
    return times if times and all(times.values()) else None


def _part(saving: float) -> str:
    return f"1/{saving:.0f}" if saving >= 1.5 else f"{100 / saving:.0f} %"


def _pace(faster: float) -> str:
    return f"{faster:.1f} times as fast" if faster >= 1 else f"slower, at {1 / faster:.1f} times the time"


def _headline(results: Results) -> str:
    query, vanilla = results["evaluation"]["query"], results["evaluation"].get("vanilla")
    top1 = {key: query[key]["cmc"]["1"] for key in ("query_query", "query_gallery", "gallery_gallery")}
    saving, faster = _saving(results), _faster(results)
    data = results["data"]
    tiles = []
    if saving is not None:
        speed = "" if faster is None else f"; {_pace(faster)}, one image at a time"
        tiles.append(("het", _part(saving), f"of the multiply-accumulates per query, small model against large{speed}"))
    if top1["gallery_gallery"]:
        kept = fraction(top1["query_gallery"] / top1["gallery_gallery"])
        tiles.append(("het", f"{kept} %", "of the large model's top-1 accuracy kept"))
    large = fraction(top1["gallery_gallery"])
    tiles.append(("large", f"{large} %", "top-1 when the large model embeds the queries too"))
    if vanilla is None:
        tiles.append(("small", f"{fraction(top1['query_query'])} %", "top-1 when the small model embeds both sides"))
    else:
        strayed = fraction(vanilla["query_gallery"]["cmc"]["1"])
        tiles.append(("bad", f"{strayed} %", "top-1 in the same gallery with the small model trained alone"))
    sentence = escape(headline(results))
    for word in (saving and _part(saving), f"{fraction(top1['query_gallery'])} %"):
        if word:
            sentence = sentence.replace(word, f"<b>{word}</b>", 1)
    seen = "real images that neither model was trained on"
    return (
        f'<header><p class="kicker">{escape(results.get("kicker", "compat-sdk quickstart"))}</p><h1>{sentence}</h1>'
        f'<p class="lead">A large model embedded {data["gallery"]:,} gallery images once. A small model, trained to '
        f"write into the same embedding space, embeds the queries. {data['query']:,} {seen} were searched. Every "
        f"figure in this part of the page was measured in this run.</p></header>"
        '<div class="tiles">'
        + "".join(f'<div class="tile {kind}"><b>{value}</b><span>{text}</span></div>' for kind, value, text in tiles)
        + "</div>"
    )


def _flow(results: Results) -> str:
    query, names, data = results["evaluation"]["query"], results["models"], results["data"]
    arrow = "<i>→</i>"
    times = _milliseconds(results) or {}

    def model(name: str, role: str) -> str:
        mmacs = query[f"{role}_mmacs"]
        cost = "cost not known" if mmacs is None else f"{mmacs:.1f} MMACs"
        speed = f", {times[role]:.2f} ms" if role in times else ""
        return f"<b>{name} model</b>{escape(names[role])}<span>{cost}{speed}</span>"

    return (
        '<section><h2>What ran</h2><div class="flow">'
        f"<div><b>{data['gallery']:,} gallery images</b><span>once, on a server</span></div>{arrow}"
        f'<div class="large">{model("large", "gallery")}</div>{arrow}'
        f"<div><b>gallery</b><span>stored vectors, one embedding space</span></div><i></i><i></i>"
        f'<div class="row"><b>a query image</b><span>every time, on the device</span></div>{arrow}'
        f'<div class="het">{model("small", "query")}</div>{arrow}'
        f"<div><b>search</b><span>space checked first</span></div>{arrow}"
        f"<div><b>hits</b><span>ids, labels, cosine</span></div>"
        f'</div><p class="note">MMACs: million multiply-accumulates for one image.</p></section>'
    )


def _systems(results: Results) -> list[tuple[str, str, str, Mapping[str, Any], str]]:
    """Every system in the order of the table and of the bars: name, symbol, training, scores, colour."""
    query, vanilla = results["evaluation"]["query"], results["evaluation"].get("vanilla")
    how = "compatible training" if query["declared"] else "not trained for this gallery"
    found = [
        ("large model for both", "M(g,g)", "the expensive reference", query["gallery_gallery"], "large"),
        ("small queries, large gallery", "M(q,g)", how, query["query_gallery"], "het"),
        ("small model for both", "M(q,q)", how, query["query_query"], "small"),
    ]
    if vanilla is not None:
        found += [
            ("small queries, large gallery", "M(q,g)", "trained alone", vanilla["query_gallery"], "refused"),
            ("small model for both", "M(q,q)", "trained alone", vanilla["query_query"], "small"),
        ]
    return found


_SPELT_OUT = (
    "<b>M(q,g)</b> is the accuracy when the query model q embeds the queries and the gallery model g the gallery. "
    "<b>M(q,q)</b>: the query model embeds both. <b>M(g,g)</b>: the gallery model embeds both."
)


def _accuracy(results: Results) -> str:
    query, vanilla, data = results["evaluation"]["query"], results["evaluation"].get("vanilla"), results["data"]
    systems = _systems(results)
    cells = "".join(
        f'<tr class="{"mark" if colour == "het" else ""}"><td>{name}<small>{symbol}, {how}</small></td>'
        f"<td>{_interval(scores, '1')}</td>"
        f"<td>{fraction(scores['cmc']['5'])}</td><td>{fraction(scores['cmc']['10'])}</td>"
        f"<td>{_interval(scores, 'map')}</td></tr>"
        for name, symbol, how, scores, colour in systems
    )
    names = {name: "small queries,\nlarge gallery" for name in ("small queries, large gallery",)}
    bars = [
        _bar(f"{names.get(name, name)}{', alone' * (how == 'trained alone')}", scores, colour)
        for name, _, how, scores, colour in systems
    ]
    chance = 1 / data["classes"]
    good = "good" if query["compatible"] else "bad"
    easy = (
        "<p><b>The classes are easy:</b> ten kinds of clothing, all of which every model saw in training. The next "
        "section asks about identities that nobody was trained on.</p>"
        if data.get("easy")
        else ""
    )
    tried = "".join(f"<li>{_code(each)}</li>" for each in results.get("advice", ()))
    contrast = "" if vanilla is None else f"<p>{_contrast(vanilla, chance)}</p>"
    return (
        "<section><h2>Accuracy</h2>"
        f"<p>{query['queries']:,} queries against {query['gallery_size']:,} gallery images of "
        f"{data['classes']:,} classes. A hit is a gallery image of the query's class. Percent, with 95 % "
        f"bootstrap intervals over the queries.</p><p>{_SPELT_OUT}</p>{easy}"
        '<div class="scroll"><table><tr><th>system</th><th>top-1</th><th>top-5</th><th>top-10</th>'
        "<th>mAP</th></tr>"
        f"{cells}</table></div>"
        f'<div class="beside"><div><div class="verdict {good}"><h3>The compatibility rule: {_rule(query)}</h3>'
        f"<p>{verdict(query)}</p></div>{f'<p>What to try:</p><ul>{tried}</ul>' if tried else ''}"
        f"{contrast}</div>{plots.accuracy(bars, chance)}</div></section>"
    )


def _code(text: str) -> str:
    """Text with commands in backticks, as HTML."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _rule(query: Mapping[str, Any]) -> str:
    return escape(query["rule_applied"].replace(">", "above"))


def _open_set() -> str:
    """Identities that nobody trained on, where the rule fails, and what to do then."""
    remedies = "".join(f"<li>{each}</li>" for each in open_set.REMEDIES)
    return (
        '<section><h2>The harder question: identities that nobody was trained on</h2><div class="beside"><div>'
        f"<p>Not measured in this run. {open_set.QUERIES:,} drawings of {open_set.IDENTITIES} Chinese characters, none "
        f"of them in training, searched {open_set.GALLERY:,} others; means over {open_set.SEEDS} seeds.</p>"
        "<p>A query model that was trained alone finds nothing in the large model's gallery. Compatible ones find most "
        "of what the large model finds. Yet <b>M(q,g) stays below M(q,q)</b> for every method: the rule does not hold "
        f"here. Source: <code>{open_set.SOURCE}</code>.</p><p>What to do then:</p><ul>{remedies}</ul></div>"
        f"{plots.accuracy(open_set.bars(), 1 / open_set.IDENTITIES)}</div></section>"
    )


def verdict(query: Mapping[str, Any]) -> str:
    """What the paired difference says about the rule, without claiming more than its interval allows."""
    rule = query["rule"]
    difference, low, high = (100 * rule[key] for key in ("difference", "lo", "hi"))
    compared = query.get("rule_applied", "M(q,g) > M(q,q)").replace(">", "-")
    metric = query.get("metric", "top-1")
    figures = f"{compared} at {metric} is {difference:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"
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
    how = (
        "Embedded by the exported small model, found in the gallery that the exported large model wrote; below"
        if "profiles" in results
        else "Embedded by the small model, found among what the large model embedded; below"
    )
    return (
        "<section><h2>Queries and their nearest gallery images</h2>"
        f"<p>The first query of each class, not chosen by hand. {how} each hit its cosine similarity. Green ✓ is the "
        f"query's class, red ✗ another.</p>"
        f'<div class="hits{" tiny" * bool(results["data"].get("tiny"))}">{rows}</div>'
        f"{_prevented(results, pictures)}</section>"
    )


def _prevented(results: Results, pictures: Mapping[str, str]) -> str:
    if "refused" not in results:
        return ""
    strayed = "".join(_hit_row(row, row["unchecked"], pictures) for row in results["hits"][:2])
    return (
        '<h3 style="margin-top:22px">What the space check prevents</h3>'
        "<p>The model that was trained alone is refused, although its vectors have the right dimension. Had its "
        "queries been let through, these would have been the answers:</p>"
        f'<div class="hits{" tiny" * bool(results["data"].get("tiny"))}">{strayed}</div>'
        f"<pre>{escape(results['refused'])}</pre>"
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
    if (curve := results.get("cost_curve")) is None:
        return ""
    query, times = results["evaluation"]["query"], _milliseconds(results)
    roles = (("large", "gallery", "large"), ("small", "query", "het"))
    rows = [
        {"name": name, "mmacs": query[f"{role}_mmacs"], "p50": None if times is None else times[role], "colour": colour}
        for name, role, colour in roles
    ]
    speed = ""
    if (faster := _faster(results)) is not None:
        where = "exported, one CPU thread" if "profiles" in results else "as these models ran in this evaluation"
        speed = f"One image at a time, {where}: the small model is {_pace(faster)} in the median. "
        if faster < (_saving(results) or 0):
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


def _training(results: Results) -> str:
    seconds = results["seconds"]
    most = max(seconds.values()) or 1.0
    parts = "".join(
        f'<dt>{escape(name)}</dt><dd><i style="width:{100 * value / most:.1f}%"></i>{value:.1f} s</dd>'
        for name, value in seconds.items()
    )
    return (
        '<div class="columns"><section><h2>Training</h2>'
        "<p>The loss of each model under its own classifier. The compatible model is also trained under the large "
        f"model’s frozen classifier and towards its embeddings (method {escape(results['method'])}).</p>"
        f"{plots.training(results['training'])}</section>"
        f'<section><h2>Where the time went</h2><dl class="times">{parts}</dl>'
        f'<p class="note">{sum(seconds.values()):.0f} seconds in '
        f"all on {results['machine']['cpus']} CPUs.</p></section></div>"
    )


def _colophon(results: Results) -> str:
    machine, data, models = results["machine"], results["data"], results["models"]
    counts = ", ".join(f"{data[split]:,} {split}" for split in ("train", "query", "gallery") if split in data)
    spaces = results["spaces"]
    versions = f"compat-sdk {results['compat_sdk']}, Python {machine['python']}"
    facts = {
        "data": f"{data['description']} ({counts})",
        "large model": f"{models['gallery']}, space {spaces['gallery']}",
        "small model": f"{models['query']}, space {spaces['query']}"
        + (f", searches {spaces['gallery']}" if results["evaluation"]["query"]["declared"] else ""),
        "made": f"{results['created']}, {versions}, {machine['system']}",
    }
    if "seed" in results:
        facts["seed"] = str(results["seed"])
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return (
        f"<section><h2>How this was made</h2><dl>{rows}</dl>"
        f"<p>The same by hand:</p>{_commands(results['commands'])}</section>"
    )


# A handler in the button itself: the page has no script, and nothing from elsewhere.
_COPY = (
    "navigator.clipboard.writeText(this.nextElementSibling.innerText)"
    ".then(()=>{this.textContent='copied'},()=>{getSelection().selectAllChildren(this.nextElementSibling)})"
)


def _commands(text: str) -> str:
    """Commands with a button that copies them; where the browser forbids that, it selects them."""
    return f'<div class="copy"><button type="button" onclick="{_COPY}">copy</button><pre>{escape(text)}</pre></div>'
