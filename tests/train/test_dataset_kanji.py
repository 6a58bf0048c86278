"""The kanji set: geometry, splits and file layout, with no Japanese font needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from compat_sdk.datasets import kanji, lock_dataset, open_dataset
from compat_sdk.errors import ConfigError, DataError
from compat_train.data.kanji import builder as kanji_builder
from compat_train.data.kanji.builder import build_kanji, find_fonts
from compat_train.data.kanji.faces import FACES, Face
from compat_train.data.kanji.glyphs import face_similarity, fit_ink, jis_level_1, render_face
from compat_train.data.kanji.plan import plan_rows, split_identities, unfit_faces

TWO_FACES = (Face("p.ttf", "fonts-p", "print", "x"), Face("q.ttf", "fonts-q", "query", "y"))


def made_up_tiles(faces: int, characters: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (faces, characters, 32, 32), np.uint8)


def test_level_1_has_2965_distinct_kanji_from_a_to_wan() -> None:
    characters = jis_level_1()
    assert len(characters) == len(set(characters)) == 2965
    assert (characters[0], characters[-1]) == ("亜", "腕")


def test_ink_is_cropped_and_fitted_into_28_of_32_pixels() -> None:
    canvas = Image.new("L", (100, 90))
    ImageDraw.Draw(canvas).rectangle((10, 20, 29, 59), fill=255)  # 20 wide, 40 high
    tile = fit_ink(canvas)
    rows, columns = np.flatnonzero(tile.max(axis=1)), np.flatnonzero(tile.max(axis=0))
    assert tile.shape == (32, 32) and tile.dtype == np.uint8
    assert (rows[0], rows[-1]) == (2, 29)
    assert (columns[0], columns[-1]) == (9, 22)
    assert tile[2:30, 9:23].min() == 255


def test_a_drawing_without_ink_is_an_empty_tile() -> None:
    assert not fit_ink(Image.new("L", (9, 9))).any()


def test_splits_are_disjoint_complete_and_fixed() -> None:
    characters = jis_level_1()
    identities = split_identities(characters)
    assert {name: len(part) for name, part in identities.items()} == {"train": 1800, "val": 200, "test": 965}
    assert set().union(*identities.values()) == set(characters)
    assert [part[:3] for part in identities.values()] == [("鎚", "鋼", "晦"), ("御", "佃", "紫"), ("奄", "諮", "礼")]


def test_queries_come_from_query_faces_and_the_gallery_from_print_faces_of_unseen_characters() -> None:
    identities = {"train": "ab", "val": "c", "test": "def"}
    present = np.ones((2, 6), np.bool_)
    present[0, 3] = False  # the print face lacks "d"
    rows = plan_rows(identities, "abcdef", TWO_FACES, present, queries=2)
    assert rows["train"].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert rows["val"].tolist() == [[2, 0], [2, 1]]
    assert rows["gallery"].tolist() == [[4, 0], [5, 0]]
    assert len(rows["query"]) == 2 and set(rows["query"][:, 1].tolist()) == {1}
    assert set(rows["query"][:, 0].tolist()) <= {3, 4, 5}


def test_a_face_that_draws_like_an_earlier_one_or_lacks_characters_is_left_out() -> None:
    faces = tuple(Face(f"{name}.ttf", "x", "print", "x") for name in ("first", "other", "copy", "holes"))
    tiles = made_up_tiles(4, 200)
    tiles[2] = np.clip(tiles[0].astype(int) + 3, 0, 255)
    present = np.ones((4, 200), np.bool_)
    present[3, :2] = False
    dropped = unfit_faces(faces, tiles, present)
    assert list(dropped) == ["copy", "holes"]
    assert "draws like first" in dropped["copy"] and "lacks 2 of 200" in dropped["holes"]


def test_a_face_is_wholly_similar_to_itself_and_not_to_its_negative() -> None:
    tiles = made_up_tiles(1, 5)[0]
    assert face_similarity(tiles, tiles) == pytest.approx(1.0)
    assert face_similarity(tiles, 255 - tiles) == pytest.approx(-1.0)


def test_missing_fonts_are_reported_with_the_packages_that_bring_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 2 fonts .* apt install --no-install-recommends fonts-p fonts-q"):
        find_fonts(TWO_FACES, (tmp_path,))


def test_the_table_names_each_face_once_and_has_both_sides() -> None:
    names = [face.name for face in FACES]
    assert len(set(names)) == len(names)
    assert {face.role for face in FACES} == {"print", "query"}
    packages = {role: {face.package for face in FACES if face.role == role} for role in ("print", "query")}
    assert not packages["print"] & packages["query"], "no design stands on both sides"


def test_a_file_that_is_no_font_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "p.ttf").write_bytes(b"no font")
    with pytest.raises(DataError, match="cannot read font"):
        render_face(tmp_path / "p.ttf", "亜")


def build_with_made_up_faces(
    out: Path, monkeypatch: pytest.MonkeyPatch, faces: tuple[Face, ...] = TWO_FACES
) -> kanji_builder.KanjiSet:
    tiles = np.random.default_rng(1).integers(0, 256, (len(faces), 2965, 32, 32), np.uint8)
    fonts = out.parent / "fonts"
    fonts.mkdir(exist_ok=True)
    for face in faces:
        (fonts / face.file).write_bytes(face.file.encode())
    monkeypatch.setattr(kanji_builder, "FACES", faces)
    monkeypatch.setattr(kanji_builder, "_render", lambda *_: (tiles, np.ones((len(faces), 2965), np.bool_)))
    return build_kanji(out, font_folders=(fonts,))


def test_what_the_builder_writes_opens_as_the_kanji_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build_with_made_up_faces(tmp_path / "kanji", monkeypatch)
    assert dict(built.images) == {"train": 3600, "val": 400, "query": 965, "gallery": 965}
    assert dict(built.identities) == {"train": 1800, "val": 200, "test": 965}
    dataset = open_dataset("kanji", built.path)
    assert {name: len(split) for name, split in dataset.splits.items()} == dict(built.images)
    query = dataset.splits["query"]
    assert query.ids[0] == f"U+{ord(query.labels[0]):04X}/q"
    assert isinstance(query.images, np.ndarray) and query.images.shape == (965, 32, 32)
    assert not set(query.labels) & set(dataset.splits["train"].labels)
    assert open_dataset(built.path).splits["train"].ids == dataset.splits["train"].ids
    small = open_dataset("kanji-500", built.path).splits["train"]
    assert len(small.classes) == 500 and small.ids == dataset.splits["train"].ids[:1000]


def test_the_set_of_seen_characters_holds_faces_out_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build_with_made_up_faces(tmp_path / "kanji", monkeypatch)
    with pytest.raises(DataError, match="no image for query among its faces p, q"):
        open_dataset("kanji-500-seen", built.path)
    held_out = [face for faces in kanji.HELD_OUT.values() for face in faces]
    assert len(set(held_out)) == len(held_out) and set(held_out) <= {face.name for face in FACES}
    roles = {face.name: face.role for face in FACES}
    assert {roles[name] for name in kanji.HELD_OUT["query"]} == {"query"}
    assert {roles[name] for name in kanji.HELD_OUT["gallery"]} == {"print"}
    monkeypatch.setattr(kanji, "HELD_OUT", {"query": ("q",)})
    dataset = open_dataset("kanji-500-seen", built.path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 500, "query": 500}
    assert dataset.splits["train"].labels == dataset.splits["query"].labels
    everything = open_dataset("kanji-500", built.path).splits["train"]
    for split, face in (("train", 0), ("query", 1)):
        assert dataset.splits[split].ids == everything.ids[face::2]
        assert np.array_equal(np.asarray(dataset.splits[split].images), np.asarray(everything.images)[face::2])


FOUR_FACES = (*TWO_FACES, Face("r.ttf", "fonts-r", "query", "z"), Face("s.ttf", "fonts-s", "query", "z"))


@pytest.fixture(scope="module")
def four_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built set of one print face and three query faces."""
    with pytest.MonkeyPatch.context() as patch:
        return build_with_made_up_faces(tmp_path_factory.mktemp("hard") / "kanji", patch, FOUR_FACES).path


