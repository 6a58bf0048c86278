"""One contract for every place a gallery may be in.

A folder; a Qdrant collection in memory, in a folder, named; and parts, in two folders or in a folder and a collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.errors import CompatError, ConfigError, DataError, IncompatibleSpaceError, StoreError, VectorError
from compat_sdk.gallery import Gallery, Where
from compat_sdk.gallery.parts import PartsGallery
from compat_sdk.gallery.remote import RemoteGallery
from compat_sdk.gallery.without_files import WithoutFiles
from compat_sdk.space import Embeddings
from compat_sdk.stores.addresses import QdrantAddress, parse_address
from compat_sdk.stores.qdrant import Collection

SPACE, DIM = "toy-6", 6
NAMES = ("7", "007", "a/ü 1.png", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6BA7B810-9dad-11d1-80b4-00c04fd430c8", "-3")
LABELS = ("cat", "dog", "cat", "", "dog", "cat")
PAYLOAD: tuple[dict[str, object], ...] = (
    {"colour": "red", "price": 3},
    {"colour": "blue", "price": 3.5, "on sale": True},
    {"colour": ["red", "blue"]},
    {},
    {"colour": "red", "nested": {"deep": [1, None]}},
    {"price": 1},
)
PLACES = ("folder", "memory", "path", "named vector", "two folders", "folder and path")


def unit(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def query(count: int = 1, seed: int = 9, space: str = SPACE, searches: tuple[str, ...] = ()) -> Embeddings:
    return Embeddings(unit(count, seed), space, searches)


def collection_in(collection: Collection) -> Collection:
    collection.create(DIM, "cosine")
    collection.finish(SPACE)
    return collection


def opened(place: str, folder: Path) -> Gallery:
    """An empty gallery of one place."""
    if place == "folder":
        return Gallery.create(folder / "g", space=SPACE, dim=DIM)
    if place in ("two folders", "folder and path"):
        first, second = opened("folder", folder), opened(place.split(" ")[-1].rstrip("s"), folder / "b")
        return PartsGallery(folder, [first, second])
    module = pytest.importorskip("qdrant_client")
    if place == "memory":
        return RemoteGallery(collection_in(Collection(module.QdrantClient(":memory:"), QdrantAddress("photos"))))
    address = f"qdrant+path:{folder / 'q'}#photos" + ("?vector=clip" if place == "named vector" else "")
    collection_in(made := Collection.connect(parse_address(address), new=True))
    made.close()
    return Gallery.open(address)


def close(gallery: Gallery) -> None:
    if isinstance(gallery, RemoteGallery | PartsGallery):
        gallery.close()


def fill(gallery: Gallery) -> None:
    """Six rows; of a gallery in parts, some in each."""
    first = 0
    if isinstance(gallery, PartsGallery):
        first = 3
        gallery._parts[0].add(Embeddings(unit(6)[:3], SPACE), NAMES[:3], LABELS[:3], payload=PAYLOAD[:3])
    gallery.add(Embeddings(unit(6)[first:], SPACE), NAMES[first:], LABELS[first:], payload=PAYLOAD[first:])


@pytest.fixture(params=PLACES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gallery]:
    found = opened(request.param, tmp_path)
    yield found
    close(found)


@pytest.fixture(scope="module", params=PLACES)
def gallery(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    """One gallery of six rows for all tests that change nothing."""
    found = opened(request.param, tmp_path_factory.mktemp("contract"))
    fill(found)
    yield found
    close(found)


def test_an_empty_gallery_says_what_it_is(empty: Gallery) -> None:
    assert (len(empty), empty.space, empty.dim, empty.ids, empty.labels) == (0, SPACE, DIM, (), ())
    assert empty.search(query()) == [[]]
    assert empty.vectors.shape == (0, DIM) and empty.vectors.dtype == np.float32


def test_rows_come_back_as_they_went_in_whatever_their_ids(gallery: Gallery) -> None:
    assert len(gallery) == 6 and sorted(gallery.ids) == sorted(NAMES)
    assert dict(zip(gallery.ids, gallery.labels, strict=True)) == dict(zip(NAMES, LABELS, strict=True))
    found = gallery.get(list(reversed(NAMES)))
    assert tuple(found.ids) == tuple(reversed(NAMES)) and tuple(found.labels) == tuple(reversed(LABELS))
    assert tuple(found.payload) == tuple(reversed(PAYLOAD))
    np.testing.assert_allclose(found.vectors, unit(6)[::-1], atol=1e-6)
    assert gallery.vectors.shape == (6, DIM) and gallery.verify() == []


@pytest.mark.parametrize("index", ["auto", "exact"])
def test_a_search_finds_the_nearest_with_their_cosines(gallery: Gallery, index: str) -> None:
    asked = query(3)
    scores = asked.vectors @ unit(6).T
    for line, hits in zip(scores, gallery.search(asked, 4, index=index), strict=True):
        best = np.argsort(-line)[:4]
        assert [(hit.id, hit.label) for hit in hits] == [(NAMES[row], LABELS[row]) for row in best]
        np.testing.assert_allclose([hit.score for hit in hits], line[best], atol=1e-6)
    assert [len(hits) for hits in gallery.search(asked, 100)] == [6, 6, 6]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (Where(labels=["cat"]), {0, 2, 5}),
        (Where(labels=["", "dog"]), {1, 3, 4}),
        (Where(ids=["007", "-3", "unknown"]), {1, 5}),
        (Where(payload={"colour": "red"}), {0, 2, 4}),
        (Where(payload={"colour": ["blue", "green"]}), {1, 2}),
        (Where(payload={"price": 3}), {0}),
        (Where(payload={"price": [3.0, 3.5]}), {0, 1}),
        (Where(payload={"price": True}), set()),
        (Where(payload={"on sale": True}), {1}),
        (Where(payload={"colour": []}), set()),
        (Where(labels=[]), set()),
        (Where(ids=[]), set()),
        (Where(labels=["cat"], ids=["7", "007"], payload={"colour": "red"}), {0}),
        (Where(), {0, 1, 2, 3, 4, 5}),
    ],
    ids=str,
)
def test_a_search_with_conditions_still_finds_k(gallery: Gallery, where: Where, kept: set[int]) -> None:
    scores = (query().vectors @ unit(6).T)[0]
    best = sorted(kept, key=lambda row: -scores[row])
    assert [hit.id for hit in gallery.search(query(), 10, where=where)[0]] == [NAMES[row] for row in best]
    assert [hit.id for hit in gallery.search(query(), 1, where=where)[0]] == [NAMES[row] for row in best[:1]]


def test_removed_rows_are_gone_and_their_payload_is_nobody_elses(empty: Gallery) -> None:
    gallery = empty
    fill(gallery)
    assert gallery.remove(["7", "007", "7", "unknown"]) == 2
    assert len(gallery) == 4 and not {"7", "007"} & set(gallery.ids)
    assert {hit.id for hit in gallery.search(query(), 10)[0]} == set(NAMES[2:])
    gallery.add(Embeddings(unit(1, 5), SPACE), ["7"])
    assert tuple(gallery.get(["7"]).payload) == ({},) and tuple(gallery.get(["7"]).labels) == ("",)
    assert gallery.search(query(), 10, where=Where(payload={"price": 3}))[0] == []


def test_replaced_vectors_keep_what_belongs_to_their_rows(empty: Gallery) -> None:
    fill(empty)
    empty.replace(Embeddings(unit(2, 7), SPACE), NAMES[1:3])
    found = empty.get(NAMES)
    np.testing.assert_allclose(found.vectors[1:3], unit(2, 7), atol=1e-6)
    np.testing.assert_allclose(found.vectors[3:], unit(6)[3:], atol=1e-6)
    assert (tuple(found.labels), tuple(found.payload)) == (LABELS, PAYLOAD)
    for wrong, error in ((["unknown"], DataError), ([NAMES[0]] * 2, DataError)):
        with pytest.raises(error):
            empty.replace(Embeddings(unit(len(wrong)), SPACE), wrong)


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda g: g.search(query(space="other-6")), IncompatibleSpaceError),
        (lambda g: g.add(query(space="other-6", searches=(SPACE,)), ["x"]), IncompatibleSpaceError),
        (lambda g: g.search(Embeddings(np.eye(3, dtype=np.float32), SPACE)), VectorError),
        (lambda g: g.search(unit(1)), VectorError),
        (lambda g: g.search(query(), 0), ConfigError),
        (lambda g: g.search(query(), index="no such"), ConfigError),
        (lambda g: g.search(query(), index="usearch", where=Where()), CompatError),
        (lambda g: g.add(query(), ["7"]), DataError),
        (lambda g: g.add(query(2), ["x", "x"]), DataError),
        (lambda g: g.add(query(), [""]), DataError),
        (lambda g: g.add(query(), ["x", "y"]), DataError),
        (lambda g: g.add(query(), ["x"], payload=[]), DataError),
        (lambda g: g.add(query(), ["x"], payload=[{"label": "cat"}]), DataError),
        (lambda g: g.add(query(), ["x"], payload=[{"a": float("nan")}]), DataError),
        (lambda g: g.add(query(), ["x"], payload=[{"a": object()}]), DataError),
        (lambda g: g.remove("7"), DataError),
        (lambda g: g.get(["7", "unknown"]), DataError),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(
    gallery: Gallery, work: Callable[[Any], object], error: type[CompatError]
) -> None:
    with pytest.raises(error) as told:
        work(gallery)
    assert len(str(told.value)) < 300 and len(gallery) == 6


def test_a_declared_query_may_search(gallery: Gallery) -> None:
    assert gallery.search(query(space="small-6", searches=(SPACE,)), 2) == gallery.search(query(), 2)


def test_facts_have_the_same_keys_everywhere(gallery: Gallery, tmp_path: Path) -> None:
    facts, other = gallery.info(), Gallery.create(tmp_path / "other", space=SPACE, dim=DIM).info()
    assert set(facts) == set(other)
    assert (facts["rows"], facts["labels"], facts["space"], facts["dim"]) == (6, 2, SPACE, DIM)


def test_some_ids_are_told_apart_from_those_that_are_not_there(gallery: Gallery) -> None:
    assert gallery.held(["7", "-3", "unknown", "7"]) == {"7", "-3"} and gallery.held([]) == set()


def test_a_collection_and_parts_answer_everything_that_a_folder_does() -> None:
    of_paths = {"create", "open", "is_signed", "compact_folder"}
    names = [name for kind in Gallery.__mro__[:-1] for name in vars(kind)]
    public = {name for name in names if not name.startswith("_") or name in ("__init__", "__len__")}
    of_stores = RemoteGallery.__mro__[: RemoteGallery.__mro__.index(Gallery)]
    assert WithoutFiles in of_stores
    assert public - {name for kind in of_stores for name in vars(kind)} == of_paths
    assert public - set(vars(PartsGallery)) == of_paths


def test_what_concerns_files_is_refused_by_a_collection(tmp_path: Path) -> None:
    module = pytest.importorskip("qdrant_client")
    found = RemoteGallery(collection_in(Collection(module.QdrantClient(":memory:"), QdrantAddress("photos"))))
    for work in (lambda: found.sign(tmp_path), found.compact, found.build_index, found.repair, found.search_rows):
        with pytest.raises(ConfigError, match="whose files Qdrant keeps"):
            work()


def test_a_collection_without_a_space_is_refused_unless_one_is_told(tmp_path: Path) -> None:
    module = pytest.importorskip("qdrant_client")
    client = module.QdrantClient(":memory:")
    params = module.models.VectorParams(size=DIM, distance=module.models.Distance.COSINE)
    client.create_collection("bare", vectors_config=params)
    with pytest.raises(ConfigError, match="names no space"):
        RemoteGallery.of_client(client, "bare")
    found = RemoteGallery.of_client(client, "bare", space=SPACE)
    found.add(Embeddings(unit(2), SPACE), ["1", "2"])
    assert len(found.search(query())[0]) == 2
    with pytest.raises(IncompatibleSpaceError):
        found.search(query(space="other-6"))


def test_the_space_is_compared_before_every_search() -> None:
    module = pytest.importorskip("qdrant_client")
    client, models = module.QdrantClient(":memory:"), module.models
    for name, space in (("old", "old-6"), ("new", "new-6")):
        made = Collection(client, QdrantAddress(name))
        made.create(DIM, "cosine")
        made.finish(space)
    alias = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="old", alias_name="photos"))
    client.update_collection_aliases([alias])
    found = RemoteGallery.of_client(client, "photos")
    assert found.search(query(space="old-6")) == [[]]
    moved = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="new", alias_name="photos"))
    gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="photos"))
    client.update_collection_aliases([gone, moved])
    with pytest.raises(IncompatibleSpaceError):
        found.search(query(space="old-6"))
    assert found.search(query(space="new-6")) == [[]] and found.space == "new-6"


def test_a_search_during_which_an_alias_moves_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("qdrant_client")
    made = collection_in(Collection(module.QdrantClient(":memory:"), QdrantAddress("photos")))
    found, nearest = RemoteGallery(made), made.nearest

    def moving(*arguments: Any, **options: Any) -> Any:
        made.finish("new-6")
        return nearest(*arguments, **options)

    monkeypatch.setattr(made, "nearest", moving)
    with pytest.raises(IncompatibleSpaceError):
        found.search(query())


def test_an_addition_that_fails_on_the_way_leaves_none_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("qdrant_client")
    monkeypatch.setattr("compat_sdk.stores.qdrant._ROWS_PER_CALL", 2)
    made = collection_in(Collection(module.QdrantClient(":memory:"), QdrantAddress("photos")))
    found, upsert, calls = RemoteGallery(made), made.client.upsert, []

    def failing(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("no room")
        return upsert(*arguments, **options)

    monkeypatch.setattr(made.client, "upsert", failing)
    with pytest.raises(StoreError, match="no room"):
        found.add(Embeddings(unit(6), SPACE), NAMES)
    assert len(found) == 0
    found.add(Embeddings(unit(6), SPACE), NAMES)
    assert len(found) == 6


def test_a_folder_is_never_made_under_the_name_of_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("qdrant://s3cret@h/c", Path("qdrants://s3cret@h/c"), "qdrant+path:x#c"):
        with pytest.raises(ConfigError, match="address of a store") as told:
            Gallery.create(place, space=SPACE, dim=DIM)
        assert "s3cret" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_told_space_must_be_the_right_one(tmp_path: Path) -> None:
    Gallery.create(tmp_path / "g", space=SPACE, dim=DIM)
    assert Gallery.open(tmp_path / "g", space=SPACE).space == SPACE
    with pytest.raises(IncompatibleSpaceError, match="told as other-6"):
        Gallery.open(tmp_path / "g", space="other-6")


def test_a_store_that_is_away_is_one_line_without_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_client")
    import traceback

    monkeypatch.setenv("QDRANT_API_KEY", "s3cret-of-the-variable")
    for place, error in (
        ("qdrants://s3cret-typed@127.0.0.1:1/photos", StoreError),
        ("qdrants://127.0.0.1:1/photos", StoreError),
        (Path("qdrants://s3cret-typed@127.0.0.1:1/photos"), StoreError),
        ("qdrant://s3cret@127.0.0.1:port/photos", ConfigError),
        ("qdrant://s3cret@127.0.0.1", ConfigError),
        ("qdrant://127.0.0.1/photos?api_key=s3cret", ConfigError),
        (f"qdrant+path:{tmp_path}#photos", StoreError),
        ("qdrant+path:nowhere", ConfigError),
    ):
        with pytest.raises(error) as told:
            Gallery.open(place)
        whole = "".join(traceback.format_exception(told.value))
        assert "s3cret" not in whole.replace(str(place), "") and "s3cret" not in str(told.value)
        assert len(str(told.value)) < 300 and "\n" not in str(told.value)
    assert not (tmp_path / "meta.json").exists()
