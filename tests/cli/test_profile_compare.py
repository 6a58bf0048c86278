"""`compat-sdk profile --compare`: this machine's latencies beside those that another device has saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compat_cli.commands import profile as command
from compat_sdk.profile import Profile, save_table, table_of
from tests.cli.test_cli import run
from tests.sdk.test_profile_comparison import one


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models that were measured; 2 ms for every MMAC, in place of a clock."""
    names: list[str] = []

    def measure(model: str, **_: object) -> list[Profile]:
        names.append(model)
        return [one(model, 2.0 * len(model), mmacs=float(len(model)))]

    monkeypatch.setattr(command, "measure", measure)
    monkeypatch.setattr("compat_train.models.build.require_architecture", lambda _: None)
    return names


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    found = [one("a", 5, mmacs=1, engine="coreml"), one("bb", 7, mmacs=2), one("ccc", 6, mmacs=3), one("dddd", 1)]
    save_table(table_of(found), tmp_path / "phone.json")
    return tmp_path / "phone.json"


def test_latencies_ratios_and_ranks_are_told_and_what_has_no_counterpart(
    capsys: pytest.CaptureFixture[str], measured: list[str], phone: Path
) -> None:
    code, out, _ = run(capsys, "profile", "a", "bb", "ccc", "eeeee", "--compare", phone)
    assert code == 0
    rows = [line.split() for line in out.split("there: ")[1].splitlines()]
    assert ["a", "112", "fp32", "1.0", "onnxruntime", "2.00", "coreml", "5.00", "2.50"] in rows
    assert ["ccc", "112", "fp32", "3.0", "onnxruntime", "6.00", "onnxruntime", "6.00", "1.00"] in rows
    assert "rank correlation of MMACs and p50 here: 1.00 over 3 models" in out
    assert "rank correlation of p50 here and p50 there: 0.50 over 3 models" in out
    assert "only here: eeeee (112 px, onnxruntime, fp32)" in out
    assert "only there: dddd (112 px, onnxruntime, fp32)" in out


def test_the_json_has_profiles_devices_and_the_comparison(
    capsys: pytest.CaptureFixture[str], measured: list[str], phone: Path
) -> None:
    code, out, _ = run(capsys, "profile", "a", "--compare", phone, "--json")
    found = json.loads(out)
    assert code == 0
    assert [row["name"] for row in found["profiles"]] == ["a"]
    assert found["devices"]["there"]["cores"] >= 1
    (pair,) = found["comparison"]["pairs"]
    assert (pair["here"]["p50"], pair["there"], pair["ratio"]) == (2, {"engine": "coreml", "p50": 5}, 2.5)
    assert len(found["comparison"]["only_there"]) == 3
    assert found["comparison"]["rank_correlation"] == {"here": None, "there": None, "both": None}


def test_without_compare_the_json_is_the_list_as_ever(capsys: pytest.CaptureFixture[str], measured: list[str]) -> None:
    assert [row["name"] for row in json.loads(run(capsys, "profile", "a", "--json")[1])] == ["a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot read"),
        ("{", "JSON"),
        ('{"cores": 4}', "expected 'compat-sdk-latency-table' version 1"),
        ('{"format": "compat-sdk-latency-table", "version": 2}', "version 2"),
        ('{"format": "compat-sdk-latency-table", "version": 1, "device": {}, "profiles": [{"name": "a"}]}', "lacks"),
    ],
)
def test_a_file_that_is_no_table_is_refused_before_anything_is_measured(
    text: str | None, reason: str, capsys: pytest.CaptureFixture[str], measured: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    code, out, err = run(capsys, "profile", "a", "--compare", path)
    assert (code, out, measured) == (1, "", [])
    assert "other.json" in err
    assert reason in err


def test_what_was_measured_is_saved_even_where_nothing_can_be_compared(
    capsys: pytest.CaptureFixture[str], measured: list[str], phone: Path, tmp_path: Path
) -> None:
    code, out, err = run(capsys, "profile", "zz", "--compare", phone, "--save", tmp_path / "here.json")
    assert code != 0
    assert out == ""
    assert "no model in common" in err
    assert json.loads((tmp_path / "here.json").read_text())["profiles"][0]["name"] == "zz"


def test_a_count_of_layers_compares_nothing(capsys: pytest.CaptureFixture[str], phone: Path) -> None:
    code, _, err = run(capsys, "profile", "resnet18", "--per-layer", "--compare", phone)
    assert code != 0
    assert "--compare" in err
