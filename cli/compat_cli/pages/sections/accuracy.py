"""The accuracy of every system, the compatibility rule, and the harder question where the classes were easy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

from compat_cli.console import fraction
from compat_cli.pages import open_set, plots
from compat_cli.pages.sections.results import Results


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


def accuracies(results: Results) -> str:
    """Table and bars of every system, and what the compatibility rule says, as HTML."""
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


def harder_question() -> str:
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
