"""What release 0.7 left on disk is read, searched, upgraded and continued by the code of today.

`0.7/make.py` says how the files were made; the figures they are compared with are the release's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_cli.pictures import open_model
from compat_sdk import upgrade
from compat_sdk.bundle import Bundle
from compat_sdk.embedder import Embedder
from compat_sdk.errors import IncompatibleSpaceError
from compat_sdk.gallery import Gallery
from compat_sdk.profile import load_table
from compat_sdk.transform import Transform
from tests.golden.files import HERE, copy_of
from tests.pipeline.conftest import Run

ANSWERS = sorted(path.stem for path in (HERE / "0.7" / "answers").glob("*.json"))
TOLERANCE = 1e-5  # of a number in a vector of unit norm


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy as the working folder: the release was given relative paths."""
    folder = copy_of("0.7", tmp_path / "work")
    monkeypatch.chdir(folder)
    return folder


def photos() -> list[str]:
    return sorted(str(path) for path in Path("photos").rglob("*.png"))


def recorded(name: str) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.load(f"answers/{name}.npy")
    return found


def answer(name: str) -> tuple[list[str], Any]:
    """The words of a command, and what the release printed."""
    found = json.loads(Path("answers", f"{name}.json").read_text("utf-8"))
    return found["command"], found["answer"]


def missing_keys(old: Any, new: Any, where: str = "") -> list[str]:
    """Keys, by their dotted place, that the release had and the code of today has not; kinds of values count too."""
    if isinstance(old, Mapping):
        if not isinstance(new, Mapping):
            return [where]
        return [
            place
            for key, value in old.items()
            for place in (missing_keys(value, new[key], f"{where}.{key}") if key in new else [f"{where}.{key}"])
        ]
    if isinstance(old, list):
        if not isinstance(new, list) or (old and not new):
            return [where]
        return missing_keys(old[0], new[0], f"{where}[0]") if old else []
    both_numbers = isinstance(old, int | float) and isinstance(new, int | float)
    return [] if old is None or both_numbers or isinstance(new, type(old)) else [where]


def test_a_lost_key_is_found() -> None:
    assert missing_keys({"a": [{"b": 1, "c": "x"}]}, {"a": [{"b": 2.5}], "d": 0}) == [".a[0].c"]
    assert missing_keys({"a": {"b": 1}}, {"a": {"b": "1"}}) == [".a.b"]
    assert missing_keys({"a": [1]}, {"a": []}) == [".a"]


@pytest.mark.parametrize(
    ("bundle", "vectors"),
    [("gallery.bundle", "gallery"), ("query.bundle.zip", "query"), ("pixels.bundle", "pixels")],
)
def test_a_bundle_gives_the_vectors_that_it_gave(work: Path, bundle: str, vectors: str) -> None:
    pytest.importorskip("onnxruntime")
    embedder = Embedder.load(f"bundles/{bundle}", engine="onnxruntime", threads=1)
    assert embedder.self_test().min_cosine > 1 - TOLERANCE
    np.testing.assert_allclose(embedder.embed(photos()).vectors, recorded(vectors), rtol=0, atol=TOLERANCE)


def test_a_graph_of_pixels_gives_what_the_graph_of_normalised_inputs_gives(work: Path) -> None:
    np.testing.assert_allclose(recorded("pixels"), recorded("query"), rtol=0, atol=TOLERANCE)
    assert {graph.values for graph in Bundle.open("bundles/pixels.bundle").manifest.graphs} == {"pixels"}


def test_a_transform_with_side_information_passes_its_self_test(work: Path) -> None:
    pytest.importorskip("onnxruntime")
    transform = Transform.load("bundles/h.bundle", engine="onnxruntime", threads=1)
    assert transform.side_space == Gallery.open("galleries/side").space
    assert transform.self_test().min_cosine > 1 - TOLERANCE


@pytest.mark.parametrize(
    ("name", "within"), [("plain", TOLERANCE), ("half", 1e-3), ("bytes", 1e-2), ("ann", TOLERANCE)]
)
def test_a_gallery_holds_the_vectors_that_were_stored(work: Path, name: str, within: float) -> None:
    gallery = Gallery.open(f"galleries/{name}")
    assert gallery.verify() == []
    assert [f"photos/{id}" for id in gallery.ids] == photos()
    np.testing.assert_allclose(gallery.vectors, recorded("gallery"), rtol=0, atol=within)


