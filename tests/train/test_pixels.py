"""Decoding a split before training."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.datasets import Split
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.files.lock import open_locked
from compat_sdk.images import Preprocessing, to_pixels
from compat_train.config.parts import Source
from compat_train.config.settings import config_to_json
from compat_train.data.pixels import Pixels, decode_split
from compat_train.data.training_set import load_training_set


def arrays(*shape: int) -> Split:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Split("train", images, ("a",) * shape[0], tuple(f"train-{row}" for row in range(shape[0])))


def files(folder: Path, count: int, corrupt: tuple[int, ...] = ()) -> Split:
    paths = tuple(folder / f"{row}.png" for row in range(count))
    for row, path in enumerate(paths):
        Image.new("RGB", (20, 12), (row * 10, 200, 30)).save(path)
        if row in corrupt:
            path.write_bytes(b"torn")
    return Split("train", paths, ("a",) * count, tuple(path.name for path in paths))


def test_grey_arrays_of_the_right_size_are_neither_resized_nor_copied() -> None:
    split = arrays(5, 16, 16)
    pixels = decode_split(split, Preprocessing(16))
    assert pixels.images.shape == (5, 16, 16, 3) and pixels.kept.tolist() == [0, 1, 2, 3, 4]
    assert isinstance(split.images, np.ndarray) and np.shares_memory(pixels.images, split.images)
    assert np.array_equal(pixels.images[3], to_pixels(split.images[3], Preprocessing(16)))


def test_colour_arrays_of_the_right_size_are_passed_on() -> None:
    split = arrays(3, 16, 16, 3)
    assert decode_split(split, Preprocessing(16)).images is split.images


@pytest.mark.parametrize("threads", [1, 2, None])
def test_other_arrays_are_resized_as_the_device_resizes_them(threads: int | None) -> None:
    split, preprocessing = arrays(7, 10, 14), Preprocessing(16)
    pixels = decode_split(split, preprocessing, threads=threads)
    assert np.array_equal(pixels.images, np.stack([to_pixels(image, preprocessing) for image in split.images]))


def test_unreadable_images_beyond_the_budget_stop_before_any_epoch_and_are_named(tmp_path: Path) -> None:
    split = files(tmp_path, 6, corrupt=(1, 4))
    with pytest.raises(DataError, match=r"2 of 6 images of train cannot be read \(1\.png: .*; 4\.png: .*\)"):
        decode_split(split, Preprocessing(8), skip_budget=1)


@pytest.mark.parametrize("cached", [False, True])
def test_unreadable_images_within_the_budget_are_left_out_with_a_warning(tmp_path: Path, cached: bool) -> None:
    split = files(tmp_path, 6, corrupt=(1, 4))
    cache = tmp_path / "cache" if cached else None
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"2 of 6 .*1\.png.*4\.png.*left out"):
            pixels = decode_split(split, Preprocessing(8), cache=cache, skip_budget=2)
        assert pixels.kept.tolist() == [0, 2, 3, 5]
        assert pixels.images.shape == (4, 8, 8, 3)
        assert pixels.images[:, 0, 0, 0].tolist() == [0, 20, 30, 50]


def test_a_split_of_which_nothing_can_be_read_is_an_error_whatever_the_budget(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 of 2"):
        decode_split(files(tmp_path, 2, corrupt=(0, 1)), Preprocessing(8), skip_budget=9)


def test_the_cache_is_reused_and_made_anew_when_a_file_or_the_preprocessing_changes(tmp_path: Path) -> None:
    split, cache, steps = files(tmp_path, 3), tmp_path / "cache", []

    def decoded(size: int) -> int:
        steps.clear()
        decode_split(split, Preprocessing(size), cache=cache, progress=lambda *step: steps.append(step))
        return len(steps)

    assert decoded(8) == 1 and steps == [("decode train", 3, 3, {})]
    assert decoded(8) == 0
    assert decoded(9) == 1
    os.utime(tmp_path / "1.png", ns=(1, 1))
    assert decoded(8) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock", *[".npy"] * 3, *[".pixels"] * 3]


def test_a_torn_cache_is_made_anew(tmp_path: Path) -> None:
    split, cache = arrays(4, 10, 10), tmp_path / "cache"
    first = np.array(decode_split(split, Preprocessing(8), cache=cache).images)
    (stored,) = cache.glob("*.pixels")
    stored.write_bytes(stored.read_bytes()[:100])
    assert np.array_equal(decode_split(split, Preprocessing(8), cache=cache).images, first)


def test_a_failed_decoding_leaves_no_cache_behind(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(DataError):
        decode_split(files(tmp_path, 2, corrupt=(0,)), Preprocessing(8), cache=cache)
    assert [path.name for path in cache.iterdir()] == ["pixels.lock"]


def test_two_trainings_that_share_a_folder_decode_once(tmp_path: Path) -> None:
    split, cache, steps = files(tmp_path, 3), tmp_path / "cache", []
    cache.mkdir()
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.warns(UserWarning, match="is writing images in .*waiting until it is done"),
    ):
        with open_locked(cache / "pixels.lock"):

            def decoded() -> Pixels:
                return decode_split(split, Preprocessing(8), cache=cache, progress=lambda *step: steps.append(step))

            both = [pool.submit(decoded) for _ in range(2)]
            assert wait(both, timeout=0.3).not_done == set(both)  # another process is writing there
        first, second = (one.result(timeout=60) for one in both)
    assert np.array_equal(first.images, second.images) and len(steps) == 1


def test_a_full_disk_is_an_error_and_what_killed_processes_left_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("train-0.pixels.00112233aabb.tmp", "query-1.pixels.112233aabb00.tmp"):
        (cache / name).write_bytes(b"left")
    decode_split(files(tmp_path, 2), Preprocessing(8), cache=cache)
    assert not list(cache.glob("*.tmp"))
    if hasattr(os, "posix_fallocate"):

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space left on device, 600 bytes are needed") as caught:
            decode_split(files(tmp_path, 2), Preprocessing(10), cache=cache)
        assert str(cache) in caught.value.filename and not list(cache.glob("*.tmp"))

        def unknown(*_: object) -> None:  # to the file system
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(os, "posix_fallocate", unknown)
        mapped = decode_split(files(tmp_path, 2), Preprocessing(10), cache=cache).images
        assert (mapped == decode_split(files(tmp_path, 2), Preprocessing(10)).images).all()
        monkeypatch.delattr(os, "posix_fallocate")
    mapped = decode_split(files(tmp_path, 2), Preprocessing(12), cache=cache).images
    assert (mapped == decode_split(files(tmp_path, 2), Preprocessing(12)).images).all()


def test_an_empty_split_gives_an_empty_array(tmp_path: Path) -> None:
    empty = Split("val", (), (), ())
    assert decode_split(empty, Preprocessing(8), cache=tmp_path).images.shape == (0, 8, 8, 3)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError):
        decode_split(arrays(2, 8, 8), Preprocessing(8), skip_budget=-1)
    with pytest.raises(ConfigError):
        decode_split(arrays(2, 8, 8), Preprocessing(8), threads=0)


def test_trainings_of_one_folder_share_their_decoded_pictures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (9, 9), (ord(name), number, 0)).save(tmp_path / "data" / "train" / name / f"{number}.png")
    source = Source(data=str(tmp_path / "data"), pixels=str(tmp_path / "kept"))
    steps: list[object] = []
    for run in ("one", "two"):
        found = load_training_set(
            source, Preprocessing(8), cache=tmp_path / run / "pixels", progress=lambda *step: steps.append(step)
        )
        assert isinstance(found.pixels, np.memmap) and not (tmp_path / run).exists()
    assert len(steps) == 1 and len(list((tmp_path / "kept").glob("*.pixels"))) == 1
    assert "pixels" not in config_to_json(source)  # where they are decides nothing
    with pytest.raises(ConfigError, match=r"data.* holds train"):
        load_training_set(replace(source, pixels=str(tmp_path / "data")), Preprocessing(8))
