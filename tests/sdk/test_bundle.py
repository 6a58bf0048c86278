from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.bundle import Bundle, Graph, Manifest, write_bundle
from compat_sdk.errors import BundleError, ConfigError
from tests.sdk.bundles import DIM, PACKAGE, PREPROCESSING, SIZE, golden, make_bundle

FILES = (
    "manifest.json",
    "model.onnx",
    "MODEL_CARD.md",
    "golden/images.npy",
    "golden/inputs.npy",
    "golden/embeddings.npy",
    "golden/pictures/00.png",
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny").path


def rewrite(path: Path, change: Callable[[dict[str, Any]], None], *, seal: bool = True) -> None:
    """Change a manifest, and by default its digest too, as someone would who means harm."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    if seal:
        from hashlib import sha256

        from compat_sdk.files.documents import canonical_json

        rest = {key: value for key, value in manifest.items() if key != "digest"}
        manifest["digest"] = sha256(canonical_json(rest)).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))


def add_file(path: Path, name: str, data: bytes) -> None:
    """Put a file into a bundle and into its manifest."""
    from hashlib import sha256

    (path / name).write_bytes(data)
    record = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    rewrite(path, lambda manifest: manifest["files"].update({name: record}))


# ---- what is written is what is read


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = make_bundle(tmp_path / "tiny", graph=b"graph")
    found = Bundle.open(tmp_path / "tiny")
    assert found.manifest == made.manifest
    assert found.manifest.preprocessing == PREPROCESSING
    assert found.manifest.searches == ("big-8-bbbbbbbbbbbb",)
    assert found.read("model.onnx") == b"graph"
    assert sorted(found.manifest.files) == sorted(FILES[1:])
    for stored, original in zip(found.golden(), golden(), strict=True):
        assert np.array_equal(stored, original)
    assert names_in(tmp_path) == ["tiny"]


def test_a_manifest_survives_json(path: Path) -> None:
    manifest = Bundle.open(path).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("name", ["b", "b.bundle.zip"])
def test_several_graphs_as_files_and_as_folders_are_read(tmp_path: Path, name: str) -> None:
    onnx = Graph(target="onnx", precision="fp32", file="graphs/onnx-fp32/model.onnx")
    coreml = Graph(target="coreml", precision="fp16", file="graphs/coreml-fp16/model.mlpackage")
    contents = {f"{coreml.file}/{file}": data for file, data in PACKAGE.items()}
    make_bundle(tmp_path / name, graphs=(onnx, coreml), graph_files={onnx.file: b"graph", **contents})
    found = Bundle.open(tmp_path / name)
    assert found.graph("coreml") == coreml
    assert found.graph_files(coreml) == PACKAGE
    assert found.graph_files(found.graph("onnx")) == {"model.onnx": b"graph"}
    with pytest.raises(BundleError, match="coreml fp16"):
        found.graph("tflite")
    with pytest.raises(BundleError, match="coreml fp32"):
        found.graph("coreml", "fp32")
    with pytest.raises(BundleError, match="no graph"):
        found.graph_files(Graph(target="coreml", precision="fp16", file="graphs"))


def test_a_graph_folder_is_not_mixed_up_with_another_name_that_begins_alike(tmp_path: Path) -> None:
    graph = Graph(target="coreml", precision="fp16", file="model.mlpackage")
    files = {"model.mlpackage/Manifest.json": b"{}", "model.mlpackage2/Manifest.json": b"[]"}
    made = make_bundle(tmp_path / "b", graphs=(graph,), graph_files=files)
    assert made.graph_files(graph) == {"Manifest.json": b"{}"}
    with pytest.raises(ConfigError, match="not among the files"):
        make_bundle(tmp_path / "c", graphs=(graph,), graph_files={"model.mlpackage2/Manifest.json": b"[]"})


def test_a_file_that_is_not_listed_cannot_be_read(path: Path) -> None:
    for name in ("manifest.json", "../tiny/model.onnx", "/etc/hostname"):
        with pytest.raises(BundleError, match="lists no file"):
            Bundle.open(path).read(name)


def test_a_file_that_changes_after_opening_is_refused(path: Path) -> None:
    opened = Bundle.open(path)
    for changed in (b"another", opened.read("model.onnx")[::-1]):
        (path / "model.onnx").write_bytes(changed)
        with pytest.raises(BundleError, match="changed since"):
            opened.read("model.onnx")


def test_graphs_of_earlier_releases_that_take_pixels_are_fed_as_before(path: Path) -> None:
    """Until 0.7 a manifest stated the model's own mean and deviation beside graphs that do them themselves."""
    from compat_sdk.embedder import graph_input

    rewrite(path, lambda manifest: manifest["graphs"][0].update(values="pixels"))
    manifest = Bundle.open(path).manifest
    assert manifest.preprocessing == PREPROCESSING and manifest.graphs[0].values == "pixels"
    pixels = golden()[0]
    fed = graph_input(pixels, manifest.preprocessing, manifest.graphs[0])
    assert np.array_equal(fed, pixels.transpose(0, 3, 1, 2))
    left = manifest.graphs[0].client_part(manifest.preprocessing)
    assert (left.scale, left.offset) == ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def test_a_manifest_is_whole_only_with_graphs_and_their_files(path: Path) -> None:
    whole = Bundle.open(path).manifest
    whole.require_complete()
    for less, message in (({"graphs": ()}, "no graph"), ({"files": {}}, "not among the files")):
        with pytest.raises(ConfigError, match=message):
            replace(whole, **less).require_complete()  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lists 6 files; expected none"):
        write_bundle(path.with_name("again"), whole, {}, golden())


# ---- damage


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_anywhere_is_refused(path: Path, name: str) -> None:
    original = (path / name).read_bytes()
    for position in range(0, len(original), max(1, len(original) // 300)):
        damaged = bytearray(original)
        damaged[position] ^= 0x20
        (path / name).write_bytes(damaged)
        with pytest.raises(BundleError):
            Bundle.open(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_or_grown_is_refused(path: Path, name: str) -> None:
    original = (path / name).read_bytes()
    for damaged in (b"", original[:-2], original[: len(original) // 2], original + b"\0", original * 2):
        (path / name).write_bytes(damaged)
        with pytest.raises(BundleError, match=name.split("/")[-1]):
            Bundle.open(path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(path: Path, name: str) -> None:
    (path / name).unlink()
    with pytest.raises(BundleError):
        Bundle.open(path)


def test_damage_is_found_before_any_parser_sees_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*arguments: object, **options: object) -> None:
        raise AssertionError("a damaged file was parsed")

    monkeypatch.setattr(np, "load", parse)
    damaged = bytearray((path / "golden/images.npy").read_bytes())
    damaged[-1] ^= 1
    (path / "golden/images.npy").write_bytes(damaged)
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle.open(path)


def test_what_is_no_bundle_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(tmp_path / "absent")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError):
        Bundle.open(tmp_path / "file")


# ---- malice


@pytest.mark.parametrize("name", ["extra.bin", "golden/extra.npy", ".hidden", "sub/manifest.json"])
def test_a_file_that_the_manifest_does_not_list_is_refused(path: Path, name: str) -> None:
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_bytes(b"")
    with pytest.raises(BundleError, match="does not list"):
        Bundle.open(path)


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/hostname",
        "a/../../b",
        "./model.onnx",
        "a//b",
        "a\\b",
        "C:x",
        "",
        "a\0b",
        "..",
        "MANIFEST.json",
        "signature.json",
        "a.",
        "golden./a",
        "aux.onnx",
        "COM1/weights.bin",
    ],
)
def test_a_file_name_that_leaves_the_bundle_is_refused(path: Path, name: str) -> None:
    record = {"sha256": "0" * 64, "bytes": 1}
    rewrite(path, lambda manifest: manifest["files"].update({name: record}))
    with pytest.raises(BundleError, match="plain relative file name"):
        Bundle.open(path)


def test_a_link_is_refused_even_to_the_right_content(path: Path, tmp_path: Path) -> None:
    (path / "model.onnx").rename(tmp_path / "real")
    (path / "model.onnx").symlink_to(tmp_path / "real")
    with pytest.raises(BundleError, match="link"):
        Bundle.open(path)


def test_a_linked_folder_or_manifest_is_refused(path: Path, tmp_path: Path) -> None:
    shutil.move(path / "golden", tmp_path / "golden")
    (path / "golden").symlink_to(tmp_path / "golden")
    with pytest.raises(BundleError, match="link"):
        Bundle.open(path)
    (path / "manifest.json").rename(tmp_path / "manifest.json")
    (path / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with pytest.raises(BundleError, match="plain file"):
        Bundle.open(path)


def test_a_snapshot_of_links_is_told_what_to_do(path: Path, tmp_path: Path) -> None:
    for file in [file for file in path.rglob("*") if file.is_file()]:
        blob = tmp_path / "blobs" / file.name
        blob.parent.mkdir(exist_ok=True)
        file.rename(blob)
        file.symlink_to(blob)
    with pytest.raises(BundleError, match=r"manifest\.json is a link; a bundle holds plain files only: copy"):
        Bundle.open(path)
    shutil.copytree(path, tmp_path / "copy")
    assert Bundle.open(tmp_path / "copy").manifest.dim == DIM


@pytest.mark.parametrize("name", [".DS_Store", "golden/.DS_Store", "Thumbs.db", "golden/desktop.ini", "._model.onnx"])
def test_what_a_desktop_leaves_in_a_bundle_is_passed_over(path: Path, name: str, tmp_path: Path) -> None:
    (path / name).write_bytes(b"x")
    assert Bundle.open(path).manifest.dim == DIM
    (path / name).unlink()
    (tmp_path / "x").write_bytes(b"x")
    (path / name).symlink_to(tmp_path / "x")
    with pytest.raises(BundleError, match="link"):
        Bundle.open(path)


def test_a_bundle_may_be_reached_through_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(path)
    assert Bundle.open(tmp_path / "current").manifest.dim == DIM


@pytest.mark.parametrize("name", ["MODEL.onnx", "Golden/other.npy", "golden/Images.npy"])
def test_names_that_differ_only_in_case_are_refused(path: Path, name: str) -> None:
    rewrite(path, lambda manifest: manifest["files"].update({name: manifest["files"]["model.onnx"]}))
    with pytest.raises(BundleError, match="upper and lower case"):
        Bundle.open(path)


def test_a_name_cannot_be_a_file_and_a_folder(path: Path) -> None:
    rewrite(path, lambda manifest: manifest["files"].update({"model.onnx/a": manifest["files"]["model.onnx"]}))
    with pytest.raises(BundleError, match="a file and a folder"):
        Bundle.open(path)


def test_a_special_file_is_refused_and_not_opened(path: Path) -> None:
    os.mkfifo(path / "pipe")
    with pytest.raises(BundleError, match="special file"):
        Bundle.open(path)
    os.mkfifo(path.parent / "pipe.bundle.zip")
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(path.parent / "pipe.bundle.zip")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("unpickled",))


def torch_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Harmful()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("weights.bin", pickle.dumps(Harmful())),
        ("weights.dat", pickle.dumps([1, 2], protocol=2)),
        ("weights.pkl", b"anything"),
        ("weights.pt", b"anything"),
        ("weights.onnx", torch_archive()),
        ("weights.bin", b"leading bytes" + torch_archive()),
        ("weights.bin", gzip.compress(b"weights")),
        ("weights.tar", b"anything"),
    ],
    ids=["protocol 4", "protocol 2", "by name", "torch by name", "an archive", "archive behind", "gzip", "tar by name"],
)
def test_a_pickle_is_refused_even_when_it_is_listed(
    path: Path, name: str, data: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    add_file(path, name, data)
    with pytest.raises(BundleError, match="pickle"):
        Bundle.open(path)
    assert not (tmp_path / "unpickled").exists()


def test_a_golden_file_of_pickled_objects_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([Harmful()], dtype=object), allow_pickle=True)
    add_file(path, "golden/images.npy", buffer.getvalue())
    with pytest.raises(BundleError, match=r"plain array|pickle"):
        Bundle.open(path)
    assert not (tmp_path / "unpickled").exists()


# ---- manifests that were sealed but do not fit


def test_a_changed_manifest_is_refused_by_its_own_digest(path: Path) -> None:
    rewrite(path, lambda manifest: manifest.update(space="another-8-cccccccccccc"), seal=False)
    with pytest.raises(BundleError, match="changed after it was written"):
        Bundle.open(path)


@pytest.mark.parametrize("version", [4, 1, 0, "3", None, 1.5, True, 3.0])
def test_another_version_is_refused_before_the_rest_is_looked_at(path: Path, version: object) -> None:
    rewrite(path, lambda manifest: (manifest.update(version=version), manifest.pop("graphs"))[0])
    with pytest.raises(BundleError, match="version"):
        Bundle.open(path)


def test_every_missing_field_and_any_unknown_field_is_refused(path: Path) -> None:
    for field in json.loads((path / "manifest.json").read_text()):
        shutil.rmtree(path)
        make_bundle(path)
        rewrite(path, lambda manifest, field=field: manifest.pop(field), seal=field != "digest")  # type: ignore[misc]
        with pytest.raises(BundleError, match=r"manifest\.json"):
            Bundle.open(path)
    shutil.rmtree(path)
    make_bundle(path)
    rewrite(path, lambda manifest: manifest.update(surprise=1))
    with pytest.raises(BundleError, match="surprise"):
        Bundle.open(path)


@pytest.mark.parametrize(
    "change",
    [
        {"space": "a b"},
        {"searches": "big"},
        {"searches": [3]},
        {"dim": "8"},
        {"dim": 0},
        {"role": "server"},
        {"mmacs": -1},
        {"mmacs": "many"},
        {"license": None},
        {"graphs": []},
        {"graphs": [{"target": "onnx"}]},
        {"graphs": [{"target": "onnx", "precision": "fp32", "file": "absent.onnx", "input": "i", "output": "o"}]},
        {"graphs": "onnx"},
        {"files": []},
        {"files": {"model.onnx": {"sha256": "x", "bytes": 1}}},
        {"files": {"model.onnx": 1}},
        {"preprocessing": {"size": 16}},
        {"preprocessing": None},
        {"name": "a\nb"},
        {"tier": ""},
    ],
    ids=str,
)
def test_a_field_of_another_type_or_range_is_refused(path: Path, change: dict[str, Any]) -> None:
    rewrite(path, lambda manifest: manifest.update(change))
    with pytest.raises(BundleError, match="malformed"):
        Bundle.open(path)


def test_golden_files_that_do_not_fit_the_manifest_are_refused(path: Path) -> None:
    rewrite(path, lambda manifest: manifest.update(dim=DIM + 1))
    with pytest.raises(BundleError, match="golden embeddings"):
        Bundle.open(path)
    rewrite(path, lambda manifest: manifest.update(dim=DIM, preprocessing=PREPROCESSING.to_json() | {"size": 32}))
    with pytest.raises(BundleError, match="golden images"):
        Bundle.open(path)


def test_a_bundle_without_golden_files_is_refused(path: Path) -> None:
    arrays = [name for name in FILES if name.endswith(".npy")]  # a manifest without pictures is refused already
    for name in arrays:
        (path / name).unlink()
    rewrite(path, lambda manifest: [manifest["files"].pop(name) for name in arrays] and None)
    with pytest.raises(BundleError, match="golden/images"):
        Bundle.open(path)


def test_a_manifest_beyond_the_size_limit_is_not_parsed(path: Path) -> None:
    with (path / "manifest.json").open("ab") as file:
        file.truncate(5 << 20)
    with pytest.raises(BundleError, match="larger than"):
        Bundle.open(path)


# ---- writing


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"dim": 9}, BundleError),
        ({"golden": (golden()[0][:0], golden()[1][:0])}, BundleError),
        ({"golden": (golden()[0].astype(np.float32), golden()[1])}, BundleError),
        ({"golden": (golden()[0], golden()[1] * np.float32("nan"))}, BundleError),
        ({"space": ""}, ConfigError),
        ({"role": "both"}, ConfigError),
        ({"graph_files": {}}, ConfigError),
        ({"graph_files": {"model.onnx": b"", "../escape": b""}}, ConfigError),
        ({"graph_files": {"model.onnx": b"", "w.pkl": b""}}, BundleError),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_bundle_that_could_not_be_read_is_never_published(tmp_path: Path, change: Any, error: Any) -> None:
    with pytest.raises(error):
        make_bundle(tmp_path / "tiny", **change)
    assert names_in(tmp_path) == []


