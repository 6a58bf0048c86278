"""Transforms into a new model's space: what is trained, on what, and what is left alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from compat_sdk.datasets import open_dataset
from compat_sdk.errors import ConfigError, IncompatibleSpaceError, TrainingError
from compat_sdk.images import Preprocessing
from compat_sdk.metrics import score_queries, summarise
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source
from compat_train.config.settings import config_from_mapping
from compat_train.config.upgrade import OPTIMISATION, SideInfoConfig, UpgradeConfig
from compat_train.data.batches import Batch, Batches
from compat_train.evaluation import evaluate_upgrade as upgrade_evaluation
from compat_train.evaluation.cka import linear_cka
from compat_train.evaluation.embedding_model import open_model
from compat_train.evaluation.evaluate_upgrade import evaluate_upgrade
from compat_train.evaluation.splits import embed_split
from compat_train.methods import gallery_outputs, upgrade
from compat_train.methods.earlier import EarlierUpgrades
from compat_train.methods.gallery import train_gallery
from compat_train.methods.side_info import train_side_info
from compat_train.methods.upgrade import train_upgrade
from compat_train.models.transform import ForwardTransform
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.transform_run import TransformRun
from tests.sdk.transforms import make_transform
from tests.train.descent import falls, small_steps
from tests.train.records import edit_record

CPU = Execution(device="cpu", checkpoint_steps=1000)
QUICK = Optimisation(epochs=4, batch=16, lr=3e-3, optimiser="adam", weight_decay=2**-15)


class Stop(BaseException):
    """Stands for whatever ends a process in the middle of a step."""


@pytest.fixture(scope="module")
def runs(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generations of models, independent of each other: old and new, each with a side-information encoder."""
    folder = tmp_path_factory.mktemp("generations")
    for name, dim, size, seed in (("old", 16, 28, 0), ("new", 16, 32, 1)):
        config = GalleryConfig(
            source=Source(data=str(clothes)),
            arch="resnet18",
            width=0.125,
            dim=dim,
            preprocessing=Preprocessing(size=size, mean=(0.4 + 0.1 * seed,) * 3),
            classification=Classification(margin=0.2, scale=20.0),
            optimisation=Optimisation(epochs=3, batch=16, lr=0.1),
            execution=replace(CPU, seed=seed),
        )
        train_gallery(config, folder / name)
        side = SideInfoConfig(
            source=Source(data=str(clothes)),
            method="autoencoder",
            arch="resnet18",
            width=0.0625,
            dim=8,
            preprocessing=Preprocessing(size=28),
            channels=16,
            optimisation=Optimisation(epochs=1, batch=16, lr=0.05),
            execution=replace(CPU, seed=seed),
        )
        train_side_info(side, folder / f"side-{name}")
    return folder


def config_of(runs: Path, clothes: Path, **values: object) -> UpgradeConfig:
    settings: dict[str, object] = {
        "old": str(runs / "old"),
        "new": str(runs / "new"),
        "side_info": str(runs / "side-old"),
        "hidden": 32,
        "optimisation": QUICK,
        "execution": CPU,
    }
    return UpgradeConfig(source=Source(data=str(clothes)), **(settings | values))  # type: ignore[arg-type]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stop_after(steps: int) -> object:
    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage.startswith("train") and done == steps:
            raise Stop

    return progress


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, torch.Tensor]]:
    """Whose embeddings a training asks for from here on, and what it is given, in order."""
    seen: list[tuple[str, torch.Tensor]] = []
    of_batch = upgrade._SharedViews.of_batch

    def watch(self: object, name: str, batch: object) -> torch.Tensor:
        found = of_batch(self, name, batch)  # type: ignore[arg-type]
        seen.append((name, found))
        return found

    monkeypatch.setattr(upgrade._SharedViews, "of_batch", watch)
    return seen


@pytest.mark.parametrize("side", [True, False])
def test_a_transform_is_trained_on_its_own_loss_and_says_where_it_leads(
    side: bool, runs: Path, clothes: Path, tmp_path: Path
) -> None:
    # How much a transform lifts a search across two independent models: benchmarks/studies/upgrades/upgrades.md.
    values = {} if side else {"side_info": None}
    config = config_of(runs, clothes, optimisation=small_steps(lr=0.01), frozen_norm=1.0, **values)
    done = train_upgrade(config, tmp_path / "run")
    assert falls(tmp_path / "run", "l2")
    new, old = Checkpoint.load(runs / "new"), Checkpoint.load(runs / "old")
    assert (done.kind, done.method, done.spaces.space, done.spaces.dim) == ("forward-transform", "fct", new.space, 16)
    assert (done.spaces.old_space, done.spaces.old_dim, done.hidden) == (old.space, 16, 32)
    assert (done.spaces.side_dim, done.spaces.side_space is None) == ((8, False) if side else (None, True))


