"""A gallery in several folders or machines is one gallery; `tests/sdk/test_gallery_contract.py` has what all share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import CompatError, ConfigError, DataError, GalleryError, IncompatibleSpaceError, StateError
from compat_sdk.gallery import Gallery, Where
from compat_sdk.gallery.part_list import parts_of
from compat_sdk.space import Embeddings

SPACE, DIM, ROWS = "toy-6", 6, 90


def unit(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def query(count: int = 4) -> Embeddings:
    return Embeddings(unit(count, 9), SPACE)


def filled(path: Path, rows: range, space: str = SPACE) -> Gallery:
    made = Gallery.create(path, space=space, dim=DIM)
    if rows:
        ids, labels = [f"i{row}" for row in rows], [f"l{row % 3}" for row in rows]
        payload = [{"odd": bool(row % 2)} for row in rows]
        made.add(Embeddings(unit(ROWS)[rows.start : rows.stop], space), ids, labels, payload=payload)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three parts, of which one is empty, their list, and the same rows in one gallery."""
    filled(tmp_path / "whole", range(ROWS))
    for name, rows in (("a", range(50)), ("b", range(0)), ("c", range(50, ROWS))):
        filled(tmp_path / name, rows)
    (tmp_path / "all.parts").write_text("# the photos\n\na\n  b  \nc\n")
    return tmp_path


def test_parts_find_what_one_gallery_finds(folder: Path) -> None:
    whole, parts = Gallery.open(folder / "whole"), Gallery.open([folder / "a", folder / "b", folder / "c"])
    for k in (1, 7, ROWS, ROWS + 5):
        for where in (None, Where(labels=["l1"]), Where(payload={"odd": True})):
            for ours, theirs in zip(
                parts.search(query(), k, where=where), whole.search(query(), k, where=where), strict=True
            ):
                assert [hit.id for hit in ours] == [hit.id for hit in theirs]
                np.testing.assert_allclose([h.score for h in ours], [h.score for h in theirs], atol=1e-6)
        rows, scores = parts.search_rows(query(), k)
        expected, best = whole.search_rows(query(), k)
        assert np.array_equal(rows, expected)
        np.testing.assert_allclose(scores, best, atol=1e-6)
    assert parts.ids == whole.ids and parts.labels == whole.labels
    np.testing.assert_array_equal(parts.vectors, whole.vectors)


