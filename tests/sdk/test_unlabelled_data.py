"""Pictures without labels: a flat folder, a list, a manifest without labels, tar shards; and what refuses them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.datasets import Split, check_dataset, dataset_info, lock_dataset, open_dataset, require_labels
from compat_sdk.datasets.content import content_sha256, picture_sha256
from compat_sdk.datasets.overlap import own_rows
from compat_sdk.errors import DataError, ImageError
from compat_sdk.images import PackedPicture, Preprocessing, decode_many, image_size


def png(level: int) -> bytes:
    found = io.BytesIO()
    Image.new("RGB", (8, 6), (level, 0, 0)).save(found, "PNG")
    return found.getvalue()


def flat(root: Path) -> Path:
    for level, name in enumerate(("a.png", "deep/er/b.PNG", "deep/c.png", ".hidden.png", "notes.md")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(level))
    return root


def tar(path: Path, files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return path


def test_a_flat_folder_is_a_train_split_without_labels(tmp_path: Path) -> None:
    split = open_dataset(flat(tmp_path / "photos")).split("train")
    assert split.ids == ("a.png", "deep/c.png", "deep/er/b.PNG")
    assert not split.labelled and split.classes == () and set(split.labels) == {""}
    assert split.left_out == {".md": 1, "hidden": 1}


def test_a_list_gives_paths_relative_to_itself_or_absolute(tmp_path: Path) -> None:
    flat(tmp_path / "photos")
    listing = tmp_path / "list.txt"
    listing.write_bytes(f"\ufeffphotos/a.png\r\n\n{tmp_path}/photos/deep/c.png\nphotos/deep/er/b.PNG".encode())
    split = open_dataset(listing).split("train")
    assert split.ids == ("photos/a.png", f"{tmp_path}/photos/deep/c.png", "photos/deep/er/b.PNG")
    assert all(Path(str(path)).is_file() for path in split.images) and not split.labelled


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "lists no pictures"),
        (b"a.png\nnotes.md\n", "line 2: found 'notes.md'; expected the path of a picture"),
        (b"a\0.png", "line 1"),
        (b"\xff\xfe", "expected a UTF-8 text file"),
        (b"x" * 100_000 + b".png", "line 1"),
    ],
)
def test_a_bad_list_is_refused_by_its_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=complaint) as refused:
        open_dataset(tmp_path / "list.txt")
    assert len(str(refused.value).replace(str(tmp_path), "")) < 300


def test_a_manifest_without_labels_has_no_identities(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path\na.png\nb.png\n")
    assert open_dataset(tmp_path / "m.csv").split("train").labels == ("", "")
    (tmp_path / "s.csv").write_text("split,path\ntrain,a.png\ngallery,b.png\n")
    assert {name: split.labelled for name, split in open_dataset(tmp_path / "s.csv").splits.items()} == {
        "train": False,
        "gallery": False,
    }
    (tmp_path / "half.csv").write_text("path,label\na.png,cat\n")
    with pytest.raises(DataError, match="columns path,label"):
        open_dataset(tmp_path / "half.csv")
    (tmp_path / "empty.csv").write_text("path,label,split\na.png,,train\n")
    with pytest.raises(DataError, match="label is empty"):
        open_dataset(tmp_path / "empty.csv")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_shards_yield_the_pictures_that_lie_in_them(tmp_path: Path, form: int) -> None:
    tar(tmp_path / "set" / "0.tar", {"x/1.png": png(1), "x/1.json": b"{}", "x/2.png": png(2)}, form)
    tar(tmp_path / "set" / "1.tar", {"y" * 90 + ".png": png(3), "._2.png": b"", "clip.mp4": b"?"}, form)
    dataset = open_dataset(tmp_path / "set")
    split = dataset.split("train")
    assert split.ids == ("0.tar/x/1.png", "0.tar/x/2.png", f"1.tar/{'y' * 90}.png")
    assert not split.labelled and split.left_out == {".mp4": 1}
    pixels = decode_many(split.images, Preprocessing(size=4))
    assert pixels[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert [image_size(image) for image in split.images] == [(8, 6)] * 3  # type: ignore[arg-type]
    assert not [problem for problem in check_dataset(dataset) if problem.severity == "error"]
    (tmp_path / "2.png").write_bytes(png(2))
    assert picture_sha256(split.images[1]) == picture_sha256(tmp_path / "2.png")  # type: ignore[arg-type]


def test_a_label_beside_each_picture_is_its_identity(tmp_path: Path) -> None:
    files = {"a/1.png": png(1), "a/1.cls": b"7\n", "a/2.png": png(2), "a/2.cls": "dög".encode()}
    split = open_dataset(tar(tmp_path / "all.tar", files)).split("train")
    assert split.ids == ("a/1.png", "a/2.png") and split.labels == ("7", "dög") and split.labelled
    del files["a/2.cls"]
    with pytest.raises(DataError, match=r"a/2\.png has none; label every image or none"):
        open_dataset(tar(tmp_path / "some.tar", files))
    with pytest.raises(DataError, match="no UTF-8 text"):
        open_dataset(tar(tmp_path / "bad.tar", files | {"a/2.cls": b"\xff"}))
    with pytest.raises(DataError, match="2,000 bytes"):
        open_dataset(tar(tmp_path / "long.tar", files | {"a/2.cls": b"x" * 2000}))


def test_links_in_a_tar_file_are_left_out_and_lead_nowhere(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as opened:
        for name, kind, target in (
            ("1.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("2.png", tarfile.LNKTYPE, "../secret.png"),
            ("3.png", tarfile.FIFOTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            opened.addfile(member)
        real = tarfile.TarInfo("../4.png")
        real.size = len(png(4))
        opened.addfile(real, io.BytesIO(png(4)))
    split = open_dataset(tmp_path / "t.tar").split("train")
    assert split.ids == ("../4.png",) and split.left_out == {"link or device": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.tar"]


def damage(content: bytes, how: str) -> bytes:
    match how:
        case "empty":
            return b""
        case "no tar":
            return b"hello" * 500
        case "gzip":
            import gzip

            return gzip.compress(content)
        case "cut":
            return content[:2000]
        case "no end":
            return content[: 4 * 512]  # two members of a header and a block each
        case "header":
            return content[:1024] + bytes([content[1024] ^ 1]) + content[1025:]
    raise AssertionError(how)


@pytest.mark.parametrize("how", ["empty", "no tar", "gzip", "cut", "no end", "header"])
def test_a_damaged_tar_file_is_refused_and_loses_no_picture_in_silence(tmp_path: Path, how: str) -> None:
    path = tar(tmp_path / "t.tar", {"1.png": png(1), "2.png": png(2)}, tarfile.USTAR_FORMAT)
    path.write_bytes(damage(path.read_bytes(), how))
    with pytest.raises(DataError, match=r"t\.tar") as refused:
        open_dataset(path)
    said = str(refused.value).replace(str(tmp_path), "")
    assert "\n" not in said and len(said) < 300


@pytest.mark.parametrize("size", [-1024, -513, -1])
def test_a_member_of_negative_size_leads_nobody_in_circles(tmp_path: Path, size: int) -> None:
    path = tar(tmp_path / "t.tar", {"1.png": png(1)}, tarfile.GNU_FORMAT)
    content = bytearray(path.read_bytes())
    content[124:136] = b"\xff" + size.to_bytes(11, "big", signed=True)  # a number of base 256, as GNU has them
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no tar file, is damaged or is compressed"):
        open_dataset(path)


def test_a_member_that_is_cut_off_later_is_an_image_error(tmp_path: Path) -> None:
    path = tar(tmp_path / "t.tar", {"1.png": png(1)})
    image = open_dataset(path).split("train").images[0]
    assert isinstance(image, PackedPicture)
    path.write_bytes(path.read_bytes()[: image.offset + 3])
    with pytest.raises(ImageError, match=r"t\.tar/1\.png .*: its file ends after 3 of"):
        decode_many([image], Preprocessing(size=4))
    with pytest.raises(DataError, match="repair it or leave it out"):
        content_sha256(type(open_dataset("sample"))("x", {"train": Split("train", [image], ("",), ("1",))}), ["train"])


def test_pictures_beside_tar_files_are_refused(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", {"1.png": png(1)})
    (tmp_path / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match="1 pictures beside 1 tar files"):
        open_dataset(tmp_path)


def test_the_check_says_that_labels_are_missing_and_finds_no_error(tmp_path: Path) -> None:
    dataset = open_dataset(flat(tmp_path / "photos"))
    problems = check_dataset(dataset)
    assert [problem.kind for problem in problems if problem.split == "train"] == ["left-out", "unlabelled"]
    assert all(problem.severity == "warning" for problem in problems)
    facts = dataset_info(dataset, problems)["splits"]["train"]  # type: ignore[index]
    assert (facts["images"], facts["classes"], facts["images_per_class"]["max"]) == (3, 0, 0)


@pytest.mark.parametrize("kind", ["folder", "list", "tar", "shards"])
def test_each_kind_is_locked_and_a_change_is_noticed(tmp_path: Path, kind: str) -> None:
    photos = flat(tmp_path / "photos")
    listing = tmp_path / "list.txt"
    listing.write_text(f"photos/a.png\n{photos}/deep/c.png\n")
    one = tar(tmp_path / "one.tar", {"1.png": png(1)})
    shards = tar(tmp_path / "shards" / "0.tar", {"1.png": png(1)}).parent
    data, file = {
        "folder": (photos, photos / "a.png"),
        "list": (listing, photos / "deep" / "c.png"),
        "tar": (one, one),
        "shards": (shards, shards / "0.tar"),
    }[kind]
    lock_dataset(data)
    open_dataset(data)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="is not what"):
        open_dataset(data)


def test_copies_are_found_in_tar_files_too(tmp_path: Path) -> None:
    members = open_dataset(tar(tmp_path / "t.tar", {"1.png": png(1), "2.png": png(2)})).split("train")
    (tmp_path / "copy.png").write_bytes(png(2))
    query = Split("query", [tmp_path / "copy.png"], ("",), ("q",))
    own, copies = own_rows(query, members)
    assert own.tolist() == [1] and copies == 0
    assert own_rows(members, members)[0].tolist() == [0, 1]


def test_labels_are_required_by_name_and_some_are_none(tmp_path: Path) -> None:
    split = open_dataset(flat(tmp_path / "photos")).split("train")
    with pytest.raises(DataError, match=r"3 images of train in photos have no labels, which method 'bct' needs"):
        require_labels(split, "photos", "method 'bct'")
    require_labels(Split("train", np.zeros((0, 2, 2), np.uint8), (), ()), "nothing", "anything")
    with pytest.raises(DataError, match="b has none"):
        Split("train", np.zeros((2, 2, 2), np.uint8), ("cat", ""), ("a", "b"))
