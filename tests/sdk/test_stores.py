"""Vectors in and out of every store: what goes in comes out, and what is damaged or odd is one line."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.errors import (
    CompatError,
    ConfigError,
    CorruptFileError,
    DataError,
    GalleryLockedError,
    IncompatibleSpaceError,
    StoreError,
    VectorError,
)
from compat_sdk.exchange import Reading, export_gallery, import_gallery, open_source, read_table
from compat_sdk.exchange import incoming as incoming_module
from compat_sdk.gallery import Gallery, Where
from compat_sdk.gallery.lock import write_lock
from compat_sdk.space import Embeddings
from compat_sdk.stores import Columns
from compat_sdk.stores.addresses import QdrantAddress, parse_address
from compat_sdk.stores.points import point_id
from compat_sdk.stores.qdrant import Collection

SPACE, DIM = "toy-5", 5
ROWS = np.random.default_rng(0).standard_normal((7, DIM)).astype(np.float32)
UNIT = (ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)).astype(np.float32)
NAMES = [f"photos/ü {row}.png" for row in range(7)]


def parquet(path: Path, table: dict[str, Any], **options: Any) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    writer = pytest.importorskip("pyarrow.parquet")
    writer.write_table(pyarrow.table(table), path, **options)
    return path


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{"ids": np.array(NAMES), "vectors": UNIT, **arrays})
    return path


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery.create(tmp_path / "g", space=SPACE, dim=DIM)
    payload: list[dict[str, object]] = [{"price": row, "tags": ["a", str(row)]} for row in range(6)] + [{}]
    made.add(Embeddings(UNIT, SPACE), NAMES, [*"abcabc", ""], payload=payload)
    return made


# Out and in again


@pytest.mark.parametrize("to", ["out.parquet", "out.npz", "qdrant+path:q#photos", "out.faiss", "out.hnswlib"])
def test_a_gallery_comes_back_from_every_store(
    gallery: Gallery, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in {"parquet": "pyarrow", "qdrant": "qdrant_client", "faiss": "faiss", "hnswlib": "hnswlib"}.items():
        if module[0] in to:
            pytest.importorskip(module[1])
    monkeypatch.chdir(tmp_path)
    engine = to.endswith(("faiss", "hnswlib"))
    done = export_gallery("g", to, ids="names.npy" if engine else None)
    expected = ("labels", "payload") if engine else ("payload",) if to.endswith("npz") else ()
    assert (done.rows, done.space, done.left_out) == (7, SPACE, expected)
    reading = Reading(ids=Path("names.npy"), sha256=done.sha256) if engine else None
    back = import_gallery(to, "back", space=SPACE if engine else None, reading=reading)
    assert back.space == SPACE and sorted(back.ids) == sorted(NAMES)
    found, before = back.get(NAMES), gallery.get(NAMES)
    np.testing.assert_allclose(found.vectors, before.vectors, atol=1e-6)
    assert "labels" in expected or found.labels == before.labels
    assert "payload" in expected or found.payload == before.payload
    assert back.verify() == []
    with pytest.raises(ConfigError, match="exists"):
        export_gallery("g", to, ids="more.npy" if engine else None)


def test_whole_numbers_are_whole_numbers_again(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    source = parquet(tmp_path / "t.parquet", {"id": [3, 1, -2], "vector": UNIT[:3].tolist()})
    made = import_gallery(source, tmp_path / "g", space=SPACE)
    assert made.ids == ("3", "1", "-2")
    export_gallery(tmp_path / "g", tmp_path / "o.parquet")
    assert pyarrow.read_table(tmp_path / "o.parquet").column("id").to_pylist() == [3, 1, -2]
    made.add(Embeddings(UNIT[3:4], SPACE), ["a"])
    export_gallery(tmp_path / "g", tmp_path / "p.parquet")
    assert pyarrow.read_table(tmp_path / "p.parquet").column("id").to_pylist() == ["3", "1", "-2", "a"]


def test_lengths_are_kept_where_that_is_said_and_come_back(tmp_path: Path) -> None:
    source = npz(tmp_path / "t.npz", vectors=ROWS)
    with pytest.raises(VectorError, match=r"row 0.*another length than 1.*--lengths drop"):
        import_gallery(source, tmp_path / "g", space=SPACE)
    assert left(tmp_path) == ["t.npz"]
    dropped = import_gallery(source, tmp_path / "dropped", space=SPACE, lengths="drop")
    assert not any(dropped.get(NAMES).payload)
    kept = import_gallery(source, tmp_path / "kept", space=SPACE, lengths="keep")
    np.testing.assert_allclose(kept.vectors, UNIT, atol=1e-6)
    pytest.importorskip("pyarrow")
    export_gallery(tmp_path / "kept", tmp_path / "o.parquet")
    back = read_table(tmp_path / "o.parquet")
    np.testing.assert_allclose(back.vectors, ROWS, rtol=1e-5)


def test_a_collection_of_inner_products_keeps_lengths(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_client")
    import_gallery(npz(tmp_path / "t.npz", vectors=ROWS), tmp_path / "kept", space=SPACE, lengths="keep")
    place = f"qdrant+path:{tmp_path / 'q'}#photos"
    export_gallery(tmp_path / "kept", place)
    with open_source(place) as source:
        assert (source.distance, source.rows, source.space) == ("dot", 7, SPACE)
        found = {id: row for rows in source.read() for id, row in zip(rows.ids, rows.vectors, strict=True)}
    np.testing.assert_allclose([found[name] for name in NAMES], ROWS, rtol=1e-5)


# Tables


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed", "sliced", "dictionary ids"])
@pytest.mark.parametrize("width", ["float16", "float32", "float64"])
def test_lists_of_every_kind_and_width_are_read_by_blocks(
    kind: str, width: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow, monkey = pytest.importorskip("pyarrow"), monkeypatch
    monkey.setattr("compat_sdk.stores.parquet.ROWS_PER_BLOCK", 3)
    numbers = arrow.array(UNIT.astype(width).ravel())
    fixed = arrow.FixedSizeListArray.from_arrays(numbers, DIM)
    lists = {"large_list": arrow.large_list(numbers.type), "list": arrow.list_(numbers.type)}
    vectors = fixed.cast(lists[kind]) if kind in lists else fixed
    ids = arrow.array(NAMES)
    table = {"id": ids.dictionary_encode() if kind == "dictionary ids" else ids, "vector": vectors}
    if kind == "sliced":
        table = {name: arrow.concat_arrays([column, column])[7:] for name, column in table.items()}
    path = parquet(tmp_path / "t.parquet", table, row_group_size=4)
    made = import_gallery(path, tmp_path / "g", space=SPACE, lengths="drop")
    assert made.ids == tuple(NAMES)
    np.testing.assert_allclose(made.vectors, UNIT, atol=1e-3 if width == "float16" else 1e-6)


def test_an_arrow_file_is_read_as_a_parquet_file_is(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"id": NAMES, "embedding": UNIT.tolist(), "label": [*"abcdefg"]})
    with arrow.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table, 3)
    made = import_gallery(tmp_path / "t.arrow", tmp_path / "g", space=SPACE)
    assert (made.ids, made.labels) == (tuple(NAMES), tuple("abcdefg"))


def test_other_columns_are_kept_and_filtered_by(tmp_path: Path) -> None:
    from datetime import UTC, date, datetime

    pytest.importorskip("pyarrow")
    table = {
        "sku": [uuid.UUID(int=row).bytes.hex() for row in range(7)],
        "emb": UNIT.tolist(),
        "kind": [1, 2, 3, 1, 2, 3, None],
        "when": [datetime(2026, 1, 1, tzinfo=UTC)] * 7,
        "day": [date(2026, 1, 1)] * 7,
        "price": [Decimal("1.50")] * 7,
        "score": [float("nan"), 0.5, 1.0, 1.0, 1.0, 1.0, 1.0],
        "tags": [["x", "y"]] * 6 + [None],
        "blob": [b"\x00\xff"] * 7,
        "payload": ['{"inner": {"a": [1]}, "score": 9}'] + ["no json {"] * 6,
    }
    path = parquet(tmp_path / "t.parquet", table)
    reading = Reading(Columns(id="sku", vector="emb", label="kind"))
    made = import_gallery(path, tmp_path / "g", space=SPACE, reading=reading)
    first, last = made.get([made.ids[0], made.ids[6]]).payload
    assert first == {
        "when": "2026-01-01T00:00:00+00:00",
        "day": "2026-01-01",
        "price": "1.50",
        "tags": ["x", "y"],
        "blob": "AP8=",
        "inner": {"a": [1]},
    }
    assert "tags" not in last and last["payload"] == "no json {" and made.labels == ("1", "2", "3", "1", "2", "3", "")
    asked = Embeddings(UNIT[:1], SPACE)
    assert len(made.search(asked, 9, where=Where(payload={"tags": "y", "score": 1.0}))[0]) == 4
    chosen = Reading(Columns(id="sku", vector="emb", label="kind", payload=("day",)))
    few = import_gallery(path, tmp_path / "few", space=SPACE, reading=chosen)
    assert few.get(few.ids[:1]).payload == [{"day": "2026-01-01"}]
    none = Reading(Columns(id="sku", vector="emb", payload=()))
    import_gallery(path, tmp_path / "none", space=SPACE, reading=none)
    assert not (tmp_path / "none" / "payload.jsonl").exists()


def test_npy_files_take_ids_and_labels_beside_them(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", UNIT)
    (tmp_path / "ids.txt").write_text("\n".join(NAMES) + "\n", "utf-8")
    np.save(tmp_path / "labels.npy", np.arange(7))
    reading = Reading(ids=tmp_path / "ids.txt", labels=tmp_path / "labels.npy")
    made = import_gallery(tmp_path / "v.npy", tmp_path / "g", space=SPACE, reading=reading)
    assert (made.ids, made.labels) == (tuple(NAMES), tuple("0123456"))
    assert import_gallery(tmp_path / "v.npy", tmp_path / "n", space=SPACE).ids == tuple("0123456")
    for text, error in (("a\nb\n", CorruptFileError), ("\udcff", CorruptFileError)):
        (tmp_path / "ids.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(error):
            import_gallery(tmp_path / "v.npy", tmp_path / "x", space=SPACE, reading=reading)
    assert not (tmp_path / "x").exists()


# What is wrong


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vector": [*UNIT.tolist()[:6], None]}, CorruptFileError, "empty cells in vector"),
        ({"vector": [*UNIT.tolist()[:6], [1.0]]}, CorruptFileError, "unequal length"),
        ({"vector": [[]] * 7}, CorruptFileError, "length 0"),
        ({"vector": [*UNIT.tolist()[:6], [None] * DIM]}, CorruptFileError, "empty numbers"),
        ({"vector": [["x"] * DIM] * 7}, CorruptFileError, "no number"),
        ({"vector": [*UNIT.tolist()[:6], [float("nan")] * DIM]}, VectorError, r"row 6\) has NaN"),
        ({"vector": [*UNIT.tolist()[:6], [1e300] * DIM]}, VectorError, r"row 6\) has NaN or infinity"),
        ({"vector": [*UNIT.tolist()[:6], [0.0] * DIM]}, VectorError, "only zeros"),
        ({"id": [*NAMES[:6], None]}, CorruptFileError, "empty cells in id"),
        ({"id": [*NAMES[:6], NAMES[1]]}, DataError, r"more than once \(rows 1 and 6\)"),
        ({"id": [*NAMES[:6], ""]}, DataError, "empty id in row 6"),
        ({"id": [1.5] * 7}, CorruptFileError, "no id"),
        ({"space": [SPACE] * 6 + ["other-5"]}, DataError, "two spaces"),
        ({"space": ["other-5"] * 7}, IncompatibleSpaceError, "in space other-5"),
        ({"path": NAMES}, CorruptFileError, "expected one id column"),
        ({"compat_id": NAMES}, DataError, "which is taken"),
    ],
)
def test_a_table_that_is_not_right_leaves_nothing(
    change: dict[str, Any], error: type[CompatError], message: str, tmp_path: Path
) -> None:
    path = parquet(tmp_path / "t.parquet", {"id": NAMES, "vector": UNIT.tolist(), **change})
    with pytest.raises(error, match=message) as told:
        import_gallery(path, tmp_path / "g", space=SPACE)
    assert left(tmp_path) == ["t.parquet"] and len(str(told.value)) < 300


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (lambda t: import_gallery(t / "t.npz", t / "g"), ConfigError, "tell it, as --space"),
        (lambda t: import_gallery(t / "t.npz", t / "g", space="a b"), ConfigError, "no space identifier|not a space"),
        (lambda t: import_gallery(t / "no.npz", t / "g", space=SPACE), ConfigError, "does not exist"),
        (lambda t: import_gallery(t / "t.csv", t / "g", space=SPACE), ConfigError, r"expected \.parquet"),
        (lambda t: import_gallery(t, t / "g", space=SPACE), ConfigError, "no gallery"),
        (lambda t: import_gallery(t / "t.npz", t / "g", space=SPACE, dtype="int4"), ConfigError, "dtype"),
        (lambda t: import_gallery(t / "t.npz", t / "g", space=SPACE, lengths="x"), ConfigError, "lengths"),
        (lambda t: import_gallery(t / "t.npz", t / "full", space=SPACE), ConfigError, "notes.txt"),
        (lambda t: import_gallery(t / "t.npz", t / "old", space=SPACE), ConfigError, "is a gallery already"),
        (
            lambda t: import_gallery(t / "t.npz", t / "g", space=SPACE, reading=Reading(ids=t / "x")),
            ConfigError,
            "--ids means nothing to npz",
        ),
        (
            lambda t: import_gallery(t / "t.npz", t / "g", space=SPACE, reading=Reading(sha256="0" * 64)),
            CorruptFileError,
            "another SHA-256",
        ),
        (lambda t: export_gallery(t / "old", t / "o.npy"), ConfigError, "not written"),
        (lambda t: export_gallery(t / "old", t / "o.npz", ids=t / "i.npy"), ConfigError, "--ids means nothing"),
        (lambda t: export_gallery(t / "old", t / "o.npz", space="x-1"), IncompatibleSpaceError, "told as x-1"),
        (lambda t: export_gallery(t / "old", t / "t.npz"), ConfigError, "exists"),
        (lambda t: export_gallery(t / "old", t / "o.faiss"), DataError, "no whole number"),
        (lambda t: import_gallery("qdrant+path:none#c", t / "g", space=SPACE), StoreError, "meta.json"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    work: Callable[[Path], object], error: type[CompatError], message: str, tmp_path: Path
) -> None:
    pytest.importorskip("qdrant_client")
    npz(tmp_path / "t.npz")
    (tmp_path / "t.csv").write_text("a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    Gallery.create(tmp_path / "old", space=SPACE, dim=DIM).add(Embeddings(UNIT[:1], SPACE), ["a"])
    before = left(tmp_path)
    with pytest.raises(error, match=message) as told:
        work(tmp_path)
    assert left(tmp_path) == before and len(str(told.value)) < 300 and "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ["parquet", "npz", "hnswlib", "arrow"])
def test_damaged_files_are_read_as_they_are_or_refused(kind: str, tmp_path: Path) -> None:
    if kind == "npz":
        whole = npz(tmp_path / "t.npz").read_bytes()
    elif kind == "hnswlib":
        whole = hnswlib_bytes()
    else:
        arrow = pytest.importorskip("pyarrow")
        table = arrow.table({"id": NAMES, "vector": UNIT.tolist(), "label": [*"abcdefg"]})
        parquet(tmp_path / "t.parquet", {"id": NAMES, "vector": UNIT.tolist(), "label": [*"abcdefg"]})
        with arrow.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
            writer.write_table(table)
        whole = (tmp_path / f"t.{kind}").read_bytes()
    random_ = random.Random(0)
    for number in range(60):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[random_.randrange(len(data)) :]
        else:
            for _ in range(random_.randrange(1, 6)):
                data[random_.randrange(len(data))] = random_.randrange(256)
        path = tmp_path / f"damaged.{kind}"
        path.write_bytes(data)
        try:
            found = read_table(path)
        except CompatError as error:
            assert len(str(error)) < 400 and "\n" not in str(error)
        else:
            assert found.vectors.shape[0] == len(found.ids) <= 7


def hnswlib_bytes(deleted: int = 0) -> bytes:
    """A file as hnswlib writes it, of seven elements with four links each, the first ``deleted`` marked."""
    import struct

    links = 4 * (4 + 1)
    head = struct.pack("<6QiI3QdQ", 0, 10, 7, links + 4 * DIM + 8, links + 4 * DIM, links, 0, 0, 4, 4, 2, 1.4, 20)
    rows = b"".join(
        bytes([0, 0, row < deleted, 0]) + bytes(16) + UNIT[row].tobytes() + struct.pack("<Q", 10 * row)
        for row in range(7)
    )
    return head + rows + bytes(4 * 7)


def test_a_file_of_hnswlib_is_read_by_its_layout(tmp_path: Path) -> None:
    (tmp_path / "t.hnswlib").write_bytes(hnswlib_bytes(deleted=2))
    found = read_table(tmp_path / "t.hnswlib")
    assert found.ids == ("20", "30", "40", "50", "60")
    np.testing.assert_array_equal(found.vectors, UNIT[2:])


@pytest.mark.parametrize("field", [0, 8, 16, 24, 32, 40, 64])
def test_a_head_that_does_not_fit_the_file_is_refused(field: int, tmp_path: Path) -> None:
    data = bytearray(hnswlib_bytes())
    for value in (0, 1, int.from_bytes(data[field : field + 8], "little") + 1, (1 << 64) - 1):
        changed = data[:field] + value.to_bytes(8, "little") + data[field + 8 :]
        if changed == data or (field == 8 and value >= 7) or (field == 16 and value == 1):  # still true of the file
            continue
        (tmp_path / "t.hnswlib").write_bytes(changed)
        with pytest.raises(CorruptFileError, match="no whole file of hnswlib"):
            read_table(tmp_path / "t.hnswlib")


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_that_layout_is_hnswlibs_own(metric: str, tmp_path: Path) -> None:
    hnswlib = pytest.importorskip("hnswlib")
    index = hnswlib.Index(metric, DIM)
    index.init_index(20, M=4)
    index.add_items(UNIT, np.arange(7) * 3, num_threads=1)
    index.mark_deleted(6)
    index.save_index(str(tmp_path / "index.bin"))
    found = read_table(f"hnswlib:{tmp_path / 'index.bin'}")
    assert found.ids == ("0", "3", "9", "12", "15", "18")
    np.testing.assert_allclose(found.vectors, np.delete(UNIT, 2, axis=0), atol=1e-6)


FAISS = """
import sys
from pathlib import Path
import faiss, numpy as np
from compat_sdk.stores.native import _read_faiss
folder = Path(sys.argv[1])
rows, ids = np.load(folder / "rows.npy"), np.arange(7) * 3
for name in ("Flat", "HNSW4,Flat", "IVF2,Flat", "IDMap,Flat", "IDMap,IVF2,Flat", "SQ8"):
    index = faiss.index_factory(rows.shape[1], name, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add_with_ids(rows, ids) if "I" in name else index.add(rows)
    place = folder / name.replace(",", "-")
    place.mkdir()
    faiss.write_index(index, f"{place}.faiss")
    try:
        print(_read_faiss(f"{place}.faiss", str(place)))
    except ValueError as error:
        print(error)
"""


def test_faiss_files_give_their_vectors_through_another_process(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    np.save(tmp_path / "rows.npy", UNIT)
    done = subprocess.run([sys.executable, "-c", FAISS, tmp_path], check=True, capture_output=True, text=True)
    *said, refused = done.stdout.splitlines()
    assert said == ["dot"] * 5 and "codes and not the vectors" in refused
    for name in ("Flat", "HNSW4-Flat", "IVF2-Flat", "IDMap-Flat", "IDMap-IVF2-Flat"):
        ids, vectors = np.load(tmp_path / name / "labels.npy"), np.load(tmp_path / name / "vectors.npy")
        order = np.argsort(ids)
        assert ids[order].tolist() == (np.arange(7) * (3 if "I" in name else 1)).tolist()
        np.testing.assert_array_equal(vectors[order], UNIT)
    whole = (tmp_path / "Flat.faiss").read_bytes()
    (tmp_path / "Flat.faiss").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="cannot be read or made"):
        read_table(tmp_path / "Flat.faiss")


def _die() -> str:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)
    return ""


def test_a_native_reader_that_dies_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from compat_sdk.stores import native

    with pytest.raises(CorruptFileError, match=r"the process that worked on .* died"):
        native._alone(_die, 0, tmp_path / "x")


def test_a_file_of_ids_that_somebody_made_meanwhile_stays(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ids = tmp_path / "ids.npy"

    def engine(_: str, vectors: Path, labels: Path, target: Path, *__: int) -> None:
        target.write_bytes(b"an index")
        ids.write_text("mine")

    monkeypatch.setattr("compat_sdk.exchange.outgoing.write_engine_file", engine)
    with pytest.raises(ConfigError, match=r"ids\.npy exists"):
        export_gallery(gallery.path, tmp_path / "o.faiss", ids=ids)
    assert ids.read_text() == "mine" and not list(tmp_path.glob("*o.faiss*"))


@pytest.mark.parametrize("member", ["ids", "labels", "space"])
def test_numbers_that_are_no_characters_are_no_text(member: str, tmp_path: Path) -> None:
    texts = {"ids": np.array(NAMES), "labels": np.array(list("abcabcd")), "space": np.array([SPACE])}
    texts[member].view("u4")[0] = 0x110000
    npz(tmp_path / "t.npz", **{**texts, "space": texts["space"].reshape(())})
    with pytest.raises(CorruptFileError, match="no characters"):
        import_gallery(tmp_path / "t.npz", tmp_path / "g")
    np.save(tmp_path / "v.npy", UNIT)
    np.save(tmp_path / "ids.npy", texts[member])
    with pytest.raises(CorruptFileError, match="no text"):
        import_gallery(tmp_path / "v.npy", tmp_path / "g", space=SPACE, reading=Reading(ids=tmp_path / "ids.npy"))


# Whole or not there


def test_an_import_that_fails_on_the_way_leaves_nothing_and_one_that_was_killed_is_swept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("compat_sdk.stores.npz.ROWS_PER_BLOCK", 2)
    monkeypatch.setattr(incoming_module, "_ROWS_PER_SEGMENT", 3)
    source = npz(tmp_path / "t.npz")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("compat_sdk.gallery.filling.write_state", full)
        with pytest.raises(CompatError, match="No space left"):
            import_gallery(source, tmp_path / "g", space=SPACE)
        assert left(tmp_path) == ["t.npz"]
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # as if it had been killed
        patch.setattr(Path, "rmdir", full)
        with pytest.raises(CompatError):
            import_gallery(source, tmp_path / "g", space=SPACE)
    assert any(name.startswith("g/vectors-") for name in left(tmp_path))
    made = import_gallery(source, tmp_path / "g", space=SPACE)
    assert made.ids == tuple(NAMES) and len(made.info()["model"]["imported"]) == 4  # type: ignore[index]
    assert made.info()["segments"] == 3 and len(left(tmp_path / "g")) == 3 * 2 + 2
    np.testing.assert_array_equal(made.vectors, UNIT)


def test_an_import_that_comes_second_takes_nobodys_lock_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ExitStack() as other:

        def made_by_another(folder: Path) -> None:  # between the look whether it is there and the making
            folder.mkdir()
            other.enter_context(write_lock(folder))

        monkeypatch.setattr("compat_sdk.gallery.filling.make_folder", made_by_another)
        with pytest.raises(GalleryLockedError):
            import_gallery(npz(tmp_path / "t.npz"), tmp_path / "g", space=SPACE)
        assert left(tmp_path / "g") == ["gallery.lock"]


@pytest.mark.parametrize("name", ["gallery.json", "gallery.json and all rows"])
def test_an_import_deletes_nothing_of_a_gallery_that_lost_its_state(
    gallery: Gallery, name: str, tmp_path: Path
) -> None:
    gallery.path.joinpath("gallery.json").unlink()
    if "rows" in name:
        [file.unlink() for file in gallery.path.glob("rows-*")]
    before = {path: path.read_bytes() for path in gallery.path.iterdir()}
    with pytest.raises(ConfigError, match=r"holds .*, which gallery import does not write"):
        import_gallery(npz(tmp_path / "t.npz"), gallery.path, space=SPACE)
    assert {path: path.read_bytes() for path in gallery.path.iterdir()} == before


def test_a_store_that_changes_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_client")
    npz(tmp_path / "t.npz")
    import_gallery(tmp_path / "t.npz", tmp_path / "a", space=SPACE)
    place = f"qdrant+path:{tmp_path / 'q'}#photos"
    export_gallery(tmp_path / "a", place)
    for said in (6, 8):
        with monkeypatch.context() as patch:
            patch.setattr(Collection, "count", lambda _, said=said: said)
            with pytest.raises(DataError, match=f"had {said} rows and gave 7"):
                import_gallery(place, tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_an_export_into_a_collection_that_fails_or_was_killed_leaves_none_that_is_read(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("qdrant_client")
    place = f"qdrant+path:{tmp_path / 'q'}#photos"

    def away(*_: object, **__: object) -> None:
        raise StoreError("away")

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "upsert", away)
        with pytest.raises(StoreError, match="away"):
            export_gallery(gallery.path, place)
    killed = "upsert", "lead", "finish"
    for step in killed:
        with monkeypatch.context() as patch:
            patch.setattr(Collection, step, away)
            patch.setattr(Collection, "drop", lambda _: None)
            with pytest.raises((StoreError, ConfigError), match=r"away|exists|refused"):
                export_gallery(gallery.path, place)
        with pytest.raises(StoreError, match=r"is not there|did not end"):
            Gallery.open(place)
        if step != "finish":
            with monkeypatch.context() as patch:  # what was left is deleted by the next export, which fails again
                patch.setattr(Collection, "upsert", away)
                with pytest.raises(StoreError, match="away"):
                    export_gallery(gallery.path, place)
    with pytest.raises(ConfigError, match="did not end"), open_source(place):
        pass
    export_gallery(gallery.path, place)
    found = Gallery.open(place)
    assert len(found) == 7
    found.close()  # type: ignore[attr-defined]


# Names


def test_ids_become_points_one_by_one() -> None:
    ids = ["0", "7", "18446744073709551615", "18446744073709551616", "007", "-1", "٣", "a", str(uuid.UUID(int=5))]
    points = [point_id(id) for id in ids]
    assert points[:3] == [0, 7, 18446744073709551615] and points[-1] == ids[-1] and len(set(points)) == len(ids)
    assert all(isinstance(point, str) and str(uuid.UUID(point)) == point for point in points[3:])


def test_addresses_say_where_and_never_how_one_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    found = parse_address("qdrants://k%40y@host.example:7000/photos?vector=clip")
    assert found == QdrantAddress("photos", "host.example", 7000, True, None, "clip", "k@y")
    assert str(found) == "qdrants://host.example:7000/photos?vector=clip" and "k@y" not in repr(found)
    assert parse_address("qdrant://localhost/photos").port == 6333
    assert parse_address("qdrant+path:/a b/c#photos").folder == Path("/a b/c")
    monkeypatch.setenv("QDRANT_API_KEY", "of the variable")
    assert parse_address("qdrant://localhost/photos").key == "of the variable"
    assert parse_address(str(Path("qdrant://localhost/photos"))).host == "localhost"


def test_a_payload_file_that_is_torn_loses_that_line_alone(gallery: Gallery, tmp_path: Path) -> None:
    path = gallery.path / "payload.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    assert gallery.get([NAMES[5], NAMES[4]]).payload == [
        {"price": 5, "tags": ["a", "5"]},
        {"price": 4, "tags": ["a", "4"]},
    ]
    gallery.add(Embeddings(UNIT[:1], SPACE), ["new"], payload=[{"price": 9}])
    assert gallery.get(["new"]).payload == [{"price": 9}]
    assert all(isinstance(json.loads(line), dict) for line in path.read_bytes().splitlines()[-1:])