def test_a_list_of_parts_is_a_gallery_whose_paths_are_seen_from_the_list(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    found = Gallery.open(folder / "all.parts")
    assert len(found) == ROWS and found.info()["path"] == str(folder / "all.parts")
    assert parts_of(folder / "all.parts") == tuple(str(folder / name) for name in "abc")
    assert parts_of(folder / "a") == (str(folder / "a"),)
    (folder / "one.parts").write_text("a\n")
    assert Gallery.open(folder / "one.parts").path == folder / "a"


def test_rows_are_added_to_the_last_part_and_an_id_is_in_one_part_alone(folder: Path) -> None:
    parts = Gallery.open(folder / "all.parts")
    parts.add(Embeddings(unit(1, 3), SPACE), ["new"], ["l1"])
    assert "new" in Gallery.open(folder / "c").ids
    Gallery.open(folder / "a").add(Embeddings(unit(1, 4), SPACE), ["later"])  # by another process, after the opening
    for taken in ("i0", "new", "later"):
        with pytest.raises(DataError, match=f"1 ids are in the gallery already: {taken}"):
            parts.add(Embeddings(unit(1, 5), SPACE), [taken])
    assert parts.remove(["i0", "i89", "later", "no such"]) == 3
    assert parts.reload() is False and len(parts) == ROWS - 1
    assert len(Gallery.open(folder / "all.parts")) == ROWS - 1


def test_an_id_in_two_parts_is_found(folder: Path) -> None:
    Gallery.open(folder / "b").add(Embeddings(unit(2, 3), SPACE), ["i60", "i3"])
    with pytest.raises(GalleryError, match=r"1 ids of \S+b are in parts before it, such as .*i3"):
        Gallery.open([folder / "a", folder / "b"])
    problems = Gallery.open(folder / "all.parts", verify=False).verify()
    assert [("i3" in line, "i60" in line) for line in problems] == [(True, False), (False, True)]


def test_parts_of_two_spaces_are_refused_and_what_was_opened_goes_on(folder: Path) -> None:
    parts = Gallery.open(folder / "all.parts")
    before = parts.search(query())
    shutil.rmtree(folder / "c")
    filled(folder / "c", range(50, ROWS), "other-6")  # as the cutover of one part's upgrade leaves it
    with pytest.raises(IncompatibleSpaceError, match="expected one space of all parts"):
        Gallery.open(folder / "all.parts")
    with pytest.raises(IncompatibleSpaceError):
        parts.reload()
    assert parts.search(query()) == before and parts.space == SPACE


def test_a_part_that_another_process_changed_is_seen_after_a_reload(folder: Path) -> None:
    parts = Gallery.open(folder / "all.parts")
    Gallery.open(folder / "b").add(query(1), ["new"])
    assert parts.search(query(1), 1)[0][0].id != "new"
    assert parts.reload() is True and parts.search(query(1), 1)[0][0].id == "new"
    assert parts.reload() is False


def test_an_index_is_built_and_repaired_in_every_part(folder: Path) -> None:
    pytest.importorskip("usearch")
    parts = Gallery.open([folder / "a", folder / "c"])
    parts.build_index("usearch")
    facts = parts.info()
    assert isinstance(facts["index"], dict) and facts["index"]["fresh"] and facts["search"] == "usearch"
    exact, found = parts.search(query(), 5, index="exact"), parts.search(query(), 5)
    assert [[hit.id for hit in hits] for hits in found] == [[hit.id for hit in hits] for hits in exact]
    parts.remove(["i1"])
    assert len(parts.repair()) == 1
    parts.compact()
    assert parts.verify() == [] and parts.info()["segments"] == 2
    for name, connectivity in (("a", 8), ("c", 12)):
        Gallery.open(folder / name).build_index("usearch", connectivity=connectivity, expansion_add=64)
    facts = Gallery.open([folder / "a", folder / "c"]).info()["index"]
    assert isinstance(facts, dict) and facts["expansion_add"] == 64 and "connectivity" not in facts


def test_replaced_rows_are_all_there_or_none_is_touched(folder: Path) -> None:
    parts = Gallery.open(folder / "all.parts")
    with pytest.raises(DataError, match="1 ids are not in the gallery, such as 'no such'"):
        parts.replace(Embeddings(unit(2, 7), SPACE), ["i0", "no such"])
    np.testing.assert_array_equal(parts.vectors, unit(ROWS))
    parts.replace(Embeddings(unit(2, 7), SPACE), ["i80", "i2"])
    np.testing.assert_allclose(parts.get(["i80", "i2"]).vectors, unit(2, 7), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (b"", ConfigError, "names no part"),
        (b"# nothing\n\n", ConfigError, "names no part"),
        (b"a\nb\n./a\n", ConfigError, "names one gallery twice"),
        (b"a\nall.parts\n", ConfigError, "a list of parts itself"),
        (b"a\nmissing\n", GalleryError, "is not a gallery"),
        (b"a\n\0\n", ConfigError, "expected a line for each part"),
        (b"\xff\xfe\x00", GalleryError, "is no list of parts"),
        (b"a" * (2 << 20), GalleryError, "is no list of parts"),
    ],
)
def test_a_list_that_is_wrong_is_refused_in_a_line(
    folder: Path, content: bytes, error: type[CompatError], match: str
) -> None:
    (folder / "wrong.parts").write_bytes(content)
    with pytest.raises(error, match=match) as told:
        Gallery.open(folder / "wrong.parts")
    assert len(str(told.value)) < 300 + len(str(folder)) * 2 and "\n" not in str(told.value)


def test_no_parts_and_no_list_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="names no part"):
        Gallery.open([])
    with pytest.raises(GalleryError, match="no list of parts"):
        Gallery.open(folder / "none.parts")
    with pytest.raises(ConfigError, match="each of which is signed by itself"):
        Gallery.open(folder / "all.parts").sign(folder / "key")


def test_what_works_on_one_gallery_alone_says_so_of_a_list(folder: Path) -> None:
    with pytest.raises(
        GalleryError, match="lists the parts of a gallery; expected one gallery: give each part in turn"
    ):
        Gallery.compact_folder(folder / "all.parts")


def test_a_signature_of_any_part_is_seen(folder: Path) -> None:
    assert not Gallery.is_signed(folder / "all.parts")
    from compat_sdk.gallery.store import SIGNATURE

    (folder / "c" / SIGNATURE).touch()
    assert Gallery.is_signed(folder / "all.parts") and Gallery.is_signed([folder / "a", folder / "c"])


def test_parts_that_compare_by_inner_products_are_refused() -> None:
    module = pytest.importorskip("qdrant_client")
    from compat_sdk.gallery.parts import PartsGallery
    from compat_sdk.gallery.remote import RemoteGallery
    from compat_sdk.stores.addresses import QdrantAddress
    from compat_sdk.stores.qdrant import Collection

    client, found = module.QdrantClient(":memory:"), []
    for name, distance in (("one", "cosine"), ("two", "dot")):
        made = Collection(client, QdrantAddress(name))
        made.create(DIM, distance)
        made.finish(SPACE)
        found.append(RemoteGallery(made))
    with pytest.raises(ConfigError, match="compares by inner products; expected cosine"):
        PartsGallery(Path("two"), found)


def test_a_missing_index_is_told(folder: Path) -> None:
    with pytest.raises(StateError, match="expected a fresh usearch index"):
        Gallery.open(folder / "all.parts").search(query(), index="usearch")
