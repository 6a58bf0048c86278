"""`compat-sdk profile`: what a model costs, counted and measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options
from compat_sdk.errors import ConfigError
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_sdk.bundle import Trust
    from compat_sdk.profile import Comparison, LatencyTable, Profile


def profile(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Architecture names, RUN folders or BUNDLES.")
    ],
    size: Annotated[int, typer.Option("--size", min=16, help="Input side in pixels, for architecture names.")] = 112,
    engine: options.Engine = "auto",
    precision: Annotated[
        str | None, typer.Option("--precision", help="Of a bundle's graph; its first if not given.", show_default=False)
    ] = None,
    every_graph: Annotated[
        bool, typer.Option("--every-graph", help="One row for each graph of a bundle that this machine can run.")
    ] = False,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="A table of every layer's multiply-accumulates, nothing measured.")
    ] = False,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="MODEL is a folder of nas blocks; with --save, a table for nas cmp.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write what this device measured to a file.", show_default=False)
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="Beside what another device wrote by --save.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of the engine.")] = 1,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """MACs in both conventions, parameters, size, latency cold and warm, peak memory; how well MACs tell latency."""
    wanted = options.trusted(public_key, trust)
    if blocks:
        told = {"--compare": compare, "--precision": precision, "--public-key": public_key, "--trust": trust}
        flags = {"--every-graph": every_graph, "--per-layer": per_layer, "--engine": engine != "auto"}
        ignored = [name for name, value in (*told.items(), *flags.items()) if value]
        _blocks(models, save, threads, ignored, as_json=as_json)
        return
    if per_layer:
        if save is not None or compare is not None or every_graph or precision is not None:
            raise ConfigError(
                "--per-layer measures nothing; leave out --save, --compare, --every-graph and --precision"
            )
        _per_layer(models, size, wanted, as_json=as_json)
        return
    from compat_sdk.profile import compare_tables, format_table, load_table, save_table, table_of
    from compat_sdk.profile.latency_table import require_table_place

    # Before minutes of measuring.
    _require_models(models)
    other = None if compare is None else load_table(compare)
    if save is not None:
        require_table_place(save)
    with console.working() as progress:
        found: list[Profile] = []
        for done, model in enumerate(models, start=1):
            found += measure(
                model,
                size=size,
                engine=engine,
                threads=threads,
                precision=precision,
                every_graph=every_graph,
                trust=wanted,
            )
            progress("profile", done, len(models), {})
    table = table_of(found)
    text = format_table(found)
    if table.correlation is not None:
        text += f"\nrank correlation of MMACs and p50: {table.correlation:.2f} over {len(found)} rows"
    if save is not None:
        save_table(table, save)
        text += f"\n{escaped(str(save))}: the table of this device"
    if other is None:
        console.report([one.to_json() for one in found], text, as_json=as_json)
        return
    comparison = compare_tables(table, other)
    payload = {
        "devices": {"here": dict(table.device), "there": dict(other.device)},
        "profiles": [one.to_json() for one in found],
        "comparison": comparison.to_json(),
    }
    console.report(payload, f"{text}\n\n{_comparison_text(comparison, other)}", as_json=as_json)


def _blocks(models: list[str], save: Path | None, threads: int, ignored: list[str], *, as_json: bool) -> None:
    """Measures a folder of blocks, and writes the table."""
    if ignored or len(models) != 1:
        raise ConfigError(
            f"--blocks measures the graphs of one folder by the engine of their format; found {len(models)} folder(s)"
            + "".join(f", {name}" for name in ignored)
        )
    from compat_cli.commands.nas_blocks import table_text
    from compat_sdk.profile import measure_blocks, save_block_table
    from compat_sdk.profile.block_table import require_block_table_place

    if save is not None:
        require_block_table_place(save)
    with console.working() as progress:
        table = measure_blocks(models[0], threads=threads, progress=progress)
    text = table_text(table)
    if save is not None:
        save_block_table(table, save)
        text += f"\n{escaped(str(save))}: the table of this device"
    console.report(table.to_json(), text, as_json=as_json)


def _require_models(models: list[str]) -> None:
    """Refuse a name that is neither a path nor an architecture, before any of the others is measured."""
    names = [model for model in models if not Path(model).exists()]
    if names:
        extras.require("export-onnx")
        from compat_train.models.build import require_architecture

        for name in names:
            require_architecture(name)


def _comparison_text(comparison: Comparison, other: LatencyTable) -> str:
    """Each model's latency here and there, how well one tells the other, and what has no counterpart."""
    from compat_sdk.profile import label

    facts = [str(other.device[name]) for name in ("processor", "machine", "system") if other.device.get(name)]
    rows = [
        [
            str(pair.here["name"]),
            str(pair.here["size"]),
            str(pair.here["precision"]),
            f"{pair.here['mmacs']:.1f}",
            str(pair.here["engine"]),
            f"{pair.here_ms:.2f}",
            str(pair.there["engine"]),
            f"{pair.there_ms:.2f}",
            "-" if pair.ratio is None else f"{pair.ratio:.2f}",
        ]
        for pair in comparison.pairs
    ]
    header = ["model", "size", "precision", "MMAC", "here", "p50 ms", "there", "p50 ms", "there / here"]
    lines = [escaped(f"there: {', '.join(facts) or 'a device without a name'}"), console.table(header, rows)]
    meanings = {
        "here": "of MMACs and p50 here",
        "there": "of MMACs and p50 there",
        "both": "of p50 here and p50 there",
    }
    for name, value in comparison.correlations.items():
        if value is not None:
            lines.append(f"rank correlation {meanings[name]}: {value:.2f} over {len(rows)} models")
    lines += [escaped(f"only here: {label(profile)}") for profile in comparison.only_here]
    lines += [escaped(f"only there: {label(profile)}") for profile in comparison.only_there]
    return "\n".join(lines)


