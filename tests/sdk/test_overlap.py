"""A query's own picture in the gallery is found by file or by content, and other pictures are not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from compat_sdk.datasets import Split, own_rows


def split(name: str, images: object) -> Split:
    count = len(images)  # type: ignore[arg-type]
    return Split(name, images, ("a",) * count, tuple(f"{name}-{row}" for row in range(count)))  # type: ignore[arg-type]


def pictures(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.bmp" for number in range(count)]  # of one size, whatever they show
    for number, path in enumerate(paths):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    return paths


def test_the_same_file_and_a_copy_are_own_pictures_and_others_are_not(tmp_path: Path) -> None:
    first, second, third = pictures(tmp_path, 3)
    copy = shutil.copy(second, tmp_path / "copy.bmp")
    own, copies = own_rows(split("query", (first, second)), split("gallery", (third, Path(copy), first)))
    assert own.tolist() == [2, 1]
    assert copies == 0


def test_of_several_copies_the_file_itself_is_the_own_picture_and_the_rest_is_counted(tmp_path: Path) -> None:
    (first,) = pictures(tmp_path, 1)
    copy = Path(shutil.copy(first, tmp_path / "copy.bmp"))
    own, copies = own_rows(split("query", (first,)), split("gallery", (copy, first)))
    assert (own.tolist(), copies) == ([1], 1)


def test_arrays_are_compared_by_content() -> None:
    rows = np.arange(5 * 16, dtype=np.uint8).reshape(5, 4, 4)
    own, _ = own_rows(split("query", rows[:3]), split("gallery", rows[2:]))
    assert own.tolist() == [-1, -1, 0]


def test_a_missing_file_is_nobodys_picture(tmp_path: Path) -> None:
    (first,) = pictures(tmp_path, 1)
    own, _ = own_rows(split("query", (tmp_path / "gone.bmp", first)), split("gallery", (tmp_path / "gone2.bmp",)))
    assert own.tolist() == [-1, -1]
