"""Ids, payloads and scores at the edge of what stores hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_cli.commands.search import _value
from compat_sdk.errors import DataError
from compat_sdk.exchange import Reading, export_gallery, import_gallery
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.remote import RemoteGallery
from compat_sdk.space import Embeddings
from compat_sdk.stores.points import point_id
from compat_sdk.stores.rows import is_whole_number, payload_object

MANY = "9" * 5000
"""More digits than Python makes a number of."""


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_an_id_of_many_digits_is_a_text(tmp_path: Path) -> None:
    assert point_id("12") == 12 and isinstance(point_id(MANY), str)
    numbers = [("0", True), ("-1", False), ("01", False), ("+1", False), ("1_0", False), ("", False), ("-", False)]
    assert [is_whole_number(text, 0, 1 << 63) for text, _ in numbers] == [right for _, right in numbers]
    assert is_whole_number(str((1 << 63) - 1), 0, 1 << 63) and not is_whole_number(str(1 << 63), 0, 1 << 63)
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32))
    gallery = import_gallery(tmp_path / "v.npy", tmp_path / "g", space="s")
    gallery.add(Embeddings(np.eye(2, dtype=np.float32)[:1], "s"), [MANY])
    with pytest.raises(DataError, match="no whole number"):
        export_gallery(tmp_path / "g", tmp_path / "out.faiss")
    pytest.importorskip("pyarrow")
    assert export_gallery(tmp_path / "g", tmp_path / "out.parquet").rows == 3


def test_a_mark_before_the_first_id_is_no_part_of_it(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32))
    (tmp_path / "ids.txt").write_text("a\r\nb\r\n", "utf-8-sig")
    made = import_gallery(tmp_path / "v.npy", tmp_path / "g", space="s", reading=Reading(ids=tmp_path / "ids.txt"))
    assert made.ids == ("a", "b")


@pytest.mark.parametrize("value", [nested(40), nested(5000), 1 << 70, "\ud800", float("inf")])
def test_a_payload_is_what_every_reader_of_json_understands(tmp_path: Path, value: Any) -> None:
    gallery = Gallery.create(tmp_path / "g", space="s", dim=2)
    with pytest.raises(DataError, match="no JSON"):
        gallery.add(Embeddings(np.eye(2, dtype=np.float32)[:1], "s"), ["a"], payload=[{"x": value}])
    assert len(gallery) == 0
    if value != float("inf"):  # which other stores have, and JSON has as null
        with pytest.raises(ValueError, match=r"nested|64 bits|surrogates"):
            payload_object({"x": value})


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("true", True), ('"3"', "3"), ("red", "red"), ("NaN", "NaN"), ("1e400", "1e400")],
)
def test_a_condition_is_a_number_where_json_has_it(text: str, value: object) -> None:
    assert _value(text) == value and type(_value(text)) is type(value)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"a": 1}', "null"])
def test_a_condition_of_any_other_form_is_a_text(text: str) -> None:
    assert _value(text) == text


def test_scores_of_inner_products_are_no_more_than_1() -> None:
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    models = pytest.importorskip("qdrant_client").models
    client.create_collection("c", vectors_config=models.VectorParams(size=8, distance=models.Distance.DOT))
    gallery = RemoteGallery.of_client(client, "c", space="s")
    vector = np.full((1, 8), np.float32(8**-0.5) * np.float32(1 + 4e-7), np.float32)
    gallery.add(Embeddings(vector, "s"), ["a"])
    assert float((vector @ vector.T)[0, 0]) > 1  # without the limit
    assert gallery.search(Embeddings(vector, "s"), 1)[0][0].score == 1
    client.upsert("c", [models.PointStruct(id=2, vector=(3 * vector[0]).tolist())])
    assert gallery.search(Embeddings(vector, "s"), 1)[0][0].score == pytest.approx(3, abs=1e-4)
