"""Blocks of a search space in a folder: what is in it, that an engine runs it, and what it takes the place of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compat_export import block_graphs as export_blocks
from compat_export.block_graphs import write_blocks
from compat_sdk.engines.choice import OnnxRuntimeEngine
from compat_sdk.errors import ConfigError
from compat_sdk.profile import load_block_table
from compat_sdk.profile.block_graphs import measure_blocks, read_blocks
from compat_train.models.build import build_model
from compat_train.models.layers import ConvBN
from compat_train.nas.blocks import Block, BlockSpace, in_context, stem, with_contexts
from tests.cli.test_cli import run

BLOCKS = with_contexts(
    [
        stem("stem", 16, partial(ConvBN, 3, 8, 3)),
        in_context("one", 4, 8, partial(ConvBN, 4, 8, 3, stride=2)),
        in_context("other", 4, 8, partial(ConvBN, 4, 4, 3, groups=4)),
    ]
)
NETWORK = "global:plain:4:s3s3c5"


def networks(wanted: int) -> dict[str, dict[str, float]]:
    return {NETWORK: {"stem": 1.0, "one": 2.0}} if wanted else {}


SPACE = BlockSpace({"space": "test", "size": 16}, 16, BLOCKS, networks, partial(build_model, dim=8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript")
    out = tmp_path_factory.mktemp("blocks") / "blocks"
    assert write_blocks(SPACE, out, networks=1) == 5
    return out


def built(block: Block) -> nn.Module:
    """A block with the weights that its graph has."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return block.build().eval()


def test_each_graph_computes_what_its_block_computes(folder: Path) -> None:
    found = read_blocks(folder)
    assert [graph.name for graph in found.graphs] == ["stem", "around:4@8", "one", "other", NETWORK]
    assert [graph.less for graph in found.graphs] == [None, None, "around:4@8", "around:4@8", None]
    for block, graph in zip(BLOCKS, found.graphs, strict=False):
        features = np.random.default_rng(0).standard_normal((1, *graph.shape)).astype(np.float32)
        data = (folder / graph.file).read_bytes()
        engine = OnnxRuntimeEngine(data, input="features", output="embedding", batch=1, threads=1)
        with torch.no_grad():
            wanted = built(block)(torch.from_numpy(features)).numpy()
        np.testing.assert_allclose(engine.run(features), wanted, atol=1e-5)


def test_what_was_written_is_measured_and_whole_networks_beside_it(folder: Path) -> None:
    table = measure_blocks(folder, rounds=1)
    assert table.settings == {"space": "test", "size": 16} and set(table.blocks) == {block.name for block in BLOCKS}
    (network,) = table.networks
    assert network.name == NETWORK and network.measured_ms > 0
    assert network.predicted_ms == pytest.approx(table.blocks["stem"] + 2 * table.blocks["one"])


def test_the_commands_write_measure_and_say_the_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "profile", folder, "--blocks", "--save", tmp_path / "device.json")
    assert code == 0, err
    assert "4 blocks on onnxruntime, 1 thread(s)" in out and "median error over 1 whole networks" in out
    assert load_block_table(tmp_path / "device.json").settings == {"space": "test", "size": 16}
    for words in (("--compare", tmp_path / "device.json"), ("--engine", "litert"), ("--per-layer",), (folder,)):
        code, _, err = run(capsys, "profile", folder, "--blocks", *words)
        assert code == ConfigError.exit_code and "--blocks measures the graphs of one folder" in err
    told = []
    monkeypatch.setattr(export_blocks, "write_blocks", lambda space, out, **more: told.append((space, more)) or 7)
    code, out, err = run(
        capsys, "nas", "blocks", "global:tiny", "--size", "32", "--networks", "2", "--out", tmp_path / "b"
    )
    assert code == 0 and out.startswith("7 graphs; measure them on the device"), err
    ((space, more),) = told
    assert space.settings["space"] == "global:plain,stages=3,width=16-64,step=2" and space.size == 32
    assert more["networks"] == 2 and more["target"] == "onnx"
    code, _, err = run(capsys, "nas", "blocks", "global:huge", "--out", tmp_path / "b")
    assert code == ConfigError.exit_code and "expected global: and one of tiny, mobile" in err


def test_a_folder_takes_the_place_of_its_own_kind_alone_and_whole_or_not_at_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_blocks, "_graphs", lambda blocks, target: [block.name.encode() for block in blocks])
    out = tmp_path / "blocks"
    write_blocks(SPACE, out, networks=0)
    assert write_blocks(SPACE, out, target="tflite", networks=1) == 5
    assert sorted(path.name for path in out.iterdir()) == [*(f"{n:04d}.tflite" for n in range(5)), "blocks.json"]
    before = json.loads((out / "blocks.json").read_text())

    def stopped(blocks: object, target: str) -> list[bytes]:
        raise KeyboardInterrupt

    monkeypatch.setattr(export_blocks, "_graphs", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_blocks(SPACE, out)
    assert json.loads((out / "blocks.json").read_text()) == before and [p.name for p in tmp_path.iterdir()] == [
        "blocks"
    ]

    def meanwhile(blocks: Sequence[Block], target: str) -> list[bytes]:
        (out / "notes.txt").write_text("mine")
        return [block.name.encode() for block in blocks]

    monkeypatch.setattr(export_blocks, "_graphs", meanwhile)
    with pytest.raises(ConfigError, match=r"holds notes\.txt"):
        write_blocks(SPACE, out, networks=0)
    assert (out / "notes.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match=r"holds notes\.txt, which nas blocks does not write"):
        write_blocks(SPACE, out)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found target='coreml', networks=10; expected onnx or tflite"):
        write_blocks(SPACE, tmp_path / "blocks", target="coreml")
    with pytest.raises(ConfigError, match="at least 0 networks"):
        write_blocks(SPACE, tmp_path / "blocks", networks=-1)
