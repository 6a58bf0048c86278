"""Transforms into a new model's space: what is trained, what is left alone, and what it is worth."""

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
from compat_sdk.errors import ConfigError, TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.settings import config_from_mapping
from compat_train.config.training import Augmentation, Classification, Execution, GalleryConfig, Optimisation, Source
from compat_train.config.upgrade import OPTIMISATION, SideInfoConfig, UpgradeConfig
from compat_train.data.batches import Batches
from compat_train.evaluation import evaluate_upgrade as upgrade_evaluation
from compat_train.evaluation.evaluate_upgrade import evaluate_upgrade
from compat_train.methods import gallery_outputs, upgrade
from compat_train.methods.earlier import EarlierUpgrades
from compat_train.methods.gallery import train_gallery
from compat_train.methods.side_info import train_side_info
from compat_train.methods.upgrade import train_upgrade
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.transform_run import TransformRun
from tests.sdk.transforms import make_transform

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
            optimisation=Optimisation(epochs=12, batch=16, lr=0.1),
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


@pytest.mark.parametrize("side", [True, False])
def test_a_transform_lifts_a_search_across_two_independent_models(
    side: bool, runs: Path, clothes: Path, tmp_path: Path
) -> None:
    longer = replace(QUICK, epochs=30)
    values = {} if side else {"side_info": None}
    config = config_of(runs, clothes, optimisation=longer, **values)
    done = train_upgrade(config, tmp_path / "run")
    new, old = Checkpoint.load(runs / "new"), Checkpoint.load(runs / "old")
    assert (done.kind, done.method, done.space, done.dim) == ("forward-transform", "fct", new.space, 16)
    assert (done.old_space, done.old_dim, done.hidden) == (old.space, 16, 32)
    assert (done.side_dim, done.side_space is None) == ((8, False) if side else (None, True))
    sides = [runs / "side-old"] if side else []
    found = evaluate_upgrade(
        open_dataset(str(clothes)), runs / "old", runs / "new", [tmp_path / "run"], sides, threads=1
    )
    assert found.scores["new_transformed"].cmc[1] > found.scores["new_old"].cmc[1] + 0.1
    assert found.scores["new_transformed"].map > found.scores["new_old"].map + 0.1
    assert found.cosine > 0.7 and found.cka["transformed_new"] > found.cka["old_new"]
    before, after = (found.scores[pair] for pair in ("old_old", "new_transformed"))
    assert found.upgrade_gain == pytest.approx(after.cmc[1] / before.cmc[1] - 1)
    blind = replace(found, scores={**found.scores, "old_old": replace(before, cmc={**before.cmc, 1: 0.0})})
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
    seen: list[torch.Tensor] = []
    of_batch = upgrade._SharedViews.of_batch

    def watch(self: object, name: str, batch: object) -> torch.Tensor:
        found = of_batch(self, name, batch)  # type: ignore[arg-type]
        seen.append(found)
        return found

    monkeypatch.setattr(upgrade._SharedViews, "of_batch", watch)
    twin = tmp_path / "twin"  # the old model again, said to write in another space
    shutil.copytree(runs / "old", twin)
    record = (twin / "model.json").read_text()
    (twin / "model.json").write_text(record.replace(Checkpoint.load(twin).space, "twin-16"))
    config = config_of(runs, clothes, augmentation=Augmentation(rotate=180, flip=True), new=str(twin))
    train_upgrade(config, tmp_path / "run")
    assert not any(found.requires_grad for found in seen)
    for old, new in zip(seen[0::3], seen[2::3], strict=True):  # one model here: one view gives one embedding
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
    assert torch.equal(views[0].index, views[1].index) and torch.equal(views[0].flipped, views[1].flipped)
    shrunk = F.avg_pool2d(views[1].images, 2)
    alike = F.cosine_similarity((views[0].images - 0.5).flatten(1), (shrunk - 0.5).flatten(1))
    assert alike.min() > 0.9, "another turn or shift would leave nothing in common: the pixels are noise"


