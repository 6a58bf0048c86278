"""The model card of a bundle: what its manifest says, as a page of Markdown for people.

Programs read the manifest. The card is written from it, is one of the bundle's listed files, and is never read back.

Source: Mitchell et al., Model Cards for Model Reporting, https://arxiv.org/abs/1810.03993, for what a card answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from compat_sdk.bundle.manifest import Manifest
from compat_sdk.bundle.names import CARD
from compat_sdk.shown import shortened
from compat_sdk.transform_identity import TransformIdentity

__all__ = ["CARD", "model_card"]

_WHAT = {
    "query": "A query model: it embeds images where the search begins, such as on a phone.",
    "gallery": "A gallery model: it embeds the images that are searched.",
    "side-info": "A side-information encoder: it embeds images for a later upgrade of their gallery.",
    "transform": "A transform: it takes the vectors of one embedding space to another, without images.",
}
_USE = {
    "transform": ("Transform", "model.self_test()  # golden vectors of the bundle, on this machine"),
    "image": ("Embedder", 'vectors = model.embed(["photo.jpg"])  # unit vectors that know their space'),
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")


def model_card(manifest: Manifest) -> str:
    """Return the card of a model: Markdown of plain lines and tables, the same for an equal manifest.

    Args:
        manifest: What a bundle says about its model. Its ``files`` are not looked at, so that the card can be one.
    """
    kind = "image" if manifest.source is None else "transform"
    loader, line = _USE[kind]
    blocks = [
        f"# {_plain(manifest.name)}",
        _WHAT[manifest.role],
        _table(("what", "value"), _facts(manifest)),
        "## Use",
        "```python\n"
        f"from compat_sdk import {loader}\n\n"
        f'model = {loader}.load("this bundle")  # every file is compared with its digest first\n'
        f"{line}\n"
        "```",
        "## What goes in",
        *_input(manifest),
        "## Graphs",
        _table(("target", "precision", "file", "batch", "layout"), _graphs(manifest)),
        "## What is shown",
        *_shown(manifest),
        "## Limits",
        "A model is measured on the data that a certificate names, and on no other. On other images, measure it again.",
        "This card was written from `manifest.json`, which is what programs read.",
    ]
    return "\n\n".join(blocks) + "\n"


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    searches = ", ".join(f"`{space}`" for space in manifest.searches)
    facts = [
        ("role", manifest.role),
        ("network", _plain(manifest.arch)),
        ("embedding space", f"`{manifest.space}`"),
        ("may search", f"its own space, {searches}" if searches else "its own space"),
        ("numbers per vector", str(manifest.dim)),
        ("multiply-accumulates", f"{manifest.mmacs:.4g} million"),
        ("parameters", f"{manifest.params_m:.4g} million"),
        ("tier", manifest.tier),
        ("licence of the weights", _plain(manifest.license) or "not stated: ask whoever made the model"),
        ("release", str(manifest.release)),
        ("last day of use", manifest.expires or "none"),
        ("written by", _plain(manifest.created_by)),
    ]
    if manifest.role in ("side-info", "transform"):  # what they write is not searched by them
        facts = [fact for fact in facts if fact[0] != "may search"]
    if isinstance(manifest.identity, TransformIdentity):
        facts.insert(3, ("name of the transform", f"`{manifest.identity.name}`"))
    return facts


def _input(manifest: Manifest) -> list[str]:
    if (source := manifest.source) is not None:
        rows = [("old vectors", f"`{source.old_space}`", str(source.old_dim))]
        if source.side_space is not None:
            rows.append(("side-information", f"`{source.side_space}`", str(source.side_dim)))
        return [_table(("vectors", "space", "numbers"), rows)]
    assert manifest.preprocessing is not None  # a manifest has the one or the other
    steps = manifest.preprocessing.to_json().items()
    return [
        "A picture is prepared so, whoever runs the graphs. compat-sdk does it by itself.",
        _table(("step", "value"), [(name, _plain(str(value))) for name, value in steps]),
    ]


def _graphs(manifest: Manifest) -> list[tuple[str, ...]]:
    return [
        (
            graph.target,
            graph.precision,
            f"`{graph.file}`",
            "any" if graph.batch is None else str(graph.batch),
            f"{graph.layout}, {graph.values}" if manifest.source is None else "vectors",
        )
        for graph in manifest.graphs
    ]


def _shown(manifest: Manifest) -> list[str]:
    if manifest.role in ("side-info", "transform"):
        return ["`compat-sdk evaluate` measures it together with the models that it is used with."]
    if not manifest.searches:
        return ["It searches its own space alone, which needs no evaluation to be allowed."]
    if not manifest.certificates:
        return ["No evaluation travels with this model. That it may search other spaces is declared, and not shown."]
    lines = [f"- `{shown.gallery_space}`: {_plain(str(shown))}." for shown in manifest.certificates]
    return [
        "M(q,g) is the accuracy of queries by this model in the gallery of the other. "
        "M(q,q) uses this model for both, M(g,g) the other one.",
        "\n".join(lines),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """A text of someone else's as one line that Markdown shows as it stands."""
    return _SPECIAL.sub(r"\\\1", shortened(" ".join(text.split()), 300))
