"""`compat-sdk archs`: the networks that can be trained, and what each costs."""

from __future__ import annotations

from typing import Annotated

import typer

from compat_cli import console, extras, options


def archs(
    pattern: Annotated[
        str,
        typer.Argument(metavar="[PATTERN]", help="Names, such as 'mobilenet*'; of timm's: 'timm:mobilenetv4*'."),
    ] = "*",
    size: Annotated[int, typer.Option("--size", min=28, help="Side of the image, in pixels.")] = 112,
    width: Annotated[float, typer.Option("--width", help="Factor on the channel counts.")] = 1.0,
    dim: Annotated[int, typer.Option("--dim", min=2, help="Length of the embedding.")] = 128,
    as_json: options.Json = False,
) -> None:
    """Networks for --arch, with multiply-accumulates and parameters at a size and a width.

    Members of search spaces (cmp:..., global:...), pruned ResNets (resnet50_pruned0.9) and generalised-mean pooling
    (resnet50_gem) are networks too, which `compat-sdk profile NAME` counts.
    """
    extras.require("train")
    from compat_train.models.listing import list_architectures

    with console.working():
        found = list_architectures(pattern, size=size, width=width, dim=dim)
    rows = [[each.arch, *map(_figure, (each.mmacs, each.mmacs_paper, each.params_m))] for each in found]
    lines = console.table(["architecture", "MMACs", "papers' count", "parameters, M"], rows).splitlines()
    lines += [f"{each.arch}: {each.problem}" for each in found if each.problem]
    if not any(each.mmacs is not None or each.problem for each in found):
        lines.append(f"{len(found)} names are too many to count; a narrower pattern shows their costs")
    else:
        lines.append(f"at {size} pixels, width {width:g}, {dim} numbers; MMACs: million multiply-accumulates an image")
    facts = {"size": size, "width": width, "dim": dim, "archs": [each.to_json() for each in found]}
    console.report(facts, console.lines(lines), as_json=as_json)


def _figure(value: float | None) -> str:
    return "-" if value is None else console.figure(value)
