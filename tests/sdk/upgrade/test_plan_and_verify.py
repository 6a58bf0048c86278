"""`upgrade plan` before, and `upgrade verify` after."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk import upgrade
from compat_sdk.bundle.graph import Graph
from compat_sdk.errors import ConfigError, DataError, IncompatibleSpaceError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from compat_sdk.spread import spread
from compat_sdk.upgrade import measured
from compat_sdk.upgrade.accuracy import compare
from compat_sdk.upgrade.sharding import Shards
from tests.sdk import transforms
from tests.sdk.upgrade.toy import NEW, OLD, Toy, ToyTransform, add, expected, make, unit, vectors

VERIFY = sys.modules["compat_sdk.upgrade.verify"]  # the package has the function under this name


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return make(tmp_path)


def held_out(folder: Path, gallery: Path, side: Path, noise: float) -> Path:
    """What a new model would give for some of the images, near to what the transform gives."""
    wanted = expected(gallery, side)
    ids = list(wanted)[5:45]
    rows = np.stack([wanted[id] for id in ids])
    rows = unit(rows + noise * vectors(len(ids), 24, 3))
    found = Gallery.create(folder / "held-out", space=NEW, dim=24)
    found.add(Embeddings(rows, NEW), ["not-in-the-gallery", *ids[1:]])
    return found.path


def test_a_plan_says_rows_bytes_and_time_and_writes_nothing(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    before = sorted(gallery.rglob("*"))
    found = upgrade.plan(gallery, Toy(), side=side, shard_rows=10, workers=3)
    assert (found.rows, found.remaining, found.shards, found.workers) == (65, 65, 7, 3)
    assert found.bytes_needed == 65 * (24 * 4 + 8) and found.bytes_to_copy == 0
    assert found.rows_per_second > 0 and found.bytes_free > 0
    assert found.seconds == pytest.approx(65 / found.rows_per_second / 3)
    assert found.accuracy is None and sorted(gallery.rglob("*")) == before
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    add(gallery, side, ["late-0", "late-1"])
    after = upgrade.plan(gallery, Toy(), side=side)
    assert (after.rows, after.remaining, after.shards) == (67, 2, 8)
    assert upgrade.run(gallery, Toy(), side=side, workers=1).shards == 8


def test_a_plan_tells_the_expected_accuracy_from_held_out_vectors(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gallery, side = pair
    wanted = expected(gallery, side)
    path = held_out(tmp_path, gallery, side, noise=0.3)
    found = upgrade.plan(gallery, Toy(), side=side, held_out=path).accuracy
    assert found is not None and found.rows == 39 and found.neighbours == 10
    embedded = Gallery.open(path)
    ids = [id for id in embedded.ids if id in wanted]
    ours = np.stack([wanted[id] for id in ids])
    theirs = embedded.vectors[[embedded.ids.index(id) for id in ids]]
    assert found.mean_cosine == pytest.approx(float((ours * theirs).sum(axis=1).mean()), abs=1e-6)
    overlaps = []
    for row in range(39):  # the naive way
        near = []
        for rows in (theirs, ours):
            scores = rows @ theirs[row]
            scores[row] = -9
            near.append(set(np.argsort(-scores)[:10].tolist()))
        overlaps.append(len(near[0] & near[1]) / 10)
    assert found.overlap == pytest.approx(np.mean(overlaps))
    assert 0.2 < found.overlap < 1 and found.lowest_cosine < found.mean_cosine < 1


def test_held_out_vectors_of_another_space_or_without_shared_ids_are_refused(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    gallery, side = pair
    with pytest.raises(IncompatibleSpaceError, match=r"held-out gallery .*build it with the new model"):
        upgrade.plan(gallery, Toy(), side=side, held_out=side)
    other = Gallery.create(tmp_path / "other", space=NEW, dim=24)
    other.add(Embeddings(vectors(2, 24, 0), NEW), ["x", "image-0"])
    with pytest.raises(ConfigError, match="found 1 images with vectors of both kinds"):
        upgrade.plan(gallery, Toy(), side=side, held_out=other.path)


def test_equal_vectors_agree_in_everything_and_opposite_ones_in_nothing() -> None:
    rows = vectors(30, 8, 0)
    same = compare(rows, rows, rows)
    assert (same.mean_cosine, same.overlap, same.neighbours) == (pytest.approx(1, abs=1e-6), 1.0, 10)
    assert compare(-rows[:5], rows[:5], rows[:5]).mean_cosine == pytest.approx(-1, abs=1e-6)
    assert compare(rows[:3], rows[:3], rows[:3]).neighbours == 2
    assert spread(0, 5).tolist() == [] and spread(3, 5).tolist() == [0, 1, 2] and len(spread(100, 7)) == 7


def test_an_upgrade_that_is_well_has_no_problems_before_and_after_the_cutover(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    gallery, side = pair
    with pytest.raises(ConfigError, match="holds no upgrade"):
        upgrade.verify(gallery, Toy())
    path = held_out(tmp_path, gallery, side, noise=0.3)
    planned = upgrade.plan(gallery, Toy(), side=side, held_out=path).accuracy
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    found = upgrade.verify(gallery, Toy(), held_out=path, at_least="worse")
    assert found.problems == () and (found.shards, found.unfinished, found.cut_over, found.sampled) == (7, 0, False, 65)
    assert found.lowest_cosine == pytest.approx(1, abs=1e-6)
    assert found.accuracy is not None and planned is not None
    assert found.accuracy.mean_cosine == pytest.approx(planned.mean_cosine, abs=1e-6)
    upgrade.cutover(gallery, unverified=True)
    found = upgrade.verify(gallery, Toy(), sample=9)
    assert found.problems == () and found.cut_over and found.sampled == 9
    embedded = Gallery.open(path)
    again = upgrade.verify(gallery, Toy(), embedded=(embedded.ids, Embeddings(embedded.vectors, NEW)))
    assert again.accuracy is not None and again.accuracy.rows == 39
    with pytest.raises(IncompatibleSpaceError, match="pass the new model"):
        upgrade.verify(gallery, Toy(), embedded=(["a"], Embeddings(vectors(1, 24, 0), "other-space")))


@pytest.mark.parametrize("where", ["sources", "side", "shards", "pairs", "before", "after", "gallery"])
def test_a_flipped_bit_anywhere_is_found(pair: tuple[Path, Path], where: str) -> None:
    gallery, side = pair
    upgrade.run(gallery, Toy(), side=side, shard_rows=30, workers=1)
    upgrade.cutover(gallery, unverified=True)
    folder = gallery / "upgrade"
    victim = {
        "sources": max((folder / "sources").glob("vectors-*")),
        "pairs": max((folder / "sources").glob("pairs-*")),
        "side": max((folder / "side").glob("vectors-*")),
        "shards": max((folder / "shards").glob("vectors-*")),
        "before": max((folder / "before").glob("rows-*")),
        "after": max((folder / "after").glob("rows-*")),
        "gallery": max(gallery.glob("vectors-*")),
    }[where]
    data = bytearray(victim.read_bytes())
    data[-5] ^= 1
    victim.unlink()
    victim.write_bytes(data)
    problems = upgrade.verify(gallery, Toy()).problems
    assert problems and victim.name in " ".join(problems)


def test_a_record_of_other_inputs_and_another_transform_are_found(pair: tuple[Path, Path]) -> None:
    from compat_sdk.files.seal import parse_sealed, sealed_json

    gallery, side = pair
    upgrade.run(gallery, Toy(), side=side, shard_rows=30, workers=1)
    assert "transform is not the one" in upgrade.verify(gallery, Toy(version="2")).problems[0]
    (gallery / "upgrade" / "shards" / "shard-00000002.json").unlink()
    assert upgrade.verify(gallery, Toy()).unfinished == 1
    path = gallery / "upgrade" / "shards" / "shard-00000001.json"
    record = parse_sealed(path.read_bytes(), "record")
    path.write_bytes(sealed_json({**record, "inputs": "0" * 64}))
    assert json.loads(path.read_text())["inputs"] == "0" * 64
    assert "made of other rows" in upgrade.verify(gallery, Toy()).problems[0]


def test_a_transform_that_now_gives_something_else_is_found(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    upgrade.run(gallery, Toy(), side=side, workers=1)
    first = float(Gallery.open(gallery).vectors[23, 0])
    problems = upgrade.verify(gallery, Toy(spoilt=first)).problems
    assert len(problems) == 1 and "cannot be now" in problems[0]


def test_rows_without_side_information_cannot_be_planned(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    Gallery.open(side).remove(["image-9"])
    with pytest.raises(DataError, match="image-9"):
        upgrade.plan(gallery, Toy(), side=side)


def test_rows_stored_as_int8_are_compared_with_what_is_stored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create(tmp_path / "gallery", space=OLD, dim=16, dtype="int8")
    gallery.add(Embeddings(vectors(300, 16, 0), OLD), [str(row) for row in range(300)])
    upgrade.run(gallery.path, Toy(None), workers=1)
    monkeypatch.setattr(VERIFY, "SAMPLE_COSINE", 0.999995)  # a rounded row is further off than that
    assert upgrade.verify(gallery.path, Toy(None)).problems == ()


def test_vectors_of_many_other_images_do_not_hide_the_shared_ones(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, side = pair
    upgrade.run(gallery, Toy(), side=side, workers=1)
    other = Gallery.create(tmp_path / "other", space=NEW, dim=24)
    ids = [f"image-{row}" if row in (31, 32, 33, 34) else f"other-{row}" for row in range(100)]
    other.add(Embeddings(vectors(100, 24, 0), NEW), ids)
    monkeypatch.setattr(measured, "MOST_ROWS", 3)
    found = upgrade.verify(gallery, Toy(), held_out=other.path).accuracy
    assert found is not None and found.rows == 3


def test_core_ml_is_given_no_number_of_threads_unless_one_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int | None] = []
    transforms.make_transform(tmp_path / "h")
    monkeypatch.setattr("compat_sdk.engines.choose_graph", lambda *_: Graph("coreml", "fp32", "model.mlpackage"))
    monkeypatch.setattr("compat_sdk.transform.Transform.load", lambda *_, threads, **__: given.append(threads))
    for threads in (1, 2):
        upgrade.BundleTransform.at(tmp_path / "h", engine="coreml", threads=threads)()
    assert given == [None, 2]


@dataclass(frozen=True)
class _Turned(Toy):
    """Says that it is the same transform, and is another: a bundle whose engine computes something else since."""

    def __call__(self) -> ToyTransform:
        whole = super().__call__()

        class Other(ToyTransform):
            def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
                return np.ascontiguousarray(whole.apply(old, side)[:, ::-1])

        return Other(whole.side_space, whole.spoilt, whole.log, whole.scale)


def test_rows_that_come_out_otherwise_when_they_are_transformed_again_are_a_problem(pair: tuple[Path, Path]) -> None:
    gallery, side = pair
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    assert upgrade.verify(gallery, Toy()).problems == ()
    found = upgrade.verify(gallery, _Turned())
    assert found.lowest_cosine is not None and found.lowest_cosine < 0.9
    assert [problem.split(" of ")[0] for problem in found.problems] == ["a sample"]


def test_shards_cover_every_row_once_and_are_made_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards([5, 0, 4, 1], 2)
    assert [(one.number, one.source, one.start, one.stop, one.first) for one in shards] == [
        (0, 0, 0, 2, 0), (1, 0, 2, 4, 2), (2, 0, 4, 5, 4), (3, 2, 0, 2, 5), (4, 2, 2, 4, 7), (5, 3, 0, 1, 9),
    ]  # fmt: skip
    assert shards[-1] == shards[5] and shards[4:] == [shards[4], shards[5]] and len(shards) == 6
    with pytest.raises(IndexError):
        shards[6]
    made: list[tuple[int, ...]] = []
    monkeypatch.setattr("compat_sdk.upgrade.sharding.Shard", lambda *told: made.append(told))
    many = Shards([1 << 60], 1 << 40)
    assert len(many) == 1 << 20 and many[:3] and len(made) == 3
