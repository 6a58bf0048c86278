"""A new model trained towards an old one: DMU, LCE, BCT with classes that the old model never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from compat_sdk.errors import ConfigError, TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Classification, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.scenario import Scenario
from compat_train.data.batches import Batch, Batches, normalise
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.losses.distill import knowledge_distillation_loss
from compat_train.losses.dmu import certainty_weights, entropy_weights, least_confidence_weights
from compat_train.losses.focal import focal_distillation_loss
from compat_train.losses.margin import angular_margin_loss, cosine_logits
from compat_train.methods import objective
from compat_train.methods.classify import new_classifier
from compat_train.methods.gallery import train_gallery
from compat_train.methods.gallery_outputs import GalleryOutputs
from compat_train.methods.objective import compatibility_objective, gallery_rows
from compat_train.methods.query import train_query
from compat_train.methods.refined_prototypes import refined_prototypes
from compat_train.methods.shown import Shown
from compat_train.methods.unseen_classes import class_means, extended_classifier, training_embeddings
from compat_train.models.transform import ForwardAdaptation
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.log import read_log
from compat_train.runs.transform_run import TransformRun
from tests.train.descent import falls, small_steps

QUICK = Optimisation(epochs=1, batch=16, lr=0.05)
CPU = Execution(device="cpu")
DEVICE = torch.device("cpu")
ARC = Classification(loss="arcface", margin=0.3, scale=30.0)


@pytest.fixture(scope="module")
def old(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Trained with ArcFace on the first three of the four classes."""
    config = GalleryConfig(
        source=Source(data=str(clothes), scenario=Scenario(classes="0-2")),
        arch="resnet18",
        width=0.125,
        dim=16,
        preprocessing=Preprocessing(size=28),
        classification=ARC,
        optimisation=Optimisation(epochs=3, batch=12, lr=0.1),
        execution=CPU,
    )
    return train_gallery(config, tmp_path_factory.mktemp("old") / "run")


@pytest.fixture(scope="module")
def data(old: Checkpoint, clothes: Path) -> TrainingSet:
    return load_training_set(Source(data=str(clothes)), old.preprocessing)


def config(old: Checkpoint, clothes: Path, **values: object) -> QueryConfig:
    settings = {"arch": "resnet18", "width": 0.0625, "optimisation": QUICK, "execution": CPU} | values
    return QueryConfig(source=Source(data=str(clothes)), gallery=str(old.path), **settings)  # type: ignore[arg-type]


class Step:
    """One batch with fixed new embeddings, so that terms can be compared with arithmetic written out."""

    def __init__(self, old: Checkpoint, data: TrainingSet, augmentation: Augmentation | None = None) -> None:
        self.old, self.data = old, data
        generator = torch.Generator().manual_seed(5)
        self.embeddings = torch.randn(16, old.dim, generator=generator, requires_grad=True)
        self.classifier = new_classifier(len(data.classes), old.dim)
        views = augmentation or Augmentation()
        batches = Batches(data.pixels, data.labels, batch=16, seed=0, augmentation=views, device=DEVICE)
        self.batch: Batch = batches.at(0)
        self.of_old = training_embeddings(old, data.pixels, DEVICE)[self.batch.index]
        self.psi = ForwardAdaptation(old=old.dim, new=old.dim, hidden=8)
        # The old model knows the first three classes; the fourth has no row in its classifier.
        self.targets = torch.where(self.batch.labels < 3, self.batch.labels, -1)

    def terms(self, config: QueryConfig) -> dict[str, torch.Tensor]:
        rows = gallery_rows(config, self.old, self.data)
        objective = compatibility_objective(
            config, self.old, self.data, lambda inputs, _: self.embeddings, self.classifier, rows, DEVICE, self.psi
        )
        return objective(self.batch)


@pytest.fixture
def step(old: Checkpoint, data: TrainingSet) -> Step:
    return Step(old, data)


