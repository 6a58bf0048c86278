"""`compat-sdk train`: gallery models, and query models that are compatible with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compat_sdk.cli import console, extras, options

if TYPE_CHECKING:
    from compat_train.checkpoint import Checkpoint

app = typer.Typer(help="Train a model.", no_args_is_help=True, rich_markup_mode=None)


def _number(name: str, text: str) -> Any:
    return typer.Option(name, help=text, show_default=False)


_Out = Annotated[Path, typer.Option("--out", help="RUN folder to write; an interrupted run in it is continued.")]
_Arch = Annotated[str | None, typer.Option("--arch", help="Architecture name.", show_default=False)]
_Int = int | None
_Float = float | None
_Text = str | None
_Size = Annotated[_Int, _number("--size", "Input side in pixels; 112.")]
_Width = Annotated[_Float, _number("--width", "Factor on the channel counts; 1.")]
_Stem = Annotated[_Int, _number("--stem-stride", "Stride of the first convolution, 1 or 2; 1.")]
_Loss = Annotated[_Text, _number("--loss", "cosface or norm-softmax; cosface, or that of the gallery run.")]
_Margin = Annotated[_Float, _number("--margin", "Cosine margin of cosface; 0.4.")]
_Scale = Annotated[_Float, _number("--scale", "Factor on the cosines; 64.")]
_Epochs = Annotated[_Int, _number("--epochs", "Passes over the training split; 16 for gallery, 32 for query.")]
_Batch = Annotated[_Int, _number("--batch", "Images per step; 320.")]
_Lr = Annotated[_Float, _number("--lr", "Highest learning rate; 0.1 for gallery, 1.3 for query.")]
_Decay = Annotated[_Float, _number("--weight-decay", "Weight decay; 0.0005.")]
_Warmup = Annotated[_Float, _number("--warmup-epochs", "Epochs of linear warm-up; 1.")]
_Shift = Annotated[_Float, _number("--shift", "Augmentation: largest move, fraction of the side; 0.")]
_Zoom = Annotated[_Float, _number("--zoom", "Augmentation: largest relative change of scale; 0.")]
_Rotate = Annotated[_Float, _number("--rotate", "Augmentation: largest turn, in degrees; 0.")]
_Colour = Annotated[_Float, _number("--colour", "Augmentation: largest change of brightness and the like; 0.")]
_Flip = Annotated[bool, typer.Option("--flip", help="Augmentation: mirror half of the images.")]
_Precision = Annotated[_Text, _number("--precision", "auto, fp32 or bf16.")]
_Unreadable = Annotated[_Int, _number("--unreadable", "Corrupt images that are left out with a warning; 0.")]
_License = Annotated[_Text, _number("--license", "Licence of the trained weights, for the bundle.")]


@app.command("gallery")
def gallery(
    data: options.Data,
    out: _Out,
    arch: _Arch = None,
    dim: Annotated[_Int, _number("--dim", "Embedding dimension; 128.")] = None,
    size: _Size = None,
    width: _Width = None,
    stem_stride: _Stem = None,
    loss: _Loss = None,
    margin: _Margin = None,
    scale: _Scale = None,
    epochs: _Epochs = None,
    batch: _Batch = None,
    lr: _Lr = None,
    weight_decay: _Decay = None,
    warmup_epochs: _Warmup = None,
    shift: _Shift = None,
    zoom: _Zoom = None,
    rotate: _Rotate = None,
    colour: _Colour = None,
    flip: _Flip = False,
    precision: _Precision = None,
    unreadable: _Unreadable = None,
    license_name: _License = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    root: options.Root = None,
    as_json: options.Json = False,
) -> None:
    """Train the large model that embeds the gallery (default: ResNet-101, CosFace)."""
    extras.require("train")
    from compat_train.config import GalleryConfig, config_from_mapping
    from compat_train.methods.gallery import train_gallery

    values = given(
        source=given(data=data, root=_path(root), unreadable=unreadable),
        arch=arch,
        dim=dim,
        width=width,
        stem_stride=stem_stride,
        preprocessing=given(size=size) or None,
        classification=given(loss=loss, margin=margin, scale=scale),
        optimisation=given(epochs=epochs, batch=batch, lr=lr, weight_decay=weight_decay, warmup_epochs=warmup_epochs),
        augmentation=given(shift=shift, zoom=zoom, rotate=rotate, colour=colour, flip=flip or None),
        execution=given(seed=seed, device=device, precision=precision, threads=threads),
        license=license_name,
    )
    config = config_from_mapping(GalleryConfig, values)
    with console.working() as progress:
        done = train_gallery(config, out, progress)
    _say(done, as_json)


@app.command("query")
def query(
    data: options.Data,
    gallery: Annotated[Path, typer.Option("--gallery", help="RUN folder of the gallery model.")],
    out: _Out,
    method: Annotated[
        str,
        typer.Option("--method", help="bct, vanilla, kd, finetune, classifier, regression or bct-regression."),
    ] = "bct",
    arch: _Arch = None,
    width: _Width = None,
    stem_stride: _Stem = None,
    inherit: Annotated[
        _Text, _number("--inherit", "Starting weights: auto, none, leading, magnitude or channel; auto.")
    ] = None,
    own: Annotated[_Float, _number("--own", "Weight of the loss under the model's own classifier.")] = None,
    gallery_term: Annotated[
        _Float, _number("--gallery-term", "Weight of the loss under the gallery model's classifier.")
    ] = None,
    kd: Annotated[_Float, _number("--kd", "Weight of the distillation term.")] = None,
    regression: Annotated[_Float, _number("--regression", "Weight of the regression to gallery embeddings.")] = None,
    temperature: Annotated[_Float, _number("--temperature", "Temperature of the distillation term; 4.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Regress on cut-and-paste images too.")] = False,
    loss: _Loss = None,
    margin: _Margin = None,
    scale: _Scale = None,
    epochs: _Epochs = None,
    batch: _Batch = None,
    lr: _Lr = None,
    weight_decay: _Decay = None,
    warmup_epochs: _Warmup = None,
    shift: _Shift = None,
    zoom: _Zoom = None,
    rotate: _Rotate = None,
    colour: _Colour = None,
    flip: _Flip = False,
    precision: _Precision = None,
    unreadable: _Unreadable = None,
    license_name: _License = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    root: options.Root = None,
    as_json: options.Json = False,
) -> None:
    """Train a small model whose queries may search the gallery model's embeddings (default: MobileNetV2, BCT)."""
    extras.require("train")
    from compat_train.config import QueryConfig, config_from_mapping
    from compat_train.methods.query import train_query

    values = given(
        source=given(data=data, root=_path(root), unreadable=unreadable),
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
        mixed=mixed,
        classification=given(loss=loss, margin=margin, scale=scale) or None,
        optimisation={
            "epochs": 32,
            "lr": 1.3,
            **given(epochs=epochs, batch=batch, lr=lr, weight_decay=weight_decay, warmup_epochs=warmup_epochs),
        },
        augmentation=given(shift=shift, zoom=zoom, rotate=rotate, colour=colour, flip=flip or None),
        execution=given(seed=seed, device=device, precision=precision, threads=threads),
        license=license_name,
    )
    config = config_from_mapping(QueryConfig, values)
    with console.working() as progress:
        done = train_query(config, out, progress)
    _say(done, as_json)


def given(**values: Any) -> dict[str, Any]:
    """The settings that were given; the configuration's defaults stand for the others."""
    return {name: value for name, value in values.items() if value is not None}


def _path(root: Path | None) -> str | None:
    return None if root is None else str(root)


def _say(done: Checkpoint, as_json: bool) -> None:
    facts: Mapping[str, object] = {
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
    console.report(facts, line, as_json=as_json)
