from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compat_sdk.bundle import Bundle, Graph
from compat_sdk.bundle.self_test import input_statistics
from compat_sdk.embedder import Embedder
from compat_sdk.errors import BundleError, CheckFailedError, ConfigError, ImageError, VectorError
from compat_sdk.images import to_input, to_pixels
from tests.sdk.bundles import DIM, PREPROCESSING, SIZE, LinearEngine, golden, make_bundle, onnx_graph


class Wrong:
    """An engine that gives what it is told to give."""

    name = "wrong"

    def __init__(self, give: Callable[[int], NDArray[Any]]) -> None:
        self.give = give

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.give(len(images))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "tiny")


@pytest.fixture
def embedder(bundle: Bundle) -> Embedder:
    return Embedder.load(bundle, engine=LinearEngine(), batch=4, threads=2)


def pictures(count: int, width: int = 40, height: int = 30) -> list[np.ndarray]:
    generator = np.random.default_rng(count)
    return list(generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def test_embeddings_carry_the_space_of_the_bundle(embedder: Embedder, bundle: Bundle) -> None:
    found = embedder.embed(pictures(3))
    assert found.space == embedder.space == bundle.manifest.space
    assert found.searches == embedder.searches == ("big-8-bbbbbbbbbbbb",)
    assert found.vectors.shape == (3, embedder.dim)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    assert embedder.preprocessing == PREPROCESSING and embedder.manifest == bundle.manifest


def test_a_bundle_is_loaded_from_its_path_too(bundle: Bundle) -> None:
    images = pictures(2)
    found = [
        Embedder.load(where, engine=LinearEngine()).embed(images).vectors for where in (bundle.path, str(bundle.path))
    ]
    assert np.array_equal(*found)


def test_every_kind_of_image_gives_the_same_embedding(embedder: Embedder, tmp_path: Path) -> None:
    array = pictures(1)[0]
    image = Image.fromarray(array)
    image.save(tmp_path / "image.png")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    expected = embedder.embed(array).vectors
    assert expected.shape == (1, DIM)
    for same in (image, tmp_path / "image.png", str(tmp_path / "image.png"), buffer.getvalue(), array[None]):
        assert np.array_equal(embedder.embed(same).vectors, expected)
    mixed = embedder.embed([array, image, tmp_path / "image.png", buffer.getvalue()])
    assert np.array_equal(mixed.vectors, np.repeat(expected, 4, axis=0))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_any_number_of_images_comes_back_in_order_in_batches(bundle: Bundle, count: int) -> None:
    engine = LinearEngine()
    embedder = Embedder.load(bundle, engine=engine, batch=4, threads=3)
    images = pictures(count)
    found = embedder.embed(images).vectors
    assert found.shape == (count, DIM)
    assert engine.batches == [4] * (count // 4) + ([count % 4] if count % 4 else [])
    for row, image in zip(found, images, strict=True):
        assert np.array_equal(row, embedder.embed(image).vectors[0])


def test_images_of_different_sizes_share_a_batch(embedder: Embedder) -> None:
    ragged = [pictures(1, width, height)[0] for width, height in ((10, 90), (300, 20), (1, 1), (SIZE, SIZE))]
    found = embedder.embed(ragged).vectors
    assert np.array_equal(found, np.concatenate([embedder.embed(image).vectors for image in ragged]))


def test_prepared_pixels_and_arrays_of_images_are_embedded_without_resizing(embedder: Embedder) -> None:
    images = pictures(9)
    pixels = np.stack([to_pixels(image, PREPROCESSING) for image in images])
    expected = embedder.embed(images).vectors
    assert np.array_equal(embedder.embed_pixels(pixels).vectors, expected)
    assert np.array_equal(embedder.embed(pixels).vectors, expected)
    assert np.array_equal(embedder.embed(np.stack(images)).vectors, expected)
    assert embedder.embed_pixels(pixels[:0]).vectors.shape == (0, DIM)
    assert embedder.embed(np.empty((0, 5, 5, 3), np.uint8)).vectors.shape == (0, DIM)


def test_one_grey_image_is_one_image_and_a_stack_of_them_is_asked_for_as_a_list(embedder: Embedder) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    assert len(embedder.embed(grey[0])) == 1
    assert len(embedder.embed(list(grey))) == 5
    with pytest.raises(ImageError, match=r"list\(array\)"):
        embedder.embed(grey)


def test_a_float_array_is_refused(embedder: Embedder) -> None:
    for shape in ((SIZE, SIZE, 3), (2, SIZE, SIZE, 3)):
        with pytest.raises(ImageError, match=r"float64.*expected uint8"):
            embedder.embed(np.zeros(shape))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"\[n, 16, 16, 3\]"):
        embedder.embed_pixels(np.zeros((2, 8, 8, 3), np.uint8))


def test_an_iterator_is_refused_with_what_to_pass(embedder: Embedder) -> None:
    with pytest.raises(ImageError, match=r"list\(images\)"):
        embedder.embed(iter(pictures(2)))  # type: ignore[arg-type]


@pytest.mark.parametrize("position", [0, 3, 4, 9])
def test_an_unreadable_image_is_named_and_stops_the_work(bundle: Bundle, tmp_path: Path, position: int) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    engine = LinearEngine()
    images: list[Any] = pictures(10)
    images[position] = tmp_path / "broken.jpg"
    with pytest.raises(ImageError, match=rf"broken\.jpg \(position {position}\)"):
        Embedder.load(bundle, engine=engine, batch=4).embed(images)
    assert sum(engine.batches) <= position


def test_many_threads_on_one_embedder_give_the_bits_of_one_thread(embedder: Embedder) -> None:
    work = [pictures(count) for count in (1, 5, 9, 2, 7, 4)]
    serial = [embedder.embed(images).vectors for images in work]
    with ThreadPoolExecutor(6) as pool:
        for found, expected in zip(pool.map(embedder.embed, work), serial, strict=True):
            assert np.array_equal(found.vectors, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_engine_that_gives_no_usable_vector_is_reported_with_the_rows(bundle: Bundle, value: float) -> None:
    def give(count: int) -> NDArray[np.float32]:
        found = np.ones((count, DIM), np.float32)
        if count < 4:
            found[0] = value
        return found

    with pytest.raises(VectorError, match="1 of 6 images") as caught:
        Embedder.load(bundle, engine=Wrong(give), batch=4).embed(pictures(6))
    assert caught.value.rows == (4,)


@pytest.mark.parametrize(
    "give",
    [
        lambda count: np.ones((count, DIM + 1), np.float32),
        lambda count: np.ones((count + 1, DIM), np.float32),
        lambda count: np.ones((count, DIM), np.float64),
    ],
    ids=["dimension", "rows", "type"],
)
def test_a_graph_that_does_not_fit_its_manifest_is_refused(bundle: Bundle, give: Any) -> None:
    with pytest.raises(BundleError, match="does not fit"):
        Embedder.load(bundle, engine=Wrong(give)).embed(pictures(2))


@pytest.mark.parametrize("setting", [{"batch": 0}, {"threads": 0}, {"batch": -3}])
def test_numbers_below_one_are_refused(bundle: Bundle, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Embedder.load(bundle, engine=LinearEngine(), **setting)


def test_a_damaged_bundle_is_refused_before_its_engine_is_opened(bundle: Bundle) -> None:
    (bundle.path / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Embedder.load(bundle.path)


def test_the_self_test_compares_with_what_the_trained_model_made(embedder: Embedder, bundle: Bundle) -> None:
    result = embedder.self_test()
    assert result.rows == 4
    assert result.min_cosine > 0.999999
    assert result.max_abs_difference < 1e-6

    def turned(count: int) -> NDArray[np.float32]:
        return np.roll(golden()[1], 1, axis=0)

    with pytest.raises(CheckFailedError, match=r"expected at least 0\.999") as caught:
        Embedder.load(bundle, engine=Wrong(turned)).self_test()
    assert caught.value.exit_code == 3


class Biased:
    """The linear engine, its vectors mostly one direction whatever the picture; with two channels exchanged, or not."""

    name = "biased"

    def __init__(self, order: tuple[int, ...] = (0, 1, 2), noise: float = 0.0) -> None:
        self._order, self._noise = list(order), noise

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        found = LinearEngine().run(images[:, self._order]) + 30 * np.eye(DIM, dtype=np.float32)[0]
        return found + self._noise * np.random.default_rng(1).standard_normal(found.shape).astype(np.float32)


def test_a_low_bound_does_not_hide_channels_that_are_mixed_up(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (2 * SIZE, SIZE), (220, 40, 90)).save(picture, "PNG")
    images = to_pixels(picture.getvalue(), PREPROCESSING)[None]
    fed = to_input(images, PREPROCESSING)
    vectors = Biased().run(fed)
    bundle = make_bundle(
        tmp_path / "low",
        graphs=(Graph("onnx", "int8-static", "model.onnx"),),
        golden=(images, input_statistics(fed), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)),
        pictures=(picture.getvalue(),),
    )
    for right in (Biased(), Biased(noise=1.0)):
        assert Embedder.load(bundle, engine=right).self_test().min_cosine > 0.9
    for order in ((2, 1, 0), (1, 0, 2), (1, 2, 0)):
        mixed = Embedder.load(bundle, engine=Biased(order, noise=0.1))
        assert float((mixed.embed_pixels(images).vectors @ bundle.golden()[1].T).min()) > 0.9
        with pytest.raises(CheckFailedError, match="mixes up the channels"):
            mixed.self_test()


def test_onnxruntime_passes_the_self_test_and_ignores_the_batch_size(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "real", graph=onnx_graph())
    images = pictures(9)
    found = [Embedder.load(bundle, threads=1, batch=batch).embed(images).vectors for batch in (1, 4, 32)]
    np.testing.assert_allclose(found[0], found[1], atol=2e-6)
    np.testing.assert_allclose(found[0], found[2], atol=2e-6)
    assert Embedder.load(bundle, threads=1).self_test().min_cosine > 0.99999
