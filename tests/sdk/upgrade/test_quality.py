"""The quality gate: a ruined upgrade passes no verification, and no cutover goes without one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk import upgrade
from compat_sdk.errors import ConfigError, GalleryError, StateError
from compat_sdk.files.seal import parse_sealed, sealed_json
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from compat_sdk.upgrade.manifest import require_manifest
from compat_sdk.upgrade.quality import judge_by_labels, judge_by_neighbours
from tests.sdk.upgrade.toy import NEW, OLD, SIDE, Toy, ToyTransform, add, expected, names, unit, vectors

CLASSES, EACH = 15, 6
ROWS = CLASSES * EACH


def clustered(dim: int, noise: float, seed: int) -> NDArray[np.float32]:
    """Vectors of `CLASSES` classes, row after row of another class; the more noise the less they are told apart."""
    centres = vectors(CLASSES, dim, seed)
    return unit(np.tile(centres, (EACH, 1)) + noise * vectors(ROWS, dim, seed + 1)).astype(np.float32)


@pytest.fixture
def classes(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A gallery whose old vectors tell little, side-information that tells all, and the new model's own vectors."""
    labels = [f"class-{row % CLASSES}" for row in range(ROWS)]
    gallery = Gallery.create(tmp_path / "gallery", space=OLD, dim=16)
    gallery.add(Embeddings(clustered(16, 2.5, 0), OLD), names(ROWS), labels)
    side = Gallery.create(tmp_path / "side", space=SIDE, dim=8)
    side.add(Embeddings(clustered(8, 0.2, 5), SIDE), names(ROWS))
    rows = np.stack(list(expected(gallery.path, side.path).values()))
    new = Gallery.create(tmp_path / "new", space=NEW, dim=24)
    new.add(Embeddings(unit(rows + 0.1 * vectors(ROWS, 24, 9)).astype(np.float32), NEW), names(ROWS))
    return gallery.path, side.path, new.path


@dataclass(frozen=True)
class Untrained(Toy):
    """Keeps neighbours and leads elsewhere: what it gives has nothing to do with the new model."""

    def __call__(self) -> ToyTransform:
        whole = super().__call__()

        class Turned(ToyTransform):
            def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
                return np.ascontiguousarray(whole.apply(old, side)[:, ::-1])

        return Turned(whole.side_space, whole.spoilt, whole.log, whole.scale)


def moved(side: Path, order: NDArray[np.int64]) -> Path:
    """The same side-information under the ids of other rows."""
    opened = Gallery.open(side)
    other = Gallery.create(side.with_name("moved"), space=SIDE, dim=8)
    other.add(Embeddings(np.ascontiguousarray(opened.vectors[order]), SIDE), opened.ids)
    return other.path


def test_an_upgrade_that_finds_more_is_better_recorded_and_cut_over(classes: tuple[Path, Path, Path]) -> None:
    gallery, side, new = classes
    with pytest.raises(StateError, match="holds no upgrade"):
        upgrade.cutover(gallery)
    upgrade.run(gallery, Toy(), side=side, shard_rows=20, workers=1)
    with pytest.raises(StateError, match=r"was not verified.*--held-out NEW.*--unverified"):
        upgrade.cutover(gallery)
    found = upgrade.verify(gallery, Toy(), held_out=new)
    assert found.problems == () and found.recorded and found.quality is not None and found.accuracy is not None
    quality = found.quality
    assert (quality.judged_by, quality.queried_by, quality.queries, quality.rows) == ("labels", "new model", 90, 90)
    assert quality.verdict == "better" and quality.new_h.mean > quality.old_old.mean
    assert quality.difference.low > 0 and quality.difference.mean <= quality.difference.high
    assert found.accuracy.mean_cosine > found.accuracy.other_cosine
    assert found.accuracy.overlap > found.accuracy.old_overlap > 0
    assert upgrade.cutover(gallery).space == NEW
    assert upgrade.verify(gallery, Toy(), held_out=new).recorded is False  # it is cut over
    upgrade.rollback(gallery)
    assert upgrade.cutover(gallery).space == NEW  # the very bytes that were verified


