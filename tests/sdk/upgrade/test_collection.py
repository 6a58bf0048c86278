"""A Qdrant collection is upgraded while it is searched and written to: an alias is the cutover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compat_sdk.errors import (
    CompatError,
    ConfigError,
    CorruptFileError,
    DataError,
    IncompatibleSpaceError,
    StateError,
    StoreError,
)
from compat_sdk.exchange import Table
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.remote import RemoteGallery
from compat_sdk.space import Embeddings
from compat_sdk.stores import Rows
from compat_sdk.stores.addresses import QdrantAddress
from compat_sdk.stores.points import point_id
from compat_sdk.stores.qdrant import Collection, collection_for
from compat_sdk.upgrade.collection import (
    cutover_collection,
    discard_collection,
    rollback_collection,
    run_collection,
    verify_collection,
)
from compat_sdk.upgrade.collection import following as following_module
from tests.sdk.upgrade.toy import NEW, OLD, SIDE, Toy, names, vectors

IDS = names(60)
TOY = Toy(side_space=None)
LABELS = [f"class-{row % 5}" for row in range(60)]


@pytest.fixture
def photos() -> Collection:
    """60 rows behind the alias ``photos``."""
    module = pytest.importorskip("qdrant_client")
    alias = Collection(module.QdrantClient(":memory:"), QdrantAddress("photos"))
    old = alias.named(collection_for("photos", OLD))
    old.create(16, "cosine")
    old.finish(OLD)
    old.lead("photos")
    old.upsert(Rows.of(IDS, vectors(60, 16, 0), LABELS, [{"price": row} for row in range(60)]))
    return alias


def expected(ids: list[str], seed: int = 0, count: int = 60) -> np.ndarray[Any, np.dtype[np.float32]]:
    return TOY().apply(vectors(count, 16, seed)[[IDS.index(id) for id in ids]])


def held_out(noise: float = 0.01) -> Table:
    """The new model's vectors of 30 images, near what the transform makes of them."""
    near = expected(IDS[:30]) + noise * vectors(30, 24, 5)
    return Table(tuple(IDS[:30]), near / np.linalg.norm(near, axis=1, keepdims=True), ("",) * 30, NEW)


def query(space: str, dim: int) -> Embeddings:
    return Embeddings(vectors(1, dim, 9), space)


def verified(photos: Collection) -> None:
    assert verify_collection(photos, TOY, held_out=held_out(), at_least="worse").recorded


def test_a_collection_is_in_the_new_space_after_a_cutover_and_in_the_old_after_a_rollback(photos: Collection) -> None:
    gallery = RemoteGallery(photos)
    before = gallery.search(query(OLD, 16), 5)
    done = run_collection(photos, TOY)
    assert (done.collection, done.space, done.rows, done.changed) == (f"photos--{NEW}", NEW, 60, 60)
    assert gallery.search(query(OLD, 16), 5) == before and gallery.space == OLD
    with pytest.raises(StoreError, match="did not end"):
        RemoteGallery(photos.named(done.collection))
    verified(photos)
    assert cutover_collection(photos, TOY).changed == 0
    assert gallery.space == NEW and len(gallery) == 60
    with pytest.raises(IncompatibleSpaceError):
        gallery.search(query(OLD, 16))
    found = gallery.get(IDS)
    np.testing.assert_allclose(found.vectors, expected(IDS), atol=1e-6)
    assert found.labels == LABELS and found.payload == [{"price": row} for row in range(60)]
    assert RemoteGallery(photos.named(f"photos--{OLD}")).search(query(OLD, 16), 5) == before
    with pytest.raises(StateError, match="already"):
        cutover_collection(photos, TOY)
    assert rollback_collection(photos).space == OLD
    assert gallery.search(query(OLD, 16), 5) == before
    assert cutover_collection(photos, TOY, unverified=True).space == NEW == gallery.space
    assert discard_collection(photos, old=True).rows == 60
    assert photos.collections() == [f"photos--{NEW}"] and gallery.space == NEW


