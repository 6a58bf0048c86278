"""`compat-sdk index approximate`, and its options at other commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compat_cli.commands import approximate
from compat_sdk.errors import ConfigError
from compat_sdk.gallery import Gallery
from compat_sdk.index import KINDS
from compat_sdk.space import Embeddings
from tests.cli.test_cli import run

SPACE = "tiny-8-aaaaaaaaaaaa"


def rows(count: int) -> Embeddings:
    vectors = np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)
    return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), SPACE)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    made.add(rows(300), [str(row) for row in range(300)])
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_built_for_a_recall_and_says_what_was_measured(
    kind: str, gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(kind.partition("-")[0])
    code, out, _ = run(capsys, "index", "approximate", gallery.path, "--index", kind, "--recall", "0.9", "--json")
    assert code == 0
    index = json.loads(out)["index"]
    assert (index["kind"], index["fresh"], index["wanted_recall"]) == (kind, True, 0.9)
    assert index["recall"] >= 0.9 and (index["recall_queries"], index["recall_neighbours"]) == (30, 10)
    code, out, _ = run(capsys, "index", "info", gallery.path)
    assert code == 0 and f"index: {kind}" in out and "wanted_recall 0.9" in out
    opened = Gallery.open(gallery.path)
    assert opened.info()["search"] == kind and opened.verify() == []
    found = opened.search_rows(rows(20), 5, kind)[0]
    np.testing.assert_array_equal(found, opened.search_rows(rows(20), 5)[0])

    opened.add(rows(1), ["new"])
    assert opened.repair() == [f"rebuilt the {kind} index: it is stale"]
    again = Gallery.open(gallery.path).info()["index"]
    assert isinstance(again, dict) and again["wanted_recall"] == 0.9 and again["recall_queries"] == 30


def test_settings_can_be_typed(gallery: Gallery, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("usearch")
    told = ("--set", "connectivity=9", "--set", "expansion_search=77", "--threads", "1")
    code, out, _ = run(capsys, "index", "approximate", gallery.path, *told, "--json")
    assert code == 0
    index = json.loads(out)["index"]
    assert (index["connectivity"], index["expansion_search"]) == (9, 77)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--index", "annoy"), "expected one of usearch, hnswlib, faiss-hnsw, faiss-ivfpq"),
        (("--recall", "1.5"), "expected a number above 0 and at most 1"),
        (("--set", "connectivity"), "expected a setting and a number"),
        (("--set", "connectivity=-3"), "expected a setting and a number"),
        (("--set", "M=16"), "unknown options M of an index of kind usearch"),
        (("--set", "connectivity=99999999999"), "connectivity is 99999999999, expected at most 65536"),
    ],
)
def test_what_no_index_takes_is_the_users_fault(
    words: tuple[str, ...], said: str, gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("usearch")
    code, _, err = run(capsys, "index", "approximate", gallery.path, *words)
    assert code == 2 and said in err
    assert Gallery.open(gallery.path).info()["index"] is None


def test_other_commands_build_what_is_asked_for_and_refuse_what_contradicts_itself() -> None:
    pytest.importorskip("usearch")
    assert [approximate.chosen(ann, None, None) for ann in (None, False, True)] == [None, None, "usearch"]
    assert approximate.chosen(None, None, 0.9) == "usearch"
    with pytest.raises(ConfigError, match="found --exact beside --recall"):
        approximate.chosen(False, None, 0.9)
    with pytest.raises(ConfigError, match="found --exact beside --index"):
        approximate.chosen(False, "usearch", None)
    with pytest.raises(ConfigError, match="recall is 2"):
        approximate.chosen(True, None, 2)