def test_a_hard_gallery_has_one_brush_pen_or_display_image_of_each_unseen_character(four_faces: Path) -> None:
    easy, hard = open_dataset("kanji", four_faces), open_dataset("kanji-hard", four_faces)
    assert hard.splits["train"].ids == easy.splits["train"].ids, "training is the whole set's"
    gallery, query = hard.splits["gallery"], hard.splits["query"]
    assert len(gallery) == len(set(gallery.labels)) == 965 and set(gallery.labels) == set(query.labels)
    assert not set(gallery.labels) & {label for name in ("train", "val") for label in hard.splits[name].labels}
    assert len(query) == 2 * 965 and not set(query.ids) & set(gallery.ids)
    assert {name[-1] for name in gallery.ids + query.ids} == {"q", "r", "s"}, "no print face"
    pixels = dict(zip(easy.splits["query"].ids, np.asarray(easy.splits["query"].images), strict=True))
    for split in (query, gallery):
        shared = [row for row, name in enumerate(split.ids) if name in pixels]
        assert shared, "queries of the easy set are among them"
        assert all(np.array_equal(np.asarray(split.images)[row], pixels[split.ids[row]]) for row in shared)


def test_validation_of_a_hard_gallery_is_as_hard(four_faces: Path) -> None:
    val = open_dataset("kanji-hard", four_faces).splits["val"]
    assert val.query_side is not None and {name[-1] for name in val.ids} == {"q", "r", "s"}
    stored = [label for label, asks in zip(val.labels, val.query_side, strict=True) if not asks]
    assert len(stored) == len(set(stored)) == 200 and len(val) == 600


