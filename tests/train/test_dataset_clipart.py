"""The clipart set: sheets, near copies, instances and the builder, on made-up drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from compat_sdk.datasets import check_dataset, open_dataset
from compat_sdk.datasets.near_copies import ink_hash, near_copies
from compat_sdk.errors import ConfigError, DataError
from compat_train.data.clipart import builder
from compat_train.data.clipart.builder import ClipartSet, build_clipart
from compat_train.data.clipart.instances import homography, instance
from compat_train.data.clipart.sheets import SHEET_PX, colours, read_sheet
from tests.cli.test_cli import run


def drawing(seed: int, size: tuple[int, int] = (120, 100)) -> Image.Image:
    """Twelve coloured boxes on nothing, which touch all four sides."""
    draws = np.random.default_rng(seed)
    image = Image.new("RGBA", size)
    pen = ImageDraw.Draw(image)
    for number in range(12):
        left, top = draws.integers(0, size[0] * 3 // 4), draws.integers(0, size[1] * 3 // 4)
        colour = (*draws.integers(0, 200, 3).tolist(), 255)
        pen.rectangle((left, top, left + size[0] // (3 + number % 3), top + size[1] // 4), fill=colour)
    pen.rectangle((0, 0, 9, 9), fill=(200, 0, 0, 255))
    pen.rectangle((size[0] - 10, size[1] - 10, size[0], size[1]), fill=(0, 0, 200, 255))
    return image


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """Twelve drawings, a larger copy of one, an icon, a link, an empty one, a band, two colours and no picture."""
    folder = tmp_path / "drawings"
    (folder / "animals").mkdir(parents=True)
    for seed in range(12):
        drawing(seed).save(folder / "animals" / f"No. {seed}.png")
    drawing(3).resize((240, 200), Image.Resampling.NEAREST).save(folder / "copy.png")
    drawing(20, (64, 64)).save(folder / "icon.png")
    (folder / "link.png").symlink_to(folder / "animals" / "No. 0.png")
    Image.new("RGBA", (100, 100)).save(folder / "empty.png")
    drawing(21, (100, 600)).save(folder / "band.png")
    two = Image.new("RGB", (100, 100), "red")
    ImageDraw.Draw(two).rectangle((0, 0, 50, 100), fill="blue")
    two.save(folder / "two.png")
    (folder / "broken.png").write_text("no picture")
    return folder


@pytest.fixture
def built(drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClipartSet:
    return build(tmp_path / "clipart", drawings, monkeypatch)


def build(out: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> ClipartSet:
    """Without processes, whose start would take longer than all the rest."""
    monkeypatch.setattr(builder, "Workers", _Here)
    return build_clipart(out, source=source, processes=1)


class _Here:
    """Runs in this process what would be handed out."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function, *arguments):  # type: ignore[no-untyped-def]
        from concurrent.futures import Future

        done = Future()  # type: ignore[var-annotated]
        done.set_result(function(*arguments))
        return done


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_what_the_builder_writes_opens_with_training_pictures_that_have_no_labels(built: ClipartSet) -> None:
    assert dict(built.images) == {"train": 9, "query": 9, "gallery": 3} and built.identities == 3
    dataset = open_dataset(built.path)
    assert {name: len(split) for name, split in dataset.splits.items()} == dict(built.images)
    assert not dataset.splits["train"].classes
    assert dataset.splits["query"].classes == dataset.splits["gallery"].classes
    assert not [problem for problem in check_dataset(dataset) if problem.severity == "error"]
    assert len(open_dataset(built.path / "train").split("train")) == 9
    trained_on = {path.stem for path in (built.path / "train").iterdir()}
    assert not trained_on & set(dataset.splits["gallery"].classes)


def test_what_is_left_out_is_counted_by_reason(built: ClipartSet) -> None:
    wanted = {"near copy": 1, "small": 1, "empty": 1, "long": 1, "few colours": 1, "unreadable": 1}
    assert dict(built.left_out) == wanted


def test_a_drawing_stands_in_the_middle_of_white_paper(tmp_path: Path) -> None:
    canvas = Image.new("RGBA", (300, 300))
    canvas.paste(drawing(0, (200, 100)), (90, 10))
    canvas.save(tmp_path / "a.png")
    pixels = read_sheet(tmp_path / "a.png").pixels
    assert pixels is not None and pixels.shape == (SHEET_PX, SHEET_PX, 3)
    ink = np.argwhere((pixels < 250).any(2))
    assert ink.min(0).tolist() == [70, 12] and ink.max(0).tolist() == [185, 243]  # 232 wide, 116 high


def test_an_enormous_drawing_is_left_out_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (6000, 5000)).save(tmp_path / "a.png")
    assert read_sheet(tmp_path / "a.png").left_out == "huge"


