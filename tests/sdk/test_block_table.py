"""Blocks of a search space: measured from a folder of graphs, written, read back, and held to whole networks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.seal import sealed_json
from compat_sdk.profile import BlockTable, Latency, block_graphs, load_block_table, measure_blocks, save_block_table
from compat_sdk.profile.block_table import Checked, require_block_table_place

TABLE = BlockTable(
    device={"system": "phone"},
    engine="litert",
    threads=1,
    settings={"space": "shuffle", "size": 32, "dim": 8, "stem_stride": 1},
    blocks={"a": 0.5, "b": 0.25},
    networks=(Checked("one", 1.0, 1.25), Checked("two", 2.0, 1.0), Checked("three", 3.0, 3.0)),
)
MILLISECONDS = {"around": 1.0, "block": 3.5, "tail": 0.75, "network": 4.0}
"""What the engine below takes for each graph; ``tail`` less than what is subtracted."""


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    save_block_table(TABLE, tmp_path / "phone.json")
    assert load_block_table(tmp_path / "phone.json") == TABLE


def test_a_network_is_the_weighted_sum_of_its_blocks_and_never_below_nothing() -> None:
    assert TABLE.milliseconds({"a": 2.0, "b": 1.0}) == 1.25
    assert TABLE.milliseconds({"a": 1.0, "b": -4.0}) == 0.0
    with pytest.raises(ConfigError, match=r"lacks 1 of 2 blocks, such as c; make the graphs again"):
        TABLE.milliseconds({"a": 1.0, "c": 1.0})


def test_the_error_is_the_median_over_whole_networks() -> None:
    assert [one.error for one in TABLE.networks] == [0.2, 1.0, 0.0]
    assert TABLE.error == 0.2
    assert replace(TABLE, networks=()).error is None


@pytest.mark.parametrize("name", ["space", "size", "dim", "stem_stride"])
def test_a_table_of_other_networks_is_refused(name: str) -> None:
    TABLE.require(TABLE.settings)
    with pytest.raises(ConfigError, match=rf"the table of blocks is of {name} .*, and the search is of 'other'"):
        TABLE.require({**TABLE.settings, name: "other"})


@pytest.mark.parametrize(
    "change",
    [
        {"format": "compat-sdk-latency-table"},
        {"version": 2},
        {"blocks": {}},
        {"blocks": {"a": -1}},
        {"blocks": {"a": 1e300}},
        {"blocks": {"a": True}},
        {"blocks": ["a"]},
        {"networks": [{"name": "one", "predicted_ms": 1, "measured_ms": 0}]},
        {"networks": None},
        {"threads": 1.5},
        {"settings": []},
        {"device": None},
    ],
    ids=str,
)
def test_a_table_that_lacks_a_figure_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "phone.json"
    path.write_text(json.dumps(TABLE.to_json() | change))
    with pytest.raises(CorruptFileError, match="compat-sdk profile FOLDER --blocks --save") as error:
        load_block_table(path)
    assert len(str(error.value).replace(str(path), "")) < 300


def test_a_table_takes_the_place_of_a_table_alone(tmp_path: Path) -> None:
    save_block_table(TABLE, tmp_path / "mine.json")
    require_block_table_place(tmp_path / "mine.json")
    (tmp_path / "notes.json").write_text('{"format": "compat-sdk-latency-table"}')
    with pytest.raises(ConfigError, match="no table of blocks, so it is not overwritten"):
        require_block_table_place(tmp_path / "notes.json")


class Engine:
    """Stands for an engine: knows its graph by its content."""

    def __init__(self, graph: bytes, *, input: str, output: str, batch: int, threads: int) -> None:
        assert (input, output, batch, threads) == ("features", "embedding", 1, 2)
        self.graph = graph.decode()

    def run(self, features: NDArray[np.float32]) -> str:
        assert features.shape == (1, 3, 4, 4) and features.dtype == np.float32
        return self.graph


def folder_of(path: Path, **changes: Any) -> Path:
    """A folder of four graphs whose content is their name."""
    path.mkdir()
    graphs = []
    for number, (name, less, weights) in enumerate(
        [("around", None, None), ("block", "around", None), ("tail", "around", None),
         ("network", None, {"block": 2.0, "tail": 1.0})]
    ):  # fmt: skip
        data = name.encode()
        (path / f"{number:04d}.onnx").write_bytes(data)
        record = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        about = {"name": name, "file": f"{number:04d}.onnx", "record": record, "shape": [3, 4, 4]}
        graphs.append(about | {"less": less, "weights": weights})
    record = {"format": "compat-sdk-blocks", "version": 1, "target": "onnx", "settings": {"size": 4}, "graphs": graphs}
    (path / "blocks.json").write_bytes(sealed_json(record | changes))
    return path


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that takes a second longer in the first round than in the others."""
    calls: dict[str, int] = {}

    def latency(run: Any, **_: Any) -> Latency:
        name = run()
        calls[name] = calls.get(name, 0) + 1
        found = MILLISECONDS[name] + (1000 if calls[name] == 1 else 0)
        return Latency(found, found, 1)

    monkeypatch.setattr(block_graphs, "OnnxRuntimeEngine", Engine)
    monkeypatch.setattr(block_graphs, "engines_here", lambda: {"onnx": "onnxruntime"})
    monkeypatch.setattr(block_graphs, "measure_latency", latency)


