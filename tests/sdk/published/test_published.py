"""Published sets from their own files: labels, sides, pictures, and what a query should find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compat_sdk.datasets import NAMES, Dataset, check_dataset, dataset_info, lock_dataset, open_dataset
from compat_sdk.datasets.published import PUBLISHED
from compat_sdk.errors import DataError
from compat_sdk.images import Preprocessing, open_image, to_pixels
from compat_sdk.images.packed import file_of
from tests.sdk.published.layouts import LAYOUTS, face_pairs, picture, put, records, with_magic


class Sets(dict[str, Dataset]):
    """Each layout opened, written when it is first asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def __missing__(self, layout: str) -> Dataset:
        LAYOUTS[layout](self._root / layout)
        return self.setdefault(layout, open_dataset(layout.split(" ")[0], self._root / layout))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return Sets(tmp_path_factory.mktemp("published"))


def test_every_published_set_has_a_layout() -> None:
    assert {layout.split(" ")[0] for layout in LAYOUTS} == set(PUBLISHED) <= set(NAMES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_picture_of_a_layout_decodes_and_nothing_but_notes_is_wrong(layout: str, sets: Sets) -> None:
    dataset = sets[layout]
    problems = check_dataset(dataset)
    assert not [problem for problem in problems if problem.severity == "error"]
    assert dataset_info(dataset, problems)["name"]
    for split in dataset.splits.values():
        pixels = to_pixels(split.images[0], Preprocessing(size=16))
        assert pixels.shape == (16, 16, 3) and len(set(split.ids)) == len(split)


@pytest.mark.parametrize("layout", ["mnist", "kmnist", "kmnist as npz", "k49", "emnist-letters", "emnist-byclass"])
def test_digits_have_their_own_class_names_and_stand_upright(layout: str, sets: Sets) -> None:
    classes = {
        "mnist": "0123456789",
        "kmnist": "おきすつなはまやれを",
        "emnist-byclass": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    }
    train, query, gallery = (sets[layout].split(name) for name in ("train", "query", "gallery"))
    images = np.asarray(train.images)
    assert images[:, 0, -1].min() == 250 and images[:, -1, 0].max() == 0
    first = 1 if layout == "emnist-letters" else 0
    named = {int(image[14, 14]) - first: label for image, label in zip(images, train.labels, strict=True)}
    if layout == "k49":
        assert len(named) == 49 and (named[0], named[44], named[48]) == ("あ", "ゐ", "ゝ")
    elif layout == "emnist-letters":
        assert len(named) == 26 and (named[0], named[25]) == ("Aa", "Zz")
    else:
        assert "".join(named[number] for number in range(len(named))) == classes[layout.split(" ")[0]]
    assert set(query.labels) == set(gallery.labels) == set(train.labels)
    assert (len(query) == len(train.classes) and len(query) < len(gallery)) or layout != "mnist"


@pytest.mark.parametrize(("part", "classes"), [("balanced", 47), ("bymerge", 47), ("digits", 10), ("mnist", 10)])
def test_parts_of_emnist_have_their_numbers_of_classes(part: str, classes: int, sets: Sets) -> None:
    assert len(sets[f"emnist-{part}"].split("train").classes) == classes


def test_a_label_that_a_set_lacks_names_the_remedy(tmp_path: Path) -> None:
    LAYOUTS["emnist-balanced"](tmp_path)
    mapping = tmp_path / "emnist-balanced-mapping.txt"
    mapping.write_text("".join(mapping.read_text().splitlines(keepends=True)[:40]))
    with pytest.raises(DataError, match="has a label 40, expected one of its 40 classes, 0 to 39"):
        open_dataset("emnist-balanced", tmp_path)


@pytest.mark.parametrize("line", ["47", "47 6 5 4", "0 65", "x 65", "47 7", "-1 65", "47 ４５"])
def test_a_line_of_a_mapping_that_is_none_is_refused_by_its_number(line: str, tmp_path: Path) -> None:
    LAYOUTS["emnist-balanced"](tmp_path)
    with (tmp_path / "emnist-balanced-mapping.txt").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"mapping\.txt line 48: "):
        open_dataset("emnist-balanced", tmp_path)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout.startswith("cifar")])
def test_cifar_is_the_same_from_both_versions(layout: str, sets: Sets) -> None:
    dataset = sets[layout]
    other = sets[layout.split(" ")[0]]
    image = np.asarray(dataset.split("train").images)[0]
    assert image.shape == (32, 32, 3) and image[0, 9].tolist() == [200, 0, 0] and image[9, 0].tolist() == [0, 0, 100]
    for name, split in dataset.splits.items():
        assert split.labels == other.split(name).labels
        assert np.array_equal(np.asarray(split.images), np.asarray(other.split(name).images))
    assert dataset.split("query").images is dataset.split("gallery").images
    assert dataset.split("train").labels[7] == "class 7"


