"""`compat-sdk train`: gallery models, query models that are compatible with them, and what upgrades a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options
from compat_cli.commands import train_options as shared
from compat_cli.commands import train_upgrade

if TYPE_CHECKING:
    from compat_train.runs.checkpoint import Checkpoint

app = typer.Typer(help="Train a model.", no_args_is_help=True, rich_markup_mode=None)


@app.command("gallery")
@shared.grouped
def gallery(
    *,
    source: shared.SourceOptions,
    out: shared.Out,
    arch: shared.Arch = None,
    dim: Annotated[shared.Int, shared.number("--dim", "Embedding dimension; 128.")] = None,
    size: shared.Size = None,
    width: shared.Width = None,
    stem_stride: shared.Stem = None,
    classification: shared.LossOptions,
    schedule: shared.ScheduleOptions,
    augmentation: shared.AugmentationOptions,
    execution: shared.ExecutionOptions,
    license_name: shared.License = None,
    as_json: options.Json = False,
) -> None:
    """Train the large model that embeds the gallery (default: ResNet-101, CosFace)."""
    extras.require("train")
    from compat_train.config.training import GalleryConfig, config_from_mapping
    from compat_train.methods.gallery import train_gallery

    values = shared.given(
        source=source.settings(),
        arch=arch,
        dim=dim,
        width=width,
        stem_stride=stem_stride,
        preprocessing=shared.given(size=size) or None,
        classification=classification.settings(),
        optimisation=schedule.settings(),
        augmentation=augmentation.settings(),
        execution=execution.settings(),
        license=license_name,
    )
    config = config_from_mapping(GalleryConfig, values)
    with console.working() as progress:
        done = train_gallery(config, out, progress)
    _say(done, as_json)


@app.command("query")
@shared.grouped
def query(
    *,
    source: shared.SourceOptions,
    gallery: Annotated[Path, typer.Option("--gallery", help="RUN folder of the gallery model, or of the old model.")],
    out: shared.Out,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="bct, vanilla, kd, finetune, classifier, regression, bct-regression, dmu or lce."
        ),
    ] = "bct",
    arch: shared.Arch = None,
    width: shared.Width = None,
    stem_stride: shared.Stem = None,
    inherit: Annotated[
        shared.Text, shared.number("--inherit", "Starting weights: auto, none, leading, magnitude or channel; auto.")
    ] = None,
    own: Annotated[shared.Float, shared.number("--own", "Weight of the loss under the model's own classifier.")] = None,
    gallery_term: Annotated[
        shared.Float, shared.number("--gallery-term", "Weight of the loss under the gallery model's classifier.")
    ] = None,
    kd: Annotated[shared.Float, shared.number("--kd", "Weight of the distillation term.")] = None,
    regression: Annotated[
        shared.Float, shared.number("--regression", "Weight of the regression to gallery embeddings.")
    ] = None,
    temperature: Annotated[
        shared.Float, shared.number("--temperature", "Temperature of the distillation term; 4.")
    ] = None,
    adaptation: Annotated[
        shared.Float, shared.number("--adaptation", "Weight of dmu's forward adaptation, kept in OUT/adaptation; 1.")
    ] = None,
    adaptation_width: Annotated[
        shared.Int, shared.number("--adaptation-width", "Width of its hidden layers; 1024.")
    ] = None,
    alignment: Annotated[
        shared.Float, shared.number("--alignment", "Weight of lce's alignment of the classifier; 100 for lce.")
    ] = None,
    boundary: Annotated[
        shared.Float, shared.number("--boundary", "Weight of lce's bound around the old class centres; 1 for lce.")
    ] = None,
    selection: Annotated[
        shared.Text,
        shared.number(
            "--selection", "How dmu weighs images: entropy, least-confidence, certainty or uniform; entropy."
        ),
    ] = None,
    selection_scale: Annotated[
        shared.Float, shared.number("--selection-scale", "Factor on the old model's cosines in the selection; 1.")
    ] = None,
    selection_temperature: Annotated[
        shared.Float, shared.number("--selection-temperature", "Temperature of the selection's softmax; 1.")
    ] = None,
    unseen: Annotated[
        shared.Text,
        shared.number(
            "--unseen", "Classes that the old model never saw: prototypes, skip, all-prototypes or lwf; prototypes."
        ),
    ] = None,
    role: Annotated[
        shared.Text, shared.number("--role", "query, or gallery for a new model that embeds galleries too; query.")
    ] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Regress on cut-and-paste images too.")] = False,
    classification: shared.LossOptions,
    schedule: shared.ScheduleOptions,
    augmentation: shared.AugmentationOptions,
    execution: shared.ExecutionOptions,
    license_name: shared.License = None,
    as_json: options.Json = False,
) -> None:
    """Train a model whose queries may search the gallery model's embeddings (default: MobileNetV2, BCT).

    A small one for a large gallery model, or with --method dmu and --role gallery a new one for an old gallery.
    """
    extras.require("train")
    from compat_train.config.training import QueryConfig, config_from_mapping
    from compat_train.methods.query import train_query

    values = shared.given(
        source=source.settings(),
        gallery=str(gallery),
        method=method,
        arch=arch,
        width=width,
        stem_stride=stem_stride,
        inherit=inherit,
        own=own,
        gallery_term=gallery_term,
        kd=kd,
        regression=regression,
        temperature=temperature,
        alignment=alignment,
        adaptation=adaptation,
        adaptation_width=adaptation_width,
        boundary=boundary,
        selection=selection,
        selection_scale=selection_scale,
        selection_temperature=selection_temperature,
        unseen=unseen,
        role=role,
        mixed=mixed,
        classification=classification.like(gallery),
        optimisation={"epochs": 32, "lr": 1.3, **schedule.settings()},
        augmentation=augmentation.settings(),
        execution=execution.settings(),
        license=license_name,
    )
    config = config_from_mapping(QueryConfig, values)
    with console.working() as progress:
        done = train_query(config, out, progress)
    _say(done, as_json)


app.command("side-info")(train_upgrade.side_info)
app.command("upgrade")(train_upgrade.upgrade)


def _say(done: Checkpoint, as_json: bool) -> None:
    from compat_train.methods.query import ADAPTATION

    facts: dict[str, object] = {
        "run": str(done.path),
        "role": done.role,
        "method": done.method,
        "arch": done.arch,
        "dim": done.dim,
        "space": done.space,
        "searches": list(done.searches),
        "classes": len(done.classes),
    }
    may = f"; may search {', '.join(done.searches)}" if done.searches else ""
    line = f"{done.path}: {done.role} model {done.arch} ({done.method}), space {done.space}{may}"
    if (adaptation := done.path / ADAPTATION).is_dir():
        facts["adaptation"] = str(adaptation)
        line += f"\n{adaptation}: transform of the old embeddings into that space"
    console.report(facts, line, as_json=as_json)
