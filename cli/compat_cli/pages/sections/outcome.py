"""The outcome: one sentence, a few figures, and what ran."""

from __future__ import annotations

from html import escape

from compat_cli.console import fraction
from compat_cli.pages.sections.results import Results, as_pace, as_part, milliseconds_of, saving_of, speed_up

_HALF = 0.5


def headline(results: Results) -> str:
    """The outcome in one sentence of plain text, which praises nothing that finds less than half of what it might."""
    query = results["evaluation"]["query"]
    across, paragon = (query[system]["cmc"]["1"] for system in ("query_gallery", "gallery_gallery"))
    share = f"the right class {fraction(across)} % of the time"
    saving = saving_of(results)
    costs = "A query" if saving is None else f"A query costs {as_part(saving)} of the multiply-accumulates and"
    if across < _HALF * paragon:
        return f"{costs} finds {share}, where the large model finds it {fraction(paragon)} %"
    return f"{costs} finds {share}" if saving is None else f"{costs} still finds {share}"


def outcome(results: Results) -> str:
    """The headline with the figures that it is made of, as HTML."""
    query, vanilla = results["evaluation"]["query"], results["evaluation"].get("vanilla")
    top1 = {key: query[key]["cmc"]["1"] for key in ("query_query", "query_gallery", "gallery_gallery")}
    saving, faster = saving_of(results), speed_up(results)
    data = results["data"]
    tiles = []
    if saving is not None:
        speed = "" if faster is None else f"; {as_pace(faster)}, one image at a time"
        tiles.append(
            ("het", as_part(saving), f"of the multiply-accumulates per query, small model against large{speed}")
        )
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
    for word in (saving and as_part(saving), f"{fraction(top1['query_gallery'])} %"):
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


def what_ran(results: Results) -> str:
    """Which images went through which model into which gallery, as HTML."""
    query, names, data = results["evaluation"]["query"], results["models"], results["data"]
    arrow = "<i>→</i>"
    times = milliseconds_of(results) or {}

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
