"""A certificate is of two spaces and one evaluation, and nobody edits it unseen."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest

from compat_sdk.certificate import NEW_MODEL_RULE, QUERY_RULE, Accuracy, Certificate, doubt, require_certified
from compat_sdk.errors import CheckFailedError, ConfigError
from compat_sdk.files.seal import sealed
from tests.sdk.certificates import certificate

SHOWN = certificate("q-8-1", "g-8-1")
FAILED = dataclasses.replace(SHOWN, query_gallery=SHOWN.query_query)


def test_a_certificate_is_read_as_it_was_written() -> None:
    assert Certificate.from_json(json.loads(json.dumps(SHOWN.to_json()))) == SHOWN
    assert SHOWN.to_json()["rule_holds"] is True and FAILED.to_json()["rule_holds"] is False


@pytest.mark.parametrize("field", [name for name in SHOWN.to_json() if name != "digest"])
def test_every_edit_is_seen(field: str) -> None:
    found = SHOWN.to_json()
    found[field] = FAILED.to_json()[field] if found[field] != FAILED.to_json()[field] else f"{found[field]}1"
    with pytest.raises(ConfigError):
        Certificate.from_json(found)


@pytest.mark.parametrize(
    "change",
    [
        {"rule_holds": False},
        {"rule_holds": 1},
        {"query_gallery": {"top1": 1.5, "top5": 1, "top10": 1, "map": 1}},
        {"query_gallery": {"top1": True, "top5": 1, "top10": 1, "map": 1}},
        {"query_gallery": {"top1": 1.0}},
        {"query_gallery": 1.0},
        {"queries": 0},
        {"queries": 1.0},
        {"skipped": -1},
        {"data_sha256": "ab"},
        {"data": "two\nlines"},
        {"splits": ["query"]},
        {"splits": "qg"},
        {"query_space": "g-8-1"},
        {"query_space": "a space"},
        {"gallery_space": None},
        {"created_by": ""},
        {"version": 2},
        {"format": "other"},
        {"more": 1},
    ],
)
def test_what_no_evaluation_gives_is_refused_even_with_its_digest_made_anew(change: Mapping[str, Any]) -> None:
    rest = {name: value for name, value in SHOWN.to_json().items() if name != "digest"} | change
    with pytest.raises(ConfigError):
        Certificate.from_json(sealed(rest))


def test_a_number_beyond_every_float_is_an_edit_like_any_other() -> None:
    with pytest.raises(ConfigError, match="was changed after it was written"):
        Certificate.from_json(json.loads(json.dumps(SHOWN.to_json()).replace("990", "1e400")))


def test_an_accuracy_is_no_nan() -> None:
    with pytest.raises(ConfigError, match="map is nan"):
        Accuracy(0.5, 0.5, 0.5, float("nan"))


def test_a_right_to_search_is_shown_declared_or_doubtful() -> None:
    assert doubt("q-8-1", (SHOWN,), "g-8-1") is None
    require_certified("q-8-1", (SHOWN,), "g-8-1")
    require_certified("q-8-1", (), "q-8-1")  # its own space
    for space, shown, gallery, reason in (
        ("q-8-1", (), "g-8-1", "no evaluation"),
        ("q-8-1", (SHOWN,), "g-8-2", "no evaluation"),  # of another gallery
        ("q-8-2", (SHOWN,), "g-8-1", "no evaluation"),  # of another query model
        ("q-8-1", (FAILED,), "g-8-1", "failed"),
        ("q-8-1", (SHOWN, dataclasses.replace(FAILED, data="other")), "g-8-1", "failed"),
    ):
        with pytest.raises(CheckFailedError, match=reason) as error:
            require_certified(space, shown, gallery)
        assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_new_gallery_model_is_held_to_the_old_one_and_its_certificate_says_so() -> None:
    better = Accuracy(0.99, 1.0, 1.0, 0.99)
    new = dataclasses.replace(SHOWN, rule=NEW_MODEL_RULE, query_query=better, query_gallery=better)
    assert new.rule_holds and not dataclasses.replace(new, rule=QUERY_RULE).rule_holds
    assert new.to_json()["rule"] == NEW_MODEL_RULE and "rule" not in SHOWN.to_json()
    assert Certificate.from_json(json.loads(json.dumps(new.to_json()))) == new
    worse = dataclasses.replace(new, query_gallery=dataclasses.replace(better, top1=SHOWN.gallery_gallery.top1))
    assert not worse.rule_holds and str(worse).endswith("rule M(new,old) > M(old,old) failed")
    with pytest.raises(ConfigError, match="rule is 'M'; expected"):
        dataclasses.replace(new, rule="M")