def test_draws_differ_in_the_gallerys_images_alone_and_stay_as_they_are(four_faces: Path) -> None:
    draws = [open_dataset(name, four_faces) for name in ("kanji-hard", "kanji-hard-1", "kanji-hard-4")]
    assert [draw.name for draw in draws] == ["kanji-hard", "kanji-hard-1", "kanji-hard-4"]
    assert len({draw.splits["gallery"].ids for draw in draws}) == 3
    everything = [sorted(draw.splits["gallery"].ids + draw.splits["query"].ids) for draw in draws]
    assert everything[0] == everything[1] == everything[2]
    firsts = ["".join(name[-1] for name in draw.splits["gallery"].ids[:12]) for draw in draws]
    assert firsts == ["rrssqsrqqsrr", "rqrsqqsssrqs", "qqsrqrssqrsr"]
    with pytest.raises(DataError, match="found no dataset 'kanji-hard-5'"):
        open_dataset("kanji-hard-5")


@pytest.mark.parametrize("name", ["unseen.npy", "unseen-rows.npy"])
def test_a_set_built_before_hard_galleries_opens_as_before_and_says_what_it_lacks(
    name: str, four_faces: Path, tmp_path: Path
) -> None:
    old = tmp_path / "kanji"
    shutil.copytree(four_faces, old)
    (old / name).unlink()
    assert len(open_dataset("kanji", old).splits["query"]) == len(open_dataset("kanji", four_faces).splits["query"])
    with pytest.raises(
        DataError, match=rf"has no {name}, which kanji-hard needs since 0\.8; build it with: compat-sdk"
    ):
        open_dataset("kanji-hard", old)


@pytest.mark.parametrize("rows", [[[0, -1]], [[0, 4]], [[2965, 1]], [[0, 1, 2]], [[0, 1], [0, 2]], [[-1, 1]]])
def test_rows_that_name_no_character_or_no_face_are_refused(
    rows: list[list[int]], four_faces: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "kanji"
    shutil.copytree(four_faces, damaged)
    np.save(damaged / "unseen.npy", np.zeros((1, 32, 32), np.uint8))
    np.save(damaged / "unseen-rows.npy", np.array(rows, np.int32))
    with pytest.raises(DataError, match="data build kanji"):
        open_dataset("kanji-hard", damaged)


def test_a_locked_set_whose_unseen_images_changed_is_refused(four_faces: Path, tmp_path: Path) -> None:
    copied = tmp_path / "kanji"
    shutil.copytree(four_faces, copied)
    lock_dataset("kanji", copied)
    open_dataset("kanji-hard", copied)
    images = np.load(copied / "unseen.npy")
    images[0, 0, 0] ^= 1
    np.save(copied / "unseen.npy", images)
    with pytest.raises(DataError, match=r"unseen\.npy"):
        open_dataset("kanji-hard", copied)


def test_building_again_gives_the_same_bytes_and_replaces_only_a_kanji_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = build_with_made_up_faces(tmp_path / "kanji", monkeypatch).path
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    build_with_made_up_faces(out, monkeypatch)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("keep", "utf-8")
    with pytest.raises(ConfigError, match=r"holds precious\.txt, which data build kanji does not write"):
        build_kanji(tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fonts", "kanji", "mine"]


def test_no_process_at_all_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more"):
        build_kanji(tmp_path / "kanji", processes=0)


def test_a_kanji_set_that_is_absent_or_damaged_says_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="data build kanji"):
        open_dataset("kanji")
    with pytest.raises(DataError, match="data build kanji"):
        open_dataset("kanji", tmp_path)
    out = build_with_made_up_faces(tmp_path / "kanji", monkeypatch).path
    meta = (out / "meta.json").read_text("utf-8")
    (out / "meta.json").write_text(meta.replace('"version": 1', '"version": 9'), "utf-8")
    with pytest.raises(DataError, match="version 9, expected"):
        open_dataset("kanji", out)
    (out / "meta.json").write_text(meta, "utf-8")
    (out / "images.npy").write_bytes((out / "images.npy").read_bytes()[:5000])
    with pytest.raises(DataError, match="not a readable kanji set"):
        open_dataset("kanji", out)


def test_real_faces_draw_real_characters_and_know_what_they_lack() -> None:
    wanted = [face for face in FACES if face.file in ("ipaexg.ttf", "sawarabi-mincho-medium.ttf")]
    try:
        paths = find_fonts(wanted, kanji_builder.FONT_FOLDERS)
    except DataError as error:
        pytest.skip(str(error))
    characters = ("亜", "腕", "\U000e0001", "\ufffe")
    tiles, present = render_face(paths["ipaexg.ttf"], characters)
    assert present.tolist() == [True, True, False, False]
    assert tiles[0].any() and not tiles[3].any()
    _, present = render_face(paths["sawarabi-mincho-medium.ttf"], jis_level_1())
    assert 0 < np.count_nonzero(~present) < 15