def test_dmu_is_equation_8_written_out(step: Step, old: Checkpoint, clothes: Path) -> None:
    found = step.terms(
        config(old, clothes, method="dmu", unseen="skip", selection_scale=5.0, selection_temperature=0.2)
    )
    assert old.classifier is not None
    weights = entropy_weights(5 * cosine_logits(step.of_old, old.classifier), temperature=0.2)
    expected = 0.0
    for row, label in enumerate(step.batch.labels.tolist()):
        if label < 3:  # the class that the old model never saw adds nothing
            one, true = step.embeddings[row : row + 1], torch.tensor([label])
            expected += (
                float(weights[row]) * angular_margin_loss(one, old.classifier, true, margin=0.3, scale=30.0).item()
            )
    assert found["gallery"].item() == pytest.approx(expected, rel=1e-5)
    assert set(found) == {"own", "gallery", "adaptation"}


def test_psi_is_trained_beside_the_model_by_equation_11(step: Step, old: Checkpoint, clothes: Path) -> None:
    found = step.terms(config(old, clothes, method="dmu", adaptation=3.0))["adaptation"]
    adapted = step.psi(step.of_old)
    expected = angular_margin_loss(adapted, step.classifier.weight, step.batch.labels, margin=0.3, scale=30.0)
    assert found.item() == pytest.approx(3 * expected.item(), rel=1e-5)
    found.backward()
    moved = [*step.psi.parameters(), step.classifier.weight]
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in moved[-3:])
    assert step.embeddings.grad is None


