"""Validation images with sides: two folders in the place of val/, or a column of a CSV manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from compat_sdk.datasets import check_dataset, open_dataset
from compat_sdk.errors import DataError


def put(root: Path, *names: str) -> Path:
    for level, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (level, 0, 0)).save(root / name)
    return root


def listed(root: Path, *rows: str, header: str = "path,label,split,side") -> Path:
    (root / "list.csv").write_text("\n".join([header, *rows]))
    return root / "list.csv"


def test_two_folders_are_the_two_sides_of_val(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/1.png", "val_query/c/1.png", "val_gallery/c/1.png", "val_gallery/d/1.png")
    dataset = open_dataset(tmp_path)
    val = dataset.split("val")
    assert list(dataset.splits) == ["train", "val"] and not dataset.left_out
    assert val.ids == ("val_query/c/1.png", "val_gallery/c/1.png", "val_gallery/d/1.png")
    assert val.labels == ("c", "c", "d") and val.query_side == (True, False, False)
    assert not [problem for problem in check_dataset(dataset) if problem.severity == "error"]


@pytest.mark.parametrize("folders", [["val_query"], ["val_gallery"], ["val", "val_query", "val_gallery"]])
def test_one_side_alone_or_both_beside_val_are_refused(folders: list[str], tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", *(f"{folder}/c/1.png" for folder in folders))
    with pytest.raises(DataError, match="expected val/, or both val_query/ and val_gallery/"):
        open_dataset(tmp_path)


def test_sides_alone_make_a_folder_a_dataset_of_splits(tmp_path: Path) -> None:
    put(tmp_path, "val_query/c/1.png", "val_gallery/c/1.png")
    (tmp_path / "compat-data.csv").write_text("path,label,split\nval_query/c/1.png,c,train\n")
    assert list(open_dataset(tmp_path).splits) == ["val"]


def test_a_column_says_the_side_of_val_rows_and_nothing_of_others(tmp_path: Path) -> None:
    rows = ("1.png,a,train,left", "2.png,b,val,query", "3.png,b,val,gallery", "4.png,c,query,")
    dataset = open_dataset(listed(tmp_path, *rows))
    assert dataset.split("val").query_side == (True, False)
    assert dataset.split("train").query_side is None and dataset.split("query").query_side is None


def test_val_rows_without_a_side_have_none(tmp_path: Path) -> None:
    dataset = open_dataset(listed(tmp_path, "1.png,a,train,", "2.png,b,val,", "3.png,b,val,"))
    assert dataset.split("val").query_side is None


@pytest.mark.parametrize("rows", [("query", ""), ("", "gallery"), ("query", "Gallery"), ("left", "right")])
def test_a_side_that_is_none_or_that_only_some_have_is_refused_by_its_line(
    rows: tuple[str, str], tmp_path: Path
) -> None:
    path = listed(tmp_path, *(f"{n}.png,a,val,{side}" for n, side in enumerate(rows)))
    with pytest.raises(DataError, match=r"line [23]: found side .* expected query or gallery"):
        open_dataset(path)