@pytest.mark.parametrize("fault", ["shuffled", "shifted", "untrained", "unlabelled"])
def test_a_ruined_upgrade_is_a_problem_and_is_not_cut_over(classes: tuple[Path, Path, Path], fault: str) -> None:
    gallery, side, new = classes
    opener: Toy = Untrained() if fault == "untrained" else Toy()
    order = np.random.default_rng(0).permutation(ROWS)
    if fault in ("shuffled", "unlabelled"):
        side = moved(side, order)
    elif fault == "shifted":
        side = moved(side, np.roll(np.arange(ROWS), 1))
    if fault == "unlabelled":
        opened = Gallery.open(gallery)
        rows, ids = Embeddings(np.array(opened.vectors), OLD), opened.ids
        opened.remove(ids)
        opened.add(rows, ids)
    upgrade.run(gallery, opener, side=side, workers=1)
    found = upgrade.verify(gallery, opener, held_out=new)
    assert found.quality is not None and found.quality.verdict != "better" and not found.recorded
    assert [" what it replaces: M(new,h) " in problem for problem in found.problems] == [True]
    assert len(found.problems[0]) < 300
    with pytest.raises(StateError, match="was not verified"):
        upgrade.cutover(gallery)
    assert upgrade.verify(gallery, opener, held_out=new, at_least="worse").recorded
    assert upgrade.cutover(gallery).rows == ROWS


def test_without_new_vectors_harm_alone_is_shown_and_no_cutover_follows(classes: tuple[Path, Path, Path]) -> None:
    gallery, side, _ = classes
    upgrade.run(gallery, Toy(), side=side, workers=1)
    found = upgrade.verify(gallery, Toy())
    assert found.quality is not None and found.quality.queried_by == "transformed rows" and found.problems == ()
    with pytest.raises(StateError, match="was verified without vectors of the new model"):
        upgrade.cutover(gallery)
    assert upgrade.cutover(gallery, unverified=True).rows == ROWS


def test_side_information_that_makes_it_worse_shows_without_new_vectors(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "gallery", space=OLD, dim=16)
    gallery.add(Embeddings(clustered(16, 0.5, 0), OLD), names(ROWS), [f"class-{row % CLASSES}" for row in range(ROWS)])
    side = Gallery.create(tmp_path / "side", space=SIDE, dim=8)
    side.add(Embeddings(np.repeat(clustered(8, 0.0, 5)[:CLASSES], EACH, axis=0), SIDE), names(ROWS))
    upgrade.run(gallery.path, Toy(), side=side.path, workers=1)
    found = upgrade.verify(gallery.path, Toy())
    assert found.quality is not None and found.quality.verdict == "worse"
    assert [problem.partition(" what it replaces: M(h,h)")[1] != "" for problem in found.problems] == [True]


def test_an_upgrade_that_finds_as_much_passes_when_equal_is_enough(classes: tuple[Path, Path, Path]) -> None:
    gallery, side, new = classes
    same = Embeddings(clustered(16, 0.0, 0), OLD)
    opened = Gallery.open(gallery)
    labels = opened.labels
    opened.remove(names(ROWS))
    opened.add(same, names(ROWS), labels)
    rows = np.stack(list(expected(gallery, side).values()))
    other = Gallery.create(new.with_name("other"), space=NEW, dim=24)
    other.add(Embeddings(rows, NEW), names(ROWS))
    upgrade.run(gallery, Toy(), side=side, workers=1)
    found = upgrade.verify(gallery, Toy(), held_out=other.path)
    assert found.quality is not None and found.quality.verdict == "equal"
    assert (
        "is not shown to be better than what it replaces" in found.problems[0]
        and "--at-least equal" in found.problems[0]
    )
    assert upgrade.verify(gallery, Toy(), held_out=other.path, at_least="equal").problems == ()
    with pytest.raises(ConfigError, match="at_least is 'good', expected one of worse, equal, better"):
        upgrade.verify(gallery, Toy(), at_least="good")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="min_cosine needs something to compare with"):
        upgrade.verify(gallery, Toy(), min_cosine=0.5)


