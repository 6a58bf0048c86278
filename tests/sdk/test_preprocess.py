from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from compat_sdk.errors import ConfigError, ImageError
from compat_sdk.images import Preprocessing, decode_many, open_image, to_input, to_pixels

PLAIN = Preprocessing(size=32)


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth picture whose four corners differ, so that every turn and mirror shows."""
    corners = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 30]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())


# ---- settings


def test_preprocessing_survives_json() -> None:
    made = Preprocessing(64, "stretch", "box", 0, (0.1, 0.2, 0.3), (1.0, 2.0, 0.5), "bgr")
    assert Preprocessing.from_json(made.to_json()) == made


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_scale_and_offset_are_the_formula_in_the_order_of_the_input(channels: Any) -> None:
    made = Preprocessing(8, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 0.5), channels=channels)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    ordered = pixels if channels == "rgb" else pixels[..., ::-1]
    expected = (ordered * made.scale + made.offset).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(to_input(pixels, made), expected, atol=1e-6)


def test_what_a_graph_leaves_to_its_client_is_the_pixels_to_the_last_bit() -> None:
    left = Preprocessing(8, "stretch", "box", 3, (0.1, 0.2, 0.3), (1.0, 2.0, 0.5), "bgr").inside_graph()
    assert (left.size, left.fit, left.resize, left.draft) == (8, "stretch", "box", 3)
    assert (left.scale, left.offset, left.channels) == ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "rgb")
    pixels = np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3)
    assert np.array_equal(to_input(pixels, left), pixels.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": 5000},
        {"size": 32.0},
        {"size": True},
        {"fit": "pad"},
        {"resize": "nearest"},
        {"resize": None},
        {"draft": -1},
        {"channels": "grb"},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5, 0.5, float("nan"))},
        {"mean": "abc"},
        {"std": (0.5, 0.0, 0.5)},
        {"std": None},
    ],
    ids=str,
)
def test_a_setting_out_of_its_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(change))} is"):
        dataclasses.replace(PLAIN, **change)


def test_a_missing_or_unknown_field_is_refused() -> None:
    fields = PLAIN.to_json()
    with pytest.raises(ConfigError, match="exactly"):
        Preprocessing.from_json(fields | {"gamma": 1})
    with pytest.raises(ConfigError, match="exactly"):
        Preprocessing.from_json({k: v for k, v in fields.items() if k != "std"})


# ---- files that are no images


def test_a_file_that_is_no_image_is_refused_by_its_path(tmp_path: Path) -> None:
    for name, data in (("empty.jpg", b""), ("text.png", b"hello"), ("fits", b"SIMPLE  =                    T" * 100)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=name) as caught:
            to_pixels(tmp_path / name, PLAIN)
        assert caught.value.source == str(tmp_path / name)
    with pytest.raises(ImageError, match="absent"):
        to_pixels(tmp_path / "absent.jpg", PLAIN)
    with pytest.raises(ImageError):
        to_pixels(str(tmp_path), PLAIN)


def test_empty_bytes_are_called_empty() -> None:
    with pytest.raises(ImageError, match="empty"):
        to_pixels(b"", PLAIN)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP"])
def test_a_truncated_file_is_refused(format: str) -> None:
    data = encoded(scene(), format)
    for keep in (len(data) // 2, 20):
        with pytest.raises(ImageError):
            to_pixels(data[:keep], PLAIN)


@pytest.mark.parametrize("format", ["EPS", "PDF", "PCX", "ICO", "SGI", "TGA"])
def test_a_format_outside_the_list_is_refused_although_pillow_can_read_it(format: str) -> None:
    with pytest.raises(ImageError, match="expected JPEG, PNG"):
        to_pixels(encoded(scene(), format), PLAIN)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    )
    with pytest.raises(ImageError, match="decompression bomb"):
        to_pixels(b"\x89PNG\r\n\x1a\n" + chunks, PLAIN)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_damaged_bytes_give_pixels_or_an_image_error_and_nothing_else(format: str) -> None:
    data = bytearray(encoded(scene(), format))
    generator = np.random.default_rng(0)
    for _ in range(150):
        mutant = bytearray(data)
        for position in generator.integers(0, len(data), 3):
            mutant[position] ^= int(generator.integers(1, 256))
        try:
            assert to_pixels(bytes(mutant), PLAIN).shape == (32, 32, 3)
        except ImageError:
            pass


# ---- kinds of images


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_every_listed_format_is_read(format: str, tmp_path: Path) -> None:
    if format == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    data = encoded(scene(), format)
    (tmp_path / "image").write_bytes(data)
    expected = to_pixels(scene(), PLAIN)
    assert difference(to_pixels(data, PLAIN), expected) < 24
    assert np.array_equal(to_pixels(tmp_path / "image", PLAIN), to_pixels(data, PLAIN))
    assert np.array_equal(to_pixels(str(tmp_path / "image"), PLAIN), to_pixels(data, PLAIN))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_image_is_turned_upright_by_its_exif_orientation(orientation: int, fit: Any, format: str) -> None:
    turns = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # a camera held so that the photo must be turned back by 270 degrees
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = scene(97, 64)
    turn = turns[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 100, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    data = encoded(stored, format, exif=exif, **quality)
    preprocessing = Preprocessing(size=32, fit=fit)
    assert difference(to_pixels(data, preprocessing), to_pixels(upright, preprocessing)) <= 6
    assert open_image(data).size == upright.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_hide_good_pixels() -> None:
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert np.array_equal(to_pixels(data, PLAIN), to_pixels(encoded(scene(), "JPEG"), PLAIN))


def test_grey_palette_and_bilevel_images_become_rgb() -> None:
    grey = scene().convert("L")
    assert np.array_equal(to_pixels(encoded(grey), PLAIN), to_pixels(grey.convert("RGB"), PLAIN))
    palette = scene().quantize(64)
    assert np.array_equal(to_pixels(encoded(palette), PLAIN), to_pixels(palette.convert("RGB"), PLAIN))
    bilevel = grey.convert("1")
    assert np.array_equal(to_pixels(encoded(bilevel), PLAIN), to_pixels(bilevel.convert("RGB"), PLAIN))


def test_a_grey_jpeg_may_be_drafted_too() -> None:
    data = encoded(scene(1024, 768).convert("L"), "JPEG", quality=95)
    assert difference(to_pixels(data, PLAIN), to_pixels(scene(1024, 768).convert("L"), PLAIN)) < 8


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert to_pixels(encoded(clear), PLAIN).min() == 255
    assert difference(to_pixels(encoded(half), PLAIN), np.full((32, 32, 3), 127)) <= 1
    assert to_pixels(encoded(clear.convert("LA")), PLAIN).min() == 255
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0] * 256)
    assert to_pixels(encoded(palette, transparency=0), PLAIN).min() == 255
    assert to_pixels(encoded(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3)), PLAIN).min() == 255


def test_sixteen_bit_images_keep_their_upper_eight_bits() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    expected = to_pixels((ramp >> 8).astype(np.uint8), PLAIN)
    for format in ("PNG", "TIFF", "PPM"):
        assert np.array_equal(to_pixels(encoded(Image.fromarray(ramp), format), PLAIN), expected), format


def test_images_of_32_bits_per_channel_are_refused() -> None:
    for dtype in (np.float32, np.int32):
        with pytest.raises(ImageError, match="32 bits"):
            to_pixels(encoded(Image.fromarray(np.ones((8, 8), dtype)), "TIFF"), PLAIN)


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    data = encoded(scene().convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert difference(to_pixels(data, PLAIN), to_pixels(scene(), PLAIN)) < 10


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert difference(to_pixels(data, PLAIN), to_pixels(frames[0], PLAIN)) < 8


def test_a_phone_photo_with_an_embedded_preview_is_its_first_picture() -> None:
    photo, preview = scene(1024, 768), Image.new("RGB", (64, 64), "black")
    data = encoded(photo, "MPO", save_all=True, append_images=[preview], quality=95)
    assert difference(to_pixels(data, PLAIN), to_pixels(photo, PLAIN)) < 8


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 2)])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_extreme_shapes_are_read(size: tuple[int, int], fit: Any) -> None:
    for format in ("PNG", "JPEG"):
        found = to_pixels(encoded(Image.new("RGB", size, (90, 120, 150)), format), Preprocessing(size=32, fit=fit))
        assert difference(found, np.broadcast_to(np.array([90, 120, 150]), (32, 32, 3))) <= 3


# ---- the numbers


def test_crop_takes_the_central_square_and_stretch_the_whole_image() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    crop = to_pixels(image, Preprocessing(size=10, fit="crop", resize="box"))
    stretch = to_pixels(image, Preprocessing(size=30, fit="stretch", resize="box"))
    assert crop.min() == 200
    assert np.array_equal(stretch[0, :, 0] == 200, np.arange(30) // 10 == 1)


def test_resizing_averages_over_what_it_drops() -> None:
    checks = np.indices((512, 512)).sum(0) % 2 * 255
    for kernel in ("bilinear", "bicubic", "lanczos", "box"):
        found = to_pixels(checks.astype(np.uint8), Preprocessing(size=32, resize=kernel))  # type: ignore[arg-type]
        assert difference(found, np.full((32, 32, 3), 127)) <= 2, kernel


def test_a_drafted_jpeg_differs_by_rounding_from_one_decoded_in_full() -> None:
    data = encoded(scene(2016, 1512), "JPEG", quality=90)
    drafted, full = (to_pixels(data, Preprocessing(size=112, draft=draft)) for draft in (2, 0))
    assert difference(drafted, full) <= 3
    assert open_image(data, Preprocessing(size=112)).size == (504, 378)
    assert open_image(data, Preprocessing(size=112, draft=8)).size == (2016, 1512)
    assert open_image(data).size == (2016, 1512)


def test_a_drafted_jpeg_never_falls_below_what_the_model_sees() -> None:
    data = encoded(scene(640, 225), "JPEG")
    assert open_image(data, Preprocessing(size=112, draft=1)).size == (320, 113)
    assert open_image(data, Preprocessing(size=113, draft=2)).size == (640, 225)


def test_an_image_of_the_right_size_is_not_changed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert to_pixels(pixels, PLAIN) is pixels
    assert np.array_equal(to_pixels(Image.fromarray(pixels), PLAIN), pixels)
    assert np.array_equal(to_pixels(encoded(Image.fromarray(pixels)), PLAIN), pixels)


def test_the_input_is_scaled_and_ordered_as_stated() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (pixels.astype(np.float32) / np.float32(255) - np.float32(mean)) / np.float32(std)
    found = to_input(pixels, Preprocessing(size=4, mean=mean, std=std))
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.array_equal(found, expected.transpose(0, 3, 1, 2))
    bgr = to_input(pixels, Preprocessing(size=4, mean=mean, std=std, channels="bgr"))
    assert np.array_equal(bgr, found[:, ::-1])
    assert np.array_equal(to_input(np.asfortranarray(pixels), Preprocessing(size=4, mean=mean, std=std)), found)


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 5, 3), (1, 3, 4, 4), (1, 4, 4, 1)])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"\[n, 4, 4, 3\]"):
        to_input(np.zeros(shape, np.uint8), Preprocessing(size=4))
    with pytest.raises(ImageError, match="float32"):
        to_input(np.zeros((1, 4, 4, 3), np.float32), Preprocessing(size=4))  # type: ignore[arg-type]


# ---- arrays and Pillow images


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3), np.float32),
        np.full((8, 8, 3), np.nan),
        np.zeros((8, 8, 3), np.uint16),
        np.zeros((8, 8, 3), bool),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}-{'x'.join(map(str, array.shape))}",
)
def test_an_array_that_is_no_uint8_image_is_refused_with_what_was_expected(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"expected uint8 of shape \[h, w\]"):
        to_pixels(array, PLAIN)


def test_the_memory_layout_of_an_array_does_not_matter() -> None:
    pixels = np.asarray(scene())
    expected = to_pixels(pixels, PLAIN)
    reversed_twice = np.ascontiguousarray(pixels[::-1, ::-1])[::-1, ::-1]
    for same in (np.asfortranarray(pixels), reversed_twice, np.repeat(pixels, 2, axis=1)[:, ::2]):
        assert not same.flags.c_contiguous
        assert np.array_equal(to_pixels(same, PLAIN), expected)
    grey = pixels[..., 0]
    assert np.array_equal(to_pixels(grey, PLAIN), to_pixels(grey[..., None], PLAIN))
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    assert np.array_equal(to_pixels(opaque, PLAIN), expected)


def test_a_pillow_image_is_not_changed_and_not_handed_out() -> None:
    image = scene()
    before = image.tobytes()
    opened = open_image(image)
    opened.paste("black", (0, 0, 96, 64))
    to_pixels(image, PLAIN)
    assert image.tobytes() == before and image.size == (96, 64)


@pytest.mark.parametrize("value", [None, 3, ["a"], object()], ids=["none", "number", "list", "object"])
def test_a_value_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(ImageError, match="expected a path"):
        to_pixels(value, PLAIN)


# ---- many


def test_many_images_come_back_in_order_whatever_the_number_of_threads(tmp_path: Path) -> None:
    images: list[Any] = [scene(40 + i, 40) for i in range(9)]
    images[2], images[5] = encoded(images[2]), np.asarray(images[5])
    images[7].save(tmp_path / "seven.png")
    images[7] = tmp_path / "seven.png"
    expected = np.stack([to_pixels(image, PLAIN) for image in images])
    for threads in (None, 1, 4):
        assert np.array_equal(decode_many(images, PLAIN, threads), expected)


def test_no_images_and_one_image_are_many_images_too() -> None:
    assert decode_many([], PLAIN).shape == (0, 32, 32, 3)
    assert decode_many([scene()], PLAIN).shape == (1, 32, 32, 3)


def test_an_array_of_grey_images_is_many_images() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    found = decode_many(grey, Preprocessing(size=28))
    assert np.array_equal(found, np.repeat(grey[..., None], 3, axis=3))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_image_that_fails_is_named_by_position_and_path(tmp_path: Path, threads: int) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    with pytest.raises(ImageError, match=r"bad\.jpg \(position 4\)"):
        decode_many([*[scene()] * 4, tmp_path / "bad.jpg", *[scene()] * 4], PLAIN, threads)
