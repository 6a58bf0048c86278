"""A collection is transformed by many workers: in stretches of points, by processes or by Ray.

One client in memory stands for the server that each worker would connect to, and a module of a few lines for Ray.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compat_sdk.errors import CompatError, ConfigError, DataError, MissingExtraError
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.remote import RemoteGallery
from compat_sdk.space import Embeddings
from compat_sdk.stores import Rows
from compat_sdk.stores.addresses import QdrantAddress, parse_address
from compat_sdk.stores.qdrant import Collection, collection_for
from compat_sdk.upgrade.collection import cutover_collection, run_collection, stretches
from tests.sdk.upgrade.toy import OLD, SIDE, Toy, names, vectors

# Ids of all three kinds, whose points lie in the store's order and not in this one.
IDS = [*names(40), *(str(number) for number in (7, 3, 12, 100)), "6ba7b810-9dad-11d1-80b4-00c04fd430c8"]
TOY = Toy(side_space=None)
COUNT = len(IDS)


class RayError(Exception):
    """What Ray raises when a task does."""


class _Task:
    def __init__(self, function: Any, ran: list[Any]) -> None:
        self._function, self._ran = function, ran

    def remote(self, job: Any) -> Any:
        self._ran.append(job)
        try:
            return self._function(job)
        except Exception as error:
            failed = RayError(f"task failed: {error}")
            failed.cause = error  # type: ignore[attr-defined]
            return failed


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A stand-in for Ray, which runs each task at once; the tasks that it ran."""
    ran: list[Any] = []

    def get(ready: list[Any]) -> list[Any]:
        for one in ready:
            if isinstance(one, RayError):
                raise one
        return ready

    module = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **_: None,
        remote=lambda **_: lambda function: _Task(function, ran),
        cluster_resources=lambda: {"CPU": 3.0},
        wait=lambda running, num_returns=1: (running[:num_returns], running[num_returns:]),
        get=get,
        exceptions=SimpleNamespace(RayError=RayError),
    )
    monkeypatch.setitem(sys.modules, "ray", module)
    return ran


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> Collection:
    """The rows behind the alias ``photos`` of a server, in stretches of ten."""
    module = pytest.importorskip("qdrant_client")
    client = module.QdrantClient(":memory:")
    monkeypatch.setattr(stretches, "_connected", lambda address: Collection(client, address))
    monkeypatch.setattr(stretches, "_POINTS", 10)
    monkeypatch.setattr("compat_sdk.stores.qdrant._ROWS_PER_CALL", 4)
    alias = Collection(client, QdrantAddress("photos", host="stand-in"))
    old = alias.named(collection_for("photos", OLD))
    old.create(16, "cosine")
    old.finish(OLD)
    old.lead("photos")
    old.upsert(Rows.of(IDS, vectors(COUNT, 16, 0), ["a"] * COUNT, [{"price": row} for row in range(COUNT)]))
    return alias


def new_of(photos: Collection) -> Collection:
    return photos.named(collection_for("photos", TOY().spaces.space))


def test_stretches_hold_every_point_once_in_the_stores_order(photos: Collection) -> None:
    old = photos.named(photos.real_name())
    bounds = list(stretches._bounds(old))
    assert len(bounds) == 5 and bounds[0][0] is None and bounds[-1][1] is None
    found = [[id for rows in old.scroll(first=first, end=end) for id in rows.ids] for first, end in bounds]
    assert [len(ids) for ids in found] == [10, 10, 10, 10, 5]
    assert [id for ids in found for id in ids] == [id for rows in old.scroll() for id in rows.ids]
    assert sorted(id for ids in found for id in ids) == sorted(IDS)


def test_a_bound_that_was_deleted_still_parts_two_stretches(photos: Collection) -> None:
    old = photos.named(photos.real_name())
    bounds = list(stretches._bounds(old))
    gone = [next(iter(old.scroll(first=first))).ids[0] for first, _ in bounds[1:]]
    old.delete(gone)
    found = [id for first, end in bounds for rows in old.scroll(first=first, end=end) for id in rows.ids]
    assert sorted(found) == sorted(set(IDS) - set(gone))