@pytest.mark.filterwarnings("default:.*was not built here")
@pytest.mark.parametrize("name", ["plain", "half", "bytes", "ann"])
def test_a_search_finds_what_it_found(work: Path, run: Run, name: str) -> None:
    pytest.importorskip("onnxruntime")
    if name == "ann":
        pytest.importorskip("usearch")
        assert Gallery.open("galleries/ann").info()["foreign_index"]
    words, before = answer(f"search-{name}")
    code, out, err = run(*words, "--json")
    assert code == 0, err
    assert ("warning: the index of gallery galleries/ann was not built here" in err) == (name == "ann")
    for old, new in zip(before["hits"], json.loads(out)["hits"], strict=True):
        assert [(hit["id"], hit["label"]) for hit in new] == [(hit["id"], hit["label"]) for hit in old]
        assert [hit["score"] for hit in new] == pytest.approx([hit["score"] for hit in old], abs=10 * TOLERANCE)


@pytest.mark.filterwarnings("default:.*was not built here")
@pytest.mark.parametrize("name", ANSWERS)
def test_a_command_prints_every_key_that_it_printed(work: Path, run: Run, name: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    words, before = answer(name)
    if "--save" in words:
        words = [*words[: words.index("--save")], "--save", "again.json"]
    code, out, err = run(*words, "--json")
    assert code == 0, err
    assert missing_keys(before, json.loads(out)) == []


def test_an_evaluation_comes_to_the_same_figures(work: Path, run: Run) -> None:
    pytest.importorskip("torch")
    words, before = answer("evaluate")
    code, out, err = run(*words, "--json")
    assert code == 0, err
    now = json.loads(out)
    for kind in ("query_query", "query_gallery", "gallery_gallery"):
        # Of 1,000 queries; a rounding may turn a near tie.
        assert now[kind]["cmc"]["1"] == pytest.approx(before[kind]["cmc"]["1"], abs=0.005)
    for name in ("compatible", "queries", "gallery_size", "query_mmacs", "gallery_mmacs"):
        assert now[name] == before[name]


def test_an_upgrade_that_was_begun_is_finished_cut_over_and_rolled_back(work: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = work / "galleries" / "begun"
    done = {path.name: path.read_bytes() for path in (folder / "upgrade" / "shards").iterdir()}
    old = Gallery.open(folder).vectors.copy()
    opener = upgrade.BundleTransform.at("bundles/h.bundle", engine="onnxruntime")
    result = upgrade.run(folder, opener, side="galleries/side", workers=1)
    assert (result.rows, result.shards, result.transformed) == (30, 4, 3)
    assert done.items() <= {path.name: path.read_bytes() for path in (folder / "upgrade" / "shards").iterdir()}.items()
    assert upgrade.verify(folder, opener).problems == ()
    upgrade.cutover(folder, unverified=True)
    # The release itself has upgraded the same rows in `over`.
    theirs = Gallery.open("galleries/over")
    assert Gallery.open(folder).space == theirs.space and Gallery.open(folder).ids == theirs.ids
    np.testing.assert_allclose(Gallery.open(folder).vectors, theirs.vectors, rtol=0, atol=TOLERANCE)
    upgrade.rollback(folder)
    assert (Gallery.open(folder).vectors == old).all()


def test_a_gallery_after_its_cutover_is_searched_and_rolled_back(work: Path) -> None:
    pytest.importorskip("onnxruntime")
    gallery = Gallery.open("galleries/over")
    assert gallery.verify() == []
    query = Embedder.load("bundles/query.bundle.zip", engine="onnxruntime", threads=1).embed(photos()[:1])
    with pytest.raises(IncompatibleSpaceError):
        gallery.search(query)
    upgrade.rollback("galleries/over")
    before = Gallery.open("galleries/plain")
    back = Gallery.open("galleries/over")
    assert (back.space, back.ids) == (before.space, before.ids)
    np.testing.assert_allclose(back.vectors, before.vectors, rtol=0, atol=TOLERANCE)
    assert back.search(query)[0][0].id


def test_additions_to_a_gallery_of_the_release_go_on(work: Path) -> None:
    gallery = Gallery.open("galleries/bytes")
    removed = gallery.ids[0]
    assert gallery.remove([removed]) == 1
    gallery.compact()
    assert len(Gallery.open("galleries/bytes")) == 29 and Gallery.open("galleries/bytes").verify() == []


@pytest.mark.parametrize("name", ["gallery", "new", "query", "side", "h", "recipe/gallery", "recipe/bct"])
def test_a_finished_run_is_read(work: Path, name: str) -> None:
    pytest.importorskip("torch")
    from compat_train.runs.checkpoint import Checkpoint
    from compat_train.runs.run_files import read_role
    from compat_train.runs.transform_run import TransformRun

    folder = work / name if "/" in name else work / "runs" / name
    if read_role(folder) == "transform":
        assert TransformRun.load(folder).build() is not None
        return
    checkpoint = Checkpoint.load(folder)
    assert checkpoint.build().training is False and checkpoint.space.startswith("global-")


@pytest.mark.parametrize(("name", "vectors"), [("gallery", "gallery"), ("query", "query")])
def test_a_finished_run_embeds_as_its_bundle_did(work: Path, name: str, vectors: str) -> None:
    pytest.importorskip("torch")
    found = open_model(work / "runs" / name, device="cpu", threads=1).embed(photos()).vectors
    np.testing.assert_allclose(found, recorded(vectors), rtol=0, atol=TOLERANCE)


def test_an_interrupted_training_goes_on_where_it_stopped(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from compat_train.config.gallery import GalleryConfig
    from compat_train.config.settings import config_from_mapping
    from compat_train.methods.gallery import train_gallery
    from compat_train.runs.checkpoint import Checkpoint
    from compat_train.runs.resume_points import ResumePoints

    folder = work / "runs" / "interrupted"
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events.out.tfevents.1.host.1.0").write_bytes(b"")
    (folder / "state" / ".step-000000010.json.0123456789abcdef.tmp").write_bytes(b"cut off")
    found = ResumePoints(folder).newest()
    assert found is not None and found[0] == 9
    steps: list[int] = []

    def note(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage == "train gallery":
            steps.append(done)

    config = config_from_mapping(GalleryConfig, found[2]["settings"])
    done = train_gallery(config, "runs/interrupted", note)
    assert steps == list(range(10, 19))
    assert not (folder / "state").exists()
    # The release trained the same model without a break; another processor may round its last bits otherwise.
    straight = Checkpoint.load("runs/gallery")
    assert done.classes == straight.classes and done.state.keys() == straight.state.keys()
    for name, value in straight.state.items():
        np.testing.assert_allclose(done.state[name].numpy(), value.numpy(), rtol=0, atol=1e-2, err_msg=name)


def test_a_finished_training_is_returned_by_its_own_command(work: Path, run: Run) -> None:
    pytest.importorskip("torch")
    (work / "runs" / "gallery" / "notes.txt").write_text("nothing is written here, so nothing is in the way")
    before = (work / "runs" / "gallery" / "model.json").read_bytes()
    code, out, err = run(
        "train", "gallery", "--arch", "global:plain:4:c3s3c3", "--dim", 8, "--size", 16, "--data", "sample",
        "--scenario", "classes=0-2", "--scenario", "fraction=0.04", "--epochs", 2, "--batch", 8, "--lr", 0.05,
        "--threads", 1, "--device", "cpu", "--out", "runs/gallery", "--json"
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["space"] == json.loads(before)["model"]["space"]
    assert (work / "runs" / "gallery" / "model.json").read_bytes() == before


def test_a_recipe_that_is_finished_trains_nothing_again(work: Path, run: Run) -> None:
    pytest.importorskip("torch")
    before = {path: path.stat().st_mtime_ns for path in (work / "recipe").rglob("model.*")}
    code, out, err = run("run", "recipe.toml", "--out", "recipe", "--json")
    assert code == 0, err
    assert json.loads(out) == {"runs": ["recipe/gallery", "recipe/bct"]}
    assert {path: path.stat().st_mtime_ns for path in (work / "recipe").rglob("model.*")} == before


def test_a_latency_table_is_read_and_replaced(work: Path, run: Run) -> None:
    pytest.importorskip("onnxruntime")
    table = load_table("latency.json")
    assert [profile["name"] for profile in table.profiles] == ["query"] and table.device["cores"]
    code, _, err = run("profile", "bundles/query.bundle.zip", "--save", "latency.json", "--json")
    assert code == 0, err
    assert [profile["name"] for profile in load_table("latency.json").profiles] == ["query"]