def test_an_evaluation_compares_what_the_transform_makes_of_the_old_gallery(
    runs: Path, clothes: Path, tmp_path: Path
) -> None:
    done = train_upgrade(config_of(runs, clothes), tmp_path / "run")
    dataset = open_dataset(str(clothes))
    found = evaluate_upgrade(dataset, runs / "old", runs / "new", [done.path], [runs / "side-old"], threads=1)
    embedded = {
        split: embed_split([open_model(runs / name) for name in ("old", "new", "side-old")], dataset.splits[split])
        for split in ("query", "gallery")
    }
    old, new, side = (rows.vectors for rows in embedded["gallery"])
    with torch.no_grad():
        transformed = F.normalize(done.build()(torch.from_numpy(old), torch.from_numpy(side))).numpy()
    assert found.cosine == pytest.approx(float((transformed * new).sum(1).mean()), abs=1e-5)
    assert found.cka["transformed_new"] == pytest.approx(linear_cka(transformed, new), abs=1e-4)
    assert found.cka["old_new"] == pytest.approx(linear_cka(old, new), abs=1e-4)
    labels = [dataset.splits[split].labels for split in ("query", "gallery")]
    expected = score_queries(embedded["query"][1].vectors, labels[0], old, labels[1])
    assert found.scores["new_old"] == summarise(expected)
    before, after = (found.scores[pair] for pair in ("old_old", "new_transformed"))
    known = replace(found, scores={**found.scores, "old_old": replace(before, accuracy=0.5)})
    assert known.upgrade_gain == pytest.approx(after.accuracy / 0.5 - 1)
    blind = replace(found, scores={**found.scores, "old_old": replace(before, accuracy=0.0)})
    assert blind.upgrade_gain is None


def test_no_model_is_changed_and_only_the_transform_is_trained(runs: Path, clothes: Path, tmp_path: Path) -> None:
    names = ("old", "new", "side-old")
    before = {name: digest(runs / name / "model.safetensors") for name in names}
    train_upgrade(config_of(runs, clothes), tmp_path / "run")
    assert before == {name: digest(runs / name / "model.safetensors") for name in names}
    stored = TransformRun.load(tmp_path / "run")
    assert {name.split(".")[0] for name in stored.state} == {"of_old", "of_side", "mixer", "head"}


def test_frozen_models_see_one_view_and_give_no_gradient(
    runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch)
    twin = tmp_path / "twin"  # the old model again, said to write in another space
    shutil.copytree(runs / "old", twin)
    edit_record(twin / "model.json", {"space": "twin-16"})
    config = config_of(runs, clothes, augmentation=Augmentation(rotate=180, flip=True), new=str(twin))
    train_upgrade(config, tmp_path / "run")
    assert not any(found.requires_grad for _, found in seen)
    for (_, old), (_, new) in zip(seen[0::3], seen[2::3], strict=True):  # one model here: one view, one embedding
        assert torch.equal(old, new)


def test_a_view_is_the_same_at_every_size() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    larger = pixels.repeat(2, axis=1).repeat(2, axis=2)
    views = [
        Batches(
            images,
            np.zeros(12, np.int64),
            batch=6,
            seed=4,
            augmentation=Augmentation(shift=0.2, zoom=0.2, rotate=40, flip=True, colour=0.3),
            device=torch.device("cpu"),
        ).at(1)
        for images in (pixels, larger)
    ]
    assert torch.equal(views[0].index, views[1].index) and torch.equal(views[0].number, views[1].number)
    shrunk = F.avg_pool2d(views[1].images, 2)
    alike = F.cosine_similarity((views[0].images - 0.5).flatten(1), (shrunk - 0.5).flatten(1))
    assert alike.min() > 0.9, "another turn or shift would leave nothing in common: the pixels are noise"


