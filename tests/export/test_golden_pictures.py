"""The golden pictures: what a self-test sees of a bundle whose preprocessing is not its model's."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compat_export import Options, export
from compat_export import pack as packing
from compat_export.check.compare import Probe
from compat_export.convert.conversion import PRECISIONS
from compat_export.convert.graphs import Converted, convert
from compat_export.profile_model import untrained_checkpoint
from compat_export.subject import subject_of
from compat_sdk.bundle import Bundle
from compat_sdk.bundle.manifest import Manifest
from compat_sdk.bundle.records import record_of
from compat_sdk.bundle.self_test import MIN_COSINE
from compat_sdk.embedder import Embedder
from compat_sdk.errors import BundleError, CheckFailedError, ConfigError, DataError
from compat_sdk.images import Preprocessing
from compat_train.data.golden_pictures import PICTURES, standard_pictures
from compat_train.runs.checkpoint import Checkpoint
from tests.export.embedders import IMAGE
from tests.golden.pictures import drawn

# Unequal channels: another order, or another channel's number, is another input.
OWN = Preprocessing(size=32, mean=(0.9, 0.5, 0.1), std=(0.1, 0.3, 0.6), channels="bgr")
CHANGES: dict[str, list[Any]] = {
    "size": [31, 64],
    "fit": ["stretch"],
    "resize": ["bilinear", "lanczos", "box"],
    "draft": [0, 1, 3, 4],
    "mean": [(0.909, 0.5, 0.1), (0.9, 0.505, 0.1), (0.9, 0.5, 0.101)],
    "std": [(0.101, 0.3, 0.6), (0.1, 0.303, 0.6), (0.1, 0.3, 0.606)],
    "channels": ["rgb"],
    "crop": [0.95, 0.5],
}
CASES = [(name, value) for name, values in CHANGES.items() for value in values]


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    return replace(untrained_checkpoint("global:plain:4:c3s3c3", size=32, dim=8), preprocessing=OWN)


@pytest.fixture(scope="module")
def converted(tiny: Checkpoint) -> Converted:
    return packing.convert(subject_of(tiny, probe=no_probe()).module, [IMAGE], "onnx", Options())


@pytest.fixture(autouse=True)
def _converted_once(converted: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "convert", lambda *_: converted)


@pytest.fixture(scope="module")
def bundle(tiny: Checkpoint, converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "convert", lambda *_: converted)
        return export(tiny, tmp_path_factory.mktemp("golden") / "tiny.bundle", probe=no_probe()).bundle


def no_probe() -> Probe:
    unit = np.float32([[1, 0, 0, 0, 0, 0, 0, 0]])
    return Probe(np.zeros((1, 32, 32, 3), np.uint8), unit, unit, None)


def remade(bundle: Bundle, change: Callable[[Manifest], Manifest]) -> Bundle:
    """The bundle with another manifest, as if its maker had sealed it so, in a space of weights alone."""
    return Bundle(bundle._files, change(unnamed(bundle.manifest)), bundle.digest)


def unnamed(manifest: Manifest) -> Manifest:
    """A manifest whose space is none of today's, so that nothing but the self-test knows the preprocessing."""
    return replace(manifest, space="tiny-8-0123456789ab", identity=None)


def test_every_setting_of_preprocessing_is_changed_here() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Preprocessing)}


@pytest.mark.parametrize(("name", "value"), CASES, ids=str)
def test_a_changed_setting_is_refused_by_the_self_test(bundle: Bundle, name: str, value: Any) -> None:
    changed = replace(OWN, **{name: value})
    other = remade(bundle, lambda manifest: replace(manifest, preprocessing=changed))
    with pytest.raises((CheckFailedError, BundleError), match=r"pixels that differ|input whose mean|golden images are"):
        Embedder.load(other, threads=1).self_test()