def test_psi_is_trained_on_unit_vectors_of_random_views_too(
    old: Checkpoint, data: TrainingSet, clothes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Step(old, data, Augmentation(shift=0.1))
    raw = old.build()(normalise(step.batch.images, old.preprocessing)).detach()
    of_batch = GalleryOutputs.of_batch
    # Twice as long, so that no vector has the length that galleries hold.
    monkeypatch.setattr(GalleryOutputs, "of_batch", lambda self, batch: 2 * of_batch(self, batch))
    found = step.terms(config(old, clothes, method="dmu", augmentation=Augmentation(shift=0.1)))["adaptation"]
    adapted = step.psi(torch.nn.functional.normalize(raw))
    expected = angular_margin_loss(adapted, step.classifier.weight, step.batch.labels, margin=0.3, scale=30.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_psi_is_left_in_a_run_of_its_own(old: Checkpoint, clothes: Path, tmp_path: Path) -> None:
    new = train_query(config(old, clothes, method="dmu", role="gallery", adaptation_width=24), tmp_path / "new")
    psi = TransformRun.load(tmp_path / "new" / "adaptation")
    assert (psi.kind, psi.spaces.old_space, psi.spaces.space, psi.hidden) == (
        "forward-adaptation",
        old.space,
        new.space,
        24,
    )
    fresh = ForwardAdaptation(old=old.dim, new=new.dim, hidden=24)
    assert psi.build()(torch.zeros(2, old.dim)).shape == fresh.eval()(torch.zeros(2, old.dim)).shape
    train_query(config(old, clothes, method="dmu", adaptation=0.0), tmp_path / "without")
    assert not (tmp_path / "without" / "adaptation").exists()


@pytest.mark.parametrize(
    ("term", "method"),
    [("adaptation", "dmu"), ("alignment", "lce"), ("boundary", "lce"), ("gallery", "unibct"), ("focal", "focal")],
)
def test_each_term_falls_when_it_is_trained_alone(
    term: str, method: str, old: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    weights = dict.fromkeys(("own", "gallery_term", "adaptation", "alignment", "boundary", "focal"), 0.0)
    weights["gallery_term" if term == "gallery" else term] = 1.0
    steps = small_steps(lr=0.05 if term in ("alignment", "boundary") else 0.001)
    train_query(config(old, clothes, method=method, optimisation=steps, **weights), tmp_path / "run")
    assert falls(tmp_path / "run", term)


def test_uniform_dmu_is_bct_to_the_last_bit(old: Checkpoint, clothes: Path, tmp_path: Path) -> None:
    bct = train_query(config(old, clothes, method="bct"), tmp_path / "bct")
    dmu = train_query(config(old, clothes, method="dmu", selection="uniform", adaptation=0.0), tmp_path / "dmu")
    entropy = train_query(config(old, clothes, method="dmu", selection_scale=30.0), tmp_path / "entropy")
    assert bct.space == dmu.space != entropy.space


def test_equal_weights_give_bct_through_the_selective_path_too(step: Step, old: Checkpoint, clothes: Path) -> None:
    bct = step.terms(config(old, clothes, method="bct"))["gallery"]
    # So hot a softmax that every image weighs 1 / 16.
    flat = step.terms(config(old, clothes, method="dmu", selection_temperature=1e9))["gallery"]
    assert flat.item() == pytest.approx(bct.item(), rel=1e-5)


@pytest.mark.parametrize("selection", ["entropy", "least-confidence", "certainty"])
def test_selection_weighs_the_regression_of_equation_14_as_well(
    selection: str, step: Step, old: Checkpoint, clothes: Path
) -> None:
    chosen = config(old, clothes, method="dmu", selection=selection, gallery_term=0.0, regression=1.0)
    found = step.terms(chosen)
    assert set(found) == {"own", "regression", "adaptation"}
    assert old.classifier is not None
    logits = cosine_logits(step.of_old, old.classifier)
    weights = {
        "entropy": lambda: entropy_weights(logits),
        "least-confidence": lambda: least_confidence_weights(logits, step.targets),
        "certainty": lambda: certainty_weights(logits),
    }[selection]()
    plain = 1 - torch.nn.functional.cosine_similarity(step.embeddings, step.of_old)
    assert found["regression"].item() == pytest.approx((weights * plain).sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        {"method": "dmu"},
        {"method": "dmu", "unseen": "lwf", "selection_scale": 30.0},
        {"method": "lce"},
        {"method": "unibct"},
        {"method": "focal"},
        {"unseen": "prototypes"},
        {"unseen": "lwf"},
    ],
)
def test_the_old_classifier_gets_no_gradient(
    values: dict[str, object], step: Step, old: Checkpoint, data: TrainingSet, clothes: Path
) -> None:
    assert old.classifier is not None
    watched = replace(old, classifier=old.classifier.clone().requires_grad_())
    watching = Step(watched, data)
    torch.stack(list(watching.terms(config(old, clothes, **values)).values())).sum().backward()
    assert watched.classifier is not None
    assert watched.classifier.grad is None
    assert watching.embeddings.grad is not None and watching.embeddings.grad.abs().sum() > 0


def test_images_of_an_unseen_class_add_to_the_old_term_unless_they_are_skipped(
    step: Step, old: Checkpoint, clothes: Path
) -> None:
    unseen = step.batch.labels == 3
    assert unseen.any()
    every = [("prototypes", True), ("all-prototypes", True), ("refined-prototypes", True), ("lwf", True)]
    for choice, adds in (("skip", False), *every):
        step.embeddings.grad = None
        step.terms(config(old, clothes, unseen=choice))["gallery"].backward()
        assert step.embeddings.grad is not None
        assert bool(step.embeddings.grad[unseen].abs().sum() > 0) == adds, choice
        assert step.embeddings.grad[~unseen].abs().sum() > 0


def test_skipping_is_the_mean_over_the_batch_of_the_known_losses(step: Step, old: Checkpoint, clothes: Path) -> None:
    known = step.batch.labels < 3
    assert old.classifier is not None
    one_by_one = angular_margin_loss(
        step.embeddings[known], old.classifier, step.batch.labels[known], margin=0.3, scale=30.0, reduction="none"
    )
    found = step.terms(config(old, clothes, unseen="skip"))["gallery"]
    assert found.item() == pytest.approx(one_by_one.sum().item() / 16, rel=1e-5)


def test_a_prototype_is_the_mean_old_embedding_of_its_class(old: Checkpoint, data: TrainingSet) -> None:
    rows = torch.tensor([0, 1, 2, -1])
    classifier, extended = extended_classifier("prototypes", old, data, rows, DEVICE)
    assert extended.tolist() == [0, 1, 2, 3] and classifier.shape == (4, 16)
    assert old.classifier is not None
    assert torch.allclose(classifier[:3], torch.nn.functional.normalize(old.classifier))
    of_class = training_embeddings(old, data.pixels, DEVICE).numpy()[data.labels == 3]
    mean = of_class.mean(0) / np.linalg.norm(of_class.mean(0))
    assert np.allclose(classifier[3].numpy(), mean, atol=1e-6)
    everything, order = extended_classifier("all-prototypes", old, data, rows, DEVICE)
    assert order.tolist() == [0, 1, 2, 3]
    assert torch.allclose(torch.nn.functional.normalize(everything[3:]), classifier[3:], atol=1e-6)


def test_without_unseen_classes_prototypes_are_the_old_classifier_itself(old: Checkpoint, data: TrainingSet) -> None:
    known = data.labels < 3
    fewer = TrainingSet(data.pixels[known], data.labels[known], data.classes[:3])
    classifier, rows = extended_classifier("prototypes", old, fewer, torch.arange(3), DEVICE)
    assert classifier is not None and old.classifier is not None
    assert torch.equal(classifier, old.classifier) and rows.tolist() == [0, 1, 2]


def test_class_means_equal_a_naive_loop() -> None:
    embeddings = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 2, 0, 0, 2, 0])
    found = class_means(embeddings, labels, 3)
    for number in (0, 2):
        rows = [row for row, label in zip(embeddings.tolist(), labels.tolist(), strict=True) if label == number]
        assert found[number].tolist() == pytest.approx([sum(column) / len(rows) for column in zip(*rows, strict=True)])
    assert found[1].tolist() == [0, 0, 0]


