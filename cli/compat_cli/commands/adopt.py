"""`compat-sdk adopt`: a gallery model that was not trained here becomes a RUN that every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options
from compat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from compat_sdk.bundle import Trust

_ABOUT = "As it was trained; what the model says itself if not given."


def adopt(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="timm:NAME, open_clip:NAME:FILE, huggingface:FOLDER, onnx:FILE, module:PACKAGE.MODULE:CALLABLE, "
            "vectors:FILE, or a bundle.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="RUN folder to write.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="File with its weights, safetensors or a state_dict.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the pictures that stored vectors are of.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", help="The embedding among the outputs, or a tensor inside an ONNX model.")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", help=f"Side of its input in pixels. {_ABOUT}")] = None,
    mean: Annotated[
        str | None, typer.Option("--mean", help=f"Subtracted per channel, as R,G,B. {_ABOUT}", show_default=False)
    ] = None,
    std: Annotated[
        str | None, typer.Option("--std", help=f"Divisor per channel, as R,G,B. {_ABOUT}", show_default=False)
    ] = None,
    full_range: Annotated[
        float, typer.Option("--range", help="Full range that --mean and --std count in: 1, or 255 for bytes.")
    ] = 1.0,
    channels: Annotated[str | None, typer.Option("--channels", help="rgb or bgr; rgb if not given.")] = None,
    fit: Annotated[str | None, typer.Option("--fit", help="crop or stretch.")] = None,
    resize: Annotated[str | None, typer.Option("--resize", help="bilinear, bicubic, lanczos or box.")] = None,
    crop: Annotated[float | None, typer.Option("--crop", help="Central part that is kept, a fraction.")] = None,
    layout: Annotated[
        str | None, typer.Option("--layout", help="nchw or nhwc, where an ONNX model's input does not tell.")
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="Licence of the weights; a bundle says its own.")
    ] = None,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Make a gallery model from elsewhere a RUN: it is proven equal to its original and names its space."""
    makers = options.trusted(public_key, trust)
    if makers is not None:  # before anything that only a server has is asked for
        _require_signed(source, makers)
    extras.require("train")
    if full_range not in (1.0, 255.0):
        raise ConfigError(f"--range is {full_range:g}; expected 1, or 255 for a model of bytes")
    from compat_train import Wanted
    from compat_train import adopt as adopt_model

    wanted = Wanted(
        weights=weights,
        size=size,
        mean=_three("--mean", mean, full_range),
        std=_three("--std", std, full_range),
        channels=channels,
        fit=fit,
        resize=resize,
        crop=crop,
        layout=layout,
        output=output,
        images=images,
        license=license_name,
        trust=makers,
    )
    with console.working():
        done = adopt_model(source, out, wanted)
    found, proof = done.checkpoint, done.proof
    facts: dict[str, object] = {
        "run": str(found.path),
        "source": source,
        "arch": found.arch,
        "dim": found.dim,
        "space": found.space,
        "preprocessing": found.preprocessing.to_json(),
        "proof": None if proof is None else {"pictures": proof.pictures, "inputs": proof.inputs, "files": proof.files},
    }
    lines = [f"{found.path}: gallery model {found.arch.partition(':')[0]} of {found.dim}, space {found.space}"]
    if proof is not None:
        files = "" if proof.files is None else f", and {proof.files:.4f} from the files, each by its own preprocessing"
        lines.append(
            f"equal to its original on {proof.pictures} pictures: smallest cosine {proof.inputs:.6f} for the same "
            f"input{files}"
        )
    console.report(facts, console.lines(lines), as_json=as_json)


def _require_signed(source: str, makers: Trust) -> None:
    """Refuses a bundle without a signature that is trusted, and what can have none."""
    from compat_sdk.bundle import Bundle
    from compat_sdk.bundle.trust import refuse_run
    from compat_sdk.kinds import is_bundle

    if is_bundle(source):
        Bundle.open(source, trust=makers)
    else:
        refuse_run(source, makers)


def _three(flag: str, text: str | None, full_range: float) -> tuple[float, float, float] | None:
    """Three numbers, of the full range.

    Raises:
        ConfigError: The text is no three numbers.
    """
    if text is None:
        return None
    try:
        red, green, blue = (float(part) / full_range for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{flag} is {text!r}; expected three numbers as R,G,B, such as 0.485,0.456,0.406") from error
    return red, green, blue