@pytest.mark.parametrize("size", [16, 28, 64, 112, 160, 224, 256])
@pytest.mark.parametrize(("name", "value"), [case for case in CASES if case[0] in ("fit", "resize", "draft")], ids=str)
def test_a_changed_step_from_bytes_to_pixels_is_seen_at_every_usual_size(size: int, name: str, value: Any) -> None:
    from compat_sdk.bundle.self_test import compare_pixels
    from compat_sdk.images import decode_many

    own, pictures = Preprocessing(size=size), standard_pictures()
    names = [path.name for path in sorted(PICTURES.iterdir())]
    expected = decode_many(pictures, own, 1)
    compare_pixels(expected, expected, names, "here")
    with pytest.raises(CheckFailedError, match="decoding or preprocessing is another one"):
        compare_pixels(decode_many(pictures, replace(own, **{name: value}), 1), expected, names, "here")


@pytest.mark.parametrize("change", [{"values": "pixels"}, {"layout": "nhwc"}])
def test_a_graph_that_is_fed_otherwise_than_it_wants_is_refused(bundle: Bundle, change: dict[str, Any]) -> None:
    other = remade(
        bundle, lambda manifest: replace(manifest, graphs=tuple(replace(g, **change) for g in manifest.graphs))
    )
    with pytest.raises(Exception, match=r"input whose mean|onnxruntime") as caught:
        Embedder.load(other, threads=1).self_test()
    assert isinstance(caught.value, CheckFailedError | BundleError)


