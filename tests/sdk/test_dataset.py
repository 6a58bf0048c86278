"""Opening datasets: names, folders, manifests; no image is decoded here."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.datasets import Split, fashion_mnist, open_dataset
from compat_sdk.datasets import make_sample as make_sample_module
from compat_sdk.datasets.fashion_mnist import DEBIAN_FOLDER, SAMPLE_FOLDER, cut_sample
from compat_sdk.datasets.idx import read_idx, write_idx
from compat_sdk.errors import DataError


def put_image(path: Path, level: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (level, 0, 0)).save(path)
    return path


def put_folder(root: Path) -> Path:
    for split, count in {"train": 2, "query": 1, "gallery": 2}.items():
        for label in ("cat", "dög 狗"):
            for number in range(count):
                put_image(root / split / label / f"{number}.png", number)
    return root


def put_manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_the_sample_has_the_promised_counts_and_balanced_readable_classes() -> None:
    dataset = open_dataset("sample")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 6000,
        "query": 1000,
        "gallery": 3000,
    }
    for split in dataset.splits.values():
        assert set(Counter(split.labels).values()) == {len(split) // 10}
        assert {"T-shirt/top", "Ankle boot"} <= set(split.classes)
        assert split.ids[:2] == (f"{split.name}-000000", f"{split.name}-000001")


def test_no_image_of_the_sample_stands_in_two_splits() -> None:
    digests = [
        {hashlib.sha256(np.ascontiguousarray(image)).digest() for image in split.images}  # type: ignore[arg-type]
        for split in open_dataset("sample").splits.values()
    ]
    assert not digests[0] & digests[1] and not digests[0] & digests[2] and not digests[1] & digests[2]


def test_the_sample_comes_with_the_licence_of_fashion_mnist_and_stays_small() -> None:
    assert "MIT License" in (SAMPLE_FOLDER / "LICENSE").read_text("utf-8")
    assert sum(path.stat().st_size for path in SAMPLE_FOLDER.iterdir()) < 8_000_000


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_bundled_sample_is_cut_again_byte_for_byte_from_the_debian_package() -> None:
    for name, cut in cut_sample(DEBIAN_FOLDER).items():
        for kind, array in zip(("images", "labels"), cut, strict=True):
            stored = read_idx(SAMPLE_FOLDER / f"{name}-{kind}.idx.gz", array.ndim)
            assert stored.shape == array.shape and stored.tobytes() == array.tobytes()


def test_the_script_writes_what_was_cut_and_the_same_bytes_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = {"query": (np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([7, 9], np.uint8))}
    monkeypatch.setattr(make_sample_module, "cut_sample", lambda root: cut)
    for folder in ("a", "b"):
        make_sample_module.make_sample(tmp_path, tmp_path / folder)
    for name in ("query-images.idx.gz", "query-labels.idx.gz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert np.array_equal(read_idx(tmp_path / "a" / "query-images.idx.gz", 3), cut["query"][0])


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_opens_from_its_idx_files_and_splits_the_test_file(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "QUERIES_PER_CLASS", 2)
    random = np.random.default_rng(0)
    for part, count in {"train": 40, "t10k": 50}.items():
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        for kind, array in {"images-idx3": images, "labels-idx1": np.arange(count, dtype=np.uint8) % 10}.items():
            path = tmp_path / f"{part}-{kind}-ubyte"
            write_idx(path, array)
            if packed:
                path.rename(f"{path}.gz")
            else:
                path.write_bytes(gzip.decompress(path.read_bytes()))
    splits = open_dataset("fashion-mnist", tmp_path).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 40, "query": 20, "gallery": 30}
    assert set(Counter(splits["query"].labels).values()) == {2}


def test_a_missing_fashion_mnist_names_the_debian_package(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        open_dataset("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "expected an IDX file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x02ab", "expected an IDX file"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05ab", "2 bytes after its header, expected 5"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01ab", "more bytes"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x02ab", mtime=0)[:-9], "download"),
        (b"\x1f\x8bnot gzip at all", "cannot read"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        read_idx(path, 1)


def test_an_idx_header_that_promises_more_than_memory_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(b"\x00\x00\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(DataError):
        read_idx(path, 3)


def test_a_folder_takes_identities_from_sub_folders_and_ids_from_relative_paths(tmp_path: Path) -> None:
    root = put_folder(tmp_path / "pets")
    put_image(root / "train" / "cat" / "nested" / "deep.JPG")
    (root / "train" / "cat" / "notes.txt").write_text("not an image", "utf-8")
    (root / "train" / ".hidden").mkdir()
    dataset = open_dataset(root)
    assert dataset.name == "pets" and list(dataset.splits) == ["train", "query", "gallery"]
    train = dataset.splits["train"]
    assert train.ids[:3] == ("train/cat/0.png", "train/cat/1.png", "train/cat/nested/deep.JPG")
    assert Counter(train.labels) == {"cat": 3, "dög 狗": 2}
    assert all(isinstance(path, Path) and path.is_file() for path in train.images)


def test_an_image_outside_an_identity_folder_is_refused(tmp_path: Path) -> None:
    put_image(put_folder(tmp_path) / "query" / "lost.png")
    with pytest.raises(DataError, match=r"lost\.png lies outside"):
        open_dataset(tmp_path)


def test_a_folder_without_a_known_split_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"holds test; expected sub-folders named train, val, query, gallery"):
        open_dataset(tmp_path)


def test_a_manifest_may_be_quoted_reordered_and_carry_a_byte_order_mark(tmp_path: Path) -> None:
    text = 'split,label,path,note\r\ntrain,"a, b","x/1 ""q"".png",\r\nquery,狗,y.png,hm\r\n\r\ngallery,狗,z.png,\r\n'
    dataset = open_dataset(put_manifest(tmp_path, text, "utf-8-sig"))
    assert dataset.name == "list"
    assert dataset.splits["train"].labels == ("a, b",)
    assert dataset.splits["train"].ids == ('x/1 "q".png',)
    assert dataset.splits["query"].images == (tmp_path / "y.png",)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("../secret.png,a,train", r"line 3: found path '\.\./secret\.png'; expected an absolute path"),
        ("x/../../secret.png,a,train", "line 3: .*stays inside"),
        ("C:/x.png,a,train", "line 3: .*stays inside"),
        ("x\\y.png,a,train", "line 3: .*write / between"),
        ("x.png,a,test", "line 3: found split 'test'; expected one of train, val, query, gallery"),
        ("x.png,,train", "line 3: the label is empty"),
        ("x.png,a\0,train", "line 3: found label 'a"),
        (",a,train", "line 3: found path ''"),
        ("x.png,a", "line 3: it has 2 fields, expected 3"),
        ("x.png,a,train,more", "line 3: it has 4 fields, expected 3"),
        ('"x.png,a,train', "line 3"),
    ],
)
def test_a_wrong_row_of_a_manifest_is_refused_with_its_line(tmp_path: Path, row: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        open_dataset(put_manifest(tmp_path, f"path,label,split\nok.png,a,train\n{row}\n"))


@pytest.mark.parametrize("header", ["", "path,label", "file,label,split", "path,path,label,split"])
def test_a_manifest_with_wrong_columns_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match=r"line 1 has the columns .* expected path,label,split"):
        open_dataset(put_manifest(tmp_path, f"{header}\nx.png,a,train\n" if header else ""))


@pytest.mark.parametrize(
    "header", ["path, label,split", "path,Label,split", "PATH,label,split", "path,label,split,Side"]
)
def test_a_column_that_is_all_but_known_is_refused_and_not_passed_over(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match=r"line 1 has the column .*; write (path|label|side), or another name"):
        open_dataset(put_manifest(tmp_path, f"{header}\nx.png,a,train{',' * (header.count(',') - 2)}\n"))


def test_space_around_a_label_makes_no_other_identity(tmp_path: Path) -> None:
    dataset = open_dataset(put_manifest(tmp_path, "path,label,split\nx.png,a b,train\ny.png, a b\u00a0,train\n"))
    assert dataset.split("train").classes == ("a b",)


def test_a_manifest_that_is_empty_or_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lists no images"):
        open_dataset(put_manifest(tmp_path, "path,label,split\n"))
    with pytest.raises(DataError, match="expected a UTF-8 CSV file"):
        open_dataset(put_manifest(tmp_path, "path,label,split\nx.png,café,train\n", "latin-1"))


def test_an_unknown_dataset_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'no-such'; expected a folder with train/.* or the name of a published set"):
        open_dataset("no-such")
    with pytest.raises(DataError, match="needs none"):
        open_dataset("sample", tmp_path)


def test_a_split_refuses_what_does_not_fit_together() -> None:
    images = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(DataError, match="2 images, 1 labels and 2 ids"):
        Split("train", images, ("a",), ("0", "1"))
    with pytest.raises(DataError, match="expected one of"):
        Split("test", images, ("a", "b"), ("0", "1"))
    with pytest.raises(DataError, match="expected uint8"):
        Split("train", images.astype(np.float32), ("a", "b"), ("0", "1"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expected uint8"):
        Split("train", np.zeros((2, 3, 4, 4), np.uint8), ("a", "b"), ("0", "1"))


def test_asking_for_a_split_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no val split, only: train, query, gallery"):
        open_dataset(put_folder(tmp_path)).split("val")
