"""CMP-NAS from end to end, interrupted and repeated, and what it refuses before any training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compat_sdk.errors import CompatError, ConfigError, CorruptFileError, DataError, TrainingError
from compat_sdk.metrics import Metric
from compat_train.config.method_terms import AnyMethod
from compat_train.config.parts import Execution
from compat_train.embed import embed_images
from compat_train.methods.centred_output import Cone
from compat_train.methods.gallery_vectors import gallery_vectors
from compat_train.models.search_space import is_member_name
from compat_train.nas.cmp import run
from compat_train.nas.cmp.config import CmpConfig, SearchConfig, SupernetConfig, ValidationConfig
from compat_train.nas.cmp.evaluations import Score
from compat_train.nas.cmp.result import CmpResult
from compat_train.nas.cmp.reward import reward_of
from compat_train.nas.cmp.run import open_evaluations, prepare, search_query_models, search_tiers
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.nas.cmp.validation import Validation
from compat_train.readings import DivergedError
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.run_files import alone, read_tensors


class Stop(BaseException):
    """Stands for whatever ends a process."""


def two_and_a_static_one(smallest: CmpConfig) -> CmpConfig:
    return replace(smallest, keep=2, static=("shufflenet_v2",), static_width=0.1)


@pytest.fixture(scope="module")
def finished(smallest: CmpConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one finished search: two networks of its tier and a static one."""
    folder = tmp_path_factory.mktemp("cmp") / "run"
    search_query_models(two_and_a_static_one(smallest), folder)
    return folder


def test_a_search_ends_in_query_models_that_declare_the_gallery_space(smallest: CmpConfig, finished: Path) -> None:
    result = search_query_models(two_and_a_static_one(smallest), finished)
    searched, static = [n for n in result.networks if n.tier], [n for n in result.networks if not n.tier]
    assert [network.place for network in searched] == [1, 2] and [network.arch for network in static] == [
        "shufflenet_v2"
    ]
    gallery = Checkpoint.load(smallest.gallery)
    for network in searched:
        checkpoint = Checkpoint.load(network.run)
        assert is_member_name(checkpoint.arch) and checkpoint.searches == (gallery.space,)
        assert network.found is not None and network.evaluation.query_mmacs <= 0.6
        assert network.evaluation.query_mmacs == pytest.approx(network.found.cost)
    rewards = [network.found.reward for network in searched if network.found]
    assert rewards == sorted(rewards, reverse=True)
    written = json.loads((finished / "results.json").read_text())
    assert [network["arch"] for network in written["networks"]] == [network.arch for network in result.networks]
    assert "0.6 / 1" in result.table() and "paragon" in result.table()


def test_the_same_command_again_trains_nothing(smallest: CmpConfig, finished: Path) -> None:
    stages: list[str] = []

    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        stages.append(stage)

    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.safetensors")}
    lines = (finished / "scores.jsonl").read_text()
    search_query_models(two_and_a_static_one(smallest), finished, progress)
    assert not [stage for stage in stages if stage.startswith("train")]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (finished / "scores.jsonl").read_text() == lines