def test_soft_labels_are_zero_where_new_and_old_embedding_agree(step: Step, old: Checkpoint, clothes: Path) -> None:
    step.embeddings = step.of_old.clone().requires_grad_()
    skip = step.terms(config(old, clothes, unseen="skip"))["gallery"]
    soft = step.terms(config(old, clothes, unseen="lwf"))["gallery"]
    assert soft.item() == pytest.approx(skip.item(), rel=1e-5)


def test_a_dataset_of_new_classes_only_needs_prototypes(old: Checkpoint, clothes: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for split in ("train", "query", "gallery"):
        (other / split).mkdir(parents=True)
        for folder in (clothes / split).iterdir():
            (other / split / f"new {folder.name}").symlink_to(folder)
    values = {"arch": "resnet18", "width": 0.0625, "optimisation": QUICK, "execution": CPU}
    skipping = QueryConfig(source=Source(data=str(other)), gallery=str(old.path), unseen="skip", **values)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="set unseen to prototypes"):
        train_query(skipping, tmp_path / "skip")
    assert train_query(replace(skipping, unseen=None), tmp_path / "run").searches == (old.space,)


def test_all_prototypes_need_no_old_classifier(old: Checkpoint, data: TrainingSet, clothes: Path) -> None:
    bare = replace(old, classifier=None)
    assert gallery_rows(config(old, clothes, unseen="all-prototypes"), bare, data).tolist() == [0, 1, 2, -1]
    with pytest.raises(TrainingError, match="set unseen to all-prototypes"):
        gallery_rows(config(old, clothes, method="dmu"), bare, data)


