"""Dividing pictures into splits: what no picture may do, what is refused, and what opens afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.datasets import Shares, check_dataset, divide, lock_dataset, open_dataset
from compat_sdk.datasets.lock import LOCK
from compat_sdk.errors import ConfigError, DataError


def put(root: Path, identities: int = 8, pictures: int = 6) -> Path:
    for identity in range(identities):
        for number in range(pictures):
            path = root / f"toy {identity}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{identity} {number}".encode())  # a division decodes nothing
    return root


def test_no_identity_is_in_two_parts_but_for_query_and_gallery_and_nothing_is_copied(tmp_path: Path) -> None:
    photos = put(tmp_path / "photos")
    done = divide(photos, Shares())
    classes = {name: set(split.classes) for name, split in done.splits.items()}
    assert classes["query"] == classes["gallery"]
    assert not (classes["train"] | classes["val"]) & classes["query"] and not classes["train"] & classes["val"]
    assert sum(map(len, done.splits.values())) == 48 and not done.left_out
    done.write(tmp_path / "split")
    assert [path.name for path in (tmp_path / "split").iterdir()] == ["compat-data.csv"]
    opened = open_dataset(tmp_path / "split")
    assert {name: split.labels for name, split in opened.splits.items()} == {
        name: split.labels for name, split in done.splits.items()
    }
    assert all(path.is_absolute() and path.is_file() for split in opened.splits.values() for path in split.images)  # type: ignore[union-attr]


def test_by_picture_every_identity_is_in_every_part(tmp_path: Path) -> None:
    done = divide(put(tmp_path / "photos", 3, 10), Shares(by="picture"))
    assert {name: len(split.classes) for name, split in done.splits.items()} == dict.fromkeys(
        ("train", "val", "query", "gallery"), 3
    )
    ids = [name for split in done.splits.values() for name in split.ids]
    assert len(ids) == len(set(ids)) == 30


def test_equal_pictures_are_in_one_part_and_in_none_where_two_identities_claim_them(tmp_path: Path) -> None:
    photos = put(tmp_path / "photos")
    for number in range(6):
        shutil.copy(photos / "toy 0" / f"{number}.jpg", photos / "toy 0" / f"copy {number}.jpg")
    shutil.copy(photos / "toy 1" / "0.jpg", photos / "toy 2" / "stolen.jpg")
    (photos / "toy 3" / "link.jpg").symlink_to(photos / "toy 3" / "1.jpg")
    for by in ("identity", "picture"):
        done = divide(photos, Shares(by=by))  # type: ignore[arg-type]
        assert done.left_out == {"copy of another picture": 7, "picture that stands under two identities": 2}
        read = [path.read_bytes() for split in done.splits.values() for path in split.images]  # type: ignore[union-attr]
        assert len(read) == len(set(read)) == 47


def test_the_same_pictures_and_seed_give_the_same_division_wherever_they_lie(tmp_path: Path) -> None:
    first, second = put(tmp_path / "a"), put(tmp_path / "elsewhere" / "b")
    (second / "notes.txt").write_text("more beside them")
    ids = [
        {name: split.ids for name, split in divide(photos, Shares(seed=seed)).splits.items()}
        for photos, seed in ((first, 0), (second, 0), (first, 1))
    ]
    assert ids[0] == ids[1] and ids[0] != ids[2]


def test_what_stands_in_no_split_is_counted(tmp_path: Path) -> None:
    photos = put(tmp_path / "photos")
    (photos / "empty").mkdir()
    (photos / "loose.jpg").write_bytes(b"loose")
    (photos / "list.csv").write_text("path")
    (photos / "@eaDir").mkdir()
    (photos / "toy 0" / "clip.mp4").write_bytes(b"film")
    assert divide(photos, Shares()).left_out == {
        "identity without a picture": 1,
        "picture in no identity's folder": 1,
        ".csv": 1,
        "hidden": 1,
        ".mp4": 1,
    }


@pytest.mark.parametrize(
    ("identities", "pictures", "shares", "said"),
    [
        (1, 9, Shares(), "pictures of 1 identities; expected 2 or more"),
        (5, 9, Shares(), "needs 6, .*--val 0, or divide with --by picture"),
        (3, 9, Shares(val=0), "needs 4, .*divide with --by picture"),
        (9, 1, Shares(), "0 of them with 2 pictures or more"),
        (9, 3, Shares(by="picture"), "needs 2 of them: add pictures, or leave val out with --val 0"),
        (9, 2, Shares(by="picture", val=0), "with 3 different pictures or more.*add pictures$"),
    ],
)
def test_too_few_identities_or_pictures_are_refused_with_what_to_do(
    tmp_path: Path, identities: int, pictures: int, shares: Shares, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        divide(put(tmp_path / "photos", identities, pictures), shares)


@pytest.mark.parametrize("identities", range(4, 30))
def test_every_part_has_two_identities_however_few_there_are(tmp_path: Path, identities: int) -> None:
    shares = [Shares(test=test, val=val) for test in (0.01, 0.8) for val in (0.0, 0.1) if val == 0 or identities > 5]
    photos = put(tmp_path / "photos", identities, 2)
    for each in shares:
        parts = divide(photos, each).splits
        assert all(len(split.classes) >= 2 for split in parts.values())
        assert ("val" in parts) == (each.val > 0)


@pytest.mark.parametrize(
    "wrong", [{"val": -0.1}, {"val": 0.6}, {"test": 0.0}, {"queries": 1.0}, {"val": 0.5, "test": 0.8}, {"by": "name"}]
)
def test_a_share_out_of_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Shares(**wrong)  # type: ignore[arg-type]


def test_a_dataset_with_splits_is_not_divided_again(tmp_path: Path) -> None:
    put(tmp_path / "photos" / "train")
    with pytest.raises(DataError, match="has the splits train already"):
        divide(tmp_path / "photos", Shares())
    assert divide(tmp_path / "photos" / "train", Shares()).splits


def test_a_csv_file_of_paths_and_labels_is_divided_and_opens_with_its_root(tmp_path: Path) -> None:
    photos = put(tmp_path / "photos")
    lines = [f"toy {i}/{n}.jpg,name {i}" for i in range(8) for n in range(6)]
    listing = tmp_path / "list.csv"
    listing.write_text("path,label\n" + "\n".join(lines))
    divide(listing, Shares(), root=photos).write(tmp_path / "split", relative=True)
    opened = open_dataset(tmp_path / "split", photos)
    assert set(opened.split("train").labels) <= {f"name {i}" for i in range(8)}
    assert not [each for each in check_dataset(opened, decode=False) if each.severity == "error"]
    assert (photos / opened.split("query").ids[0]).is_file()
    with pytest.raises(DataError, match="data split` divides path,label"):
        open_dataset(listing)


def test_a_manifest_takes_absolute_paths_and_a_root_and_a_lock_holds_both(tmp_path: Path) -> None:
    photos = put(tmp_path / "photos")
    divide(photos, Shares()).write(tmp_path / "split")
    assert lock_dataset(tmp_path / "split").name == f"compat-data.csv.{LOCK}"
    open_dataset(tmp_path / "split")
    divide(photos, Shares()).write(tmp_path / "split")  # the same again, and its lock stays
    (photos / "toy 0" / "0.jpg").write_bytes(b"other")
    with pytest.raises(DataError, match="is not what"):
        open_dataset(tmp_path / "split")


def test_a_root_that_is_no_folder_or_that_nothing_needs_is_refused(tmp_path: Path) -> None:
    photos = put(tmp_path / "photos")
    divide(photos, Shares()).write(tmp_path / "split")
    with pytest.raises(DataError, match="is no folder"):
        open_dataset(tmp_path / "split" / "compat-data.csv", tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a folder; leave it out"):
        divide(photos, Shares(), root=photos)


def test_another_division_does_not_take_the_place_of_one(tmp_path: Path) -> None:
    photos = put(tmp_path / "photos")
    divide(photos, Shares()).write(tmp_path / "split")
    with pytest.raises(ConfigError, match="another division"):
        divide(photos, Shares(seed=1)).write(tmp_path / "split")


def test_a_name_that_no_manifest_can_hold_is_refused(tmp_path: Path) -> None:
    photos = put(tmp_path / "photos")
    (photos / "toy 0" / "a\\b.jpg").write_bytes(b"backslash")
    with pytest.raises(DataError, match="rename it"):
        divide(photos, Shares()).write(tmp_path / "split")


def test_files_beside_the_splits_are_told_of(tmp_path: Path) -> None:
    for split in ("train", "query", "gallery"):
        put(tmp_path / "data" / split, 2, 2)
    (tmp_path / "data" / "list.csv").write_text("path")
    (tmp_path / "data" / "test" / "cat").mkdir(parents=True)
    told = [each for each in check_dataset(open_dataset(tmp_path / "data"), decode=False) if each.kind == "left-out"]
    assert [each.message for each in told] == ["beside the splits, left out: 1 .csv, 1 folder beside the splits"]


def test_near_copies_are_left_out_on_request_whatever_their_bytes_and_nothing_else_is(tmp_path: Path) -> None:
    photos = scenes(tmp_path / "photos")
    first = Image.open(photos / "toy 0" / "0.png")
    first.resize((40, 40)).save(photos / "toy 0" / "shrunk.jpg", quality=95, subsampling=0)
    first.convert("L").point(lambda value: 255 - value).save(photos / "toy 0" / "other.png")
    first.crop((1, 1, 79, 79)).save(photos / "toy 1" / "stolen.png")
    (photos / "toy 2" / "torn.png").write_bytes(b"no picture")
    assert not divide(photos).left_out
    done = divide(photos, leave_near_copies_out=True)
    assert done.left_out == {"near copy of another picture": 1, "near copy of a picture of another identity": 1}
    ids = {name for split in done.splits.values() for name in split.ids}
    assert {"toy 0/0.png", "toy 0/other.png", "toy 2/torn.png"} <= ids and len(ids) == 8 * 4 + 2


def test_near_copies_in_two_splits_are_found_on_request_also_behind_one_of_their_own_split(tmp_path: Path) -> None:
    photos = scenes(tmp_path / "photos", 3)
    for number, name in enumerate(("train", "query", "gallery")):
        (photos / f"toy {number}").rename(photos / "moved")
        (photos / name).mkdir()
        (photos / "moved").rename(photos / name / f"toy {number}")
    of_train = Image.open(photos / "train" / "toy 0" / "0.png")
    for number in range(2):  # two alike in one split are its own affair
        of_train.resize((40 + number, 40)).save(photos / "query" / "toy 1" / f"near {number}.png")
    own = Image.open(photos / "gallery" / "toy 2" / "0.png")
    own.resize((40, 40)).save(photos / "gallery" / "toy 2" / "near.png")
    dataset = open_dataset(photos)
    assert not [problem for problem in check_dataset(dataset) if problem.kind == "near-copy"]
    (problem,) = [problem for problem in check_dataset(dataset, near_copies=True) if problem.kind == "near-copy"]
    assert (problem.split, problem.severity, problem.count) == ("query", "warning", 2)
    assert set(problem.examples) == {"query/toy 1/near 0.png", "query/toy 1/near 1.png"}
    assert "look like images of train" in problem.message


def scenes(root: Path, identities: int = 8) -> Path:
    """Four pictures of coarse noise of each identity, no two alike."""
    draws = np.random.default_rng(0)
    for identity in range(identities):
        for number in range(4):
            path = root / f"toy {identity}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(draws.integers(0, 256, (6, 6, 3), np.uint8))
            coarse.resize((80, 80), Image.Resampling.BICUBIC).save(path)
    return root
