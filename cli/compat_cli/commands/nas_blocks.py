"""`compat-sdk nas blocks` and what `profile --blocks` prints: a search space's blocks, as graphs and as times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options
from compat_sdk.errors import ConfigError
from compat_sdk.shown import escaped, shown_value

if TYPE_CHECKING:
    from compat_sdk.profile import BlockTable
    from compat_train.nas.blocks import BlockSpace

_SLOWEST = 10


def blocks(
    space: Annotated[
        str,
        typer.Argument(
            metavar="SPACE",
            help="A space of nas cmp, such as shuffle or shuffle,last=512; or global: and a preset of nas global, such "
            "as global:tiny.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write, for compat-sdk profile FOLDER --blocks.")],
    size: Annotated[int, typer.Option("--size", min=16, help="Input side in pixels.")] = 112,
    dim: Annotated[int, typer.Option("--dim", min=2, help="Embedding dimension.")] = 128,
    stem_stride: Annotated[int, typer.Option("--stem-stride", min=1, max=2, help="Of the first convolution.")] = 1,
    target: Annotated[str, typer.Option("--target", metavar="onnx|tflite", help="Format of the graphs.")] = "onnx",
    networks: Annotated[
        int, typer.Option("--networks", min=0, help="Whole networks, which show the error of a sum over blocks.")
    ] = 10,
    as_json: options.Json = False,
) -> None:
    """Write a search space's blocks as graphs, for a device to measure: the first step to a budget in milliseconds."""
    extras.require("export-onnx" if target == "onnx" else "export-litert")
    from compat_export.block_graphs import write_blocks

    with console.working() as progress:
        count = write_blocks(
            _space(space, size, dim, stem_stride), out, target=target, networks=networks, progress=progress
        )
    text = f"{count} graphs; measure them on the device: compat-sdk profile {escaped(str(out))} --blocks --save FILE"
    console.report({"out": str(out), "graphs": count, "target": target}, text, as_json=as_json)


def _space(text: str, size: int, dim: int, stem_stride: int) -> BlockSpace:
    """The space that a text names."""
    from compat_train.models.search_space import space_named
    from compat_train.nas.cmp import latency
    from compat_train.nas.global_nas import latency as global_latency
    from compat_train.nas.global_nas.config import PRESETS

    kind, _, preset = text.partition(":")
    if kind != "global":
        return latency.block_space(space_named(text), size, dim, stem_stride)
    if preset not in PRESETS:
        raise ConfigError(
            f"found space {shown_value(text)}; expected global: and one of {', '.join(PRESETS)}, such as global:tiny"
        )
    return global_latency.block_space(PRESETS[preset], size, dim, stem_stride)


def table_text(table: BlockTable) -> str:
    """The slowest blocks, and what a sum over blocks misses of whole networks."""
    slowest = sorted(table.blocks, key=lambda name: -table.blocks[name])[:_SLOWEST]
    lines = [
        f"{len(table.blocks)} blocks on {table.engine}, {table.threads} thread(s); the slowest:",
        console.table(["block", "ms"], [[name, f"{table.blocks[name]:.4f}"] for name in slowest]),
    ]
    if table.error is not None:
        rows = [
            [f"{one.measured_ms:.3f}", f"{one.predicted_ms:.3f}", f"{100 * one.error:.1f}"] for one in table.networks
        ]
        lines.append(console.table(["whole network, ms", "by its blocks", "error %"], rows))
        lines.append(f"median error over {len(rows)} whole networks: {100 * table.error:.1f} %")
    return "\n".join(lines)