@pytest.mark.usefixtures("engine")
def test_a_block_is_its_graph_less_what_is_around_it_at_the_best_of_its_rounds(tmp_path: Path) -> None:
    table = measure_blocks(folder_of(tmp_path / "blocks"), threads=2)
    assert table.blocks == {"around": 1.0, "block": 2.5, "tail": 0.0}
    assert table.networks == (Checked("network", 5.0, 4.0),) and table.error == 0.25
    assert (table.engine, table.threads, table.settings) == ("onnxruntime", 2, {"size": 4})


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("damage", ["changed", "missing", "link", "record"])
def test_a_graph_that_is_not_what_was_written_never_reaches_the_engine(damage: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "blocks")
    graph = folder / "0001.onnx"
    if damage == "record":
        (folder / "blocks.json").write_text((folder / "blocks.json").read_text().replace("block", "clock", 1))
    elif damage == "changed":
        graph.write_bytes(b"clock")
    else:
        graph.unlink()
        if damage == "link":
            graph.symlink_to(folder / "0000.onnx")
    with pytest.raises(CorruptFileError):
        measure_blocks(folder, threads=2)


GRAPH = {"name": "a", "file": "0000.onnx", "record": {}, "shape": [3, 4, 4], "less": None, "weights": None}


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "change",
    [
        {"file": "../0000.onnx"},
        {"file": "/etc/passwd"},
        {"shape": [3, 4]},
        {"shape": [3, 4, 0]},
        {"shape": [3, 4, 10**9]},
        {"name": 1},
        {"record": None},
        {"less": "nothing"},
        {"weights": {"nothing": 1.0}},
        {"weights": {"a": "1"}},
        {"weights": {"a": 1e9}},
    ],
    ids=str,
)
def test_a_folder_of_impossible_graphs_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="make the folder again"):
        measure_blocks(folder_of(tmp_path / "blocks", graphs=[GRAPH | change]), threads=2)


@pytest.mark.usefixtures("engine")
def test_what_this_machine_cannot_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder of blocks: it has no blocks\.json"):
        measure_blocks(tmp_path)
    with pytest.raises(CorruptFileError, match="lacks its target"):
        measure_blocks(folder_of(tmp_path / "coreml", target="coreml"))
    with pytest.raises(CorruptFileError, match="version 2; expected"):
        measure_blocks(folder_of(tmp_path / "newer", version=2))
    with pytest.raises(ConfigError, match="expected at least 1 of each"):
        measure_blocks(folder_of(tmp_path / "none"), threads=0)