def test_market_leaves_junk_out_and_matches_of_the_same_camera_count_neither_way(sets: Sets) -> None:
    dataset = sets["market-1501"]
    gallery, relevance = dataset.split("gallery"), dataset.relevance
    assert gallery.labels == ("0000", "0001", "0001", "0003") and gallery.left_out == {"junk": 1}
    assert relevance is not None and not relevance.trapezoid
    assert [rows.tolist() for rows in relevance.positives] == [[2], []]
    assert [rows.tolist() for rows in relevance.ignored] == [[1], [3]]
    assert dataset.split("train").classes == ("0002", "0007")


def test_garments_are_cut_by_their_boxes_and_searched_from_consumer_to_shop(sets: Sets) -> None:
    dataset = sets["deepfashion2"]
    query, gallery, val = (dataset.split(name) for name in ("query", "gallery", "val"))
    assert query.labels == ("5-1",) and query.left_out == {"consumer's garment without a style": 1}
    assert gallery.labels == ("5-1", "5-2", "6-0")
    assert open_image(query.images[0]).size == (20, 30)
    assert open_image(gallery.images[0]).size == (30, 48), "a box is cut at the edge of its photograph"
    assert val.query_side == (True, False) * 2 and len(val.classes) == 2
    train = dataset.split("train")
    assert not set(train.classes) & set(val.classes) and len(train.classes) == 38
    assert train.left_out == {"garment without a style": 40}
    assert len({file_of(image) for image in gallery.images}) == 2  # type: ignore[arg-type]


def test_two_boxes_of_one_photograph_are_two_pictures_and_another_box_is_another_set(tmp_path: Path) -> None:
    LAYOUTS["deepfashion2"](tmp_path)
    anno = tmp_path / "validation" / "annos" / "000002.json"
    before = open_dataset("deepfashion2", tmp_path)
    anno.write_text(anno.read_text().replace("[0, 0, 10, 10]", "[10, 0, 400, 300]"))
    problems = check_dataset(open_dataset("deepfashion2", tmp_path))
    assert {"conflicting-labels"} == {problem.kind for problem in problems if problem.severity == "error"}
    assert not [problem for problem in check_dataset(before) if problem.severity == "error"]


@pytest.mark.parametrize(
    "change",
    [
        ('"source": "user"', '"source": "web"'),
        ('"pair_id": 5', '"pair_id": "5"'),
        ('"style": 1', '"style": -1'),
        ("[0, 0, 20, 30]", "[0, 0, 0, 30]"),
        ("[0, 0, 20, 30]", "[0, 0, 20]"),
        ("[0, 0, 20, 30]", "[0, 0, NaN, 30]"),
        ('"item1": {', '"item1": [{'),
    ],
)
def test_an_annotation_that_is_none_is_refused_by_its_name(change: tuple[str, str], tmp_path: Path) -> None:
    LAYOUTS["deepfashion2"](tmp_path)
    anno = tmp_path / "validation" / "annos" / "000001.json"
    text = anno.read_text()
    assert change[0] in text
    anno.write_text(text.replace(*change))
    with pytest.raises(DataError, match=r"000001\.json is no annotation"):
        open_dataset("deepfashion2", tmp_path)


def test_landmarks_take_the_private_queries_and_what_the_solution_lists(sets: Sets) -> None:
    clean, whole = sets["gldv2"], sets["gldv2-all"]
    assert clean.split("train").labels == ("7", "7", "9") and whole.split("train").labels == ("7", "7", "9", "9")
    assert clean.split("query").left_out == {"query that is not private": 2}
    relevance = clean.relevance
    assert relevance is not None and [rows.tolist() for rows in relevance.positives] == [[0, 2], [3]]
    assert not clean.split("query").labelled


@pytest.mark.parametrize("name", ["../../../etc/passwd", "a" * 15, "A" * 16, "g" * 16])
def test_an_id_of_a_landmark_that_is_none_reaches_no_path(name: str, tmp_path: Path) -> None:
    LAYOUTS["gldv2"](tmp_path)
    with (tmp_path / "index.csv").open("a") as file:
        file.write(name + "\n")
    with pytest.raises(DataError, match=r"index\.csv line 6: "):
        open_dataset("gldv2", tmp_path)


def test_revisited_queries_are_cut_and_the_two_protocols_differ(sets: Sets) -> None:
    for name in ("roxford5k", "rparis6k"):
        medium, hard = sets[name].relevance, sets[f"{name}-hard"].relevance
        assert medium is not None and hard is not None and medium.trapezoid
        assert [rows.tolist() for rows in medium.positives] == [[0, 1, 3], [2, 4]]
        assert [rows.tolist() for rows in medium.ignored] == [[5], [0]]
        assert [rows.tolist() for rows in hard.positives] == [[1], [2, 4]]
        assert [rows.tolist() for rows in hard.ignored] == [[0, 3, 5], [0]]
        assert open_image(sets[name].split("query").images[0]).size == (18, 16)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout.startswith(("imagenet", "places"))])
def test_scenes_and_synsets_come_from_folders_or_lists(layout: str, sets: Sets) -> None:
    dataset = sets[layout]
    classes = {
        "imagenet": ("n01440764", "n01443537"),
        "places365": ("airfield", "apartment_building/outdoor"),
        "places365 by folder": ("a/b", "airfield"),
    }
    assert dataset.split("train").classes == classes[layout if layout.startswith("places") else "imagenet"]
    assert dataset.split("query").classes == dataset.split("gallery").classes == dataset.split("train").classes
    assert dataset.split("query").ids == dataset.split("gallery").ids


