"""Blocks of a search space as graphs in a folder, for a device that has the runtime alone to measure them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from compat_export.convert.conversion import Options, Port
from compat_export.convert.graphs import convert
from compat_export.convert.to_onnx import convert_several
from compat_sdk.bundle.folder import replace_folder
from compat_sdk.errors import ConfigError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.seal import sealed_json
from compat_sdk.outputs import require_own
from compat_sdk.profile import block_graphs
from compat_sdk.progress import Progress
from compat_train.models.layers import fold_batch_norms
from compat_train.nas.blocks import Block, BlockSpace

TARGETS = ("onnx", "tflite")
"""Formats that blocks are written in."""


def write_blocks(
    space: BlockSpace, out: str | Path, *, target: str = "onnx", networks: int = 10, progress: Progress | None = None
) -> int:
    """Writes every block of a space, and some whole networks that say how well a sum of blocks tells a network's time.

    The folder appears complete or not at all. Weights are fresh: they do not change what a block takes.

    Args:
        space: The blocks.
        out: Folder to write. It must be absent, empty, or such a folder, which is then replaced.
        target: One of `TARGETS`.
        networks: Whole networks, drawn at random from the space; at least 0.
        progress: Called after each graph.

    Returns:
        Graphs that were written.

    Raises:
        ConfigError: An unknown target, a number out of range, or the folder holds other things.
        MissingExtraError: The converter is not installed.
    """
    if target not in TARGETS or networks < 0:
        raise ConfigError(
            f"found target={target!r}, networks={networks}; expected {' or '.join(TARGETS)}, and at least 0 networks"
        )
    out = Path(out)
    require_own(out, block_graphs.LAYOUT, "nas blocks")
    whole = space.networks(networks)
    total = len(space.blocks) + len(whole)
    make_folder(out.parent)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        entries: list[dict[str, object]] = []
        for group in _groups(space.blocks, target):
            for block, data in zip(group, _graphs(group, target), strict=True):
                about = {"name": block.name, "shape": list(block.shape), "less": block.less, "weights": None}
                entries.append(about | _written(data, folder, f"{len(entries):04d}.{target}"))
            _tell(progress, len(entries), total)
        for name, weights in whole.items():
            (data,) = _graphs([Block(name, (3, space.size, space.size), partial(space.build, name))], target)
            about = {"name": name, "shape": [3, space.size, space.size], "less": None}
            entries.append(about | {"weights": dict(weights)} | _written(data, folder, f"{len(entries):04d}.{target}"))
            _tell(progress, len(entries), total)
        record = {
            "format": block_graphs.FORMAT,
            "version": block_graphs.VERSION,
            "target": target,
            "settings": dict(space.settings),
            "graphs": entries,
        }
        write_atomic(folder / block_graphs.BLOCKS, sealed_json(record))
        folder.chmod(0o755)
        replace_folder(folder, out, lambda: require_own(out, block_graphs.LAYOUT, "nas blocks"))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return total


def _groups(blocks: Sequence[Block], target: str) -> list[list[Block]]:
    """Blocks that are converted together: of one input, for the format that allows it."""
    if target != "onnx":
        return [[block] for block in blocks]
    by_shape: dict[tuple[int, int, int], list[Block]] = {}
    for block in blocks:
        by_shape.setdefault(block.shape, []).append(block)
    return list(by_shape.values())


def _graphs(blocks: Sequence[Block], target: str) -> list[bytes]:
    """The graphs of blocks of one input."""
    modules = [_module(block) for block in blocks]
    port = Port(block_graphs.INPUT, blocks[0].shape)
    if target == "onnx":
        return convert_several(modules, port)
    with torch.no_grad():
        converted = [convert(module, [port], target, Options(batch=1)) for module in modules]
    return [next(iter(each.files.values())) for each in converted]


def _module(block: Block) -> nn.Module:
    """A block with fresh weights, as it is deployed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = block.build().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d) and not layer.weight.any():
            nn.init.constant_(layer.weight, 0.1)  # a branch that begins switched off would be dropped as a constant
    return fold_batch_norms(module)


def _written(data: bytes, folder: Path, file: str) -> dict[str, object]:
    """A graph, written; what the folder's record says of the file."""
    write_atomic(folder / file, data)
    return {"file": file, "record": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress("write blocks", done, total, {})
