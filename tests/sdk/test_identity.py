"""The name of a space is a digest of everything that decides a vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from compat_sdk.errors import ConfigError
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing
from compat_sdk.space import check_space, covers_all

OWN = Preprocessing(size=16)
MODEL = Identity("ab" * 32, "cmp:shuffle:0123:4444", 8, OWN, {"width": 1.0, "stem_stride": 1})

OTHERS: dict[str, Mapping[str, Any]] = {
    "weights": {"weights": "ba" * 32},
    "genotype": {"arch": "cmp:shuffle:0123:4443"},
    "dim": {"dim": 9},
    "width": {"network": {"width": 0.5, "stem_stride": 1}},
    "stem stride": {"network": {"width": 1.0, "stem_stride": 2}},
    "pooling": {"network": {"width": 1.0, "stem_stride": 1, "pooling": "gem"}},
    "output": {"output": "embedding"},
    **{
        name: {"preprocessing": dataclasses.replace(OWN, **{name: value})}
        for name, value in {
            "size": 17,
            "fit": "stretch",
            "resize": "box",
            "draft": 0,
            "mean": (0.5, 0.5, 0.51),
            "std": (0.5, 0.5, 0.51),
            "channels": "bgr",
            "crop": 0.9,
        }.items()
    },
}


def test_every_setting_of_the_preprocessing_is_tried() -> None:
    assert {item.name for item in dataclasses.fields(Preprocessing)} <= set(OTHERS)


@pytest.mark.parametrize("what", OTHERS)
def test_another_model_is_another_space(what: str) -> None:
    other = dataclasses.replace(MODEL, **OTHERS[what])
    assert other.space != MODEL.space
    with pytest.raises(ConfigError, match="was changed after the space was named"):
        other.require_space(MODEL.space, "it")


def test_the_same_model_is_the_same_space() -> None:
    again = Identity.from_json(MODEL.to_json())
    assert again == MODEL and again.space == MODEL.space
    again.require_space(MODEL.space, "it")


def test_a_name_is_readable_and_tells_from_an_old_one() -> None:
    assert check_space(MODEL.space).startswith("cmp-8-") and covers_all(MODEL.space)
    assert not covers_all("cmp-8-0123456789ab") and not covers_all("mine") and not covers_all(f"{MODEL.space}0")


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "ab"},
        {"weights": None},
        {"arch": ""},
        {"arch": 3},
        {"output": None},
        {"dim": 0},
        {"dim": True},
        {"preprocessing": None},
        {"preprocessing": {"size": 16}},
        {"network": []},
        {"network": {"width": float("inf")}},
        {"network": {"width": None}},
        {"network": {"width": [1]}},
        {"network": {"width": True}},
        {"more": 1},
    ],
)
def test_a_malformed_identity_is_refused(change: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Identity.from_json(MODEL.to_json() | change)


def test_an_identity_lacks_nothing() -> None:
    for name in MODEL.to_json():
        with pytest.raises(ConfigError, match="expected exactly"):
            Identity.from_json({other: value for other, value in MODEL.to_json().items() if other != name})
