"""`compat-sdk bundle` on the bundles that `tests.sdk` makes, and commands that refuse a transform's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compat_cli.app import main
from compat_sdk.bundle import Bundle
from tests.sdk.bundles import make_bundle
from tests.sdk.test_bundle_zip import archive_of, contents_of, entry
from tests.sdk.transforms import ALONE, WITH_SIDE, identity_of, make_transform, onnx_transform


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.bundle.zip").path


@pytest.fixture
def transform(tmp_path: Path) -> Bundle:
    return make_transform(tmp_path / "h")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(leaving.value.code or 0), said.out, said.err


def test_the_commands_pack_and_unpack(capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path) -> None:
    folder, again = tmp_path / "folder", tmp_path / "again.zip"
    code, out, _ = run(capsys, "bundle", "unpack", path, "--out", folder)
    assert code == 0 and "same bundle as a folder" in out
    code, out, _ = run(capsys, "bundle", "pack", folder, "--out", again, "--json")
    assert (code, json.loads(out)) == (0, {"bundle": str(again), "form": "zip", "signed": False})
    assert again.read_bytes() == path.read_bytes()
    for words, message in (
        (("pack", folder, "--out", again), "exists"),
        (("pack", folder, "--out", tmp_path / "x"), "ends with .zip"),
        (("unpack", path, "--out", tmp_path / "x.zip"), "does not end with .zip"),
        (("pack", path, "--out", tmp_path / "x.zip"), "is a bundle zip already"),
        (("unpack", folder, "--out", tmp_path / "x"), "is a bundle folder already"),
    ):
        code, _, err = run(capsys, "bundle", *words)
        assert code == 2 and message in err
    assert run(capsys, "bundle", "pack", folder, "--out", again, "--overwrite")[0] == 0


def test_a_hostile_zip_is_not_unpacked(capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path) -> None:
    archive_of(path, contents_of(path), (entry("../../outside.bin"), b"x"))
    code, _, err = run(capsys, "bundle", "unpack", path, "--out", tmp_path / "a" / "b")
    assert code == 1 and "../../outside.bin" in err
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_info_and_verify_know_the_form_and_the_size_of_each_graph(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    facts = json.loads(run(capsys, "bundle", "info", path, "--json")[1])
    size = len(Bundle.open(path).read("model.onnx"))
    (graph,) = facts["graphs"]
    named = {"target": "onnx", "precision": "fp32", "file": "model.onnx", "bytes": size}
    form = {"inputs": ["image"], "output": "embedding", "layout": "nchw", "batch": None, "values": "prepared"}
    assert {name: graph[name] for name in named | form} == named | form
    assert (facts["form"], facts["signed"]) == ("zip", False)
    said = run(capsys, "bundle", "info", path)[1]
    assert f"onnx fp32: model.onnx, {size} B" in said
    assert "image [any, 3, 16, 16] nchw, prepared: pixel * [0.00784314, " in said and "-> embedding [any, 8]" in said
    code, out, _ = run(capsys, "bundle", "verify", path, "--files-only", "--json")
    assert (code, json.loads(out)) == (0, {"bundle": str(path), "signature_of": None})


def test_bundle_info_shows_both_spaces(transform: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "bundle", "info", transform.path)
    assert code == 0
    assert (
        "transforms: old-6-aaaaaaaaaaaa (6 numbers) with side-3-bbbbbbbbbbbb (3 numbers) beside it -> "
        "new-5-cccccccccccc (5 numbers)" in out
    )
    assert "preprocessing" not in out and "searches" not in out
    assert f"\ntransform: {identity_of(WITH_SIDE).name} (a digest of everything that decides a vector)\n" in out
    found = json.loads(run(capsys, "bundle", "info", transform.path, "--json")[1])
    assert found["identity"] == identity_of(WITH_SIDE).to_json()
    assert found["source"] == {"old_space": "old-6-aaaaaaaaaaaa", "old_dim": 6, "side_space": "side-3-bbbbbbbbbbbb",
                               "side_dim": 3}  # fmt: skip
    assert found["preprocessing"] is None
    make_transform(tmp_path / "alone", ALONE)
    assert "old-6-aaaaaaaaaaaa (6 numbers) -> new-5" in run(capsys, "bundle", "info", tmp_path / "alone")[1]


def test_bundle_verify_transforms_the_golden_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_transform(tmp_path / "h", graph_files={"model.onnx": onnx_transform()})
    code, out, _ = run(capsys, "bundle", "verify", tmp_path / "h", "--threads", 1)
    assert code == 0 and "4 golden vectors transformed, worst cosine" in out
    assert json.loads(run(capsys, "bundle", "verify", tmp_path / "h", "--json")[1])["vectors"] == 4


def test_commands_about_images_refuse_a_transform(
    transform: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "profile", transform.path)
    assert code == 2 and "is a transform of embeddings; expected a model of images" in err
    code, _, err = run(capsys, "index", "build", "--model", transform.path, "--data", "sample", "--out", tmp_path / "g")
    assert code == 2 and "is a transform of embeddings and takes no images" in err


def test_verify_and_info_say_when_a_bundle_has_the_weaker_test_of_0_7(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    old = Path(__file__).parents[1] / "golden" / "0.7" / "bundles" / "gallery.bundle"
    for command in (["bundle", "verify", old, "--engine", "onnxruntime"], ["bundle", "info", old]):
        code, out, err = run(capsys, *command)
        assert code == 0 and "sees neither decoding nor fit" in out, err
