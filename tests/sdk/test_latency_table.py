"""Tables of what a device measured: written, read back, and what multiply-adds say about time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.profile import Latency, load_table, save_table, table_of
from compat_sdk.profile.latency_table import rank_correlation
from tests.sdk.test_profile import PLANTED


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    table = table_of([PLANTED, replace(PLANTED, name="other")])
    save_table(table, tmp_path / "phone.json")
    assert load_table(tmp_path / "phone.json") == table
    assert table.device["cores"] and table.device["system"]


def test_the_correlation_is_that_of_ranks() -> None:
    def profile(mmacs: float, p50: float) -> object:
        return replace(PLANTED, mmacs=mmacs, warm=Latency(p50, p50, 20))

    rising = [profile(1, 10), profile(2, 30), profile(300, 31)]
    assert table_of(rising).correlation == pytest.approx(1)  # type: ignore[arg-type]
    assert table_of(rising[:2]).correlation is None  # type: ignore[arg-type]
    mixed = [profile(1, 30), profile(2, 10), profile(3, 20)]
    assert table_of(mixed).correlation == pytest.approx(-0.5)  # type: ignore[arg-type]


def test_ties_share_their_rank_and_constants_have_no_correlation() -> None:
    assert rank_correlation([1, 1, 2], [5, 5, 9]) == pytest.approx(1)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ConfigError, match="as many of each"):
        rank_correlation([1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"format": "another"},
        {"device": None},
        {"profiles": [{"name": "x"}]},
        {"profiles": [PLANTED.to_json() | {"mmacs": -1}]},
        {"profiles": [PLANTED.to_json() | {"latency_ms": {"p50": "fast", "p95": 1}}]},
        {"profiles": [PLANTED.to_json() | {"engine": None}]},
        {"profiles": [PLANTED.to_json() | {"size": "112"}]},
        {"profiles": "none"},
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    save_table(table_of([PLANTED]), tmp_path / "t.json")
    found = json.loads((tmp_path / "t.json").read_text()) | change
    (tmp_path / "t.json").write_text(json.dumps(found))
    with pytest.raises(CorruptFileError, match=r"t\.json"):
        load_table(tmp_path / "t.json")
