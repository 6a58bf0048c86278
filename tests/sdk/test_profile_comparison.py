"""Two devices' tables beside each other: which rows are of one model, ratios, and what ranks say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from compat_sdk.errors import ConfigError
from compat_sdk.profile import Latency, LatencyTable, Profile, compare_tables, table_of
from tests.sdk.test_profile import PLANTED


def one(
    name: str, p50: float, *, mmacs: float = 300.8, engine: str = "onnxruntime", precision: str = "fp32"
) -> Profile:
    return replace(PLANTED, name=name, mmacs=mmacs, engine=engine, precision=precision, warm=Latency(p50, p50, 20))


def tables(here: list[Profile], there: list[Profile]) -> tuple[LatencyTable, LatencyTable]:
    return table_of(here), table_of(there)


def matched(here: list[Profile], there: list[Profile]) -> list[tuple[float, float]]:
    return [(pair.here_ms, pair.there_ms) for pair in compare_tables(*tables(here, there)).pairs]


def test_a_model_is_found_by_its_name_and_precision_whatever_the_order() -> None:
    here = [one("a", 1), one("a", 2, precision="fp16"), one("b", 3)]
    there = [one("b", 30), one("a", 20, precision="fp16"), one("a", 10)]
    assert matched(here, there) == [(1, 10), (2, 20), (3, 30)]


def test_the_same_engine_comes_first_and_one_row_that_is_left_on_each_side_is_matched() -> None:
    here = [one("a", 1), one("a", 2, engine="litert")]
    there = [one("a", 30, engine="coreml"), one("a", 20, engine="litert")]
    assert matched(here, there) == [(1, 30), (2, 20)]


def test_rows_of_other_engines_that_could_be_matched_in_two_ways_are_listed_and_not_guessed() -> None:
    here = [one("a", 1), one("b", 5)]
    there = [one("a", 2, engine="coreml"), one("a", 3, engine="litert"), one("b", 6)]
    found = compare_tables(*tables(here, there))
    assert [pair.here["name"] for pair in found.pairs] == ["b"]
    assert [profile["name"] for profile in found.only_here] == ["a"]
    assert [profile["engine"] for profile in found.only_there] == ["coreml", "litert"]


def test_another_network_or_size_under_the_same_name_is_no_counterpart() -> None:
    here, there = [one("a", 1), one("b", 1), one("c", 1)], [one("a", 2, mmacs=30.0), one("c", 3)]
    there.append(replace(one("b", 2), size=64))
    found = compare_tables(*tables(here, there))
    assert [pair.here["name"] for pair in found.pairs] == ["c"]
    assert {profile["name"] for profile in found.only_there} == {"a", "b"}


def test_tables_without_a_model_in_common_are_refused_with_what_each_has() -> None:
    with pytest.raises(ConfigError, match=r"here a \(112 px, onnxruntime, fp32\); there b \(112 px") as raised:
        compare_tables(*tables([one("a", 1)], [one("b", 1)]))
    assert "profile the same bundles" in str(raised.value)


def test_ratio_and_rank_correlations_by_hand() -> None:
    here = [one("a", 1, mmacs=10), one("b", 2, mmacs=20), one("c", 4, mmacs=30)]
    there = [one("a", 3, mmacs=10), one("b", 1, mmacs=20), one("c", 2, mmacs=30)]
    found = compare_tables(*tables(here, there))
    assert [pair.ratio for pair in found.pairs] == [3, 0.5, 0.5]
    assert found.correlations == pytest.approx({"here": 1, "there": -0.5, "both": -0.5})
    few = compare_tables(*tables(here[:2], there[:2]))
    assert set(few.correlations.values()) == {None}


def test_a_time_of_nothing_has_no_ratio_and_the_json_stays_json() -> None:
    found = compare_tables(*tables([one("a", 0)], [one("a", 1)])).to_json()
    assert json.loads(json.dumps(found, allow_nan=False))["pairs"][0]["ratio"] is None
