"""Records and weights of runs, with values of other types or ranges than any release writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.seal import sealed_json
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import read_tensors
from tests.sdk.mutants import faults

RUN = Path(__file__).parents[1] / "golden" / "0.7" / "runs"


@pytest.mark.parametrize("version", [1, 2])
def test_a_model_record(tmp_path: Path, version: int) -> None:
    shutil.copytree(next(path for path in sorted(RUN.iterdir()) if path.name == "gallery"), run := tmp_path / "r")
    record = json.loads((run / "model.json").read_text("utf-8")) | {"version": version}
    record["model"]["classes"] = record["model"]["classes"][:1]
    record.pop("digest", None)

    def read(value: dict[str, Any]) -> None:
        (run / "model.json").write_bytes(sealed_json(value))
        Checkpoint.load(run)

    assert faults(record, read, tmp_path) == []


def test_a_resume_point(tmp_path: Path) -> None:
    points = ResumePoints(tmp_path)
    points.save(3, {"a": torch.ones(2)}, {"settings": {"lr": 0.1}})
    path = tmp_path / "state" / "step-000000003.json"
    record = json.loads(path.read_text("utf-8"))
    record.pop("digest")

    def read(value: dict[str, Any]) -> None:
        path.write_bytes(sealed_json(value))
        points.newest()

    assert faults(record, read, tmp_path) == []


def with_header(header: bytes, data: bytes = b"\0" * 8) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F31"},
        {"dtype": ["F32"]},
        {"shape": [3]},
        {"shape": [-2]},
        {"shape": [True, 2]},
        {"shape": [2**62, 2**62]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [4, 12]},
        {"data_offsets": [0]},
        {"data_offsets": None},
    ],
)
def test_a_header_that_does_not_describe_its_tensors_never_reaches_the_native_parser(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compat_train.runs.run_files.load_tensors", lambda data: pytest.fail("it was parsed"))
    with pytest.raises(CorruptFileError, match="restore it from a copy"):
        read_tensors(with_header(json.dumps({"a": TENSOR | change}).encode()), "w")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 8 + b"{}",
        with_header(b"[]"),
        with_header(b"{"),
        with_header(b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
        with_header(json.dumps({"a": TENSOR}).encode() + b"\xff"),
        with_header(json.dumps({"a": TENSOR}).encode(), b"\0" * 9),
        with_header(json.dumps({"a": TENSOR, "b": TENSOR}).encode()),
        with_header(json.dumps({"a": 3}).encode()),
    ],
)
def test_a_header_that_is_none_never_reaches_the_native_parser(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compat_train.runs.run_files.load_tensors", lambda data: pytest.fail("it was parsed"))
    with pytest.raises(CorruptFileError):
        read_tensors(data, "w")


def test_what_is_written_is_read() -> None:
    tensors = {"a": torch.ones(2, 3), "empty": torch.zeros(0), "one": torch.tensor(1), "é": torch.ones(1).half()}
    found = read_tensors(save(tensors), "w")
    assert {name: value.shape for name, value in found.items()} == {name: t.shape for name, t in tensors.items()}
    assert read_tensors(save({}), "w") == {}