def test_other_bytes_than_were_verified_are_not_cut_over(classes: tuple[Path, Path, Path]) -> None:
    gallery, side, new = classes
    upgrade.run(gallery, Toy(), side=side, shard_rows=30, workers=1)
    assert upgrade.verify(gallery, Toy(), held_out=new).recorded
    shards = gallery / "upgrade" / "shards"
    path = shards / "shard-00000001.json"
    record = parse_sealed(path.read_bytes(), "record")
    victim = shards / json.loads(path.read_text())["output"]["name"]
    before = victim.read_bytes(), path.read_bytes()
    rows = np.load(victim)
    np.save(victim, np.ascontiguousarray(rows[::-1]))
    data = victim.read_bytes()
    output = {**record["output"], "sha256": hashlib.sha256(data).hexdigest()}  # type: ignore[dict-item]
    path.write_bytes(sealed_json({**record, "output": output}))
    with pytest.raises(StateError, match="are others than those that were verified"):
        upgrade.cutover(gallery)
    victim.write_bytes(before[0])
    path.write_bytes(before[1])
    upgrade.run(gallery, Toy(), side=side, workers=1)
    assert upgrade.cutover(gallery).rows == ROWS


def test_rows_that_were_transformed_since_are_verified_again_or_taken_along_by_the_cutover(
    classes: tuple[Path, Path, Path],
) -> None:
    gallery, side, new = classes
    upgrade.run(gallery, Toy(), side=side, workers=1)
    assert upgrade.verify(gallery, Toy(), held_out=new).recorded
    add(gallery, side, ["late-0", "late-1"])
    upgrade.run(gallery, Toy(), side=side, workers=1)
    with pytest.raises(StateError, match=r"2 rows of .* were transformed after the verification"):
        upgrade.cutover(gallery)
    assert upgrade.verify(gallery, Toy(), held_out=new).recorded
    add(gallery, side, ["later"], seed=3)
    assert upgrade.cutover(gallery, Toy(), side=side).rows == ROWS + 3  # by the transform that was verified
    verified = require_manifest(gallery).verified
    assert verified is not None and verified.shards == 3
    upgrade.rollback(gallery)
    assert upgrade.cutover(gallery).rows == ROWS + 3


def test_an_unverified_cutover_makes_nothing_verified(classes: tuple[Path, Path, Path]) -> None:
    gallery, side, _ = classes
    upgrade.run(gallery, Toy(), side=side, workers=1)
    add(gallery, side, ["late"])
    upgrade.cutover(gallery, Toy(), side=side, unverified=True)
    upgrade.rollback(gallery)
    with pytest.raises(StateError, match="was not verified"):
        upgrade.cutover(gallery, Toy(), side=side)


def test_a_verified_upgrade_is_told_in_a_manifest_that_is_checked(classes: tuple[Path, Path, Path]) -> None:
    gallery, side, new = classes
    upgrade.run(gallery, Toy(), side=side, workers=1)
    path = gallery / "upgrade" / "manifest.json"
    assert "verified" not in json.loads(path.read_text())  # as release 0.7 wrote it
    upgrade.verify(gallery, Toy(), held_out=new)
    told = parse_sealed(path.read_bytes(), "manifest")
    for wrong in ({"shards": -1}, {"digest": "x"}, {"measured": "yes"}):
        path.write_bytes(sealed_json({**told, "verified": {**told["verified"], **wrong}}))  # type: ignore[dict-item]
        with pytest.raises(GalleryError, match="malformed"):
            upgrade.cutover(gallery)


def test_labels_judge_only_what_has_another_row_of_its_label() -> None:
    rows = vectors(4, 8, 0)
    assert judge_by_labels(rows, rows, ["a", "b", "", ""], np.arange(4), None) is None
    found = judge_by_labels(rows, rows, ["a", "a", "", ""], np.arange(4), None)
    assert found is not None and found.queries == 2 and found.verdict == "equal"


def test_neighbours_judge_where_labels_tell_nothing() -> None:
    new = vectors(40, 8, 0)
    found = judge_by_neighbours(vectors(40, 8, 1), new, new)
    assert (found.judged_by, found.new_h.mean, found.verdict) == ("neighbours", 1.0, "better")
    assert judge_by_neighbours(new, vectors(40, 8, 1), new).verdict == "worse"