def test_a_network_that_diverges_is_left_out_and_told_and_the_others_are_reported(
    smallest: CmpConfig, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    lost = {"tiers/0.6/1"}

    def train(config: object, folder: Path, *_: object, **__: object) -> None:
        if folder.relative_to(tmp_path / "run").as_posix() in lost:
            raise DivergedError(f"the loss of {folder.name} is not finite")

    monkeypatch.setattr(run, "train_query", train)
    config = two_and_a_static_one(smallest)
    result = search_query_models(config, tmp_path / "run")
    assert [network.name for network in result.networks] == ["0.6 / 2", "shufflenet_v2"]
    assert result.diverged == ("the loss of 1 is not finite",)
    assert "a network is left out: the loss of 1 is not finite" in result.table()
    assert json.loads((tmp_path / "run" / "results.json").read_text())["diverged"] == list(result.diverged)
    lost |= {"tiers/0.6/2", "static/shufflenet_v2"}
    with pytest.raises(DivergedError, match="every retrained network diverged"):
        search_query_models(config, tmp_path / "run")


@pytest.fixture(scope="module")
def straight(smallest: CmpConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[CmpConfig, Path, CmpResult]:
    """Settings with many resume points, and the folder and the result of a search that nobody stopped."""
    config = replace(smallest, execution=replace(smallest.execution, checkpoint_steps=2))
    folder = tmp_path_factory.mktemp("straight") / "run"
    return config, folder, search_query_models(config, folder)


@pytest.mark.parametrize("where", ["train supernet", "search", "train query"])
def test_a_run_that_was_stopped_ends_like_an_undisturbed_one(
    straight: tuple[CmpConfig, Path, CmpResult], tmp_path: Path, where: str
) -> None:
    calls = 0

    def stop(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal calls
        calls += stage.startswith(where)
        if stage.startswith(where) and (calls == 3 or where == "search"):
            raise Stop

    config, undisturbed, expected = straight
    with pytest.raises(Stop):
        search_query_models(config, tmp_path / "stopped", stop)
    stopped = search_query_models(config, tmp_path / "stopped")
    assert [n.found for n in stopped.networks] == [n.found for n in expected.networks]
    for part in ("supernet/supernet.safetensors", "tiers/0.6/1/model.safetensors"):
        assert (tmp_path / "stopped" / part).read_bytes() == (undisturbed / part).read_bytes(), part


def test_workers_find_what_one_process_finds(smallest: CmpConfig, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "supernet", run / "supernet")
    prepared = prepare(smallest, run)
    weights = run / "supernet" / "supernet.safetensors"
    parallel = search_tiers(replace(smallest, workers=2), prepared, weights, run)
    serial = search_tiers(smallest, prepared, weights, tmp_path_with(run, tmp_path / "serial"))
    assert parallel == serial


def tmp_path_with(run: Path, folder: Path) -> Path:
    shutil.copytree(run / "validation", folder / "validation")
    return folder


def test_a_search_runs_on_the_device_that_auto_stands_for(
    smallest: CmpConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = replace(smallest, execution=Execution(threads=1))
    assert config.execution.device == "auto"
    assert len(search_query_models(config, tmp_path / "run").networks) == 1
    first = (tmp_path / "run" / "scores.jsonl").read_text().splitlines()[0]
    assert '"cpu"' in first and "auto" not in first, "workers and later runs are told the device itself"


def test_a_search_that_another_process_is_at_is_left_to_it(smallest: CmpConfig, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "out")
    with alone(tmp_path / "out" / "search.lock", "searching"):
        with pytest.raises(TrainingError, match=r"another process is searching in .*out; wait"):
            search_query_models(smallest, tmp_path / "out")
    search_query_models(smallest, tmp_path / "out")


def test_the_gallery_side_of_validation_is_embedded_once_by_the_gallery_model(
    smallest: CmpConfig, tmp_path: Path
) -> None:
    prepared = prepare(smallest, tmp_path)
    images = Validation.load(tmp_path / "validation")
    # 3 identities of 8 images: every second image is a query.
    assert len(images.queries) == len(images.gallery) == 12 and len(images.calibration) == 32
    assert sorted(np.unique(images.query_labels)) == [0, 1, 2]
    expected = embed_images(
        prepared.gallery.build(), np.asarray(images.gallery), prepared.gallery.preprocessing, channels_last=True
    )
    np.testing.assert_array_equal(images.gallery_embeddings, expected)


def test_validation_images_of_other_settings_are_not_used(smallest: CmpConfig, tmp_path: Path) -> None:
    prepare(smallest, tmp_path)
    other = replace(smallest, validation=replace(smallest.validation, queries=6))
    with pytest.raises(TrainingError, match="prepared with other settings"):
        prepare(other, tmp_path)


def test_validation_images_and_a_supernet_that_were_changed_are_not_used(
    smallest: CmpConfig, finished: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    for name, old, new, says in (
        ("validation/gallery_labels.npy", b"\0", b"\1", "the arrays in"),
        ("validation/gallery.npy", b"NUMPY", b"NVMPY", "is not a readable"),
        ("validation/digest.json", b'"queries": ', b'"queries": 1', "was changed after it was written"),
        ("supernet/supernet.json", b'"budget": ', b'"budget": 1', "was changed after it was written"),
    ):
        whole = (run / name).read_bytes()
        before, found, after = whole.rpartition(old)
        assert found
        (run / name).write_bytes(before + new + after)
        with pytest.raises(CorruptFileError, match=says):
            search_query_models(smallest, run)
        (run / name).write_bytes(whole)
    search_query_models(smallest, run)


def test_a_reward_needs_what_it_says_and_no_more(smallest: CmpConfig, finished: Path, tmp_path: Path) -> None:
    assert reward_of(Score(own=0.5, across=0.4), "r1") == 0.5
    assert reward_of(Score(own=0.5, across=0.4), "r2") == 0.4
    assert reward_of(Score(own=0.5, across=0.4), "r3") == pytest.approx(0.2)
    assert reward_of(Score(across=0.4), "r3") is None
    shutil.copytree(finished / "supernet", tmp_path / "supernet")
    prepared = prepare(smallest, tmp_path)
    ranked = search_tiers(
        replace(smallest, reward="r2"), prepared, tmp_path / "supernet" / "supernet.safetensors", tmp_path
    )
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()[1:]]
    assert rows and all(row["own"] is None and row["across"] is not None for row in rows)
    assert {found.reward for found in ranked[0.6]} == {row["across"] for row in rows}


def test_the_vanilla_supernet_is_another_supernet(smallest: CmpConfig, tmp_path: Path) -> None:
    prepared = prepare(smallest, tmp_path)
    vanilla = replace(smallest, supernet=replace(smallest.supernet, method="vanilla"))
    first = train_supernet(smallest, prepared.gallery, prepared.data, tmp_path / "bct")
    second = train_supernet(vanilla, prepared.gallery, prepared.data, tmp_path / "vanilla")
    assert first.read_bytes() != second.read_bytes()
    with pytest.raises(TrainingError, match="other settings"):
        train_supernet(vanilla, prepared.gallery, prepared.data, tmp_path / "bct")
    with open_evaluations(smallest, prepared, first, tmp_path):
        pass


def refusal(config: CmpConfig, out: Path) -> str:
    def no_training(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        assert not stage.startswith("train")

    with pytest.raises(CompatError) as caught:
        search_query_models(config, out, no_training)
    assert not (out / "supernet").exists()
    return str(caught.value)


@pytest.fixture
def without_classifier(smallest: CmpConfig, gallery_run: Path, tmp_path: Path) -> CmpConfig:
    """The smallest search for a gallery model that was trained elsewhere."""
    bare = replace(Checkpoint.load(gallery_run), path=tmp_path / "bare", classifier=None)
    bare.path.mkdir()
    bare.save()
    return replace(smallest, gallery=str(bare.path))


def test_a_method_that_needs_the_classifier_is_refused_where_there_is_none(
    without_classifier: CmpConfig, tmp_path: Path
) -> None:
    assert "has no classifier" in refusal(replace(without_classifier, method="kd"), tmp_path / "out")


@pytest.mark.parametrize("method", ["bct", "auto"])
def test_a_supernet_learns_from_vectors_alone_and_keeps_their_mean(
    method: AnyMethod, without_classifier: CmpConfig, tmp_path: Path
) -> None:
    """As `train query` does: class means for the classifier of bct, csd for auto, both less the common mean."""
    config = replace(without_classifier, method=method)
    prepared = prepare(config, tmp_path)
    weights = train_supernet(config, prepared.gallery, prepared.data, tmp_path / "supernet")
    cone = Cone.from_state(read_tensors(weights.read_bytes(), ""))
    vectors = gallery_vectors(prepared.gallery, prepared.data, torch.device("cpu"), seed=0)
    assert cone is not None
    torch.testing.assert_close(cone.mean, vectors.mean)


def test_validation_identities_that_were_trained_on_are_refused(
    smallest: CmpConfig, identities: Path, tmp_path: Path
) -> None:
    leaky = tmp_path / "leaky"
    shutil.copytree(identities, leaky)
    name = next((leaky / "train").iterdir()).name
    shutil.copytree(leaky / "train" / name, leaky / "val" / name)
    said = refusal(replace(smallest, source=replace(smallest.source, data=str(leaky))), tmp_path / "out")
    assert "1 of the 4 validation identities" in said and "the training split" in said and name in said
    # An identity that only the gallery model was trained on is no better.
    shutil.rmtree(leaky / "train" / name)
    said = refusal(replace(smallest, source=replace(smallest.source, data=str(leaky))), tmp_path / "out")
    assert "the gallery model" in said


def test_data_without_a_validation_split_is_refused(smallest: CmpConfig, identities: Path, tmp_path: Path) -> None:
    shutil.copytree(identities, tmp_path / "data", ignore=shutil.ignore_patterns("val"))
    with pytest.raises(DataError, match="move some identities from train/ to val/"):
        search_query_models(
            replace(smallest, source=replace(smallest.source, data=str(tmp_path / "data"))), tmp_path / "o"
        )


def test_an_impossible_tier_is_refused_with_the_possible_range(smallest: CmpConfig, tmp_path: Path) -> None:
    said = refusal(replace(smallest, mmacs=(0.6, 0.01)), tmp_path / "out")
    assert "0.01 MMACs is out of reach" in said and "members of shuffle" in said and "last=128" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda: SearchConfig(population=0), "population is 0"),
        (lambda: SearchConfig(population=10, parents=11), "parents is 11"),
        (lambda: SearchConfig(population=10, parents=2), "more than the population of 10"),
        (lambda: SupernetConfig(channel_warmup=0.05, operation_warmup=0.1), "channel_warmup"),
        (lambda: ValidationConfig(rank=0), "rank is 0"),
        (lambda: ValidationConfig(metric="best"), "metric: there is no metric 'best'"),
        (lambda: ValidationConfig(metric="map", rank=5), "set one of them"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: object, says: str) -> None:
    assert callable(change)
    with pytest.raises(ConfigError, match=says):
        change()


def test_what_judges_candidates_is_what_networks_are_reported_by(smallest: CmpConfig, finished: Path) -> None:
    assert ValidationConfig(rank=10).accuracy == Metric("top", 10)
    assert ValidationConfig(metric="map@5").accuracy == Metric("map", 5)
    config = replace(smallest, validation=replace(smallest.validation, rank=10))
    ran = finished / "tiers" / "0.6" / "1"
    result = run.measure(config, prepare(smallest, finished), [(ran, 0.6, 1, None)])
    scores = result.networks[0].evaluation.query_gallery
    assert (scores.metric, scores.accuracy) == (Metric("top", 10), scores.cmc[10])
    assert "accuracies are top-10" in result.table()


def test_a_tier_named_twice_or_none_is_refused(smallest: CmpConfig) -> None:
    with pytest.raises(ConfigError, match="twice"):
        replace(smallest, mmacs=(0.6, 0.6))
    with pytest.raises(ConfigError, match="at least one budget"):
        replace(smallest, mmacs=())
