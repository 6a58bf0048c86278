"""`compat-sdk nas` and `compat-sdk run`: searches for networks, and whole experiments from recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options
from compat_cli.commands import nas_global
from compat_cli.commands import train_options as shared
from compat_sdk.files import write_atomic

if TYPE_CHECKING:
    from compat_train.nas.cmp.result import CmpResult

app = typer.Typer(help="Search for networks.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def nas() -> None:
    """Search for networks."""


@app.command("cmp")
@shared.grouped
def cmp(
    *,
    source: shared.SourceOptions,
    gallery: Annotated[Path, typer.Option("--gallery", help="RUN folder of the gallery model.")],
    mmacs: Annotated[list[float], typer.Option("--mmacs", help="Budget of a tier, MMACs; repeat for more tiers.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; an interrupted search in it is continued.")],
    reward: Annotated[str, typer.Option("--reward", help="r1 = M(q,q), r2 = M(q,g), r3 = their product.")] = "r3",
    space: Annotated[
        str, typer.Option("--space", help="shuffle or ane, with settings such as shuffle,last=512,stem=8.")
    ] = "shuffle",
    stem_stride: shared.Stem = None,
    method: Annotated[str, typer.Option("--method", help="How networks are trained: bct, bct-regression, ...")] = "bct",
    mixed: Annotated[bool, typer.Option("--mixed", help="Regress on cut-and-paste images too.")] = False,
    supernet_method: Annotated[
        str | None, shared.number("--supernet-method", "Another method for the supernet; vanilla is the baseline NAS.")
    ] = None,
    supernet_epochs: Annotated[shared.Int, shared.number("--supernet-epochs", "Epochs of the supernet; 32.")] = None,
    supernet_lr: Annotated[shared.Float, shared.number("--supernet-lr", "Highest rate of the supernet; 1.3.")] = None,
    operation_warmup: Annotated[
        float | None, shared.number("--operation-warmup", "Share of the supernet's steps on its first operation; 0.1.")
    ] = None,
    channel_warmup: Annotated[
        float | None, shared.number("--channel-warmup", "Share of the supernet's steps in which its scales open; 0.25.")
    ] = None,
    epochs: Annotated[shared.Int, shared.number("--epochs", "Epochs of each network that is retrained; 32.")] = None,
    lr: Annotated[shared.Float, shared.number("--lr", "Highest learning rate of the same; 1.3.")] = None,
    batch: Annotated[shared.Int, shared.number("--batch", "Images per step, everywhere; 320.")] = None,
    weight_decay: Annotated[shared.Float, shared.number("--weight-decay", "Weight decay, everywhere; 0.0005.")] = None,
    strategy: Annotated[shared.Text, shared.number("--strategy", "evolution or random; evolution.")] = None,
    population: Annotated[shared.Int, shared.number("--population", "Members per round; 50.")] = None,
    parents: Annotated[shared.Int, shared.number("--parents", "Best members that have children; 10.")] = None,
    crossovers: Annotated[shared.Int, shared.number("--crossovers", "Children of two parents per round; 25.")] = None,
    mutations: Annotated[shared.Int, shared.number("--mutations", "Children of one parent per round; 25.")] = None,
    mutation: Annotated[shared.Float, shared.number("--mutation", "Probability that a gene changes; 0.1.")] = None,
    rounds: Annotated[shared.Int, shared.number("--rounds", "Populations evaluated; 20.")] = None,
    rank: Annotated[shared.Int, shared.number("--rank", "Reward is top-RANK accuracy; 1.")] = None,
    keep: Annotated[shared.Int, shared.number("--keep", "Best members of each tier that are retrained; 5.")] = None,
    static: Annotated[
        list[str] | None,
        shared.number("--static", "Static network trained beside them; repeat. All of seed 000's table 5 without."),
    ] = None,
    no_static: Annotated[bool, typer.Option("--no-static", help="Train no static network.")] = False,
    static_width: Annotated[shared.Float, shared.number("--static-width", "Factor on their channel counts; 1.")] = None,
    workers: Annotated[
        shared.Int, shared.number("--workers", "Processes that evaluate candidates; 0: this one.")
    ] = None,
    execution: shared.ExecutionOptions,
    license_name: shared.License = None,
    as_json: options.Json = False,
) -> None:
    """CMP-NAS: one supernet, a search per tier, the best retrained from scratch beside the static networks."""
    extras.require("train")
    extras.require("report")
    from compat_sdk.errors import ConfigError
    from compat_train.config.training import config_from_mapping
    from compat_train.nas.cmp.config import CmpConfig
    from compat_train.nas.cmp.run import search_query_models

    if no_static and static:
        raise ConfigError("--static and --no-static contradict each other; leave one out")
    common = shared.given(batch=batch, weight_decay=weight_decay)
    values = shared.given(
        source=source.settings(),
        gallery=str(gallery),
        mmacs=mmacs,
        reward=reward,
        space=space,
        stem_stride=stem_stride,
        method=method,
        mixed=mixed,
        supernet=shared.given(
            method=supernet_method,
            operation_warmup=operation_warmup,
            channel_warmup=channel_warmup,
            optimisation={"epochs": 32, "lr": 1.3, **shared.given(epochs=supernet_epochs, lr=supernet_lr), **common},
        ),
        search=shared.given(
            strategy=strategy,
            population=population,
            parents=parents,
            crossovers=crossovers,
            mutations=mutations,
            mutation=mutation,
            rounds=rounds,
            seed=execution.seed,
        ),
        validation=shared.given(rank=rank),
        retrain={"epochs": 32, "lr": 1.3, **shared.given(epochs=epochs, lr=lr), **common},
        keep=keep,
        static=[] if no_static else static or None,
        static_width=static_width,
        execution=execution.settings(),
        workers=workers,
        license=license_name,
    )
    config = config_from_mapping(CmpConfig, values)
    with console.working() as progress:
        result = search_query_models(config, out, progress)
    report(result, out, as_json=as_json)


app.command("global")(nas_global.global_search)


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="An experiment, such as those in recipes/.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of its runs; runs/RECIPE if not given.", show_default=False)
    ] = None,
    seed: Annotated[shared.Int, shared.number("--seed", "Seed in place of the recipe's.")] = None,
    threads: options.Threads = None,
    root: options.Root = None,
    as_json: options.Json = False,
) -> None:
    """Run an experiment from a recipe, or continue it."""
    extras.require("train")
    from compat_train.nas.global_nas.result import GlobalResult
    from compat_train.recipe import read_recipe, run_recipe

    folder = Path("runs") / recipe.stem if out is None else out
    parsed = read_recipe(recipe, folder, root=shared.text_of(root), seed=seed, threads=threads)
    if parsed.cmp is not None:
        extras.require("report")
    with console.working() as progress:
        result = run_recipe(parsed, folder, progress)
    if isinstance(result, GlobalResult):
        nas_global.report(result, as_json=as_json)
        return
    if result is not None:
        report(result, folder / "cmp", as_json=as_json)
        return
    names = parsed.names
    console.report({"runs": [str(folder / name) for name in names]}, f"{folder}: {', '.join(names)}", as_json=as_json)


def report(result: CmpResult, out: Path, *, as_json: bool) -> None:
    """Writes the Pareto plot and prints the table of a search."""
    from compat_cli.pages.pareto import pareto

    write_atomic(out / "pareto.svg", pareto(result.to_json()).encode())
    text = f"{result.table()}\n{out / 'pareto.svg'}: accuracy against multiply-accumulates"
    console.report(result.to_json() | {"pareto": str(out / "pareto.svg")}, text, as_json=as_json)
