"""What a bundle says of itself: as facts, and as lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from compat_cli import console
from compat_sdk.bundle import Bundle, Graph, Manifest
from compat_sdk.bundle.names import CARD
from compat_sdk.bundle.self_test import min_cosine
from compat_sdk.shown import escaped
from compat_sdk.space import covers_all
from compat_sdk.transform_identity import TransformIdentity

_COVERS = {
    "all": "a digest of everything that decides a vector",
    "weights": "an old space: it covers the weights only",
}
_IN_JSON_ONLY = ("source", "space_covers", "identity", "certificates")
WEAKER = (
    "as in a bundle of 0.7 or before; its test of prepared pixels sees neither decoding nor fit: export the model again"
)
"""What is said of a bundle without golden pictures."""


def bundle_facts(bundle: Bundle) -> dict[str, Any]:
    """The manifest of a verified bundle, and what follows from it, as JSON values."""
    manifest = bundle.manifest
    graphs = [_graph_facts(manifest, graph) for graph in manifest.graphs]
    return {
        "name": manifest.name,
        "role": manifest.role,
        "arch": manifest.arch,
        "space": manifest.space,
        "searches": list(manifest.searches),
        "dim": manifest.dim,
        "tier": manifest.tier,
        "mmacs": manifest.mmacs,
        "mmacs_paper": manifest.mmacs_paper,
        "params_m": manifest.params_m,
        "license": manifest.license,
        "created_by": manifest.created_by,
        "preprocessing": None if manifest.preprocessing is None else manifest.preprocessing.to_json(),
        "source": None if manifest.source is None else asdict(manifest.source),
        "graphs": graphs,
        "files": {name: {"sha256": record.sha256, "bytes": record.bytes} for name, record in manifest.files.items()},
        "golden_pictures": len(bundle.golden_pictures()),
        "card": CARD if CARD in manifest.files else None,
        "form": bundle.form,
        "signed": bundle.signed,
        "space_covers": _covers(manifest.space),
        "identity": None if manifest.identity is None else manifest.identity.to_json(),
        "certificates": [shown.to_json() for shown in manifest.certificates],
        "signed_by": bundle.signed_by,
        "release": manifest.release,
        "expires": manifest.expires,
    }


def bundle_text(bundle: Bundle, facts: Mapping[str, Any]) -> str:
    """A line for each thing that people ask of a bundle; ``facts`` are those of `bundle_facts`."""
    manifest = bundle.manifest
    total = sum(record.bytes for record in manifest.files.values())
    shown = {key: value if value is None else escaped(str(value)) for key, value in facts.items()}
    shown |= {"space": f"{manifest.space} ({_COVERS[_covers(manifest.space)]})"}
    shown["searches"] = _searches_text(manifest)
    shown |= _cost_texts(manifest)
    if (source := manifest.source) is not None:
        side = "" if source.side_space is None else f" with {source.side_space} ({source.side_dim} numbers) beside it"
        old = f"{source.old_space} ({source.old_dim} numbers){side}"
        shown["transforms"] = f"{old} -> {manifest.space} ({manifest.dim} numbers)"
        shown["transform"] = "unnamed, as in a bundle of 0.7 or before: no digest covers what decides its vectors"
        if isinstance(manifest.identity, TransformIdentity):
            shown["transform"] = f"{manifest.identity.name} ({_COVERS['all']})"
        del shown["searches"]  # it makes gallery vectors, which are searched
    shown["graphs"] = "".join(
        f"\n  {found['target']} {found['precision']}: {found['file']}, {console.size_text(found['bytes'])}"
        f"\n    {escaped(_ports_text(manifest, graph))}"
        for graph, found in zip(manifest.graphs, facts["graphs"], strict=True)
    )
    if manifest.preprocessing is not None:
        shown["preprocessing"] = ", ".join(f"{key} {value}" for key, value in manifest.preprocessing.to_json().items())
    shown = {key: value for key, value in shown.items() if value is not None and key not in _IN_JSON_ONLY}
    shown["files"] = f"{len(manifest.files)} files, {console.size_text(total)}, digests match"
    if manifest.preprocessing is None:
        del shown["golden_pictures"]
    elif not facts["golden_pictures"]:
        shown["golden_pictures"] = f"none: {WEAKER}"
    if bundle.signed_by is None:
        shown["signed"] = "yes, to be checked with --public-key or --trust" if bundle.signed else "no"
    return "\n".join(f"{key}: {value}".replace(": \n", ":\n") for key, value in shown.items())


def _covers(space: str) -> str:
    return "all" if covers_all(space) else "weights"


def _searches_text(manifest: Manifest) -> str:
    """Each gallery space that it may search, and what shows it."""
    lines = []
    for space in manifest.searches:
        shown = manifest.certificates_for(space)
        lines += [f"\n  {space}: {escaped(str(found))}" for found in shown or ("declared, not shown by an evaluation",)]
    return "".join(lines) or "only its own space"


def _cost_texts(manifest: Manifest) -> dict[str, str]:
    """Its figures as people read them: rounded, and with their unit."""
    budget = f"{manifest.tier} (a budget: queries of at most about {manifest.tier} MMACs)"
    return {
        "dim": f"{manifest.dim} numbers",
        "tier": budget if manifest.tier.replace(".", "", 1).isdigit() else manifest.tier,
        "mmacs": f"{console.figure(manifest.mmacs)} million multiply-accumulates for one image",
        "mmacs_paper": f"{console.figure(manifest.mmacs_paper)} by the papers' count, with 2 per batch-norm element",
        "params_m": f"{console.figure(manifest.params_m)} million parameters",
    }


def _graph_facts(manifest: Manifest, graph: Graph) -> dict[str, Any]:
    """A graph's record, its size, and what its client makes of 8-bit RGB: tensor = pixel * scale + offset."""
    part = None if manifest.preprocessing is None else graph.client_part(manifest.preprocessing)
    return {
        "target": graph.target,
        "precision": graph.precision,
        "file": graph.file,
        "bytes": sum(record.bytes for name, record in manifest.files.items() if graph.is_made_of(name)),
        "inputs": list(graph.inputs),
        "output": graph.output,
        "layout": graph.layout,
        "batch": graph.batch,
        "values": graph.values,
        "min_cosine": min_cosine([graph]),
        "channels": None if part is None else part.channels,
        "scale": None if part is None else list(part.scale),
        "offset": None if part is None else list(part.offset),
    }


def _ports_text(manifest: Manifest, graph: Graph) -> str:
    """What a graph takes and gives, such as ``old [any, 128] -> embedding [any, 128]``."""
    rows = "any" if graph.batch is None else str(graph.batch)
    if (source := manifest.source) is not None:
        dims = zip(graph.inputs, (source.old_dim, source.side_dim), strict=False)
        taken = ", ".join(f"{name} [{rows}, {dim}]" for name, dim in dims)
    elif (preprocessing := manifest.preprocessing) is not None:
        size = preprocessing.size
        shape = f"{size}, {size}, 3" if graph.layout == "nhwc" else f"3, {size}, {size}"
        part = graph.client_part(preprocessing)
        pixels = f"prepared: pixel * {_three(part.scale)} + {_three(part.offset)}, {part.channels}"
        if graph.values == "pixels":
            pixels = "pixels: 0 to 255 as they are, rgb"
        taken = f"{graph.inputs[0]} [{rows}, {shape}] {graph.layout}, {pixels}"
    return f"{taken} -> {graph.output} [{rows}, {manifest.dim}]"


def _three(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"