def test_lce_aligns_and_bounds_in_place_of_the_old_classifiers_term(
    old: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    run = train_query(config(old, clothes, method="lce"), tmp_path / "run")
    assert run.searches == (old.space,) and run.classifier is not None
    assert {"own", "alignment", "boundary"} == read_log(tmp_path / "run")[0].keys() & {
        "own", "gallery", "kd", "regression", "alignment", "boundary", "adaptation",
    }  # fmt: skip


def test_a_larger_new_gallery_model_is_evaluated_against_the_old_gallery(
    old: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    from compat_sdk.datasets import open_dataset
    from compat_train.evaluation.evaluate import evaluate

    new = train_query(config(old, clothes, method="dmu", role="gallery", width=0.1875), tmp_path / "run")
    assert (new.role, new.searches, Checkpoint.load(new.path).role) == ("gallery", (old.space,), "gallery")
    found = evaluate(open_dataset(str(clothes)), new.path, old.path, threads=1)
    assert found.declared and found.query_mmacs > found.gallery_mmacs
    # It can be the old model of the next upgrade.
    after = train_query(replace(config(new, clothes, method="dmu"), role="gallery"), tmp_path / "next")
    assert after.searches == (new.space,)


def test_the_table_of_dmus_regression_beside_the_model_is_equation_14_in_both_terms(
    step: Step, old: Checkpoint, clothes: Path
) -> None:
    chosen = config(
        old, clothes, method="dmu", gallery_term=0.0, regression=1.0, adaptation=2.0, adaptation_loss="regression"
    )
    found = step.terms(chosen)
    assert set(found) == {"own", "regression", "adaptation"}
    apart = [
        1 - torch.dot(a, b) / a.norm() / b.norm() for a, b in zip(step.psi(step.of_old), step.embeddings, strict=True)
    ]
    assert found["adaptation"].item() == pytest.approx(2 * torch.stack(apart).mean().item(), rel=1e-5)
    found["adaptation"].backward()
    assert step.embeddings.grad is not None and step.embeddings.grad.abs().sum() > 0  # Eq. 8 is over both
    assert all(each.grad is not None for each in step.psi.parameters()) and step.classifier.weight.grad is None


def test_focal_distillation_weighs_what_the_old_model_told_right(step: Step, old: Checkpoint, clothes: Path) -> None:
    found = step.terms(config(old, clothes, method="focal", temperature=100.0))["focal"]
    assert old.classifier is not None
    total = 0.0
    for row, target in enumerate(step.targets.tolist()):
        said, wanted = (
            30 * cosine_logits(side[row : row + 1], old.classifier) for side in (step.embeddings, step.of_old)
        )
        apart = knowledge_distillation_loss(said, wanted, temperature=100.0).item()
        total += apart * (6.0 if int(wanted.argmax()) == target else 1.0)  # an unseen class is never told right
    assert found.item() == pytest.approx(total / 16, rel=1e-3)
    step.embeddings = step.of_old.clone().requires_grad_()
    assert step.terms(config(old, clothes, method="focal"))["focal"].item() == pytest.approx(0, abs=1e-5)


def test_focal_distillation_by_hand() -> None:
    # Old (2/3, 1/3), new (1/2, 1/2); the first image was told right and counts 6 times, the second once.
    old_logits, logits = torch.tensor([[np.log(2.0), 0.0]] * 2, requires_grad=True), torch.zeros(2, 2)
    apart = 2 / 3 * np.log(4 / 3) + 1 / 3 * np.log(2 / 3)
    found = focal_distillation_loss(logits.requires_grad_(), old_logits, torch.tensor([True, False]), temperature=1.0)
    assert found.item() == pytest.approx(3.5 * apart, rel=1e-5)
    found.backward()
    assert old_logits.grad is None and logits.grad is not None


def test_refined_prototypes_equal_a_walk_step_by_step_and_an_outlier_counts_less() -> None:
    generator = torch.Generator().manual_seed(3)
    near = torch.nn.functional.normalize(
        torch.randn(1, 8, generator=generator) + 0.2 * torch.randn(5, 8, generator=generator)
    )
    far = torch.nn.functional.normalize(torch.randn(1, 8, generator=generator))
    embeddings = torch.cat((near, far, far))
    labels = torch.tensor([2, 2, 2, 2, 2, 2, 0])
    found = refined_prototypes(embeddings, labels, 3, damping=0.6, temperature=0.2)
    group = embeddings[labels == 2].double()
    walk = group @ group.T / 0.2
    for row in range(6):
        walk[row, row] = -torch.inf
        walk[row] = torch.exp(walk[row]) / torch.exp(walk[row]).sum()
    walked = torch.zeros_like(group)
    for steps in range(80):
        walked += 0.4 * 0.6**steps * torch.linalg.matrix_power(walk, steps) @ group
    assert torch.allclose(found[2].double(), walked.mean(0), atol=1e-5)
    plain = class_means(embeddings, labels, 3)[2]  # as long as it is, so that a mean can be taken off either
    assert found[2] @ far[0] / found[2].norm() < plain @ far[0] / plain.norm()
    assert torch.allclose(refined_prototypes(embeddings, labels, 3, damping=0.0)[2], plain, atol=1e-6)
    assert torch.allclose(found[0], far[0]) and found[1].tolist() == [0.0] * 8


def test_unibct_is_the_loss_under_refined_rows_of_all_classes(
    step: Step, old: Checkpoint, data: TrainingSet, clothes: Path
) -> None:
    rows = refined_prototypes(training_embeddings(old, data.pixels, DEVICE), torch.from_numpy(data.labels), 4)
    expected = angular_margin_loss(step.embeddings, rows, step.batch.labels, margin=0.3, scale=30.0)
    chosen = config(old, clothes, method="unibct")
    assert step.terms(chosen)["gallery"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert gallery_rows(chosen, replace(old, classifier=None), data).tolist() == [0, 1, 2, -1]
    with pytest.raises(ConfigError, match="method 'unibct' is refined prototypes"):
        config(old, clothes, method="unibct", unseen="skip")
    with pytest.raises(TrainingError, match=r"method 'focal' needs; .* classification loss, or use method"):
        gallery_rows(config(old, clothes, method="focal"), replace(old, classifier=None), data)


def test_psi_of_a_second_generation_is_shown_the_upgraded_gallery(
    old: Checkpoint, data: TrainingSet, clothes: Path, tmp_path: Path
) -> None:
    first = train_query(config(old, clothes, method="dmu", role="gallery", adaptation_width=8), tmp_path / "first")
    hop = TransformRun.load(first.path / "adaptation")
    chain = {"through": (str(hop.path),), "embedded_by": str(old.path)}
    step = Step(first, data)
    found = step.terms(config(first, clothes, method="dmu", **chain))["adaptation"]
    of_old = training_embeddings(old, data.pixels, DEVICE)[step.batch.index]
    stored = torch.nn.functional.normalize(hop.build()(of_old)).detach()
    adapted = step.psi(stored)
    expected = angular_margin_loss(adapted, step.classifier.weight, step.batch.labels, margin=0.3, scale=30.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    second = train_query(config(first, clothes, method="dmu", role="gallery", **chain), tmp_path / "second")
    spaces = TransformRun.load(second.path / "adaptation").spaces
    assert (spaces.old_space, spaces.space) == (first.space, second.space)
    for values, says in (
        ({"through": ()}, "set both or neither"),
        ({"embedded_by": None}, "set both or neither"),
        ({"adaptation": 0.0}, "through is .*, but the terms that it is about, adaptation"),
    ):
        with pytest.raises(ConfigError, match=says):
            config(first, clothes, method="dmu", **(chain | values))
    with pytest.raises(TrainingError, match="the transforms of through lead to"):
        Step(old, data).terms(config(old, clothes, method="dmu", **chain))


@pytest.mark.parametrize(
    ("mean", "cutout", "shared"), [(0.5, 0.0, True), (0.1, 0.0, True), (0.1, 0.5, False), (0.5, 0.5, True)]
)
def test_the_first_model_sees_its_own_blank_squares(
    mean: float, cutout: float, shared: bool, old: Checkpoint, data: TrainingSet, clothes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A batch's pictures are blanked with the mean of the model that is trained."""
    plain = replace(old, preprocessing=replace(old.preprocessing, mean=(0.5, 0.5, 0.5)))
    first = replace(old, preprocessing=replace(old.preprocessing, mean=(mean, mean, mean)))
    seen: list[object] = []
    monkeypatch.setattr(objective, "open_gallery_model", lambda _: first)
    monkeypatch.setattr(objective, "EarlierUpgrades", lambda *_: SimpleNamespace(space=old.space))
    monkeypatch.setattr(objective, "GalleryOutputs", lambda *_, **named: seen.append(named["sees_batches"]))
    chosen = config(
        old, clothes, method="dmu", through=("h",), embedded_by="g", augmentation=Augmentation(cutout=cutout)
    )
    objective._stored(chosen, plain, data, DEVICE, Shown.alike(plain, data), None)
    assert seen == [shared]
