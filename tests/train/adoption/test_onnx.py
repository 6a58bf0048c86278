"""A gallery model from an ONNX file: whatever its ends are called, what is adopted is the original."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk.errors import CheckFailedError, CompatError, ConfigError, CorruptFileError
from compat_train import Checkpoint, Wanted, adopt
from compat_train.adoption.files import outputs_of
from compat_train.adoption.found import Original
from compat_train.adoption.proof import prove
from compat_train.embed import embed_images
from compat_train.models.cost import count_cost, per_layer
from tests.train.adoption.graphs import DIM, SIDE, expected, network
from tests.train.records import edit_record

WANTED = Wanted(mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
PIXELS = np.random.default_rng(2).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


def embedded(checkpoint: Checkpoint) -> NDArray[np.float32]:
    return embed_images(checkpoint.build(), PIXELS, checkpoint.preprocessing)


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"layout": "nhwc"},
        {"batch": 1},
        {"batch": 3},
        {"side": "side"},
        {"names": ("image", "embedding")},  # names that the kept graph has at its ends
        {"names": ("embedding", "image")},
        {"flat": False},
        {"outputs": ("pooled", "scores"), "opset": 18},
        {"outputs": ("scores",), "output": "pooled"},  # a tensor inside
    ],
    ids=str,
)
def test_every_form_gives_what_the_file_gives(made: dict[str, object], tmp_path: Path) -> None:
    made = dict(made)
    output = made.pop("output", "pooled" if len(made.get("outputs", ("one",))) > 1 else None)  # type: ignore[arg-type]
    path = network(tmp_path / "teacher.onnx", **made)  # type: ignore[arg-type]
    wanted = replace(WANTED, output=output, size=SIDE if "side" in made else None)  # type: ignore[arg-type]
    done = adopt(f"onnx:{path}", tmp_path / "teacher", wanted)
    assert done.proof is not None and done.proof.inputs > 0.999999 and done.proof.pictures == 8
    path.unlink()  # the RUN needs nothing but itself
    found = Checkpoint.load(tmp_path / "teacher")
    assert (found.role, found.dim, found.classifier, found.classes) == ("gallery", DIM, None, ())
    np.testing.assert_allclose(embedded(found), expected(PIXELS, 0.4, 0.2), atol=1e-5)


def test_the_same_model_is_the_same_space_and_another_crop_or_output_is_another(tmp_path: Path) -> None:
    path = network(tmp_path / "teacher.onnx", outputs=("pooled", "scores"))
    wanted = replace(WANTED, output="pooled")
    spaces = [
        adopt(f"onnx:{path}", tmp_path / str(number), each).checkpoint.space
        for number, each in enumerate(
            [
                wanted,
                wanted,
                replace(wanted, crop=0.9),
                replace(wanted, output="scores"),
                replace(wanted, channels="bgr"),
            ]
        )
    ]
    assert spaces[0] == spaces[1] and len(set(spaces)) == 4


def test_what_another_model_gives_is_refused(tmp_path: Path) -> None:
    done = adopt(f"onnx:{network(tmp_path / 'teacher.onnx')}", tmp_path / "teacher", WANTED)
    other = np.random.default_rng(0).standard_normal((8, DIM)).astype(np.float32)
    with pytest.raises(CheckFailedError, match="not the original"):
        prove(done.checkpoint, Original(lambda _: other))
    right = outputs_of(done.checkpoint.build())
    with pytest.raises(CheckFailedError, match="prepares pictures otherwise"):
        prove(done.checkpoint, Original(right, lambda _: other))


def test_multiply_adds_are_those_of_the_nodes(tmp_path: Path) -> None:
    path = network(tmp_path / "teacher.onnx", outputs=("scores",))
    wide = adopt(f"onnx:{path}", tmp_path / "a", WANTED).checkpoint.build()
    places = ((SIDE - 3) // 2 + 1) ** 2
    assert count_cost(wide, SIDE).mmacs == pytest.approx((places * DIM * 27 + DIM * 3) / 1e6)
    assert count_cost(wide, SIDE).params_m == pytest.approx((DIM * 27 + DIM * 3) / 1e6)
    assert [layer.kind for layer in per_layer(wide, SIDE)] == ["convolution", "linear"]


@pytest.mark.parametrize(
    ("made", "wanted", "message"),
    [
        ({"outputs": ("pooled", "scores", "mean")}, WANTED, "3 outputs .*pooled .*scores .*mean .*--output"),
        ({}, replace(WANTED, output="logits"), "no tensor 'logits'.*pooled"),
        ({"outputs": ("mean",)}, replace(WANTED, output="positive"), "expected \\[n, dim\\]"),
        ({"side": "side"}, WANTED, "give --size"),
        ({}, Wanted(), "give --mean, --std"),
        ({}, replace(WANTED, size=64), "takes images of 32 pixels, and --size says 64"),
        ({}, replace(WANTED, layout="nhwc"), "--layout says nhwc"),
        ({"side": 3, "layout": "nhwc"}, WANTED, "does not tell where its channels are"),
        ({}, replace(WANTED, weights=Path("w.safetensors")), "leave --weights out"),
        ({}, replace(WANTED, std=(0.0, 1.0, 1.0)), "std"),
    ],
)
def test_what_is_not_clear_is_asked_for(made: dict[str, object], wanted: Wanted, message: str, tmp_path: Path) -> None:
    path = network(tmp_path / "teacher.onnx", **made)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message) as caught:
        adopt(f"onnx:{path}", tmp_path / "teacher", wanted)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / "teacher").exists()


def test_a_file_that_is_no_onnx_model_reaches_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = network(tmp_path / "teacher.onnx").read_bytes()
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_: pytest.fail("an engine was given damaged bytes"))
    for data in (b"", b"PK\x03\x04", whole[: len(whole) // 2], b"\x08" + b"\xff" * 50, b"\x08\x08"):
        (tmp_path / "teacher.onnx").write_bytes(data)
        with pytest.raises((ConfigError, CorruptFileError)):
            adopt(f"onnx:{tmp_path / 'teacher.onnx'}", tmp_path / "teacher", WANTED)
    with pytest.raises(ConfigError, match="does not exist"):
        adopt(f"onnx:{tmp_path / 'other.onnx'}", tmp_path / "teacher", WANTED)


def test_a_run_whose_graph_was_exchanged_is_refused(tmp_path: Path) -> None:
    adopt(f"onnx:{network(tmp_path / 'teacher.onnx')}", tmp_path / "teacher", WANTED)
    weights = tmp_path / "teacher" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-20] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(CompatError, match="SHA-256"):
        Checkpoint.load(tmp_path / "teacher")


def test_a_record_whose_preprocessing_was_edited_contradicts_its_space(tmp_path: Path) -> None:
    adopt(f"onnx:{network(tmp_path / 'teacher.onnx')}", tmp_path / "teacher", WANTED)
    record = tmp_path / "teacher" / "model.json"
    edit_record(record, {"preprocessing": replace(WANTED, crop=0.5).over({"size": SIDE}).to_json()})
    with pytest.raises(CorruptFileError, match="names its space"):
        Checkpoint.load(tmp_path / "teacher")
