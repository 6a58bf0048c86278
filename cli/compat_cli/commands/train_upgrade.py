"""`compat-sdk train side-info` and `train upgrade`: what a gallery needs to follow its model without its images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from compat_cli import console, extras, options
from compat_cli.commands import train_options as shared
from compat_sdk.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class _SideInfoSchedule(shared.ScheduleOptions):
    """Of a side-information encoder."""

    epochs: Annotated[shared.Int, shared.number("--epochs", "Passes over the training split; 16.")] = None
    lr: Annotated[shared.Float, shared.number("--lr", "Highest learning rate; 0.1.")] = None
    optimiser: Annotated[shared.Text, shared.number("--optimiser", "sgd or adam; sgd.")] = None


@dataclass(frozen=True, kw_only=True)
class _TransformSchedule(shared.ScheduleOptions):
    """Of a transform."""

    epochs: Annotated[
        shared.Int, shared.number("--epochs", "Passes over the training split; 80 for fct, 30 for dmu.")
    ] = None
    batch: Annotated[shared.Int, shared.number("--batch", "Rows per step; 1024 for fct, 512 for dmu.")] = None
    lr: Annotated[shared.Float, shared.number("--lr", "Highest learning rate; 0.0005 for fct, 0.1 for dmu.")] = None
    weight_decay: Annotated[
        shared.Float, shared.number("--weight-decay", "Weight decay; 2^-15 for fct, 0.0001 for dmu.")
    ] = None
    warmup_epochs: Annotated[
        shared.Float,
        shared.number("--warmup-epochs", "Epochs of linear warm-up; 5 for fct, 1 for dmu, less if short."),
    ] = None
    optimiser: Annotated[shared.Text, shared.number("--optimiser", "sgd or adam; adam for fct, sgd for dmu.")] = None


@shared.grouped
def side_info(
    *,
    source: shared.SourceOptions,
    out: shared.Out,
    method: Annotated[
        str, typer.Option("--method", help="simclr, autoencoder, alternate, mixup, or none, which needs no training.")
    ] = "simclr",
    arch: shared.Arch = None,
    dim: Annotated[shared.Int, shared.number("--dim", "Numbers of side-information per image; 128.")] = None,
    size: shared.Size = None,
    width: shared.Width = None,
    stem_stride: shared.Stem = None,
    temperature: Annotated[shared.Float, shared.number("--temperature", "Temperature of simclr; 0.1.")] = None,
    projection: Annotated[
        shared.Int, shared.number("--projection", "Outputs of simclr's projection head; 128.")
    ] = None,
    mixing: Annotated[shared.Float, shared.number("--mixing", "Both parameters of mixup's Beta; 0.2.")] = None,
    mix_labels: Annotated[
        bool, typer.Option("--mix-labels", help="Let mixup mix labels too, not images alone.")
    ] = False,
    classification: shared.LossOptions,
    schedule: _SideInfoSchedule,
    augmentation: shared.AugmentationOptions,
    execution: shared.ExecutionOptions,
    license_name: shared.License = None,
    as_json: options.Json = False,
) -> None:
    """Train the small encoder whose embeddings are stored beside the old model's (default: MobileNetV2 x0.5, SimCLR).

    Any augmentation option replaces simclr's own views as a whole.
    """
    if method == "none":
        raise ConfigError(
            "method 'none' stands for no side-information, so there is nothing to train; leave --side-info out of "
            "`compat-sdk train upgrade`"
        )
    extras.require("train")
    from compat_train.config.settings import config_from_mapping
    from compat_train.config.upgrade import SideInfoConfig
    from compat_train.methods.side_info import train_side_info

    values = shared.given(
        source=source.settings(),
        method=method,
        arch=arch,
        dim=dim,
        width=width,
        stem_stride=stem_stride,
        preprocessing=shared.given(size=size) or None,
        temperature=temperature,
        projection=projection,
        mixing=mixing,
        mix_labels=mix_labels,
        classification=classification.settings(),
        optimisation=schedule.settings(),
        augmentation=augmentation.settings() or None,
        execution=execution.settings(),
        license=license_name,
    )
    config = config_from_mapping(SideInfoConfig, values)
    with console.working() as progress:
        done = train_side_info(config, out, progress)
    facts = {
        "run": str(done.path),
        "role": done.role,
        "method": done.method,
        "arch": done.arch,
        "dim": done.dim,
        "space": done.space,
    }
    line = f"{done.path}: side-information encoder {done.arch} ({done.method}), space {done.space}"
    console.report(facts, line, as_json=as_json)


@shared.grouped
def upgrade(
    *,
    source: shared.SourceOptions,
    old: Annotated[Path, typer.Option("--old", help="RUN folder of the old model, which embedded the gallery.")],
    new: Annotated[Path, typer.Option("--new", help="RUN folder of the new model, trained on its own.")],
    out: shared.Out,
    side_info_run: Annotated[
        Path | None,
        typer.Option("--side-info", help="RUN folder of the side-information encoder.", show_default=False),
    ] = None,
    through: Annotated[
        list[Path] | None,
        typer.Option(
            "--through",
            help="RUN of a transform that the gallery was upgraded by before; repeat, in order.",
            metavar="RUN",
        ),
    ] = None,
    side_through: Annotated[
        list[Path] | None,
        typer.Option(
            "--side-through", help="RUN of the g that carried its side-information on; repeat, in order.", metavar="RUN"
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="fct or dmu.")] = "fct",
    hidden: Annotated[
        shared.Int, shared.number("--hidden", "Width of the hidden layers; 2048 for fct, 1024 for dmu.")
    ] = None,
    l2: Annotated[shared.Float, shared.number("--l2", "Weight of the squared distance; 1 for fct, 0 for dmu.")] = None,
    arc: Annotated[
        shared.Float,
        shared.number("--arc", "Weight of the loss under the new model's classifier; 0 for fct, 1 for dmu."),
    ] = None,
    regression: Annotated[
        shared.Float, shared.number("--regression", "Weight of one minus the cosine to the new embedding; 0.")
    ] = None,
    frozen_norm: Annotated[
        shared.Float,
        shared.number("--frozen-norm", "Fraction of the run after which batch norms are frozen; 0.5, dmu 1."),
    ] = None,
    classification: shared.LossOptions,
    schedule: _TransformSchedule,
    augmentation: shared.AugmentationOptions,
    execution: shared.ExecutionOptions,
    license_name: shared.License = None,
    as_json: options.Json = False,
) -> None:
    """Train the transform of an old model's embeddings into a new model's space (default: FCT).

    With a side-information encoder as --new it is FCT's g, which carries side-information on to the next version.
    """
    extras.require("train")
    from compat_train.config.upgrade import upgrade_config
    from compat_train.methods.upgrade import train_upgrade

    values = shared.given(
        source=source.settings(),
        old=str(old),
        new=str(new),
        side_info=shared.text_of(side_info_run),
        through=[str(run) for run in through or ()] or None,
        side_through=[str(run) for run in side_through or ()] or None,
        method=method,
        hidden=hidden,
        l2=l2,
        arc=arc,
        regression=regression,
        frozen_norm=frozen_norm,
        classification=classification.like(new),
        optimisation=schedule.settings(),
        augmentation=augmentation.settings(),
        execution=execution.settings(),
        license=license_name,
    )
    config = upgrade_config(values)
    with console.working() as progress:
        done = train_upgrade(config, out, progress)
    facts = {
        "run": str(done.path),
        "role": "transform",
        "method": done.method,
        **asdict(done.spaces),
    }
    line = f"{done.path}: transform ({done.method}) {done.spaces}"
    console.report(facts, line, as_json=as_json)
