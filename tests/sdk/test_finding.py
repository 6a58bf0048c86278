"""Which files of a folder are pictures, and that nothing is left out without being counted."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from compat_sdk.datasets import check_dataset, open_dataset
from compat_sdk.errors import DataError
from compat_sdk.images import find_pictures
from compat_sdk.install import install_command

links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed."""
    monkeypatch.setattr("compat_sdk.images.finding.find_spec", lambda _: None)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(path)
    return path


def test_pictures_are_found_in_order_and_the_rest_is_counted_by_ending(tmp_path: Path, no_heif: None) -> None:
    wanted = [picture(tmp_path / name) for name in ("a.jpg", "b/c.PNG", "b/d/e.webp", "f.jfif")]
    for name in ("g.heic", "h.HEIC", "notes.txt", "film.mp4", "Makefile"):
        (tmp_path / name).write_bytes(b"x")
    found = find_pictures(tmp_path)
    assert list(found.paths) == sorted(wanted)
    assert found.left_out == {".heic": 2, ".txt": 1, ".mp4": 1, "without an ending": 1}
    assert found.note() == (
        f"left out: 2 .heic, 1 .mp4, 1 .txt, 1 without an ending; {install_command('heif')} reads HEIF pictures"
    )


def test_hidden_files_thumbnails_and_the_trash_are_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "x.jpg")
    hidden = (".thumbnails/1.jpg", "trip/.Trash-1000/files/2.jpg", "@eaDir/3.jpg", "$RECYCLE.BIN/4.jpg", "._x.jpg")
    for name in hidden:
        picture(tmp_path / name)
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    found = find_pictures(tmp_path)
    assert [path.name for path in found.paths] == ["x.jpg"] and found.left_out == {"hidden": 5}


def test_phone_pictures_are_found_where_their_extra_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    (tmp_path / "g.heic").write_bytes(b"x")
    assert find_pictures(tmp_path).paths == (tmp_path / "g.heic",)


@links
def test_linked_folders_are_entered_once_and_broken_links_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "disk2" / "trip" / "1.jpg")
    picture(tmp_path / "photos" / "home" / "2.jpg")
    (tmp_path / "photos" / "trip").symlink_to(tmp_path / "disk2" / "trip")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "nothing")
    found = find_pictures(tmp_path / "photos")
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == ["photos/home/2.jpg", "photos/trip/1.jpg"]
    assert found.left_out == {"linked twice": 1, "broken link": 1}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX")
def test_a_pipe_that_is_called_a_picture_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    found = find_pictures(tmp_path)
    assert found.paths == () and found.left_out == {"pipe or device": 1}


def test_a_dataset_says_which_identities_it_lost_and_why(tmp_path: Path, no_heif: None) -> None:
    for split in ("train", "query", "gallery"):
        for name in ("kim", "lee"):
            picture(tmp_path / split / name / "0.jpg")
            picture(tmp_path / split / name / "1.jpg")
        (tmp_path / split / "zoe").mkdir()
        (tmp_path / split / "zoe" / "0.heic").write_bytes(b"x")
    problems = [problem for problem in check_dataset(open_dataset(tmp_path)) if problem.kind == "left-out"]
    assert [problem.split for problem in problems] == ["train", "query", "gallery"]
    assert "1 .heic, 1 identity without a picture" in problems[0].message and problems[0].severity == "warning"


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system knows one spelling")
def test_one_name_in_two_unicode_spellings_is_one_identity(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        picture(tmp_path / "train" / unicodedata.normalize(form, "Zoë") / f"{form}.jpg")
    (tmp_path / "m.csv").write_text(
        "path,label,split\n"
        + "".join(f"{form}.jpg,{unicodedata.normalize(form, 'Zoë')},train\n" for form in ("NFC", "NFD"))
    )
    for data in (tmp_path, tmp_path / "m.csv"):
        split = open_dataset(data).split("train")
        assert split.classes == ("Zo\u00eb",) and len(split) == 2


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their file systems hold Unicode alone")
def test_an_identity_whose_name_is_no_text_is_refused_before_any_work(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "train") + b"/Zo\xeb"
    os.makedirs(folder)  # noqa: PTH103  # a name that no Path holds
    picture(Path(os.fsdecode(folder)) / "0.jpg")
    with pytest.raises(DataError, match="is not valid UTF-8"):
        open_dataset(tmp_path)
