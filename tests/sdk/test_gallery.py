"""Stored galleries: what they answer, what they refuse, and what they survive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.errors import (
    ConfigError,
    DataError,
    GalleryError,
    GalleryLockedError,
    IncompatibleSpaceError,
    VectorError,
)
from compat_sdk.files.atomic import write_atomic
from compat_sdk.gallery import Gallery, Hit, store, tables
from compat_sdk.gallery import files as gallery_files
from compat_sdk.gallery import state as state_file
from compat_sdk.gallery import vectors as vector_files
from compat_sdk.gallery.compact import from_float16, to_float16
from compat_sdk.gallery.files import Dtype
from compat_sdk.gallery.lock import write_lock
from compat_sdk.space import Embeddings

SPACE = "resnet101-16-0123456789ab"


def unit_vectors(n: int, dim: int = 16, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embeddings(n: int, seed: int = 0, space: str = SPACE, searches: tuple[str, ...] = ()) -> Embeddings:
    return Embeddings(unit_vectors(n, seed=seed), space, searches)


def names(n: int, prefix: str = "image") -> list[str]:
    return [f"{prefix}-{i}" for i in range(n)]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "gallery", space=SPACE, dim=16, model={"name": "resnet101"})
    gallery.add(embeddings(40), names(40), [f"class-{i % 5}" for i in range(40)])
    return gallery


def files_of(gallery: Gallery, kind: str) -> list[Path]:
    return sorted(path for path in gallery.path.iterdir() if path.name.startswith(kind))


def test_a_stored_vector_finds_itself_first(gallery: Gallery) -> None:
    hits = gallery.search(embeddings(3), k=4)
    assert [line[0].id for line in hits] == ["image-0", "image-1", "image-2"]
    assert all(len(line) == 4 for line in hits)
    first = hits[2][0]
    assert first == Hit("image-2", "class-2", first.score) and abs(first.score - 1) < 1e-6
    assert hits[0] == sorted(hits[0], key=lambda hit: -hit.score)


def test_a_reopened_gallery_holds_the_same(gallery: Gallery) -> None:
    again = Gallery.open(gallery.path)
    assert (again.space, again.dim, len(again), again.model) == (SPACE, 16, 40, {"name": "resnet101"})
    assert again.ids == gallery.ids and again.labels == gallery.labels
    np.testing.assert_array_equal(again.vectors, unit_vectors(40))
    assert again.search(embeddings(3)) == gallery.search(embeddings(3))
    assert again.verify() == []


def test_an_empty_gallery_answers_with_no_hits(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "new" / "gallery", space=SPACE, dim=16)
    for opened in (gallery, Gallery.open(gallery.path)):
        assert opened.search(embeddings(2)) == [[], []]
        assert opened.vectors.shape == (0, 16) and opened.verify() == []


def test_more_hits_than_rows_gives_all_rows(gallery: Gallery) -> None:
    assert {hit.id for hit in gallery.search(embeddings(1), k=1000)[0]} == set(names(40))


@pytest.mark.parametrize("k", [0, -3, 1.5])
def test_a_k_that_is_not_a_positive_integer_is_refused(gallery: Gallery, k: int) -> None:
    with pytest.raises(ConfigError, match="k is"):
        gallery.search(embeddings(1), k)


def test_a_query_of_another_space_is_refused_though_the_dimensions_agree(gallery: Gallery) -> None:
    for query in (embeddings(1, space="mobilenet-16"), embeddings(1, space="mobilenet-16", searches=("other",))):
        with pytest.raises(IncompatibleSpaceError) as caught:
            gallery.search(query)
        assert caught.value.gallery_space == SPACE
    assert gallery.search(embeddings(1, space="mobilenet-16", searches=("other", SPACE)))[0][0].id == "image-0"


def test_vectors_of_another_space_are_not_added_even_if_they_may_search_it(gallery: Gallery) -> None:
    with pytest.raises(IncompatibleSpaceError, match="expected the gallery's own space"):
        gallery.add(embeddings(1, space="mobilenet-16", searches=(SPACE,)), ["new"])
    assert len(Gallery.open(gallery.path)) == 40


def test_a_bare_array_is_refused_and_told_what_to_use(gallery: Gallery) -> None:
    with pytest.raises(VectorError, match=r"Embedder\.embed"):
        gallery.search(unit_vectors(1))  # type: ignore[arg-type]
    with pytest.raises(VectorError, match=r"Embedder\.embed"):
        gallery.add(unit_vectors(1), ["new"])  # type: ignore[arg-type]


def test_a_wrong_dimension_within_one_space_is_refused(gallery: Gallery) -> None:
    wrong = Embeddings(unit_vectors(1, dim=8), SPACE)
    with pytest.raises(VectorError, match="dimension 8, expected 16"):
        gallery.search(wrong)
    with pytest.raises(VectorError, match="dimension 8, expected 16"):
        gallery.add(wrong, ["new"])


def test_rows_spoilt_after_the_embeddings_were_made_are_refused(gallery: Gallery) -> None:
    spoilt = embeddings(5, seed=1)
    spoilt.vectors[3] = np.nan
    with pytest.raises(VectorError) as caught:
        gallery.add(spoilt, names(5, "new"))
    assert caught.value.rows == (3,)
    assert len(Gallery.open(gallery.path)) == 40


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        (["a"], None, "found 1 ids, expected 2"),
        ("ab", None, "the string 'ab'"),
        (["a", "a"], None, "repeated ids a"),
        (["a", ""], None, "an empty id"),
        (["a", 7], None, "expected strings"),
        (["a", "image-3"], None, "in the gallery already: image-3"),
        (["a", "b"], ["x"], "found 1 labels"),
        (["a", "b"], [1, 2], "expected strings"),
    ],
)
def test_ids_and_labels_that_do_not_fit_are_refused(
    gallery: Gallery, ids: list[str], labels: list[str] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        gallery.add(embeddings(2, seed=1), ids, labels)
    assert gallery.ids == Gallery.open(gallery.path).ids == tuple(names(40))


def test_ids_of_any_text_survive(gallery: Gallery) -> None:
    odd = ["日本/漢字.png", 'quote"\n', "undecodable-\udcff", " ", "\u2028"]
    gallery.add(embeddings(5, seed=1), odd)
    assert Gallery.open(gallery.path).ids[40:] == tuple(odd)


def test_many_small_additions_leave_few_segments_and_every_row(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "gallery", space=SPACE, dim=16)
    vectors = unit_vectors(50)
    for i in range(50):
        gallery.add(Embeddings(vectors[i : i + 1], SPACE), [f"image-{i}"], [str(i)])
    assert int(str(gallery.info()["segments"])) <= 6
    again = Gallery.open(gallery.path)
    assert again.ids == tuple(names(50)) and again.labels == tuple(str(i) for i in range(50))
    np.testing.assert_array_equal(again.vectors, vectors)
    assert len(list(gallery.path.iterdir())) == 2 + 2 * int(str(gallery.info()["segments"]))


def test_removed_rows_are_gone_and_the_others_stay(gallery: Gallery) -> None:
    gallery.add(embeddings(3, seed=5), names(3, "late"))
    assert gallery.remove(["image-7", "late-1", "never-there"]) == 2
    assert gallery.remove(["image-7"]) == 0
    expected = [id for id in [*names(40), *names(3, "late")] if id not in ("image-7", "late-1")]
    for opened in (gallery, Gallery.open(gallery.path)):
        assert list(opened.ids) == expected
        assert opened.search(Embeddings(unit_vectors(40)[8:9], SPACE))[0][0].id == "image-8"
    gallery.add(embeddings(1, seed=9), ["image-7"])
    assert gallery.remove(names(40) + names(3, "late")) == 42
    assert len(Gallery.open(gallery.path)) == 0


def test_compacting_keeps_rows_order_and_index(gallery: Gallery) -> None:
    pytest.importorskip("usearch")
    gallery.add(embeddings(3, seed=5), names(3, "late"))
    gallery.build_index(threads=1)
    before = gallery.search(embeddings(5))
    gallery.compact()
    again = Gallery.open(gallery.path)
    assert again.info()["segments"] == 1 and again.info()["search"] == "usearch"
    assert again.search(embeddings(5)) == before and again.verify() == []


def test_exact_and_indexed_search_agree_and_a_stale_index_is_not_used(gallery: Gallery) -> None:
    pytest.importorskip("usearch")
    with pytest.raises(ConfigError, match="found none, expected a fresh usearch index"):
        gallery.search(embeddings(1), index="usearch")
    gallery.build_index(connectivity=8, expansion_search=50, threads=1)
    again = Gallery.open(gallery.path)
    assert again.info()["index"] == {
        "kind": "usearch",
        "fresh": True,
        "connectivity": 8,
        "expansion_search": 50,
        "bytes": files_of(gallery, "index")[0].stat().st_size,
    }
    rows = [again.search_rows(embeddings(6, seed=3), 10, index)[0] for index in ("exact", "usearch", "auto")]
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])

    again.add(embeddings(1, seed=3), ["newest"])
    assert again.info()["search"] == "exact"
    assert again.search(embeddings(1, seed=3))[0][0].id == "newest"
    with pytest.raises(ConfigError, match="fresh usearch index"):
        again.search(embeddings(1), index="usearch")
    assert again.repair() == ["rebuilt the usearch index: it is stale"]
    assert again.repair() == []
    assert again.search(embeddings(1, seed=3), index="usearch")[0][0].id == "newest"
    assert len(files_of(gallery, "index")) == 1


def test_unknown_indexes_and_options_are_refused(gallery: Gallery) -> None:
    with pytest.raises(ConfigError, match="'faiss'"):
        gallery.build_index("faiss")
    with pytest.raises(ConfigError, match="unknown options ef of an index of kind usearch"):
        gallery.build_index(ef=3)
    with pytest.raises(ConfigError, match=r"'faiss', expected one of auto, exact, exact-faiss, .*hnswlib"):
        gallery.search(embeddings(1), index="faiss")


def test_a_gallery_is_made_only_in_a_new_folder(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not empty"):
        Gallery.create(gallery.path, space=SPACE, dim=16)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="choose another folder"):
        Gallery.create(tmp_path / "file", space=SPACE, dim=16)
    for space, dim, model in (("a space", 16, {}), (SPACE, 0, {}), (SPACE, 16, {"x": object()})):
        with pytest.raises(ConfigError):
            Gallery.create(tmp_path / "other", space=space, dim=dim, model=model)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_no_gallery_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(GalleryError, match="is not a gallery"):
            Gallery.open(path)


def test_a_later_version_is_refused(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(state_file, "_VERSION", 5)
        write_atomic(gallery.path / "gallery.json", state_file.rendered(gallery._snapshot.state))
    with pytest.raises(GalleryError, match="version 5, this release reads versions 1 to 4"):
        Gallery.open(gallery.path)


@pytest.mark.parametrize("kind", ["gallery.json", "vectors", "rows"])
def test_a_flipped_byte_anywhere_is_refused(gallery: Gallery, kind: str) -> None:
    path = files_of(gallery, kind)[0]
    good = path.read_bytes()
    positions = sorted({*range(0, len(good), max(1, len(good) // 120)), 1, 7, 8, 9, len(good) - 1})
    for position in positions:
        for flip in (0x01, 0x20, 0xFF) if kind == "gallery.json" else (0x01,):
            path.write_bytes(good[:position] + bytes([good[position] ^ flip]) + good[position + 1 :])
            with pytest.raises(GalleryError):
                Gallery.open(gallery.path)
    path.write_bytes(good)
    assert len(Gallery.open(gallery.path)) == 40


@pytest.mark.parametrize("kind", ["gallery.json", "vectors", "rows"])
def test_a_truncated_appended_or_missing_file_is_refused(gallery: Gallery, kind: str) -> None:
    path = files_of(gallery, kind)[0]
    good = path.read_bytes()
    for bad in (b"", good[:1], good[: len(good) // 2], good[:-1], good + b"\0", good + b"\n", good + good):
        path.write_bytes(bad)
        for verify in (True, False):
            with pytest.raises(GalleryError):
                Gallery.open(gallery.path, verify=verify)
    path.unlink()
    with pytest.raises(GalleryError):
        Gallery.open(gallery.path)


def test_vectors_opened_without_verifying_are_found_out_by_verify(gallery: Gallery) -> None:
    path = files_of(gallery, "vectors")[0]
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    problems = Gallery.open(gallery.path, verify=False).verify()
    assert len(problems) == 1 and path.name in problems[0] and "SHA-256" in problems[0]


def test_a_damaged_index_never_reaches_its_reader_and_can_be_repaired(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    gallery.build_index(threads=1)
    expected = gallery.search(embeddings(5))
    path = files_of(gallery, "index")[0]
    good = path.read_bytes()
    step = max(1, len(good) // 60)
    flips = [good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :] for at in range(0, len(good), step)]
    with monkeypatch.context() as guard:
        guard.setattr("compat_sdk.index.native.usearch", lambda: pytest.fail("the engine was reached"))
        for bad in [*flips, b"", good[:-1], good[: len(good) // 2], good + b"\0"]:
            path.write_bytes(bad)
            opened = Gallery.open(gallery.path)
            with pytest.raises(GalleryError, match="repair"):
                opened.search(embeddings(1))
            assert opened.search(embeddings(1), index="exact")[0][0].id == "image-0"
    opened = Gallery.open(gallery.path)
    assert len(opened.verify()) == 1 and path.name in opened.verify()[0]
    assert "SHA-256" in opened.repair()[0]
    assert Gallery.open(gallery.path).search(embeddings(5)) == expected
    assert Gallery.open(gallery.path).verify() == []


def test_an_index_over_other_rows_is_found_out(gallery: Gallery, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    other = Gallery.create(tmp_path / "other", space=SPACE, dim=16)
    other.add(embeddings(40, seed=99), names(40))
    for each in (gallery, other):
        each.build_index(threads=1)
    foreign = files_of(other, "index")[0]
    state = store.read_state(other.path)
    assert state.index is not None
    (gallery.path / foreign.name).write_bytes(foreign.read_bytes())
    mine = store.read_state(gallery.path)
    store.write_state(gallery.path, replace(mine, index=state.index), mine)
    problems = Gallery.open(gallery.path).verify()
    assert len(problems) == 1 and "nearest rows of a sample" in problems[0]
    Gallery.open(gallery.path).repair()
    assert Gallery.open(gallery.path).verify() == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [("faiss", {"nlist": 4, "connectivity": 3}), ("usearch", {"connectivity": 10**12, "expansion_add": "9", "m": 16})],
)
def test_an_index_of_another_kind_or_release_is_not_read_and_repaired(
    gallery: Gallery, kind: str, options: dict[str, int]
) -> None:
    pytest.importorskip("usearch")
    gallery.build_index(threads=1)
    state = store.read_state(gallery.path)
    assert state.index is not None
    strange = gallery_files.write_new(gallery.path, "index", 9, ".usearch", [b"of another engine"])
    index = state_file.StoredIndex(kind, state.content, options, strange)
    store.write_state(gallery.path, replace(state, index=index), state)
    opened, own = Gallery.open(gallery.path), Embeddings(gallery.vectors[:1].copy(), SPACE)
    for way in ("auto", "usearch")[: 1 + (kind == "usearch")]:
        with pytest.warns(UserWarning, match="was not built here"):
            assert Gallery.open(gallery.path).search(own, 1, index=way)[0][0].id == gallery.ids[0]
    assert opened.repair() == ["rebuilt the usearch index: it was not built here"]
    assert opened.verify() == [] and opened.info()["search"] == "usearch"


def test_an_index_that_claims_another_kind_never_reaches_the_engine(gallery: Gallery) -> None:
    pytest.importorskip("usearch")
    gallery.build_index(threads=1)
    state = store.read_state(gallery.path)
    assert state.index is not None
    store.write_state(gallery.path, replace(state, index=replace(state.index, kind="faiss")), state)
    opened = Gallery.open(gallery.path)
    assert "of kind 'faiss'" in opened.verify()[0]
    assert len(opened.repair()) == 1 and opened.verify() == []


def test_a_second_writer_fails_cleanly_and_succeeds_later(gallery: Gallery) -> None:
    second = Gallery.open(gallery.path)
    with write_lock(gallery.path):
        for write in (
            lambda: second.add(embeddings(1, seed=1), ["new"], timeout=0),
            lambda: second.remove(["image-1"], timeout=0),
            lambda: second.compact(timeout=0),
            lambda: second.build_index(timeout=0),
        ):
            with pytest.raises(GalleryLockedError, match="another process is writing"):
                write()
        assert Gallery.open(gallery.path).search(embeddings(1))[0][0].id == "image-0"
    second.add(embeddings(1, seed=1), ["new"])
    assert len(Gallery.open(gallery.path)) == 41


def test_a_writer_catches_up_with_another_before_it_writes(gallery: Gallery) -> None:
    second = Gallery.open(gallery.path)
    gallery.add(embeddings(2, seed=1), ["first-a", "first-b"])
    with pytest.raises(DataError, match="first-b"):
        second.add(embeddings(1, seed=2), ["first-b"])
    second.add(embeddings(1, seed=2), ["second"])
    gallery.remove(["image-0"])
    assert gallery.ids == Gallery.open(gallery.path).ids == (*names(40)[1:], "first-a", "first-b", "second")


def test_a_reader_keeps_the_state_that_it_opened(gallery: Gallery) -> None:
    pytest.importorskip("usearch")
    gallery.build_index(threads=1)
    reader = Gallery.open(gallery.path)
    before = Gallery.open(gallery.path).search(embeddings(4), index="exact")
    gallery.remove(names(20))
    gallery.add(embeddings(30, seed=4), names(30, "new"))
    gallery.compact()
    gallery.build_index(threads=1)
    assert reader.ids == tuple(names(40))
    assert [[hit.id for hit in line] for line in reader.search(embeddings(4))] == [
        [hit.id for hit in line] for line in before
    ]
    np.testing.assert_array_equal(reader.vectors, unit_vectors(40))
    assert len(Gallery.open(gallery.path)) == 50


def test_a_reader_holds_its_files_however_few_are_opened_at_a_time(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_files.StoredParts, "_MOST_OPEN", 1)
    gallery.add(embeddings(3, seed=4), names(3, "new"))
    reader = Gallery.open(gallery.path)
    gallery.compact()
    np.testing.assert_array_equal(reader.vectors[:40], unit_vectors(40))


def test_readers_that_open_while_a_writer_works_see_whole_states(gallery: Gallery) -> None:
    writer = Gallery.open(gallery.path)
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for i in range(15):
                writer.add(embeddings(3, seed=i), names(3, f"batch-{i}"))
                writer.remove([f"batch-{i}-1"])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        reader = Gallery.open(gallery.path)
        assert (len(reader) - 40) % 2 in (0, 1) and len(reader.vectors) == len(reader.ids)
        assert reader.search(embeddings(1))[0][0].id == "image-0"
    thread.join()
    assert failures == [] and len(Gallery.open(gallery.path)) == 70


KILLED_WRITER = """
import os, random, signal, sys, time
import numpy as np
from compat_sdk.gallery import Gallery, Hit, store
from compat_sdk.space import Embeddings

