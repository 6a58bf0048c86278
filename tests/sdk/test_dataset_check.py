"""What check_dataset finds, and what dataset_info reports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.datasets import Dataset, Problem, Split, check_dataset, dataset_info, open_dataset, require_consistent
from compat_sdk.errors import DataError


def grey(name: str, labels: str, start: int = 0, ids: tuple[str, ...] | None = None) -> Split:
    images = np.arange(start, start + len(labels), dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)
    return Split(name, images, tuple(labels), ids or tuple(f"{name}-{row}" for row in range(len(labels))))


def dataset(**splits: Split) -> Dataset:
    healthy = {"train": grey("train", "aabb"), "query": grey("query", "cd", 10), "gallery": grey("gallery", "ccd", 20)}
    return Dataset("made", {**healthy, **splits})


def kinds(problems: list[Problem]) -> Mapping[str, Problem]:
    return {problem.kind: problem for problem in problems}


def test_a_healthy_open_set_dataset_has_no_problems() -> None:
    assert check_dataset(dataset()) == []
    assert check_dataset(open_dataset("sample")) == []


def test_corrupt_and_missing_images_are_named_and_counted(tmp_path: Path) -> None:
    good, torn, text = tmp_path / "good.png", tmp_path / "torn.png", tmp_path / "text.png"
    Image.effect_noise((64, 64), 50).save(good)
    torn.write_bytes(good.read_bytes()[:800])
    text.write_bytes(b"hello")
    paths = (good, torn, text, tmp_path / "absent.png")
    made = dataset(gallery=Split("gallery", paths, tuple("cdcd"), tuple(path.name for path in paths)))
    (problem,) = check_dataset(made)
    assert (problem.kind, problem.split, problem.severity, problem.count) == ("corrupt-image", "gallery", "error", 3)
    assert problem.examples == ("torn.png", "text.png", "absent.png")
    assert check_dataset(made, decode=False) == []


def test_a_class_with_one_training_image_is_a_warning() -> None:
    problem = kinds(check_dataset(dataset(train=grey("train", "aabbz"))))["one-image-class"]
    assert (problem.severity, problem.count, problem.examples) == ("warning", 1, ("z",))


def test_a_single_training_class_is_an_error() -> None:
    assert kinds(check_dataset(dataset(train=grey("train", "aa"))))["one-class"].severity == "error"


def test_an_empty_split_is_an_error_and_a_missing_one_a_warning() -> None:
    found = kinds(check_dataset(dataset(gallery=grey("gallery", ""))))
    assert found["empty-split"].severity == "error"
    only_train = kinds(check_dataset(Dataset("made", {"train": grey("train", "aabb")})))
    assert only_train["missing-split"].severity == "warning"


def test_queries_without_a_gallery_image_are_counted_and_an_error_when_all_are() -> None:
    some = kinds(check_dataset(dataset(query=grey("query", "cxx", 10))))["unmatched-query"]
    assert (some.severity, some.count, some.examples) == ("warning", 1, ("x",))
    assert "2 images" in some.message
    every = kinds(check_dataset(dataset(query=grey("query", "xx", 10))))["unmatched-query"]
    assert every.severity == "error"


def test_validation_identities_that_are_also_trained_on_are_a_warning() -> None:
    problem = kinds(check_dataset(dataset(val=grey("val", "bbz", 40))))["val-overlap"]
    assert problem.examples == ("b",)


def test_an_id_that_stands_twice_in_a_split_is_an_error() -> None:
    problem = kinds(check_dataset(dataset(gallery=grey("gallery", "ccd", 20, ("x", "x", "y")))))["duplicate-id"]
    assert (problem.severity, problem.examples) == ("error", ("x",))


def test_an_image_with_two_labels_is_an_error_of_its_own_and_refused_where_it_would_be_used() -> None:
    split = grey("gallery", "ccd", 20, ("x", "y", "x"))
    problem = kinds(check_dataset(dataset(gallery=split)))["conflicting-labels"]
    assert (problem.severity, problem.examples) == ("error", ("x",))
    with pytest.raises(DataError, match=r"1 images of the gallery split stand more than once, with different labels"):
        require_consistent(split)
    require_consistent(grey("gallery", "ccd", 20))


def test_an_image_in_query_and_gallery_is_found_by_its_content() -> None:
    problem = kinds(check_dataset(dataset(gallery=grey("gallery", "ccd", 11))))["shared-image"]
    assert (problem.split, problem.count, problem.examples) == ("gallery", 1, ("gallery-0",))


def test_errors_come_before_warnings() -> None:
    made = dataset(train=grey("train", "aabbz"), gallery=grey("gallery", "ccd", 20, ("x", "y", "x")))
    assert [problem.severity for problem in check_dataset(made)] == ["error", "warning"]


def test_the_report_counts_images_classes_and_sizes_and_is_json(tmp_path: Path) -> None:
    small, wide = tmp_path / "s.png", tmp_path / "w.png"
    Image.new("L", (4, 4)).save(small)
    Image.new("L", (40, 10)).save(wide)
    made = dataset(gallery=Split("gallery", (small, wide), ("c", "d"), ("s", "w")))
    report = json.loads(json.dumps(dataset_info(made, check_dataset(made))))
    assert report["splits"]["train"] == {
        "images": 4,
        "classes": 2,
        "classes_unseen_in_train": 0,
        "images_per_class": {"min": 2, "median": 2, "max": 2},
        "smallest_image": [5, 4],
        "largest_image": [5, 4],
    }
    assert report["splits"]["gallery"]["classes_unseen_in_train"] == 2
    assert report["splits"]["gallery"]["smallest_image"] == [4, 4]
    assert report["splits"]["gallery"]["largest_image"] == [40, 10]
    assert report["problems"] == []


def put(folder: Path, *names: str) -> list[Path]:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 9, 9)).save(folder / name)
    return [folder / name for name in names]


def listed(folder: Path, *rows: str) -> Split:
    (folder / "m.csv").write_text("\n".join(["path,label,split", *(f"{row},train" for row in rows)]))
    return open_dataset(folder / "m.csv").split("train")


def test_one_file_by_two_ways_of_writing_its_path_is_one_image(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    for again in ("./a.png", ".//a.png"):
        with pytest.raises(DataError, match="1 ids stand more than once in the train split"):
            require_consistent(listed(tmp_path, "a.png,x", f"{again},x", "b.png,y"))
        with pytest.raises(DataError, match=r"1 images .* stand more than once, with different labels"):
            require_consistent(listed(tmp_path, "a.png,x", f"{again},y", "b.png,y"))
    require_consistent(listed(tmp_path, "./a.png,x", "b.png,y"))


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_with_another_label_is_refused_and_with_the_same_one_told(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    first, second = put(tmp_path, "train/x/a.png", "train/y/b.png")
    link(first, second.with_name("again.png"))
    with pytest.raises(DataError, match=r"with different labels, such as train/x/a\.png"):
        require_consistent(open_dataset(tmp_path).split("train"))
    second.with_name("again.png").rename(first.with_name("again.png"))
    data = open_dataset(tmp_path)
    with pytest.warns(UserWarning, match="1 images of the train split stand there again as a link"):
        require_consistent(data.split("train"))
    assert kinds(check_dataset(data))["linked-image"].severity == "warning"


def test_a_copy_under_another_label_is_told(tmp_path: Path) -> None:
    first, second = put(tmp_path, "train/x/a.png", "train/y/b.png")
    second.with_name("copy.png").write_bytes(first.read_bytes())
    with pytest.warns(UserWarning, match="1 images of the train split are byte for byte others with another label"):
        require_consistent(open_dataset(tmp_path).split("train"))
    assert kinds(check_dataset(open_dataset(tmp_path)))["conflicting-copies"].examples == ("train/x/a.png",)
    rows = np.zeros((2, 4, 4), np.uint8)
    assert "conflicting-copies" in kinds(check_dataset(dataset(gallery=Split("gallery", rows, ("c", "d"), ("0", "1")))))


def test_an_array_that_does_not_lie_in_rows_is_checked_like_any_other() -> None:
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    train = Split("train", images.transpose(0, 2, 1), ("a", "b"), ("1", "2"))
    query = Split("query", np.ascontiguousarray(images.transpose(0, 2, 1))[:1], ("a",), ("3",))
    problems = check_dataset(Dataset("turned", {"train": train, "query": query}))
    assert "shared-image" in {problem.kind for problem in problems}