@pytest.mark.parametrize("step", ["orientation", "transparency", "grey"])
def test_a_reader_that_leaves_a_step_out_is_refused(bundle: Bundle, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from compat_sdk.images import decode, preprocess

    match step:
        case "orientation":
            monkeypatch.setattr(preprocess, "turn_upright", lambda image, _: image)
        case "transparency":
            monkeypatch.setattr(decode, "_to_rgb", lambda image: image.convert("RGB"))
        case "grey":
            red = decode._to_rgb
            monkeypatch.setattr(
                decode, "_to_rgb", lambda image: Image.merge("RGB", [image] * 3).point(lambda v: v * 0.9)
                if image.mode == "L" else red(image)
            )  # fmt: skip
    with pytest.raises(CheckFailedError, match="pixels that differ"):
        Embedder.load(bundle, threads=1).self_test()


def test_the_pictures_are_of_all_kinds_small_and_what_the_script_draws() -> None:
    assert sum(map(len, standard_pictures())) < 60_000
    opened = {path.name: Image.open(path) for path in sorted(PICTURES.iterdir())}
    assert list(opened) == list(drawn())
    assert {image.mode for image in opened.values()} == {"RGB", "L", "P"}
    assert opened["00.jpg"].info.get("progressive") and opened["01.jpg"].getexif()[0x0112] == 6
    assert {np.sign(image.width - image.height) for image in opened.values()} == {-1, 0, 1}
    for name, picture in drawn().items():
        off = np.abs(np.asarray(opened[name].convert("RGB"), float) - np.asarray(picture.convert("RGB"), float))
        assert off.mean() < (6 if name.endswith("jpg") else 1), name


def test_a_converter_that_swaps_channels_is_refused(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(module: Any, ports: Any, target: str, options: Options, *_: Any) -> Converted:
        return convert(module, ports, target, Options(options.precision, pixels=replace(OWN, channels="rgb")))

    monkeypatch.setattr(packing, "convert", swapped)
    with pytest.raises(CheckFailedError, match="disagrees with PyTorch"):
        export(tiny, tmp_path / "b", precisions=[Options(pixels=OWN)], probe=no_probe())
    assert not list(tmp_path.iterdir())


def test_a_written_bundle_that_fails_its_own_self_test_is_not_published(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(path: Path, manifest: Manifest, *rest: Any, **named: Any) -> Bundle:
        return write(path, replace(unnamed(manifest), preprocessing=replace(OWN, fit="stretch")), *rest, **named)

    write = packing.write_bundle
    monkeypatch.setattr(packing, "write_bundle", otherwise)
    with pytest.raises(CheckFailedError, match="pixels that differ"):
        export(tiny, tmp_path / "b", probe=no_probe())
    assert not list(tmp_path.iterdir())


class Off:
    """An engine whose vectors have this cosine to the right ones."""

    name = "off"

    def __init__(self, bundle: Bundle, cosine: float) -> None:
        right = bundle.golden()[1].astype(np.float64)
        other = np.roll(right, 1, axis=1)
        other -= (other * right).sum(1, keepdims=True) * right
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        self.vectors = (cosine * right + np.sqrt(1 - cosine**2) * other).astype(np.float32)

    def run(self, *_: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.vectors


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_self_test_holds_a_graph_to_the_bound_of_its_export(bundle: Bundle, precision: str) -> None:
    graph = replace(bundle.manifest.graphs[0], precision=precision, min_cosine=None)
    bound = MIN_COSINE[precision]
    found = Embedder(bundle, Off(bundle, bound + 2e-4), graph=graph).self_test()
    assert found.bound == bound
    with pytest.raises(CheckFailedError, match=f"expected at least {bound:g}"):
        Embedder(bundle, Off(bundle, bound - 2e-4), graph=graph).self_test()
    lowered = replace(graph, min_cosine=bound - 0.01)
    assert Embedder(bundle, Off(bundle, bound - 2e-4), graph=lowered).self_test().bound == bound - 0.01


def test_an_engine_that_came_without_a_graph_is_held_to_the_lowest_bound(bundle: Bundle) -> None:
    first = bundle.manifest.graphs[0]
    other = remade(
        bundle, lambda manifest: replace(manifest, graphs=(first, replace(first, precision="int4", min_cosine=None)))
    )
    assert Embedder.load(other, engine=Off(bundle, 0.95)).self_test().bound == MIN_COSINE["int4"]


def test_a_lowered_bound_travels_in_the_manifest_and_a_raised_one_does_not(tiny: Checkpoint, tmp_path: Path) -> None:
    low = export(tiny, tmp_path / "low", probe=no_probe(), min_cosine=0.5).bundle
    assert json.loads((low.path / "manifest.json").read_text())["graphs"][0]["min_cosine"] == 0.5
    assert Embedder.load(low, threads=1).self_test().bound == 0.5
    high = export(tiny, tmp_path / "high", probe=no_probe(), min_cosine=0.99999).bundle
    assert json.loads((high.path / "manifest.json").read_text())["graphs"][0]["min_cosine"] == 0.999


def test_pictures_of_the_callers_own_come_by_path_and_by_content(tiny: Checkpoint, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    image.save(tmp_path / "own.png")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    made = export(tiny, tmp_path / "b", probe=no_probe(), golden=[tmp_path / "own.png", buffer.getvalue()]).bundle
    assert list(made.golden_pictures())[8:] == ["golden/pictures/08.png", "golden/pictures/09.jpg"]
    assert Embedder.load(made, threads=1).self_test().pictures == 10
    for wrong in (b"GIF89a", b"\xff\xd8\xff" + bytes(1 << 20)):
        with pytest.raises(DataError, match="expected a JPEG or PNG file"):
            export(tiny, tmp_path / "c", probe=no_probe(), golden=[wrong])
    with pytest.raises(DataError, match="cannot read the golden picture"):
        export(tiny, tmp_path / "c", probe=no_probe(), golden=[tmp_path / "none.png"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["golden/pictures/01.jpg"], "golden pictures are"),
        (["golden/pictures/00.gif"], "golden pictures are"),
        (["golden/pictures/00.jpg", "golden/pictures/00.png"], "golden pictures are"),
    ],
)
def test_pictures_that_belong_to_no_row_are_refused(bundle: Bundle, names: list[str], message: str) -> None:
    kept = {name: record for name, record in bundle.manifest.files.items() if "pictures" not in name}
    other = remade(
        bundle, lambda manifest: replace(manifest, files=kept | dict.fromkeys(names, record_of(b"anything")))
    )
    with pytest.raises(BundleError, match=message):
        other.golden_arrays()


def test_a_graph_states_a_bound_or_none(bundle: Bundle) -> None:
    for wrong in (2.0, float("nan"), "0.9", True):
        with pytest.raises(ConfigError, match="min_cosine"):
            replace(bundle.manifest.graphs[0], min_cosine=wrong)  # type: ignore[arg-type]
