"""`compat-sdk nas` and `compat-sdk run`: searches for networks, and whole experiments from recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options
from compat_cli.commands import nas_blocks, nas_global
from compat_cli.commands.train_options import SCENARIO, preset_of
from compat_cli.settings import Named, SettingsCommand, Shorthand, Told, group_of
from compat_sdk.errors import CheckFailedError, ConfigError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_train.nas.cmp.config import CmpConfig
    from compat_train.nas.cmp.result import CmpResult


def _cmp_config() -> type[CmpConfig]:
    from compat_train.nas.cmp.config import CmpConfig

    return CmpConfig


def _cmp(told: Told, out: Path, as_json: bool) -> None:
    """CMP-NAS: one supernet, a search per tier, the best retrained from scratch beside the static networks."""
    extras.require("train")
    extras.require("report")
    from compat_train.nas.cmp.run import search_query_models

    config = told.config(_cmp_config(), like="gallery")
    with told.named(), console.working() as progress:
        result = search_query_models(config, out, progress)
    if result is not None:
        report(result, out, as_json=as_json)


COMMANDS = (
    SettingsCommand(
        words=("nas", "cmp"),
        config=_cmp_config,
        run=_cmp,
        inputs=("source.data", "source.root", "gallery", "mmacs", "milliseconds", "table"),
        shown=(
            *("reward", "space", "supernet.optimisation.epochs", "retrain.epochs", "supernet.optimisation.batch"),
            *("search.rounds", "keep", "static", "workers", "execution.seed", "execution.device"),
        ),
        named=(
            Named(name="--supernet-method", keys=("supernet.method",)),
            Named(name="--supernet-epochs", keys=("supernet.optimisation.epochs",)),
            Named(name="--supernet-lr", keys=("supernet.optimisation.lr",)),
            Named(name="--batch", keys=("supernet.optimisation.batch", "retrain.batch")),
            Named(name="--weight-decay", keys=("supernet.optimisation.weight_decay", "retrain.weight_decay")),
            Named(name="--seed", keys=("execution.seed", "search.seed")),
        ),
        shorthands=(
            preset_of("nas cmp"),
            SCENARIO,
            Shorthand(name="--no-static", text=lambda: "Train no static network.", expand=lambda _: {"static": []}),
        ),
        out=nas_global.OUT,
    ),
    nas_global.COMMAND,
)

app = typer.Typer(help="Search for networks.", no_args_is_help=True, rich_markup_mode=None, cls=group_of(COMMANDS))
app.command("blocks")(nas_blocks.blocks)


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="An experiment, such as those in recipes/.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of its runs; runs/RECIPE if not given.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed in place of the recipe's.", show_default=False)
    ] = None,
    threads: options.Threads = None,
    root: options.Root = None,
    certify: Annotated[
        bool,
        typer.Option("--certify", help="Evaluate each query model and keep the figures in its RUN, for its bundle."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check data, networks, room and hours on this device, and train nothing; exit 3 if it cannot run.",
        ),
    ] = False,
    beside: Annotated[
        str | None,
        typer.Option(
            "--beside",
            metavar="GPU[:N]",
            help="With --dry-run, also the least hours on N such GPUs: v100, rtx8000, t4, a100, h100 or h200.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run an experiment from a recipe, or continue it."""
    extras.require("train")
    from compat_train.nas.global_nas.result import GlobalResult
    from compat_train.parallel.group import leads
    from compat_train.recipe import read_recipe
    from compat_train.recipe_run import certify_recipe, run_recipe

    if beside is not None and not dry_run:
        raise ConfigError("--beside projects hours and trains nothing; add --dry-run, or leave it out")
    folder = Path("runs") / recipe.stem if out is None else out
    parsed = read_recipe(recipe, folder, root=None if root is None else str(root), seed=seed, threads=threads)
    if dry_run:
        if certify:
            raise ConfigError("--certify evaluates what was trained, and --dry-run trains nothing; leave one out")
        from compat_train.dry_run import plan_recipe

        with console.working():
            plan = plan_recipe(parsed, folder, machine=beside)
        console.report(plan.to_json(), plan.table(), as_json=as_json)
        if plan.problems:
            raise CheckFailedError(f"the recipe cannot run as it is: {plan.problems[0]}")
        return
    if parsed.cmp is not None:
        extras.require("report")
    with console.working() as progress:
        result = run_recipe(parsed, folder, progress)
        certificates = certify_recipe(parsed, folder, progress) if certify and leads() else ()
    for certificate in certificates:
        console.note(f"certificate: {certificate}")
    if isinstance(result, GlobalResult):
        nas_global.report(result, as_json=as_json)
        return
    if result is not None:
        report(result, folder / "cmp", as_json=as_json)
        return
    names = parsed.names
    console.report(
        {"runs": [str(folder / name) for name in names]}, escaped(f"{folder}: {', '.join(names)}"), as_json=as_json
    )


def report(result: CmpResult, out: Path, *, as_json: bool) -> None:
    """Writes the Pareto plots, over milliseconds too where the budget is in them, and prints the table of a search."""
    from compat_cli.pages.pareto import pareto

    found = result.to_json()
    plots = {"pareto": ("query_mmacs", "multiply-accumulates")}
    if any(network.milliseconds is not None for network in result.networks):
        plots["latency"] = ("milliseconds", "milliseconds of the device")
    lines = [result.table()]
    for name, (cost, words) in plots.items():
        place = out / f"{name}.svg"
        write_atomic(place, pareto(found, cost).encode())
        lines.append(f"{escaped(str(place))}: accuracy against {words}")
    payload = found | {name: str(out / f"{name}.svg") for name in plots}
    console.report(payload, "\n".join(lines), as_json=as_json)