def test_a_run_that_was_stopped_goes_on_and_follows_what_changed(
    photos: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compat_sdk.stores.qdrant._ROWS_PER_CALL", 10)
    told: list[int] = []

    def stop(_: str, done: int, *__: object) -> None:
        told.append(done)
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_collection(photos, TOY, progress=stop)
    assert run_collection(photos, TOY).changed == 30
    gallery = RemoteGallery(photos)
    gallery.remove(IDS[:3])
    gallery.add(Embeddings(vectors(60, 16, 1)[:2], OLD), IDS[:2], payload=[{"price": -1}, {}])
    done = run_collection(photos, TOY)
    assert (done.rows, done.changed, done.removed) == (59, 2, 1)
    cutover_collection(photos, TOY, unverified=True)
    found = gallery.get(IDS[:2])
    np.testing.assert_allclose(found.vectors, expected(IDS[:2], 1), atol=1e-6)
    assert found.payload == [{"price": -1}, {}] and IDS[2] not in gallery.ids


def test_what_is_written_around_the_step_is_neither_lost_nor_brought_back(
    photos: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_collection(photos, TOY)
    old, gallery, lead = RemoteGallery(photos.named(f"photos--{OLD}")), RemoteGallery(photos), Collection.lead

    def led(new: Collection, alias: str) -> None:
        old.add(Embeddings(vectors(2, 16, 3), OLD), ["late-1", "late-2"])  # by writers that saw the old space
        old.remove(IDS[:1])
        lead(new, alias)
        gallery.add(Embeddings(vectors(1, 24, 4), NEW), ["by new"])
        gallery.remove(IDS[1:2])

    monkeypatch.setattr(Collection, "lead", led)
    done = cutover_collection(photos, TOY, unverified=True)
    assert (done.changed, done.removed) == (2, 1)
    assert set(gallery.ids) == {*IDS[2:], "late-1", "late-2", "by new"}
    with pytest.raises(StateError, match="1 rows were added since"):
        rollback_collection(photos)
    monkeypatch.setattr(Collection, "lead", lead)
    rollback_collection(photos, drop_added=True)
    cutover_collection(photos, TOY, unverified=True)
    assert set(gallery.ids) == {*IDS[1:], "late-1", "late-2"}


def test_writers_go_on_through_the_whole_life_of_an_upgrade(
    photos: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of the store is preceded by an addition or a removal, as a busy writer's are."""
    monkeypatch.setattr("compat_sdk.stores.qdrant._ROWS_PER_CALL", 16)
    gallery, scroll = RemoteGallery(photos), Collection.scroll
    spaces = {OLD: 16, NEW: 24}
    alive, count = set(IDS), 0

    def busy(self: Collection, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        for block in scroll(self, *arguments, **options):
            if count < 40:
                count += 1
                space = gallery.space
                gallery.add(Embeddings(vectors(1, spaces[space], count), space), [f"new-{count}"])
                alive.add(f"new-{count}")
                gone = sorted(alive)[count % len(alive)]
                assert gallery.remove([gone]) == 1
                alive.discard(gone)
                assert len(gallery.search(query(space, spaces[space]), 3)[0]) == 3
            yield block

    monkeypatch.setattr(Collection, "scroll", busy)
    run_collection(photos, TOY)
    cutover_collection(photos, TOY, unverified=True)
    assert count > 10 and set(gallery.ids) == alive and gallery.space == NEW and gallery.verify() == []


def test_a_cutover_needs_a_verification_of_these_very_rows(photos: Collection) -> None:
    run_collection(photos, TOY)
    with pytest.raises(StateError, match="was not verified"):
        cutover_collection(photos, TOY)
    assert verify_collection(photos, TOY, at_least="worse").recorded  # without the new model's vectors
    with pytest.raises(StateError, match="was not verified"):
        cutover_collection(photos, TOY)
    verified(photos)
    new = photos.named(f"photos--{NEW}")
    new.upsert(Rows.of(IDS[:1], vectors(1, 24, 8), LABELS[:1]), ["forged"])
    with pytest.raises(StateError, match="changed since it was verified"):
        cutover_collection(photos, TOY)
    run_collection(photos, TOY)
    verified(photos)
    RemoteGallery(photos).add(Embeddings(vectors(3, 16, 2), OLD), ["x", "y", "z"])
    with pytest.raises(StateError, match="3 rows changed since"):
        cutover_collection(photos, TOY, most_added=2)
    verify_collection(photos, TOY, held_out=held_out(), at_least="worse")
    assert cutover_collection(photos, TOY, most_added=3).rows == 63


def test_a_verification_judges_what_is_found(photos: Collection) -> None:
    run_collection(photos, TOY)
    found = verify_collection(photos, TOY, held_out=held_out())
    assert found.rows == 60 and found.accuracy is not None and found.accuracy.mean_cosine > 0.99
    assert found.quality is not None and found.quality.queried_by == "new model" and found.lowest_cosine is not None
    assert found.lowest_cosine > 0.9999 and found.sampled == 60
    nonsense = Table(held_out().ids, vectors(30, 24, 77), held_out().labels, NEW)
    worse = verify_collection(photos, TOY, held_out=nonsense, at_least="worse", min_cosine=0.5)
    assert "mean cosine" in worse.problems[0] and not worse.recorded
    other = verify_collection(photos, Toy(side_space=None, version="2"), at_least="worse")
    assert "not the one of this upgrade" in other.problems[0]
    with pytest.raises(IncompatibleSpaceError):
        verify_collection(photos, TOY, held_out=Table(("a",), vectors(1, 24, 1), ("",), OLD))
    RemoteGallery(photos).add(Embeddings(vectors(1, 16, 2), OLD), ["x"])
    left = verify_collection(photos, TOY, held_out=held_out(), at_least="worse")
    assert left.unfinished == 1 and not left.recorded and left.problems == ()


def test_side_information_comes_from_a_gallery_of_the_same_ids(photos: Collection, tmp_path: Any) -> None:
    side = Gallery.create(tmp_path / "side", space=SIDE, dim=8)
    side.add(Embeddings(vectors(59, 8, 6), SIDE), IDS[1:])
    with pytest.raises(DataError, match="holds the side-information"):
        run_collection(photos, Toy(), side=side)
    side.add(Embeddings(vectors(1, 8, 7), SIDE), IDS[:1])
    run_collection(photos, Toy(), side=side)
    cutover_collection(photos, Toy(), side=side, unverified=True)
    wanted = Toy()().apply(vectors(60, 16, 0), side.get(IDS).vectors)
    np.testing.assert_allclose(RemoteGallery(photos).get(IDS).vectors, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (lambda c: verify_collection(c, TOY), StateError, "no upgrade of .* was begun"),
        (lambda c: cutover_collection(c, TOY), StateError, "no upgrade of .* was begun"),
        (rollback_collection, StateError, "no upgrade of .* was begun"),
        (discard_collection, StateError, "no upgrade of .* was begun"),
        (lambda c: run_collection(c, Toy()), ConfigError, "give it, as --side"),
        (lambda c: run_collection(c.named("none"), TOY), StoreError, "is not there"),
        (lambda c: (run_collection(c, TOY), rollback_collection(c)), StateError, "nothing to roll back"),
        (lambda c: (run_collection(c, TOY), discard_collection(c, old=True)), StateError, "leave --old out"),
        (
            lambda c: (run_collection(c, TOY), run_collection(c, Toy(side_space=None, version="2"))),
            StateError,
            "of another upgrade",
        ),
        (
            lambda c: (
                run_collection(c, TOY),
                cutover_collection(c, Toy(side_space=None, version="2"), unverified=True),
            ),
            ConfigError,
            "not the one of this upgrade",
        ),
        (
            lambda c: (run_collection(c, TOY), cutover_collection(c, TOY, unverified=True), discard_collection(c)),
            StateError,
            "--old deletes",
        ),
        (
            lambda c: (run_collection(c, TOY), cutover_collection(c, TOY, unverified=True), run_collection(c, TOY)),
            IncompatibleSpaceError,
            "in space new",
        ),
        (
            lambda c: (
                run_collection(c.named(c.real_name()), TOY),
                cutover_collection(c.named(c.real_name()), TOY, unverified=True),
            ),
            StateError,
            "no alias",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    photos: Collection, work: Callable[[Collection], object], error: type[CompatError], message: str
) -> None:
    with pytest.raises(error, match=message) as told:
        work(photos)
    assert len(str(told.value)) < 300 and photos.count() == 60


@pytest.mark.parametrize("absent", ["take", "leave"])
def test_a_cutover_that_was_killed_on_either_side_of_the_step_is_begun_again(
    photos: Collection, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_collection(photos, TOY)
    with pytest.raises(ConfigError, match="absent is"):
        cutover_collection(photos, TOY, unverified=True, absent="take")
    follow = following_module.follow

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "lead", killed)
        with pytest.raises(KeyboardInterrupt):
            cutover_collection(photos, TOY, unverified=True)
    assert RemoteGallery(photos).space == OLD

    def after(*arguments: Any, **options: Any) -> Any:
        return killed() if options.get("since") is not None else follow(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("compat_sdk.upgrade.collection.steps.follow", after)
        with pytest.raises(KeyboardInterrupt):
            cutover_collection(photos, TOY, unverified=True)
    assert RemoteGallery(photos).space == NEW
    old, gallery = photos.named(f"photos--{OLD}"), RemoteGallery(photos)
    old.upsert(Rows.of(["late", IDS[5]], vectors(2, 16, 3)))  # by writers that saw the old space
    gallery.remove(IDS[:1])
    gallery.replace(Embeddings(vectors(1, 24, 4), NEW), IDS[1:2])
    with pytest.raises(StateError, match=r"2 rows of .* are not in .*: added before the step"):
        cutover_collection(photos, TOY, unverified=True)
    np.testing.assert_allclose(gallery.get([IDS[1]]).vectors, vectors(1, 24, 4), atol=1e-6)
    np.testing.assert_allclose(gallery.get([IDS[5]]).vectors, TOY().apply(vectors(2, 16, 3)[1:]), atol=1e-6)
    if absent == "take":
        assert cutover_collection(photos, TOY, unverified=True, absent="take").changed == 2
        assert len(gallery) == 61
    else:
        assert cutover_collection(photos, TOY, unverified=True, absent="leave").changed == 0
        assert len(gallery) == 59 and not {IDS[0], "late"} & set(gallery.ids)
    with pytest.raises(StateError, match="already"):
        cutover_collection(photos, TOY, unverified=True)


@pytest.mark.parametrize("instead", ["nothing", "another space", "an alias"])
@pytest.mark.parametrize("step", ["verify", "cutover", "rollback", "discard"])
def test_what_took_the_name_of_the_old_collection_is_not_read_led_to_or_deleted(
    photos: Collection, step: str, instead: str
) -> None:
    old = photos.named(f"photos--{OLD}")
    run_collection(photos, TOY)
    if step in ("rollback", "discard"):
        cutover_collection(photos, TOY, unverified=True)
    foreign = photos.named("another" if instead == "an alias" else old.address.collection)
    old.drop()
    if instead != "nothing":
        foreign.create(16, "cosine")
        foreign.finish("foreign-space")
        foreign.upsert(Rows.of(IDS[:3], vectors(3, 16, 7)))
    if instead == "an alias":
        foreign.lead(old.address.collection)
    if step in ("verify", "cutover") and instead != "nothing":
        foreign.lead("photos")
    steps: dict[str, Callable[[], object]] = {
        "verify": lambda: verify_collection(photos, TOY, held_out=held_out(), at_least="worse"),
        "cutover": lambda: cutover_collection(photos, TOY, unverified=True),
        "rollback": lambda: rollback_collection(photos),
        "discard": lambda: discard_collection(photos, old=True),
    }
    if (step, instead) == ("discard", "nothing"):
        steps[step]()  # as after a discard that was killed
        return
    with pytest.raises((StateError, StoreError)) as told:
        steps[step]()
    assert len(str(told.value)) < 300
    if instead != "nothing":
        assert foreign.count() == 3
    if step in ("rollback", "discard"):
        assert RemoteGallery(photos).space == NEW and photos.count() == 60


def test_a_rollback_that_was_killed_leaves_no_row_that_was_given_up(
    photos: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_collection(photos, TOY)
    cutover_collection(photos, TOY, unverified=True)
    RemoteGallery(photos).add(Embeddings(vectors(1, 24, 4), NEW), ["by new"])
    lead = Collection.lead

    def led(new: Collection, alias: str) -> None:
        lead(new, alias)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Collection, "lead", led)
        rollback_collection(photos, drop_added=True)
    cutover_collection(photos, TOY, unverified=True)
    assert set(RemoteGallery(photos).ids) == set(IDS)


@pytest.mark.parametrize(
    "note", [1, [], {}, {"alias": 1}, {"alias": "photos", "old": [], "old_space": "a", "space": "b", "transform": {}}]
)
def test_a_note_that_others_wrote_is_one_line(photos: Collection, note: object) -> None:
    run_collection(photos, TOY)
    photos.named(f"photos--{NEW}").write_note({"unfinished": True, "upgrade": note})
    for work in (lambda: run_collection(photos, TOY), lambda: discard_collection(photos)):
        with pytest.raises((StoreError, StateError), match="damaged") as told:
            work()
        assert len(str(told.value)) < 300


def test_ids_that_others_wrote_into_the_new_collection_are_one_line(photos: Collection) -> None:
    run_collection(photos, TOY)
    new = photos.named(f"photos--{NEW}")
    new.client.set_payload(new.address.collection, {"compat_id": ["x"]}, points=[str(point_id(IDS[0]))])
    with pytest.raises(CorruptFileError, match="no id"):
        run_collection(photos, TOY)


@pytest.mark.parametrize("name", ["../../away", "a/b", "..", "a\\b", "a\nb", "", "x" * 256, "C:x"])
def test_a_name_that_leads_elsewhere_is_no_collection(name: str, photos: Collection) -> None:
    with pytest.raises(ConfigError, match="no name of a collection"):
        photos.named(name)
    run_collection(photos, TOY)
    new = photos.named(f"photos--{NEW}")
    new.write_note({"unfinished": True, "upgrade": {**new.shape().note["upgrade"], "old": name}})
    with pytest.raises(CompatError):
        discard_collection(photos)