path, space = sys.argv[1:]
Gallery.create(path, space=space, dim=16)
promised, random_delay = [], random.Random(0)


def vectors(first):
    rows = np.random.default_rng(first).standard_normal((7, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


for attempt in range(15):
    first = len(Gallery.open(path))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        gallery = Gallery.open(path)
        for start in range(first, first + 7000, 7):
            gallery.add(Embeddings(vectors(start), space), [str(start + i) for i in range(7)])
            os.write(write, b"%d\\n" % (start + 7))
        os._exit(0)
    os.close(write)
    lines = os.read(read, 8) if attempt % 3 else b""  # wait for the first addition, but not always
    time.sleep(random_delay.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    gallery = Gallery.open(path)
    while chunk := os.read(read, 65536):
        lines += chunk
    os.close(read)
    promised = max([first, *(int(line) for line in lines.split())])
    assert gallery.ids == tuple(str(i) for i in range(len(gallery))), gallery.ids
    assert len(gallery) in (promised, promised + 7), (len(gallery), promised)
    assert gallery.verify() == []
    for start in range(0, len(gallery), 7):
        assert (gallery.vectors[start : start + 7] == vectors(start)).all()
gallery.add(Embeddings(vectors(10**6), space), [f"last-{i}" for i in range(7)])
print(len(gallery), len(os.listdir(path)) - 2 * gallery.info()["segments"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    rows, other_files = run(KILLED_WRITER, tmp_path / "gallery", SPACE).split()
    assert int(rows) > 7
    assert int(other_files) == 2  # gallery.json and the lock: the last writer swept what the killed ones left


FULL_DISK = """
import os, resource, sys
import numpy as np
from compat_sdk.errors import CompatError, CorruptFileError
from compat_sdk.gallery import Gallery, Hit, store
from compat_sdk.space import Embeddings

path, space = sys.argv[1:]
gallery, before = Gallery.open(path), sorted(os.listdir(path))
vectors = np.tile(gallery.vectors, (100, 1))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (0, 100, 4096, 100_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        gallery.add(Embeddings(vectors, space), [f"new-{i}" for i in range(4000)])
    except CompatError as error:
        assert "nothing was changed" in str(error) and not isinstance(error, CorruptFileError), error
    else:
        raise AssertionError("the disk was not full")
    assert sorted(os.listdir(path)) == before
    assert len(gallery) == len(Gallery.open(path)) == 40 and Gallery.open(path).verify() == []
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
gallery.add(Embeddings(vectors, space), [f"new-{i}" for i in range(4000)])
print(len(Gallery.open(path)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_an_error_and_loses_nothing(gallery: Gallery) -> None:
    assert run(FULL_DISK, gallery.path, SPACE) == "4040"


READ_ONLY = """
import os, sys
from pathlib import Path
import numpy as np
from compat_sdk.errors import CompatError
from compat_sdk.gallery import Gallery, Hit, store
from compat_sdk.space import Embeddings

path, space = Path(sys.argv[1]), sys.argv[2]
for folder in (path, *path.parents[:2]):
    folder.chmod(0o555)
if os.geteuid() == 0:
    Gallery.open(path).search(Embeddings(Gallery.open(path).vectors, space))  # import all of it while allowed to
    os.chdir(path.parent)
    path = Path(path.name)
    os.seteuid(65534)
gallery = Gallery.open(path)
query = Embeddings(np.ascontiguousarray(gallery.vectors[:1]), space)
print(gallery.search(query)[0][0].id)
for write in (lambda: gallery.add(query, ["new"]), lambda: gallery.remove(["image-0"]), gallery.compact):
    try:
        write()
    except CompatError as error:
        assert "Permission denied" in str(error) and "nothing was changed" in str(error), error
    else:
        raise AssertionError("written")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_a_read_only_gallery_can_be_searched_and_says_why_it_cannot_be_written(gallery: Gallery) -> None:
    try:
        assert run(READ_ONLY, gallery.path, SPACE) == "image-0"
    finally:
        for folder in (gallery.path.parents[1], gallery.path.parent, gallery.path):
            folder.chmod(0o755)


@pytest.mark.parametrize(("dtype", "digits", "size"), [("float16", 4e-4, 2), ("int8", 6e-3, 1)])
def test_a_compact_gallery_holds_rounded_unit_vectors_which_no_rewriting_changes(
    tmp_path: Path, dtype: Dtype, digits: float, size: int
) -> None:
    gallery = Gallery.create(tmp_path / "gallery", space=SPACE, dim=16, dtype=dtype)
    gallery.add(embeddings(40), names(40))
    gallery.add(embeddings(20, seed=1), names(20, "more"))
    first = gallery.vectors
    np.testing.assert_allclose(first[:40], unit_vectors(40), atol=digits)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
    assert files_of(gallery, "vectors")[0].stat().st_size - 128 in (40 * 16 * size, 20 * 16 * size)
    gallery.remove(["image-7", "more-3"])
    gallery.compact()
    again = Gallery.open(gallery.path)
    assert again.info()["dtype"] == dtype and again.info()["segments"] == 1 and again.verify() == []
    np.testing.assert_array_equal(again.vectors, np.delete(first, [7, 43], axis=0))
    assert again.search(Embeddings(np.ascontiguousarray(first[3:4]), SPACE))[0][0].id == "image-3"
    assert json.loads((gallery.path / "gallery.json").read_text())["version"] == 2


def test_half_floats_that_another_rounding_would_move_are_rewritten_to_the_bit(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "gallery", space=SPACE, dim=16, dtype="float16")
    gallery.add(embeddings(2000), names(2000))
    first = gallery.vectors
    assert (to_float16(first) != to_float16(from_float16(to_float16(first)))).any()
    gallery.remove(["image-7"])
    np.testing.assert_array_equal(Gallery.open(gallery.path).vectors, np.delete(first, 7, axis=0))


def test_a_gallery_of_float32_is_written_as_earlier_releases_read_it(gallery: Gallery) -> None:
    value = json.loads((gallery.path / "gallery.json").read_text())
    assert value["version"] == 1 and "dtype" not in value
    with pytest.raises(ConfigError, match="dtype is 'float64', expected one of float32, float16, int8"):
        Gallery.create(gallery.path / "other", space=SPACE, dim=16, dtype="float64")  # type: ignore[arg-type]


def test_a_long_table_has_lines_and_earlier_releases_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS_PER_LINE", 8)
    gallery = Gallery.create(tmp_path / "gallery", space=SPACE, dim=16)
    for first, rows in ((0, 8), (8, 1), (9, 40), (49, 2)):
        ids = [f"image-{row}" for row in range(first, first + rows)]
        gallery.add(embeddings(rows, seed=first), ids, [f"class-{row % 3}" for row in range(first, first + rows)])
        version = json.loads((gallery.path / "gallery.json").read_text())["version"]
        assert version == (1 if first < 9 else 3)
    again = Gallery.open(gallery.path)
    assert again.ids == gallery.ids == tuple(f"image-{row}" for row in range(51))
    assert again.labels == tuple(f"class-{row % 3}" for row in range(51)) and again.verify() == []
    long = next(gallery.path.glob("rows-*.jsonl"))
    assert [len(json.loads(line)["ids"]) for line in long.read_bytes().splitlines()] == [8, 8, 8, 8, 8, 8, 1]
    content = long.read_bytes()
    long.write_bytes(content.replace(b"image-20", b"image-30"))
    with pytest.raises(GalleryError, match="SHA-256"):
        Gallery.open(gallery.path)
    long.write_bytes(content)
    gallery.remove(gallery.ids[5:])
    assert json.loads((gallery.path / "gallery.json").read_text())["version"] == 1 and not list(
        gallery.path.glob("*.jsonl")
    )


@pytest.mark.parametrize("table", [b"[]", b'{"ids": ["a"], "labels": []}', b'{"ids": [1], "labels": ["b"]}', b"", b"{"])
def test_a_table_that_lists_something_else_is_refused(tmp_path: Path, table: bytes) -> None:
    gallery = Gallery.create(tmp_path / "gallery", space=SPACE, dim=16)
    gallery.add(embeddings(1), ["a"])
    segment = gallery._snapshot.state.segments[0]
    file = gallery_files.write_new(gallery.path, "rows", 9, ".json", [table])
    state = replace(gallery._snapshot.state, segments=(replace(segment, table=file),))
    store.write_state(gallery.path, state, gallery._snapshot.state)
    with pytest.raises(GalleryError, match="does not list 1 ids and labels"):
        Gallery.open(gallery.path)


def test_a_state_that_names_files_elsewhere_is_refused(gallery: Gallery) -> None:
    value = json.loads((gallery.path / "gallery.json").read_text())
    for name in ("../vectors.npy", "/etc/passwd", "vectors.npy"):
        value["segments"][0]["vectors"]["name"] = name
        body = {key: item for key, item in value.items() if key not in ("format", "version", "digest")}
        (gallery.path / "gallery.json").write_bytes(state_file._render(body))
        with pytest.raises(GalleryError, match="malformed"):
            Gallery.open(gallery.path)


def run(code: str, path: Path, space: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(path), space],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
