"""A locked dataset opens as it was locked, or is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.datasets import lock_dataset, open_dataset
from compat_sdk.datasets.idx import write_idx
from compat_sdk.datasets.lock import LOCK, require_pictures_locked
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.images import find_pictures


def put_pictures(root: Path) -> Path:
    for split in ("train", "query", "gallery"):
        for label in ("a", "b"):
            (root / split / label).mkdir(parents=True)
            Image.new("RGB", (4, 4), (len(split), ord(label), 0)).save(root / split / label / "0.png")
    return root


def put_csv(root: Path) -> Path:
    put_pictures(root)
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name},train" for path in sorted(root.rglob("*.png"))]
    (root / "list.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    return root / "list.csv"


def put_idx(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    labels = np.repeat(np.arange(10, dtype=np.uint8), 201)
    for part in ("train", "t10k"):
        write_idx(root / f"{part}-images-idx3-ubyte.gz", np.zeros((len(labels), 2, 2), np.uint8))
        write_idx(root / f"{part}-labels-idx1-ubyte.gz", labels)
    return root


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_changed_byte_of_any_file_of_a_folder_is_refused(tmp_path: Path) -> None:
    root = put_pictures(tmp_path / "data")
    before = open_dataset(root)
    assert lock_dataset(root) == root / LOCK
    assert open_dataset(root) == before
    for path in sorted(root.rglob("*.png")):
        flip(path)
        with pytest.raises(DataError, match=r"1 of 6 files differ.*other bytes.*restore"):
            open_dataset(root)
        flip(path)
    open_dataset(root)


def test_a_picture_that_was_added_renamed_or_removed_is_refused_until_it_is_locked_again(tmp_path: Path) -> None:
    root = put_pictures(tmp_path / "data")
    lock_dataset(root)
    picture = root / "train" / "a" / "0.png"
    (picture.with_name("1.png")).write_bytes(picture.read_bytes())
    with pytest.raises(DataError, match=r"1 files were added and 0 are left out, such as train/a/1\.png"):
        open_dataset(root)
    picture.unlink()
    with pytest.raises(DataError, match=r"1 of 6 files differ, first train/a/0\.png"):
        open_dataset(root)
    lock_dataset(root)
    open_dataset(root)


def test_a_csv_manifest_and_its_pictures_are_locked_beside_it(tmp_path: Path) -> None:
    manifest = put_csv(tmp_path)
    place = lock_dataset(manifest)
    assert place == tmp_path / f"list.csv.{LOCK}"
    manifest.write_text(manifest.read_text().replace(",b,", ",a,", 1))
    with pytest.raises(DataError, match=r"list\.csv, which has other bytes"):
        open_dataset(manifest)


def test_the_four_idx_files_are_locked(tmp_path: Path) -> None:
    root = put_idx(tmp_path / "idx")
    lock_dataset("fashion-mnist", root)
    open_dataset("fashion-mnist", root)
    labels = np.repeat(np.arange(10, dtype=np.uint8)[::-1], 201)
    write_idx(root / "train-labels-idx1-ubyte.gz", labels)
    with pytest.raises(DataError, match=r"1 of 4 files differ, first train-labels-idx1-ubyte\.gz"):
        open_dataset("fashion-mnist", root)


@pytest.mark.parametrize("change", ["value", "seal", "format"])
def test_a_damaged_lock_is_no_lock_that_passes(change: str, tmp_path: Path) -> None:
    root = put_pictures(tmp_path / "data")
    place = lock_dataset(root)
    value = json.loads(place.read_text())
    if change == "value":
        value["files"].popitem()
    elif change == "seal":
        del value["digest"]
    else:
        value["format"] = "another"
    place.write_text(json.dumps(value))
    with pytest.raises(DataError, match="the lock of the data cannot be used"):
        open_dataset(root)


def test_the_bundled_sample_takes_no_lock_and_a_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="installed package"):
        lock_dataset("sample")
    root = put_pictures(tmp_path / "data")
    (root / LOCK).write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match="move it away"):
        lock_dataset(root)
    assert (root / LOCK).read_text() == '{"mine": 1}'


def test_an_idx_header_that_announces_more_than_the_file_can_hold_sets_no_memory_aside(
    tmp_path: Path,
) -> None:
    path = tmp_path / "huge.idx"
    path.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"rest")
    from compat_sdk.datasets.idx import read_idx

    with pytest.raises(DataError, match="4 bytes after its header"):
        read_idx(path, 3)


def look(folder: Path) -> None:
    require_pictures_locked(folder, find_pictures(folder).paths)


@pytest.mark.parametrize("inside", [".", "gallery", "gallery/a"])
def test_pictures_of_a_plain_folder_are_compared_with_the_lock_around_them(tmp_path: Path, inside: str) -> None:
    root = put_pictures(tmp_path / "data")
    lock_dataset(root)
    folder, picture = root / inside, root / "gallery" / "a" / "0.png"
    look(folder)
    flip(picture)
    with pytest.raises(DataError, match="files differ"):
        look(folder)
    flip(picture)
    added = picture.with_name("1.png")
    added.write_bytes(picture.read_bytes())
    with pytest.raises(DataError, match="1 files were added"):
        look(folder)
    added.unlink()
    look(folder)
    flip(root / LOCK)
    with pytest.raises(DataError, match="the lock of the data cannot be used"):
        look(folder)


def test_a_lock_of_other_data_says_nothing_and_that_of_a_manifest_of_what_it_lists(tmp_path: Path) -> None:
    manifest = put_csv(tmp_path)
    lock_dataset(manifest)
    beside = tmp_path / "photos"
    beside.mkdir()
    Image.new("RGB", (4, 4)).save(beside / "x.png")
    look(beside)
    look(tmp_path)
    flip(tmp_path / "query" / "b" / "0.png")
    look(tmp_path / "gallery")
    with pytest.raises(DataError, match=r"list\.csv\.compat-data\.lock\.json locked: 1 of 1 files differ"):
        look(tmp_path / "query" / "b")
