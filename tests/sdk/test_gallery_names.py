"""Ids and labels stay on the disk until a row of their line is asked for; an opened gallery holds none of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import GalleryError
from compat_sdk.gallery import Gallery, Where, opening, tables
from compat_sdk.gallery.names import StoredNames
from compat_sdk.gallery.store import read_state
from compat_sdk.gallery.tables import StoredTable
from compat_sdk.space import Embeddings

SPACE, DIM, ROWS = "toy-6", 6, 23
IDS = [f"i{row}" for row in range(ROWS - 3)] + ["ä/ü 1.png", "undecodable-\udcff", "ends\0here"]
LABELS = [("cat", "dög", "")[row % 3] for row in range(ROWS)]


def unit(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def small_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS_PER_LINE", 4)
    monkeypatch.setattr(opening, "_FEW_ROWS", 4)


@pytest.fixture(params=[1, 3], ids=["one segment", "several"])
def folder(request: pytest.FixtureRequest, small_lines: None, tmp_path: Path) -> Path:
    made = Gallery.create(tmp_path / "g", space=SPACE, dim=DIM)
    ends = [ROWS] if request.param == 1 else [14, 20, ROWS]
    for start, end in zip([0, *ends], ends, strict=False):
        made.add(Embeddings(unit(ROWS)[start:end], SPACE), IDS[start:end], LABELS[start:end])
    return tmp_path / "g"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many rows each line had that was read, in order."""
    rows: list[int] = []
    parse = tables._parsed

    def watch(line: bytes) -> tuple[list[str], list[str]]:
        found = parse(line)
        rows.append(len(found[0]))
        return found

    monkeypatch.setattr(tables, "_parsed", watch)
    yield rows


def test_an_opened_gallery_has_read_no_names_and_a_hit_costs_one_line(folder: Path, parsed: list[int]) -> None:
    gallery = Gallery.open(folder)
    assert parsed == []
    for row in (5, 6, 5):
        hit = gallery.search(Embeddings(unit(ROWS)[row : row + 1], SPACE), 1)[0][0]
        assert (hit.id, hit.label) == (IDS[row], LABELS[row])
    assert parsed == [4]


def test_every_row_has_its_own_name(folder: Path, parsed: list[int]) -> None:
    gallery = Gallery.open(folder)
    names = StoredNames([StoredTable(folder, segment, held=True) for segment in read_state(folder).segments])
    assert [names.of(row) for row in range(ROWS)] == list(zip(IDS, LABELS, strict=True))
    assert sum(parsed) == ROWS
    assert gallery.ids == tuple(IDS) and gallery.labels == tuple(LABELS)
    assert [gallery._snapshot.name(row)[0] for row in range(ROWS)] == IDS


def test_what_needs_every_label_reads_each_line_once_and_keeps_no_texts(folder: Path, parsed: list[int]) -> None:
    gallery = Gallery.open(folder)
    for _ in range(2):
        found = gallery.search(Embeddings(unit(1, 4), SPACE), ROWS, where=Where(labels=["dög", "none"]))[0]
        assert {hit.id for hit in found} == {IDS[row] for row in range(ROWS) if row % 3 == 1}
    assert sum(parsed) == ROWS
    assert gallery.info()["labels"] == 2 and gallery.verify() == []
    assert gallery._snapshot.names is None


def test_names_are_read_though_a_writer_has_merged_their_table_since(folder: Path) -> None:
    gallery = Gallery.open(folder)
    Gallery.open(folder).remove(IDS[:2])
    Gallery.open(folder).compact()
    assert [hit.id for hit in gallery.search(Embeddings(unit(ROWS)[:1], SPACE), 1)[0]] == [IDS[0]]


def test_an_id_of_two_rows_is_found_without_all_ids_in_memory(folder: Path) -> None:
    from compat_sdk.gallery.opening import load_snapshot
    from compat_sdk.gallery.problems import _repeated_ids

    snapshot = load_snapshot(folder, False)
    assert _repeated_ids(snapshot) == []
    snapshot.names = (("a", "b", "a", *IDS[3:]), tuple(LABELS))
    assert _repeated_ids(snapshot) == ["a"]


def test_a_line_with_too_few_rows_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery.open(folder)
    parse = tables._parsed
    monkeypatch.setattr(tables, "_parsed", lambda line: tuple(names[:-1] for names in parse(line)))
    with pytest.raises(GalleryError, match=r"does not list \d+ ids and labels .*expected 4"):
        gallery.search(Embeddings(unit(1), SPACE), 1)


def test_a_table_of_too_many_rows_is_a_problem_and_no_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = tables._parsed
    monkeypatch.setattr(tables, "_parsed", lambda line: tuple(9 * names for names in parse(line)))
    (problem,) = Gallery.open(folder).verify()
    assert "does not list" in problem and "\n" not in problem


@pytest.mark.parametrize("read", [False, True], ids=["on the disk", "in memory"])
def test_some_ids_and_rows_are_found_without_holding_all(folder: Path, read: bool) -> None:
    from compat_sdk.gallery.opening import load_snapshot

    snapshot = load_snapshot(folder, False, names=read)
    assert snapshot.rows_named([IDS[21], "unknown", IDS[3], IDS[3]]) == {IDS[21]: 21, IDS[3]: 3}
    assert snapshot.ids_at(np.array([0, 3, 4, 13, 14, 22])) == [IDS[row] for row in (0, 3, 4, 13, 14, 22)]
    assert snapshot.ids_at(np.array([], np.int64)) == []
    assert (snapshot.names is None) is not read