@pytest.mark.parametrize("options", [{"ray": True}, {"ray": True, "workers": 2}, {"workers": 1}], ids=str)
def test_many_workers_make_what_one_makes(photos: Collection, ray: list[Any], options: dict[str, Any]) -> None:
    seen: list[tuple[int, int]] = []
    done = run_collection(photos, TOY, progress=lambda _, at, of, __: seen.append((at, of)), **options)
    assert (done.rows, done.changed, done.removed) == (COUNT, COUNT, 0)
    assert len(ray) == (5 if "ray" in options else 0)
    assert [at for at, _ in seen] == [10, 20, 30, 40, 45] and {of for _, of in seen} == {COUNT}
    found = new_of(photos).retrieve(IDS)
    rows = [IDS.index(id) for id in found.ids]
    np.testing.assert_allclose(found.vectors, TOY().apply(vectors(COUNT, 16, 0)[rows]), atol=1e-6)
    assert found.payload == [{"price": row} for row in rows]


def test_a_second_run_takes_along_what_changed_and_a_cutover_follows(photos: Collection, ray: list[Any]) -> None:
    run_collection(photos, TOY, ray=True)
    old = photos.named(photos.real_name())
    old.delete(IDS[:3])
    old.upsert(Rows.of(["later", IDS[5]], vectors(2, 16, 4)))
    done = run_collection(photos, TOY, ray=True)
    assert (done.changed, done.removed, done.rows) == (2, 3, COUNT - 2)
    assert cutover_collection(photos, TOY, unverified=True).changed == 0
    assert sorted(RemoteGallery(photos).ids) == sorted({*IDS[3:], "later"})


def test_side_information_is_opened_by_each_worker(photos: Collection, ray: list[Any], tmp_path: Path) -> None:
    side = Gallery.create(tmp_path / "side", space=SIDE, dim=8)
    side.add(Embeddings(vectors(COUNT - 1, 8, 6), SIDE), IDS[1:])
    with pytest.raises(DataError, match="holds the side-information") as told:  # of the task, in its own words
        run_collection(photos, Toy(), side=side, ray=True)
    assert "task failed" not in str(told.value)
    side.add(Embeddings(vectors(1, 8, 7), SIDE), IDS[:1])  # which a worker that opened it before sees too
    assert run_collection(photos, Toy(), side=side, ray=True).rows == COUNT
    found = new_of(photos).retrieve(IDS)
    wanted = Toy()().apply(vectors(COUNT, 16, 0), side.get(IDS).vectors)
    np.testing.assert_allclose(found.vectors, wanted[[IDS.index(id) for id in found.ids]], atol=1e-6)


def test_side_information_on_a_server_reaches_the_workers_by_its_address(
    photos: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[stretches.Stretch] = []

    def mapped(_: object, jobs: list[stretches.Stretch], __: object) -> list[stretches.Moved]:
        told.extend(jobs)
        return []

    monkeypatch.setattr(stretches, "map_ray", mapped)
    side: Any = SimpleNamespace(path=Path("qdrant://stand-in:6333/side"))
    stretches.transform_stretches(photos, new_of(photos), TOY, side, ray=True)
    assert told and {str(parse_address(str(job.side))) for job in told} == {"qdrant://stand-in:6333/side"}


def test_a_worker_that_dies_on_ray_is_told_and_the_run_goes_on(
    photos: Collection, ray: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, fails = stretches.transform_stretch, [True]

    def dying(stretch: stretches.Stretch) -> stretches.Moved:
        if stretch.first is not None and fails:
            raise RuntimeError("node lost")
        return whole(stretch)

    monkeypatch.setattr(stretches, "transform_stretch", dying)
    with pytest.raises(CompatError, match="a task on Ray died"):
        run_collection(photos, TOY, ray=True, workers=1)
    fails.clear()
    done = run_collection(photos, TOY, ray=True, workers=1)
    assert (done.rows, done.changed) == (COUNT, COUNT - 10)


def test_a_collection_that_other_processes_cannot_reach_is_refused_before_anything_is_made(
    photos: Collection, tmp_path: Path
) -> None:
    for address in (QdrantAddress("photos"), parse_address(f"qdrant+path:{tmp_path}#photos")):
        local = Collection(photos.client, address)
        for options in ({"workers": 2}, {"ray": True}):
            with pytest.raises(ConfigError, match="expected a collection on a server"):
                run_collection(local, TOY, **options)  # type: ignore[arg-type]
    assert not new_of(photos).exists()


def test_ray_that_is_not_installed_is_an_error_that_names_the_extra(
    photos: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"\[ray\]"):
        run_collection(photos, TOY, ray=True)


def test_processes_of_this_machine_are_given_what_travels(photos: Collection) -> None:
    import pickle

    one = stretches.Stretch(photos.address, photos.address, None, "a", TOY, None)
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(ConfigError, match="workers is 0"):
        run_collection(photos, TOY, workers=0)