def measure(
    model: str,
    *,
    size: int = 112,
    engine: str = "auto",
    threads: int = 1,
    precision: str | None = None,
    every_graph: bool = False,
    trust: Trust | None = None,
) -> list[Profile]:
    """The profiles of a bundle, a run or an architecture, whichever ``model`` names.

    Raises:
        BundleError: A bundle is damaged, or not signed as is asked for.
        ConfigError: A run where a signature is asked for, or options that do not go with the model.
    """
    from compat_sdk.kinds import is_bundle

    path = Path(model)
    if is_bundle(path):
        from compat_sdk.profile import profile_bundle

        if not every_graph:
            return [profile_bundle(path, engine=engine, threads=threads, precision=precision, trust=trust)]
        if engine != "auto" or precision is not None:
            raise ConfigError("--every-graph takes every engine and precision; leave --engine and --precision out")
        from compat_sdk.bundle import Bundle
        from compat_sdk.engines import engines_here

        graphs = Bundle.open(path, trust=trust).manifest.graphs
        runnable = engines_here()
        return [
            profile_bundle(path, engine=runnable[graph.target], threads=threads, precision=graph.precision, trust=trust)
            for graph in graphs
            if graph.target in runnable
        ]
    if every_graph or precision is not None:
        raise ConfigError(f"{model} is no bundle; --every-graph and --precision choose among a bundle's graphs")
    if path.is_dir():
        _refuse_run(path, trust)
    extras.require("export-onnx")
    from compat_export.profile_model import profile_architecture, profile_run

    if path.is_dir():
        return [profile_run(path, engine=engine, threads=threads)]
    return [profile_architecture(model, size=size, engine=engine, threads=threads)]


def _refuse_run(run: Path, trust: Trust | None) -> None:
    from compat_sdk.bundle.trust import refuse_run

    refuse_run(run, trust)


def _per_layer(models: list[str], size: int, trust: Trust | None, *, as_json: bool) -> None:
    extras.require("train")
    from compat_sdk.kinds import is_bundle
    from compat_train.models.build import build_model
    from compat_train.models.cost import count_cost, per_layer
    from compat_train.models.timm_network import as_deployed, require_size
    from compat_train.runs.checkpoint import Checkpoint

    shown, texts = [], []
    for model in models:
        if is_bundle(model):
            raise ConfigError(f"{model} is a bundle, whose layers converters have merged; name its RUN or architecture")
        if Path(model).is_dir():
            _refuse_run(Path(model), trust)
            checkpoint = Checkpoint.load(model)
            network, side = checkpoint.build(), checkpoint.preprocessing.size
        else:
            network, side = build_model(model).eval(), size
            require_size(network, model, side)
        deployed = as_deployed(network, side)
        layers = per_layer(deployed, side)
        rows = [
            [
                layer.name,
                layer.kind,
                "x".join(map(str, layer.output_shape)),
                f"{layer.mmacs:.3f}",
                f"{layer.mmacs_paper:.3f}",
            ]
            for layer in layers
        ]
        total = ["total", "", "", f"{sum(layer.mmacs for layer in layers):.3f}"]
        total.append(f"{sum(layer.mmacs_paper for layer in layers):.3f}")
        rows.append(total)
        if deployed is not network:
            trained = count_cost(network, side)
            rows.append(["as trained", "", "", f"{trained.mmacs:.3f}", f"{trained.mmacs_paper:.3f}"])
        texts.append(f"{escaped(str(model))}\n{console.table(['layer', 'kind', 'output', 'MMAC', 'paper'], rows)}")
        shown.append(
            {
                "name": model,
                "layers": [
                    {
                        "name": layer.name,
                        "kind": layer.kind,
                        "output_shape": list(layer.output_shape),
                        "mmacs": layer.mmacs,
                        "mmacs_paper": layer.mmacs_paper,
                    }
                    for layer in layers
                ],
            }
        )
    console.report(shown, "\n\n".join(texts), as_json=as_json)
