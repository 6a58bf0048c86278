"""Pictures of phones, printers and generators that were refused, and pipes that nobody may open."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from compat_sdk.errors import ConfigError, ImageError
from compat_sdk.images import Preprocessing, decode_readable, image_size, limit_pixels, open_image, to_pixels
from compat_sdk.images.decode import MOST_PIXELS

SMALL = Preprocessing(size=32)


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height), Image.Resampling.NEAREST).save(file, "JPEG", quality=30)
    return file.getvalue()


def test_a_photo_of_200_megapixels_is_read_at_the_scale_it_is_needed_at() -> None:
    content = jpeg(16320, 12240)
    assert to_pixels(content, SMALL).shape == (32, 32, 3)
    with pytest.raises(ImageError, match=r"16320 x 12240 = 199,756,800 pixels in memory"):
        open_image(content)


def test_the_limit_of_pixels_can_be_what_a_device_affords() -> None:
    content = jpeg(400, 300)
    limit_pixels(100_000)
    try:
        with pytest.raises(ImageError, match=r"120,000 pixels in memory, and the limit .* is 100,000"):
            open_image(content)
        assert to_pixels(content, SMALL).shape == (32, 32, 3)  # decoded at a quarter
    finally:
        limit_pixels(None)
    assert open_image(content).size == (400, 300) and MOST_PIXELS == 178_956_970
    for wrong in (0, True, 1.5):
        with pytest.raises(ConfigError, match="limit of pixels"):
            limit_pixels(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["text", "profile"])
def test_large_metadata_that_nobody_reads_does_not_hide_the_pixels(tmp_path: Path, kind: str) -> None:
    image = Image.linear_gradient("L").convert("RGB").resize((20, 10))
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    more = {"pnginfo": texts} if kind == "text" else {"icc_profile": bytes(3_000_000)}
    image.save(tmp_path / "a.png", **more)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.png")), np.asarray(image))


def test_a_damaged_png_with_texts_is_still_damaged(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    Image.linear_gradient("L").save(tmp_path / "a.png", pnginfo=texts)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) - 60])
    with pytest.raises(ImageError):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "it is HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99), "it is HEIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "it is a video"),
        (b"%PDF-1.7 ...............", "it is PDF, not an image"),
        (b"plain text, no picture at all", "not an image"),
        (b"", "it is empty"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(content: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        open_image(content)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF decoder")
def test_avif_is_read(tmp_path: Path) -> None:
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a.avif")
    assert open_image(tmp_path / "a.avif").size == (256, 256) == image_size(tmp_path / "a.avif")


def test_heic_is_read_with_its_extra(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    image = Image.linear_gradient("L").convert("RGB")
    heif.from_pillow(image).save(tmp_path / "a.heic")
    assert np.abs(np.asarray(open_image(tmp_path / "a.heic"), int) - np.asarray(image, int)).mean() < 4
    (tmp_path / "a.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / "a.heic")
    assert "not installed" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX")
def test_a_pipe_or_a_device_in_the_place_of_a_picture_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    for path in (tmp_path / "a.jpg", Path("/dev/zero"), tmp_path):
        with pytest.raises(ImageError, match="a folder, a pipe or a device"):
            open_image(path)


def test_what_can_be_read_is_decoded_once_and_the_rest_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"bad")
    pixels, kept, errors = decode_readable([tmp_path / "b.png", tmp_path / "a.png", tmp_path / "gone.png"], SMALL)
    assert pixels.shape == (1, 32, 32, 3) and kept == [1]
    assert ["b.png" in errors[0].source, "gone.png" in errors[1].source] == [True, True]