def test_tiny_faces_have_distractors_that_nobody_asks_for(sets: Sets) -> None:
    dataset = sets["tinyface"]
    assert dataset.split("query").labels == ("12", "13")
    assert dataset.split("gallery").labels == ("12", "13", "distractor", "distractor")


@pytest.mark.parametrize("form", ["python-3", "python-2", "numbers", "array"])
def test_pairs_of_faces_stay_in_their_file(form: str, tmp_path: Path) -> None:
    dataset = open_dataset(face_pairs(tmp_path / "lfw.bin", form))
    left, right = dataset.split("query"), dataset.split("gallery")
    assert dataset.same == (True, False, True) and len(left) == len(right) == 3
    images = [image.read() for pair in zip(left.images, right.images, strict=True) for image in pair]  # type: ignore[union-attr]
    assert images == [picture(level) for level in (10, 11, 12, 200, 90, 91)]
    assert not [problem for problem in check_dataset(dataset) if problem.severity == "error"]


def test_records_are_read_where_they_lie_and_a_divided_one_is_joined(tmp_path: Path) -> None:
    train = open_dataset(records(tmp_path / "train.rec")).split("train")
    assert train.labels == ("0", "7", "7") and train.ids == ("00000001", "00000002", "00000003")
    assert [image.read() for image in train.images] == [picture(30), with_magic(picture(60)), picture(90)]  # type: ignore[union-attr]
    assert [image.read() for image in train.images[1:]] == [with_magic(picture(60)), picture(90)]  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["cut", "magic", "part", "label", "index", "no index"])
def test_damaged_records_are_refused(damage: str, tmp_path: Path) -> None:
    path = records(tmp_path / "train.rec")
    content, index = path.read_bytes(), path.with_suffix(".idx")
    second = int(index.read_text().splitlines()[1].split("\t")[1])
    if damage == "cut":
        path.write_bytes(content[:-40])
        index.write_text("".join(index.read_text().splitlines(keepends=True)[1:]))
    elif damage == "magic":
        put(path, content[:second] + b"\0" + content[second + 1 :])
    elif damage == "part":
        put(path, content[: second + 7] + bytes([0x60]) + content[second + 8 :])
    elif damage == "label":
        put(path, content[: second + 12] + b"\0\0\xc0\x7f" + content[second + 16 :])
    elif damage == "index":
        index.write_text(index.read_text() + "9\t-4\n")
    else:
        index.unlink()
    with pytest.raises(DataError) as refused:
        open_dataset(path)
    assert len(str(refused.value)) < 300


def test_a_published_set_is_locked_with_the_lists_that_it_is_read_from(tmp_path: Path) -> None:
    for layout in ("market-1501", "gldv2", "roxford5k", "cifar-10", "deepfashion2"):
        root = tmp_path / layout
        LAYOUTS[layout](root)
        lock_dataset(layout, root)
        open_dataset(layout, root)
        endings = (".csv", ".pkl", ".txt", ".jpg") if layout != "deepfashion2" else (".json",)
        read = [path for path in sorted(root.rglob("*")) if path.suffix in endings and "lock" not in path.name]
        changed = read[-1]
        changed.write_bytes(changed.read_bytes() + b"\n")
        with pytest.raises(DataError, match="is not what"):
            open_dataset(layout, root)


def test_a_published_set_needs_a_root_and_a_folder_of_its_name_is_a_folder_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="mnist needs the folder that holds its files, found none"):
        open_dataset("mnist")
    put(tmp_path / "mnist" / "train" / "a" / "1.jpg", picture(1))
    assert open_dataset("mnist").split("train").labels == ("a",)


@pytest.mark.parametrize("layout", [name for name in PUBLISHED if name not in ("casia-webface", "imdb-face")])
def test_a_file_or_folder_that_is_not_there_is_named(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found no .* unpack the set as it is distributed") as refused:
        open_dataset(layout, tmp_path)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("layout", "folder", "split"),
    [
        ("imagenet with a solution", "val", "query"),
        ("tinyface", "Testing_Set/Probe", "query"),
        ("tinyface", "Testing_Set/Gallery_Match", "gallery"),
        ("tinyface", "Testing_Set/Gallery_Distractor", "gallery"),
        ("market-1501", "query", "query"),
    ],
)
def test_what_lies_beside_the_pictures_is_counted_and_hidden_folders_are_passed_by(
    tmp_path: Path, layout: str, folder: str, split: str
) -> None:
    LAYOUTS[layout](tmp_path)
    before = open_dataset(layout.split(" ")[0], tmp_path).split(split)
    put(tmp_path / folder / "note.webm", "")
    put(tmp_path / folder / "@eaDir" / "12_thumb.jpg", picture(3))
    found = open_dataset(layout.split(" ")[0], tmp_path).split(split)
    assert found.ids == before.ids
    assert {name: found.left_out[name] for name in (".webm", "hidden")} == {".webm": 1, "hidden": 1}