def test_colours_count_by_their_share_of_the_ink() -> None:
    pixels = np.full((100, 100, 3), 255, np.uint8)
    pixels[:50] = (200, 0, 0)
    pixels[50:60] = (0, 0, 200)
    pixels[60, :5] = (0, 200, 0)  # five of 6005, less than a 500th
    assert colours(pixels) == 2
    assert colours(np.full((9, 9, 3), 255, np.uint8)) == 0


def test_a_near_copy_is_one_of_an_earlier_drawing_that_stays() -> None:
    # In units of ink: 1 is near to 0, 2 is near to 1 but not to 0, which is the one that stays.
    rows = [np.array([x, 200], np.uint8) for x in (0, 50, 100)]
    assert near_copies(rows, 0.3) == {1: 0}
    assert near_copies(rows[1:], 0.3) == {1: 0}
    assert near_copies([]) == {}


def test_near_copies_are_those_of_a_naive_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compat_sdk.datasets.near_copies._BLOCK", 7)  # blocks end anywhere
    rows = np.random.default_rng(0).integers(0, 256, (60, 4), np.uint8)
    kept: list[int] = []
    copies = {}
    for row, ink in enumerate(rows.astype(float)):
        others = {other: np.linalg.norm(ink - rows[other]) for other in kept}
        smaller = {other: min(np.linalg.norm(ink), np.linalg.norm(rows[other].astype(float))) for other in kept}
        near = [other for other in kept if others[other] < 0.3 * smaller[other]]
        if near:
            copies[row] = min(near, key=others.__getitem__)
        else:
            kept.append(row)
    assert copies and near_copies(list(rows), 0.3) == copies


def test_the_same_shape_in_another_colour_is_no_copy(tmp_path: Path) -> None:
    hashes = []
    for colour in ((200, 0, 0), (0, 0, 200), (200, 10, 0)):
        pixels = np.full((SHEET_PX, SHEET_PX, 3), 255, np.uint8)
        pixels[60:200, 60:200] = colour
        hashes.append(ink_hash(pixels))
    assert near_copies(hashes, 0.3) == {2: 0}


def test_a_homography_takes_each_point_to_its_own() -> None:
    of = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    to = np.array([[1.0, 2], [9, 1], [11, 12], [-1, 9]])
    a, b, c, d, e, f, g, h = homography(of, to)
    for (x, y), wanted in zip(of, to, strict=True):
        w = g * x + h * y + 1
        assert [(a * x + b * y + c) / w, (d * x + e * y + f) / w] == pytest.approx(wanted.tolist())


def test_an_instance_follows_its_generator_and_differs_from_the_next(built: ClipartSet) -> None:
    sheet: NDArray[np.uint8] = np.asarray(Image.open(next((built.path / "gallery").rglob("*.png"))))
    one, two = (instance(sheet, np.random.default_rng(seed)) for seed in (0, 1))
    assert np.array_equal(one, instance(sheet, np.random.default_rng(0)))
    assert not np.array_equal(one, two) and not np.array_equal(one, sheet)
    assert one.shape == sheet.shape and one.dtype == np.uint8


def test_building_again_gives_the_same_bytes_and_replaces_only_a_clipart_set(
    built: ClipartSet, drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bytes_of(built.path)
    build(built.path, drawings, monkeypatch)
    assert bytes_of(built.path) == first and len(first) == 9 + 9 + 3 + 1
    (built.path / "query" / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match=r"holds query/mine\.txt .a file., which data build clipart does not write"):
        build(built.path, drawings, monkeypatch)
    (built.path / "query" / "mine.txt").unlink()
    (built.path / "meta.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not a clipart set"):
        build(built.path, drawings, monkeypatch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clipart", "drawings"]


def test_an_interrupted_build_leaves_nothing(drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(builder, "instance", stop)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "clipart", drawings, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["drawings"]


def test_without_drawings_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "DEBIAN_FOLDER", tmp_path / "absent")
    with pytest.raises(DataError, match=r"no drawings in .*apt install --no-install-recommends openclipart-png"):
        build_clipart(tmp_path / "clipart")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="photos holds no pictures"):
        build_clipart(tmp_path / "clipart", source=tmp_path / "photos")
    drawing(0).save(tmp_path / "photos" / "a.png")
    drawing(0, (30, 30)).save(tmp_path / "photos" / "b.png")
    with pytest.raises(DataError, match=r"1 of 2 drawings are fit \(left out: 1 small\); expected at least 8"):
        build(tmp_path / "clipart", tmp_path / "photos", monkeypatch)
    with pytest.raises(ConfigError, match="expected 1 or more"):
        build_clipart(tmp_path / "clipart", processes=0)
    assert not (tmp_path / "clipart").exists()


def test_the_command_builds_it_and_says_what_went(
    drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(builder, "Workers", _Here)
    code, out, err = run(capsys, "data", "build", "clipart", "--source", drawings, "--out", tmp_path / "clipart")
    assert code == 0, err
    assert "images: train 9, query 9, gallery 3" in out and "1 near copy" in out and f"--data {tmp_path}" in out
