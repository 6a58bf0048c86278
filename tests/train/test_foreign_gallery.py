"""Training towards a gallery model without a classifier, and on images without labels."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from compat_sdk.datasets import open_dataset
from compat_sdk.errors import ConfigError, CorruptFileError, TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.data.batches import Batches
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.embed import input_tensor
from compat_train.losses.asymmetric import asymmetric_contrastive_loss
from compat_train.losses.centred import centred, mean_vector
from compat_train.losses.contextual import contextual_similarity_loss
from compat_train.losses.info_nce import cross_model_info_nce_loss
from compat_train.methods.classify import classification_loss, new_classifier
from compat_train.methods.gallery import train_gallery
from compat_train.methods.gallery_vectors import gallery_vectors
from compat_train.methods.objective import compatibility_objective, gallery_rows
from compat_train.methods.query import train_query
from compat_train.methods.unseen_classes import training_embeddings
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.choices import Choice, read_choices
from compat_train.runs.log import read_log, read_looks
from tests.train.descent import falls, small_steps
from tests.train.folders import write_identities

CPU = Execution(device="cpu")
DEVICE = torch.device("cpu")
NEW = ("regression-centred", "csd", "infonce", "aml")


@pytest.fixture(scope="module")
def foreign(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A gallery model as it comes from elsewhere: no classifier, no classes."""
    config = GalleryConfig(
        source=Source(data=str(clothes)),
        arch="resnet18",
        width=0.0625,
        dim=16,
        preprocessing=Preprocessing(size=28),
        optimisation=Optimisation(epochs=1, batch=16, lr=0.1),
        execution=CPU,
    )
    trained = train_gallery(config, tmp_path_factory.mktemp("gallery") / "run")
    found = dataclasses.replace(trained, classifier=None, classes=(), path=tmp_path_factory.mktemp("foreign"))
    found.save()
    return found


@pytest.fixture(scope="module")
def labelled(clothes: Path) -> TrainingSet:
    return load_training_set(Source(data=str(clothes)), Preprocessing(size=28))


@pytest.fixture(scope="module")
def bare(labelled: TrainingSet) -> TrainingSet:
    """The same images without labels."""
    return dataclasses.replace(labelled, labels=labelled.labels * 0, classes=())


