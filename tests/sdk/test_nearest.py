from __future__ import annotations

import pytest

from compat_sdk.nearest import nearest_names

KNOWN = ("resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2", "ViT_tiny")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet5", ("resnet50",)),
        ("RESNET50", ("resnet50",)),
        ("mobile*net*", ("mobilenet_v2",)),
        ("vit_tinny", ("ViT_tiny",)),
    ],
)
def test_the_name_that_is_most_alike_stands_first_whatever_its_case(name: str, found: tuple[str, ...]) -> None:
    assert nearest_names(name, KNOWN)[: len(found)] == found


def test_what_is_like_no_name_gets_none_and_never_more_than_three() -> None:
    assert nearest_names("xyz", KNOWN) == nearest_names("", KNOWN) == nearest_names("a", ()) == ()
    assert len(nearest_names("resnet", KNOWN)) == 3