def test_an_existing_path_is_replaced_only_when_asked_and_only_a_bundle(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "tiny", graph=b"old").path
    with pytest.raises(ConfigError, match="exists"):
        make_bundle(path)
    assert make_bundle(path, graph=b"new", overwrite=True).read("model.onnx") == b"new"
    assert Bundle.open(path).read("model.onnx") == b"new"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a bundle"):
        make_bundle(tmp_path / "photos", overwrite=True)
    assert names_in(tmp_path) == ["photos", "tiny"]


def test_a_failure_at_any_step_of_replacing_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_bundle(tmp_path / "tiny", graph=b"old").path
    real = Path.replace, Path.rename
    for step in range(1, 12):
        calls = [0]

        def fail(original: Callable[..., Any], *arguments: Any, calls: list[int] = calls, step: int = step) -> Any:
            calls[0] += 1
            if calls[0] == step:
                raise OSError(28, "No space left on device")
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda *a, f=fail: f(real[0], *a))  # type: ignore[misc]
            patch.setattr(Path, "rename", lambda *a, f=fail: f(real[1], *a))  # type: ignore[misc]
            try:
                make_bundle(path, graph=b"new", overwrite=True)
            except OSError:
                assert Bundle.open(path).read("model.onnx") == b"old"
                assert names_in(tmp_path) == ["tiny"]
            else:
                break
    assert step > 4
    assert Bundle.open(path).read("model.onnx") == b"new"


def test_the_sizes_of_the_fixture_are_those_of_the_manifest(path: Path) -> None:
    images, embeddings = Bundle.open(path).golden()
    assert images.shape[1:] == (SIZE, SIZE, 3) and embeddings.shape[1:] == (DIM,)