@pytest.mark.parametrize("flip", [False, True])
def test_embeddings_that_are_computed_once_are_those_of_every_batch(
    flip: bool, runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(runs, clothes, augmentation=Augmentation(flip=flip))
    seen = watched(monkeypatch)
    train_upgrade(config, tmp_path / "cached")
    cached = seen.copy()
    seen.clear()
    monkeypatch.setattr(Augmentation, "views", property(lambda self: None))
    train_upgrade(config, tmp_path / "fresh")
    assert [name for name, _ in cached] == ["old", "side", "new"] * 12 == [name for name, _ in seen]
    for (name, once), (_, each) in zip(cached, seen, strict=True):
        torch.testing.assert_close(once, each, atol=1e-5, rtol=0, msg=name)


def test_embeddings_that_are_kept_serve_the_next_transform(
    runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(runs, clothes, augmentation=Augmentation(flip=True))
    first = train_upgrade(config, tmp_path / "first", embeddings=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.vectors"))) == 3  # of each model, both views
    monkeypatch.setattr(gallery_outputs._Frozen, "model", None)
    again = train_upgrade(config, tmp_path / "again", embeddings=tmp_path / "kept")
    assert all(torch.equal(value, again.state[name]) for name, value in first.state.items())


def test_embeddings_that_are_kept_serve_no_other_images(runs: Path, tmp_path: Path) -> None:
    model = Checkpoint.load(runs / "new")
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)

    def embedded(pixels: NDArray[np.uint8], of: Checkpoint = model) -> torch.Tensor:
        outputs = gallery_outputs.GalleryOutputs(of, pixels, Augmentation(), torch.device("cpu"), kept=tmp_path)
        return torch.from_numpy(np.array(outputs._outputs))

    first = embedded(images)
    assert not torch.allclose(first, embedded(images[::-1]))
    darker = replace(model, preprocessing=Preprocessing(size=32, mean=(0.8, 0.8, 0.8)))
    assert not torch.allclose(first, embedded(images, darker))
    assert torch.equal(first, embedded(images)) and len(list(tmp_path.glob("*.vectors"))) == 3


def test_each_model_sees_the_view_at_its_own_size(
    runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, list[int]]] = []
    of_batch = gallery_outputs.GalleryOutputs.of_batch

    def watch(self: gallery_outputs.GalleryOutputs, batch: Batch) -> torch.Tensor:
        seen.append((batch.images.shape[-1], batch.index.tolist()))
        return of_batch(self, batch)

    monkeypatch.setattr(gallery_outputs.GalleryOutputs, "of_batch", watch)
    train_upgrade(config_of(runs, clothes, augmentation=Augmentation(shift=0.1, colour=0.2)), tmp_path / "run")
    assert [size for size, _ in seen] == [28, 28, 32] * 12  # old, side-information, new; four epochs of three steps
    assert all(len({tuple(rows) for _, rows in seen[step : step + 3]}) == 1 for step in range(0, len(seen), 3))


def test_batch_norm_goes_to_eval_half_way(
    runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[bool] = []
    forward = nn.BatchNorm1d.forward

    def watch(self: nn.BatchNorm1d, rows: torch.Tensor) -> torch.Tensor:
        modes.append(self.training)
        return forward(self, rows)

    monkeypatch.setattr(nn.BatchNorm1d, "forward", watch)
    train_upgrade(config_of(runs, clothes), tmp_path / "run")
    per_step = [set(modes[start : start + 6]) for start in range(0, len(modes), 6)]  # six batch norms
    assert per_step == [{True}] * 6 + [{False}] * 6  # four epochs of three steps
    modes.clear()
    train_upgrade(config_of(runs, clothes, frozen_norm=1.0), tmp_path / "never")
    assert set(modes) == {True}


@pytest.fixture(scope="module", params=["adam", "sgd"])
def undisturbed(
    request: pytest.FixtureRequest, runs: Path, clothes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[UpgradeConfig, Path]:
    """Settings, and the run that nobody stopped."""
    schedule = replace(QUICK, optimiser=request.param)
    config = config_of(runs, clothes, optimisation=schedule, execution=replace(CPU, checkpoint_steps=1))
    return config, train_upgrade(config, tmp_path_factory.mktemp("undisturbed") / "whole").path


@pytest.mark.parametrize("steps", [1, 6, 7])
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    steps: int, undisturbed: tuple[UpgradeConfig, Path], tmp_path: Path
) -> None:
    config, whole = undisturbed
    with pytest.raises(Stop):
        train_upgrade(config, tmp_path / "parts", stop_after(steps))  # type: ignore[arg-type]
    train_upgrade(config, tmp_path / "parts")
    assert digest(tmp_path / "parts" / "model.safetensors") == digest(whole / "model.safetensors")
    assert not (tmp_path / "parts" / "state").exists() and not (tmp_path / "parts" / "embeddings").exists()
    with pytest.raises(TrainingError, match="other settings"):
        train_upgrade(replace(config, hidden=16), whole)


def test_two_hops_with_carried_side_information_and_directly(runs: Path, clothes: Path, tmp_path: Path) -> None:
    # v1 is old, v2 is old retrained as new; the third generation is the first again, which is enough to compose.
    h2 = train_upgrade(config_of(runs, clothes), tmp_path / "h2")
    g2 = train_upgrade(config_of(runs, clothes, new=str(runs / "side-new")), tmp_path / "g2")
    back = {"old": str(runs / "new"), "new": str(runs / "old"), "side_info": str(runs / "side-new")}
    train_upgrade(replace(config_of(runs, clothes), **back), tmp_path / "h3")
    assert g2.spaces.space == Checkpoint.load(runs / "side-new").space and g2.spaces.old_space == h2.spaces.old_space
    dataset = open_dataset(str(clothes))
    hops = [tmp_path / "h2", tmp_path / "h3"]
    for source in (tmp_path / "g2", runs / "side-new"):
        sides = [runs / "side-old", source]
        found = evaluate_upgrade(dataset, runs / "old", runs / "old", hops, sides, threads=1)
        assert found.names[2:] == ("h2", "h3") and 0 <= found.scores["new_transformed"].cmc[1] <= 1
        assert json.loads(json.dumps(found.to_json()))["transforms"] == ["h2", "h3"]
        assert "M(new,h)" in found.table()
    for wrong, says in (
        ([], "0 sources"),
        ([tmp_path / "g2", runs / "side-new"], "has none before it"),
    ):
        with pytest.raises(ConfigError, match=says):
            evaluate_upgrade(dataset, runs / "old", runs / "old", hops, wrong, threads=1)
    with pytest.raises(IncompatibleSpaceError, match="trained with"):
        evaluate_upgrade(dataset, runs / "old", runs / "old", hops, [runs / "side-new", tmp_path / "g2"], threads=1)
    with pytest.raises(IncompatibleSpaceError, match="last transform gives space"):
        evaluate_upgrade(dataset, runs / "old", runs / "old", hops[:1], [runs / "side-old"], threads=1)


def test_a_second_upgrade_learns_from_what_the_first_one_gives(
    runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it is worth to learn from them, and not from the model between: benchmarks/studies/upgrades/upgrades.md.
    h2 = train_upgrade(config_of(runs, clothes), tmp_path / "h2")
    g2 = train_upgrade(config_of(runs, clothes, new=str(runs / "side-new")), tmp_path / "g2")
    back = {"new": str(runs / "old"), "through": (str(h2.path),)}
    carried = back | {"side_through": (str(g2.path),)}
    stored, learned = watched(monkeypatch), []
    forward = ForwardTransform.forward

    def watch(self: ForwardTransform, *inputs: torch.Tensor) -> torch.Tensor:
        if self.training or any(parameter.requires_grad for parameter in self.parameters()):
            learned.append(inputs)
        return forward(self, *inputs)

    with monkeypatch.context() as patch:
        patch.setattr(ForwardTransform, "forward", watch)
        h3 = train_upgrade(config_of(runs, clothes, **carried), tmp_path / "h3")
    assert [name for name, _ in stored] == ["old", "side", "new"] * len(learned) and len(learned) == 12
    for step, inputs in enumerate(learned):
        old, side = stored[3 * step][1], stored[3 * step + 1][1]
        for given, run in zip(inputs, (h2, g2), strict=True):
            torch.testing.assert_close(given, F.normalize(run.build()(old, side)).detach())
    assert (h3.spaces.old_space, h3.spaces.side_space) == (h2.spaces.space, g2.spaces.space)
    alone = train_upgrade(config_of(runs, clothes, **back), tmp_path / "alone")  # the first upgrade left none
    assert (alone.spaces.old_space, alone.spaces.side_space) == (h2.spaces.space, None)
    generator = torch.Generator().manual_seed(0)
    old, side = (F.normalize(torch.randn(5, dim, generator=generator)) for dim in (16, 8))
    models = [Checkpoint.load(runs / name) for name in ("old", "side-old")]
    found = EarlierUpgrades(*models, (str(h2.path),), (str(g2.path),), torch.device("cpu"))(old, side)
    for vectors, run in zip(found, (h2, g2), strict=True):
        torch.testing.assert_close(vectors, F.normalize(run.build()(old, side)))
    for values, says in (
        (carried | {"through": (str(h3.path),)}, "takes vectors in .*order of the upgrades"),
        (back | {"through": (str(h2.path), str(h2.path)), "side_through": (str(g2.path),)}, "takes vectors in"),
        (carried | {"new": str(runs / "new")}, "nothing to transform"),
    ):
        with pytest.raises(TrainingError, match=says):
            train_upgrade(config_of(runs, clothes, **values), tmp_path / "wrong")


def test_an_exported_g_is_a_source_of_side_information(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_transform(tmp_path / "g.bundle")
    opened: list[Path] = []
    monkeypatch.setattr(upgrade_evaluation, "open_transform", lambda path, **_: opened.append(path))
    upgrade_evaluation._source(tmp_path / "g.bundle", "cpu", 1, None)
    assert opened == [tmp_path / "g.bundle"]


def test_dmu_learns_from_the_new_classifier_the_new_embedding_or_both(
    runs: Path, clothes: Path, tmp_path: Path
) -> None:
    for name, values, terms in (
        ("arc", {}, {"arc"}),
        ("regression", {"arc": 0.0, "regression": 1.0}, {"regression"}),
        ("both", {"regression": 2.0}, {"arc", "regression"}),
    ):
        settings = values | {"optimisation": small_steps(lr=0.003), "frozen_norm": 1.0}
        config = config_of(runs, clothes, method="dmu", side_info=None, **settings)
        done = train_upgrade(config, tmp_path / name)
        rows = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        assert done.kind == "forward-adaptation" and done.spaces.side_space is None
        assert terms == {"l2", "arc", "regression"} & rows[0].keys()
        assert falls(tmp_path / name)


def test_dmu_needs_a_classifier_that_knows_some_class(runs: Path, clothes: Path, tmp_path: Path) -> None:
    dmu = config_of(runs, clothes, method="dmu", side_info=None)
    with pytest.raises(TrainingError, match="no classifier, which the term 'arc' needs"):
        train_upgrade(replace(dmu, new=str(runs / "side-new")), tmp_path / "a")
    other = tmp_path / "other" / "train"
    for number, folder in enumerate((clothes / "train").iterdir()):
        (other / f"class-{number}").parent.mkdir(parents=True, exist_ok=True)
        (other / f"class-{number}").symlink_to(folder)
    with pytest.raises(TrainingError, match="none of the 4 training classes"):
        train_upgrade(replace(dmu, source=Source(data=str(other.parent))), tmp_path / "b")


def test_the_old_embedding_is_no_side_information(runs: Path, clothes: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="adds nothing; train it with another seed"):
        train_upgrade(config_of(runs, clothes, side_info=str(runs / "old")), tmp_path / "run")


def test_the_old_model_is_no_new_model(runs: Path, clothes: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is nothing to transform"):
        train_upgrade(config_of(runs, clothes, new=str(runs / "old")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_papers_settings_are_the_defaults_and_a_short_run_has_a_short_warm_up() -> None:
    config = config_from_mapping(UpgradeConfig, {"source": {"data": "x"}, "old": "a", "new": "b"})
    schedule = config.schedule
    assert (schedule.optimiser, schedule.lr, schedule.weight_decay) == ("adam", 5e-4, 2**-15)
    assert (schedule.batch, schedule.epochs, schedule.warmup_epochs) == (1024, 80, 5)
    assert (config.width, config.frozen_after, config.weights["l2"]) == (2048, 0.5, 1)
    short = config_from_mapping(
        UpgradeConfig, {"source": {"data": "x"}, "old": "a", "new": "b", "optimisation": {"epochs": 8}}
    )
    assert short.schedule == replace(OPTIMISATION["fct"], epochs=8, warmup_epochs=0.5)
    dmu = config_from_mapping(UpgradeConfig, {"source": {"data": "x"}, "old": "a", "new": "b", "method": "dmu"})
    assert (dmu.schedule.optimiser, dmu.schedule.lr, dmu.schedule.epochs, dmu.width) == ("sgd", 0.1, 30, 1024)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"method": "dmu", "side_info": "x"}, "adapts the old embedding alone"),
        ({"l2": 0.0}, "all loss weights are 0"),
        ({"l2": -1.0}, "l2 is"),
        ({"frozen_norm": 1.5}, "frozen_norm"),
        ({"method": "bct"}, "expected one of fct, dmu"),
        ({"through": ("h",), "side_through": ("g",)}, "side_through is set, but side_info is not"),
        ({"side_info": "s", "through": ("h", "i")}, "side_through has 0 transforms and through 2"),
        ({"side_info": "s", "side_through": ("g",)}, "side_through has 1 transforms and through 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        UpgradeConfig(source=Source(data="x"), old="a", new="b", **values)  # type: ignore[arg-type]


def test_inputs_and_targets_have_unit_norm(
    runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch)
    train_upgrade(config_of(runs, clothes, augmentation=Augmentation(shift=0.1)), tmp_path / "run")
    assert seen
    for name, found in seen:
        assert torch.allclose(found.norm(dim=1), torch.ones(len(found)), atol=1e-5), name