@pytest.mark.parametrize("flip", [False, True])
def test_embeddings_that_are_computed_once_train_the_same_transform(
    flip: bool, runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(runs, clothes, augmentation=Augmentation(flip=flip))
    cached = train_upgrade(config, tmp_path / "cached")
    monkeypatch.setattr(Augmentation, "views", property(lambda self: None))
    fresh = train_upgrade(config, tmp_path / "fresh")
    for name, value in cached.state.items():
        assert torch.allclose(value.float(), fresh.state[name].float(), atol=2e-3), name


def test_embeddings_that_are_kept_serve_the_next_transform(
    runs: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(runs, clothes, augmentation=Augmentation(flip=True))
    first = train_upgrade(config, tmp_path / "first", embeddings=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 6  # three models, two views
    monkeypatch.setattr(gallery_outputs, "embed_images", None)
    again = train_upgrade(config, tmp_path / "again", embeddings=tmp_path / "kept")
    assert all(torch.equal(value, again.state[name]) for name, value in first.state.items())


def test_embeddings_that_are_kept_serve_no_other_images(runs: Path, tmp_path: Path) -> None:
    model = Checkpoint.load(runs / "new")
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)

    def embedded(pixels: NDArray[np.uint8], of: Checkpoint = model) -> torch.Tensor:
        outputs = gallery_outputs.GalleryOutputs(of, pixels, Augmentation(), torch.device("cpu"), kept=tmp_path)
        return outputs._views[0]

    first = embedded(images)
    assert not torch.allclose(first, embedded(images[::-1]))
    darker = replace(model, preprocessing=Preprocessing(size=32, mean=(0.8, 0.8, 0.8)))
    assert not torch.allclose(first, embedded(images, darker))
    assert torch.equal(first, embedded(images)) and len(list(tmp_path.iterdir())) == 3


def test_sizes_may_differ_under_random_views(runs: Path, clothes: Path, tmp_path: Path) -> None:
    config = config_of(runs, clothes, augmentation=Augmentation(shift=0.1, colour=0.2))
    train_upgrade(config, tmp_path / "run")
    rows = [json.loads(line)["l2"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1] < rows[0]


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


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("steps", [1, 6, 7])
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    optimiser: str, steps: int, runs: Path, clothes: Path, tmp_path: Path
) -> None:
    schedule = replace(QUICK, optimiser=optimiser)  # type: ignore[arg-type]
    config = config_of(runs, clothes, optimisation=schedule, execution=replace(CPU, checkpoint_steps=1))
    train_upgrade(config, tmp_path / "whole")
    with pytest.raises(Stop):
        train_upgrade(config, tmp_path / "parts", stop_after(steps))  # type: ignore[arg-type]
    train_upgrade(config, tmp_path / "parts")
    assert digest(tmp_path / "parts" / "model.safetensors") == digest(tmp_path / "whole" / "model.safetensors")
    assert not (tmp_path / "parts" / "state").exists() and not (tmp_path / "parts" / "embeddings").exists()
    with pytest.raises(TrainingError, match="other settings"):
        train_upgrade(replace(config, hidden=16), tmp_path / "whole")


def test_two_hops_with_carried_side_information_and_directly(runs: Path, clothes: Path, tmp_path: Path) -> None:
    # v1 is old, v2 is old retrained as new; the third generation is the first again, which is enough to compose.
    h2 = train_upgrade(config_of(runs, clothes), tmp_path / "h2")
    g2 = train_upgrade(config_of(runs, clothes, new=str(runs / "side-new")), tmp_path / "g2")
    back = {"old": str(runs / "new"), "new": str(runs / "old"), "side_info": str(runs / "side-new")}
    train_upgrade(replace(config_of(runs, clothes), **back), tmp_path / "h3")
    assert g2.space == Checkpoint.load(runs / "side-new").space and g2.old_space == h2.old_space
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
        ([runs / "side-new", tmp_path / "g2"], "trained with"),
    ):
        with pytest.raises(ConfigError, match=says):
            evaluate_upgrade(dataset, runs / "old", runs / "old", hops, wrong, threads=1)
    with pytest.raises(ConfigError, match="last transform gives space"):
        evaluate_upgrade(dataset, runs / "old", runs / "old", hops[:1], [runs / "side-old"], threads=1)


def test_a_second_upgrade_learns_from_what_the_first_one_gives(runs: Path, clothes: Path, tmp_path: Path) -> None:
    h2 = train_upgrade(config_of(runs, clothes), tmp_path / "h2")
    g2 = train_upgrade(config_of(runs, clothes, new=str(runs / "side-new")), tmp_path / "g2")
    back = {"new": str(runs / "old"), "through": (str(h2.path),)}
    carried = back | {"side_through": (str(g2.path),)}
    h3 = train_upgrade(config_of(runs, clothes, **carried), tmp_path / "h3")
    assert (h3.old_space, h3.side_space) == (h2.space, g2.space)
    plain = {"old": str(runs / "new"), "new": str(runs / "old"), "side_info": str(runs / "side-new")}
    train_upgrade(config_of(runs, clothes, **plain), tmp_path / "plain")
    dataset = open_dataset(str(clothes))
    cosines = [
        evaluate_upgrade(
            dataset, runs / "old", runs / "old", [h2.path, last], [runs / "side-old", g2.path], threads=1
        ).cosine
        for last in (h3.path, tmp_path / "plain")
    ]
    assert cosines[0] > cosines[1]
    alone = train_upgrade(config_of(runs, clothes, **back), tmp_path / "alone")  # the first upgrade left none
    assert (alone.old_space, alone.side_space) == (h2.space, None)
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
    upgrade_evaluation._source(tmp_path / "g.bundle", "cpu", 1)
    assert opened == [tmp_path / "g.bundle"]


def test_dmu_learns_from_the_new_classifier_the_new_embedding_or_both(
    runs: Path, clothes: Path, tmp_path: Path
) -> None:
    schedule = Optimisation(epochs=8, batch=16, lr=0.1)
    for name, values, terms in (
        ("arc", {}, {"arc"}),
        ("regression", {"arc": 0.0, "regression": 1.0}, {"regression"}),
        ("both", {"regression": 2.0}, {"arc", "regression"}),
    ):
        config = config_of(runs, clothes, method="dmu", side_info=None, optimisation=schedule, **values)
        done = train_upgrade(config, tmp_path / name)
        rows = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        assert done.kind == "forward-adaptation" and done.side_space is None
        assert terms == {"l2", "arc", "regression"} & rows[0].keys()
        assert np.mean([row["loss"] for row in rows[-3:]]) < rows[0]["loss"]


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
    norms: list[float] = []
    of_batch = upgrade._SharedViews.of_batch

    def watch(self: object, name: str, batch: object) -> torch.Tensor:
        found = of_batch(self, name, batch)  # type: ignore[arg-type]
        norms.append(float((found.norm(dim=1) - 1).abs().max()))
        assert torch.allclose(found, F.normalize(found), atol=1e-6)
        return found

    monkeypatch.setattr(upgrade._SharedViews, "of_batch", watch)
    train_upgrade(config_of(runs, clothes, augmentation=Augmentation(shift=0.1)), tmp_path / "run")
    assert norms and max(norms) < 1e-5
