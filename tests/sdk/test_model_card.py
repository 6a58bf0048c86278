"""The model card: what a bundle's manifest says, for people, in every bundle that is written."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

import compat_sdk
from compat_sdk.bundle import Bundle, Manifest
from compat_sdk.bundle.card import model_card
from compat_sdk.errors import ConfigError
from tests.golden.files import copy_of
from tests.sdk.bundles import make_bundle
from tests.sdk.transforms import make_transform


def rows_of(card: str) -> dict[str, str]:
    """Second cell by first, of all tables."""
    return {
        row.split(" | ")[0][2:]: row.split(" | ")[1].removesuffix(" |") for row in re.findall(r"^\| .*\|$", card, re.M)
    }


def test_every_bundle_that_is_written_has_the_card_of_its_manifest(tmp_path: Path) -> None:
    for made in (make_bundle(tmp_path / "image"), make_transform(tmp_path / "transform.zip")):
        assert made.read("MODEL_CARD.md").decode() == model_card(made.manifest)
        assert Bundle.open(made.path).copy_to(made.path.with_name(f"copy-{made.path.name}")).manifest == made.manifest


def test_a_bundle_of_0_7_has_no_card_and_is_as_good_as_ever(tmp_path: Path) -> None:
    old = copy_of("0.7", tmp_path / "released")
    assert "MODEL_CARD.md" not in Bundle.open(old / "bundles" / "gallery.bundle").manifest.files


def test_the_card_says_what_the_manifest_says(tmp_path: Path) -> None:
    manifest = make_bundle(tmp_path / "b").manifest
    said = rows_of(model_card(manifest))
    assert said["embedding space"] == f"`{manifest.space}`"
    assert said["may search"] == f"its own space, `{manifest.searches[0]}`"
    assert (said["multiply-accumulates"], said["numbers per vector"]) == ("0.5 million", str(manifest.dim))
    assert (said["licence of the weights"], said["release"]) == (r"Apache\-2.0", "1")
    assert said["size"] == str(manifest.preprocessing.size if manifest.preprocessing else None)
    assert "is declared, and not shown" in model_card(manifest)


def test_a_transforms_card_names_both_ends(tmp_path: Path) -> None:
    manifest = make_transform(tmp_path / "b").manifest
    said = rows_of(model_card(manifest))
    assert manifest.source is not None and said["old vectors"] == f"`{manifest.source.old_space}`"
    assert manifest.identity is not None and said["name of the transform"] == f"`{manifest.identity.name}`"  # type: ignore[union-attr]
    assert "may search" not in said and "size" not in said


def of(tmp_path: Path, **changes: str) -> Manifest:
    return replace(make_bundle(tmp_path / "b").manifest, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["license", "name", "created_by", "arch"])
def test_words_of_others_stay_words_of_one_line(tmp_path: Path, field: str) -> None:
    hostile = "a|b [x](http://y) <script>"
    if field != "name":  # which is of printable characters
        hostile += "\n# Heading\n\ud800\x1b[31m"
    card = model_card(of(tmp_path, **{field: hostile}))
    card.encode()
    assert "<script>" not in card and "\x1b" not in card and "\n# Heading" not in card
    assert not re.search(r"(?<!\\)\]\(", card)
    heads = [len(re.findall(r"(?<!\\)\|", row)) for row in card.splitlines() if row.startswith("| ")]
    assert set(heads) == {3, 6}  # tables of two and of five columns alone


def test_what_the_card_tells_to_type_exists(tmp_path: Path) -> None:
    for made in (make_bundle(tmp_path / "image"), make_transform(tmp_path / "transform")):
        block = model_card(made.manifest).partition("```python\n")[2].partition("```")[0]
        imported = next(node for node in ast.parse(block).body if isinstance(node, ast.ImportFrom))
        assert all(hasattr(compat_sdk, name.name) for name in imported.names)


def test_a_card_of_the_callers_own_is_refused(tmp_path: Path) -> None:
    for name, message in (("MODEL_CARD.md", "written from the manifest"), ("model_card.MD", "upper and lower case")):
        with pytest.raises(ConfigError, match=message):
            make_bundle(tmp_path / "b", graph_files={"model.onnx": b"graph", name: b"mine"})
    assert not (tmp_path / "b").exists()