def config(foreign: Checkpoint, clothes: Path, **values: object) -> QueryConfig:
    settings = {"arch": "resnet18", "width": 0.0625, "optimisation": small_steps(0.001, 1), "execution": CPU} | values
    return QueryConfig(source=Source(data=str(clothes)), gallery=str(foreign.path), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", NEW)
def test_each_method_trains_without_labels_and_without_a_classifier(
    method: str, foreign: Checkpoint, clothes: Path, bare: TrainingSet, tmp_path: Path
) -> None:
    steps = small_steps(lr=0.0005)
    query = train_query(config(foreign, clothes, method=method, optimisation=steps), tmp_path / "run", data=bare)
    assert (query.searches, query.method, query.classifier) == ((foreign.space,), method, None)
    assert falls(tmp_path / "run")
    (term,) = set(read_log(tmp_path / "run")[0]) - {"step", "epoch", "lr", "loss"}
    assert term == ("regression" if method == "regression-centred" else method)


@pytest.mark.parametrize("centring", [True, False])
@pytest.mark.parametrize("has_labels", [True, False])
def test_the_terms_are_the_losses_of_their_modules(
    has_labels: bool, centring: bool, foreign: Checkpoint, clothes: Path, labelled: TrainingSet, bare: TrainingSet
) -> None:
    data = labelled if has_labels else bare
    weights = {"regression": 3.0, "csd": 5.0, "infonce": 7.0, "aml": 11.0}
    told = config(foreign, clothes, method="csd", centring=centring, bank=10, aml_margin=0.2, **weights)
    vectors = gallery_vectors(foreign, data, DEVICE, seed=0)
    assert torch.equal(vectors.mean, mean_vector(vectors.vectors)) and len(vectors.vectors) == 48
    ours = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
    objective = compatibility_objective(
        told, foreign, data, lambda *_: ours, new_classifier(4, 16), gallery_rows(told, foreign, data), DEVICE
    )
    batch = Batches(
        data.pixels, data.labels, batch=16, seed=0, augmentation=told.augmentation, device=DEVICE
    ).at(0)  # fmt: skip
    found = objective(batch)
    of_gallery, bank = training_embeddings(foreign, data.pixels, DEVICE)[batch.index], vectors.vectors[:10]
    if centring:
        of_gallery, bank = centred(of_gallery, vectors.mean), centred(bank, vectors.mean)
    own = [[*vectors.images[:10].tolist(), int(row)].index(int(row)) % 10 for row in batch.index]
    own = [place if vectors.images[place] == row else -1 for place, row in zip(own, batch.index, strict=True)]
    assert -1 < max(own) and min(own) == -1
    expected = {
        "regression": 1 - torch.nn.functional.cosine_similarity(ours, of_gallery).mean(),
        "csd": contextual_similarity_loss(ours, of_gallery, bank),
        "infonce": cross_model_info_nce_loss(ours, of_gallery, bank, torch.tensor(own)),
        "aml": asymmetric_contrastive_loss(
            ours, of_gallery, batch.labels if has_labels else batch.index, margin=0.2
        ),
    }  # fmt: skip
    assert {name: value.item() for name, value in found.items()} == {
        name: pytest.approx(weights[name] * value.item(), rel=1e-4) for name, value in expected.items()
    }


def test_class_means_stand_in_for_a_classifier_that_is_not_there_and_the_run_says_so(
    foreign: Checkpoint, clothes: Path, labelled: TrainingSet, tmp_path: Path
) -> None:
    found = train_query(config(foreign, clothes, method="bct"), tmp_path / "run", data=labelled)
    assert found.classifier is None  # the one of its own was of vectors without the mean
    told = config(foreign, clothes, method="bct", unseen="all-prototypes", centring=True)
    train_query(told, tmp_path / "told", data=labelled)
    assert read_log(tmp_path / "run") == read_log(tmp_path / "told")
    reason = "the gallery model has no classifier; class means of its vectors stand in, less their common mean"
    assert read_choices(tmp_path / "run") == (Choice("unseen", "all-prototypes", reason),)
    assert read_choices(tmp_path / "told") == ()
    with pytest.raises(TrainingError, match=r"has no classifier, which method 'bct' needs"):
        train_query(config(foreign, clothes, method="bct", unseen="skip"), tmp_path / "skip", data=labelled)


@pytest.mark.parametrize("centring", [True, False])
def test_class_means_lose_the_mean_as_the_targets_do(
    centring: bool, foreign: Checkpoint, clothes: Path, labelled: TrainingSet
) -> None:
    told = config(foreign, clothes, method="classifier", unseen="all-prototypes", centring=centring)
    vectors = gallery_vectors(foreign, labelled, DEVICE, seed=0)
    embeddings = training_embeddings(foreign, labelled.pixels, DEVICE)
    rows = torch.stack([embeddings[labelled.labels == number].mean(0) for number in range(4)])
    ours = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
    objective = compatibility_objective(
        told, foreign, labelled, lambda *_: ours, new_classifier(4, 16), gallery_rows(told, foreign, labelled), DEVICE
    )
    batch = labelled.batches(
        Optimisation(batch=16), CPU, told.augmentation, foreign.preprocessing, DEVICE
    ).at(0)  # fmt: skip
    expected = classification_loss(
        ours, rows - vectors.mean if centring else rows, batch.labels, foreign.classification
    )  # fmt: skip
    assert objective(batch)["gallery"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_method_that_needs_labels_refuses_images_without(
    foreign: Checkpoint, clothes: Path, bare: TrainingSet, tmp_path: Path
) -> None:
    for method in ("bct", "vanilla", "lce", "kd", "finetune", "classifier", "dmu"):
        with pytest.raises(TrainingError, match=f"method '{method}' needs labels.*auto"):
            train_query(config(foreign, clothes, method=method), tmp_path / method, data=bare)
        assert not (tmp_path / method / "log.jsonl").exists()


def test_auto_takes_what_the_material_allows_and_says_why(
    foreign: Checkpoint, clothes: Path, bare: TrainingSet, labelled: TrainingSet, tmp_path: Path
) -> None:
    stages: list[str] = []

    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        stages.append(stage)

    told = config(foreign, clothes, method="auto")
    query = train_query(told, tmp_path / "bare", progress, data=bare)
    (choice,) = read_choices(tmp_path / "bare")
    assert (choice.setting, choice.taken, query.method) == ("method", query.method, query.method)
    assert re.search(r"no labels; the gallery.s vectors share a mean of length [01]\.\d\d", choice.because)
    assert str(choice) in stages
    named = train_query(config(foreign, clothes, method=query.method), tmp_path / "named", data=bare)
    assert named.space == query.space  # nothing else differs
    assert train_query(told, tmp_path / "bare", data=bare).space == query.space  # finished, and the same run
    train_query(told, tmp_path / "labelled", data=labelled)
    assert "has no classifier" in read_choices(tmp_path / "labelled")[0].because


def test_choices_that_were_damaged_are_refused(tmp_path: Path) -> None:
    (tmp_path / "choices.json").write_text(json.dumps({"choices": [{"setting": "method", "taken": 3}]}))
    with pytest.raises(CorruptFileError, match="no choices of a training"):
        read_choices(tmp_path)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"method": "auto", "regression": 3.0}, "regression is 3, but method 'auto' chooses the weights"),
        ({"method": "auto", "mixed": True}, "mixed is True, which method 'auto' may have no use for"),
        ({"method": "bct", "bank": 10}, "bank is 10, but the terms that it is about, csd and infonce, have weight 0"),
        ({"method": "infonce", "gallery_temperature": 0.1}, "gallery_temperature is 0.1, but the terms"),
        ({"method": "csd", "aml_margin": 0.1}, "aml_margin is 0.1, but the terms"),
        ({"method": "vanilla", "centring": True}, "centring is True, but the terms"),
        ({"method": "dmu", "unseen": "all-prototypes", "centring": True}, "adaptation trains psi towards vectors"),
        ({"method": "csd", "bank": 1}, "bank is 1; expected at least 2"),
        ({"method": "csd", "similarity_temperature": 0.0}, "similarity_temperature is 0.0; expected above 0"),
        ({"method": "aml", "aml_margin": 2.0}, "aml_margin is 2.0; expected at least -1 and at most 1"),
        ({"method": "csd", "watch": 0, "held_out": 5}, "held_out sets images apart to be watched, and watch is 0"),
    ],
)
def test_settings_that_would_be_ignored_or_mean_nothing_are_refused(
    values: dict[str, object], says: str, foreign: Checkpoint, clothes: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(foreign, clothes, **values)
    assert says in str(caught.value) and len(str(caught.value)) < 300


def test_the_ridge_start_is_seen_before_the_first_step_and_a_stopped_run_ends_the_same(
    foreign: Checkpoint, clothes: Path, labelled: TrainingSet, tmp_path: Path
) -> None:
    class Stop(BaseException):
        pass

    def stop(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage.startswith("train") and done == 2:
            raise Stop

    steps, often = Optimisation(epochs=3, batch=28, lr=0.001), Execution(device="cpu", checkpoint_steps=1)
    told = config(
        foreign, clothes, method="infonce", start="ridge", optimisation=steps, execution=often, held_out=20
    )  # fmt: skip
    whole = train_query(told, tmp_path / "whole")
    assert [row["step"] for row in read_looks(tmp_path / "whole")] == [0, 1, 2, 3]
    with pytest.raises(Stop):
        train_query(told, tmp_path / "stopped", stop)
    assert train_query(told, tmp_path / "stopped").space == whole.space
    assert read_looks(tmp_path / "stopped") == read_looks(tmp_path / "whole")
    fresh = dataclasses.replace(told, start="fresh")
    train_query(fresh, tmp_path / "fresh")
    first, without = (read_looks(tmp_path / name)[0]["cosine"] for name in ("whole", "fresh"))
    assert first > without  # least squares on 28 images; a random layer has none


def test_validation_images_are_watched_by_their_labels(foreign: Checkpoint, tmp_path: Path) -> None:
    root = write_identities(tmp_path / "set", open_dataset("sample"))
    told = config(foreign, root, method="regression-centred", optimisation=Optimisation(epochs=1, batch=16, lr=0.01))
    seen: dict[str, float] = {}
    train_query(told, tmp_path / "run", lambda *given: seen.update(given[3]))
    rows = read_looks(tmp_path / "run")
    assert {(row["queries"], row["gallery"], row["by"]) for row in rows} == {(12, 12, "labels")}  # 3 x 4 of 24
    assert seen["M(q,g)"] == rows[-1]["accuracy"]
    assert rows[0]["chance"] == pytest.approx(3 / 11)
    with pytest.raises(ConfigError, match="has a split val, which is watched; leave it out"):
        train_query(dataclasses.replace(told, held_out=3), tmp_path / "other")


def test_images_that_are_held_out_are_not_trained_on(
    foreign: Checkpoint, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[tuple[str, ...]] = []
    for place in ("training_set", "../methods/watched"):
        module = f"compat_train.{'data.training_set' if place == 'training_set' else 'methods.watched'}"
        import importlib

        real = importlib.import_module(module).decode_split

        def noting(split, *given, real=real, **named):  # type: ignore[no-untyped-def]
            decoded.append(split.ids)
            return real(split, *given, **named)

        monkeypatch.setattr(f"{module}.decode_split", noting)
    told = config(
        foreign, clothes, method="csd", held_out=10, optimisation=Optimisation(epochs=1, batch=16, lr=0.01)
    )  # fmt: skip
    train_query(told, tmp_path / "run")
    trained, watched = decoded
    assert (len(trained), len(watched)) == (38, 10) and set(trained).isdisjoint(watched)
    assert read_looks(tmp_path / "run")[0]["gallery"] in (10, 48)
    changed = dataclasses.replace(told, held_out=9)
    with pytest.raises(TrainingError, match="other settings"):
        train_query(changed, tmp_path / "run")


def test_a_run_that_comes_close_and_finds_nothing_warns(
    foreign: Checkpoint, clothes: Path, bare: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_train.watch import Look, Watch

    def look(self: Watch, step: int) -> Look:
        return Look(
            step=step, accuracy=0.0, chance=0.01, cosine=step / 10, queries=100, gallery=100, by="images"
        )  # fmt: skip

    monkeypatch.setattr(Watch, "look", look)
    told = config(foreign, clothes, method="regression", held_out=10, optimisation=small_steps(0.001, 4))
    told = dataclasses.replace(told, optimisation=dataclasses.replace(told.optimisation, batch=38))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_query(told, tmp_path / "run")
    said = [str(warning.message) for warning in caught if "near chance" in str(warning.message)]
    assert len(said) == 1 and "method csd or infonce" in said[0]
    assert [row["near_chance"] for row in read_looks(tmp_path / "run")] == [True] * 5


def test_a_model_trained_on_centred_targets_writes_vectors_around_the_gallerys_mean(
    foreign: Checkpoint, clothes: Path, bare: TrainingSet, tmp_path: Path
) -> None:
    vectors = gallery_vectors(foreign, bare, DEVICE, seed=0)
    told = config(foreign, clothes, method="csd", optimisation=small_steps(0.001, 2))
    query = train_query(told, tmp_path / "run", data=bare)
    with torch.no_grad():
        rest = query.build()(input_tensor(torch.from_numpy(bare.pixels), query.preprocessing)) - vectors.mean
    length = (vectors.vectors - vectors.mean).norm(dim=1).mean()
    assert rest.norm(dim=1).mean().item() == pytest.approx(2 * float(length), rel=1e-3)
    plain = train_query(dataclasses.replace(told, centring=False), tmp_path / "plain", data=bare)
    assert plain.space != query.space
