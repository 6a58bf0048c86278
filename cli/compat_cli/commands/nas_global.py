"""`compat-sdk nas global`: depth, width, operations and kernels of a network for a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options
from compat_cli.commands import train_options as shared

if TYPE_CHECKING:
    from compat_train.nas.global_nas.result import GlobalResult


@dataclass(frozen=True, kw_only=True)
class _Loss(shared.LossOptions):
    loss: Annotated[
        shared.Text, shared.number("--loss", "cosface, arcface or norm-softmax; norm-softmax, for r3 the gallery's.")
    ] = None
    margin: Annotated[
        shared.Float,
        shared.number("--margin", "Margin of cosface or arcface; 0.4, for r3 the gallery's."),
    ] = None
    scale: Annotated[
        shared.Float,
        shared.number("--scale", "Factor on the cosines; 16, other losses 64, for r3 the gallery's."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Schedule(shared.Group):
    batch: Annotated[shared.Int, shared.number("--batch", "Images per step; 64.")] = None
    lr: Annotated[shared.Float, shared.number("--lr", "Highest learning rate; 0.025.")] = None
    momentum: Annotated[shared.Float, shared.number("--momentum", "Momentum of sgd, or adam's first beta; 0.9.")] = None
    weight_decay: Annotated[shared.Float, shared.number("--weight-decay", "Weight decay; 0.0003.")] = None
    warmup_epochs: Annotated[shared.Float, shared.number("--warmup-epochs", "Epochs of linear warm-up; 0.")] = None
    optimiser: Annotated[shared.Text, shared.number("--optimiser", "sgd or adam; sgd.")] = None
    gradient_norm: Annotated[
        shared.Float, shared.number("--gradient-norm", "Longer gradients are shortened to it; 5, and 0 for none.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Augmentation(shared.AugmentationOptions):
    cutout: Annotated[
        shared.Float, shared.number("--cutout", "Augmentation: side of a blanked square, fraction of the side; 0.5.")
    ] = None


@shared.grouped
def global_search(
    *,
    source: shared.SourceOptions,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; an interrupted search in it is continued.")],
    objective: Annotated[
        str, typer.Option("--objective", help="accuracy (classification), retrieval = M(q,q), r3 = M(q,q) * M(q,g).")
    ] = "accuracy",
    gallery: Annotated[
        Path | None, typer.Option("--gallery", help="RUN folder of the gallery model, for r3.", show_default=False)
    ] = None,
    mmacs: Annotated[shared.Float, shared.number("--mmacs", "Most MMACs of any network; no limit.")] = None,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            help="Bounds: tiny (width 16 to 64), mobile (to 128); residual: face-small (to 32), face-medium (to 64).",
        ),
    ] = "tiny",
    kind: Annotated[
        shared.Text, shared.number("--kind", "plain, or residual: shortcuts around pairs of layers; by the preset.")
    ] = None,
    stages: Annotated[
        shared.Int, shared.number("--stages", "Stages, between which the resolution halves; by the preset.")
    ] = None,
    min_depth: Annotated[shared.Int, shared.number("--min-depth", "Fewest layers; 10.")] = None,
    max_depth: Annotated[shared.Int, shared.number("--max-depth", "Most layers; 100.")] = None,
    min_width: Annotated[shared.Int, shared.number("--min-width", "Least width of the first stage; 16.")] = None,
    max_width: Annotated[
        shared.Int, shared.number("--max-width", "Greatest width of the first stage; by the preset.")
    ] = None,
    width_step: Annotated[shared.Int, shared.number("--width-step", "Channels between two widths; 2.")] = None,
    dim: Annotated[shared.Int, shared.number("--dim", "Embedding dimension; 128, or the gallery run's.")] = None,
    size: Annotated[shared.Int, shared.number("--size", "Input side in pixels; 32, or the gallery run's.")] = None,
    stem_stride: shared.Stem = None,
    macro_epochs: Annotated[shared.Int, shared.number("--macro-epochs", "Epochs of the first network; 10.")] = None,
    micro_epochs: Annotated[
        shared.Int, shared.number("--micro-epochs", "Epochs of each network of the micro search; 2.")
    ] = None,
    no_micro: Annotated[bool, typer.Option("--no-micro", help="Search depth and width only.")] = False,
    gain: Annotated[
        shared.Float, shared.number("--gain", "Points by which a deeper network must be better; 0.10.")
    ] = None,
    drop: Annotated[
        shared.Float, shared.number("--drop", "Points by which it may be worse without a strike; 0.05.")
    ] = None,
    strikes: Annotated[
        shared.Int, shared.number("--strikes", "Strikes that end the search for depth, and for width; 3.")
    ] = None,
    strikes_add_up: Annotated[
        bool, typer.Option("--strikes-add-up", help="An adopted network does not clear the strikes.")
    ] = False,
    ranking: Annotated[
        shared.Text, shared.number("--ranking", "dynamic, or static with equal epochs for all; dynamic.")
    ] = None,
    final_width: Annotated[
        shared.Text, shared.number("--final-width", "Width of the found network: macro or micro search's; macro.")
    ] = None,
    final_epochs: Annotated[shared.Int, shared.number("--final-epochs", "Epochs of the found network; 600.")] = None,
    random: Annotated[
        shared.Int, shared.number("--random", "Random members trained alike, for Relative Improvement; 0.")
    ] = None,
    held_out: Annotated[
        shared.Float, shared.number("--held-out", "Share of training images that judge; 0.1, without a val/.")
    ] = None,
    method: Annotated[shared.Text, shared.number("--method", "For r3: bct, bct-regression, ...; bct.")] = None,
    regression: Annotated[shared.Float, shared.number("--regression", "For r3: weight of the regression term.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="For r3: regress on cut-and-paste images too.")] = False,
    classification: _Loss,
    schedule: _Schedule,
    augmentation: _Augmentation,
    execution: shared.ExecutionOptions,
    license_name: shared.License = None,
    as_json: options.Json = False,
) -> None:
    """Efficient Global NAS: grow the depth, prune the width, choose every layer's operation and kernel, train it."""
    extras.require("train")
    from compat_sdk.errors import ConfigError
    from compat_train.config.training import config_to_json
    from compat_train.nas.global_nas.config import PRESETS, GlobalConfig
    from compat_train.nas.global_nas.run import search_network

    if preset not in PRESETS:
        raise ConfigError(f"--preset is {preset!r}; expected one of {', '.join(PRESETS)}")
    given = shared.given
    values = given(
        source=source.settings(),
        objective=objective,
        gallery=shared.text_of(gallery),
        mmacs=mmacs,
        bounds={
            **config_to_json(PRESETS[preset]),
            **given(kind=kind, stages=stages, min_depth=min_depth, max_depth=max_depth),
            **given(min_width=min_width, max_width=max_width, width_step=width_step),
        },
        dim=dim,
        preprocessing=given(size=size) or None,
        stem_stride=stem_stride,
        macro_epochs=macro_epochs,
        micro_epochs=micro_epochs,
        micro=not no_micro,
        gain=gain,
        drop=drop,
        strikes=strikes,
        strikes_reset=not strikes_add_up,
        ranking=ranking,
        final_width=final_width,
        final_epochs=final_epochs,
        random=random,
        held_out=held_out,
        method=method,
        regression=regression,
        mixed=mixed,
        classification=classification.like(gallery)
        if objective == "r3" and gallery
        else classification.settings() or None,
        optimisation=schedule.settings(),
        augmentation=augmentation.settings() or None,
        execution=execution.settings(),
        license=license_name,
    )
    config = GlobalConfig.from_mapping(values)
    with console.working() as progress:
        result = search_network(config, out, progress)
    report(result, as_json=as_json)


def report(result: GlobalResult, *, as_json: bool) -> None:
    """Prints what a search found."""
    console.report(result.to_json(), f"{result.table()}\n{result.network.run}: {result.network.arch}", as_json=as_json)
