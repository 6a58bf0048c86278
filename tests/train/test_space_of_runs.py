"""The space of a RUN is a digest of everything that decides a vector, and its record is sealed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compat_sdk.certificate import Certificate
from compat_sdk.datasets import Dataset, Split
from compat_sdk.errors import ConfigError, CorruptFileError, IncompatibleSpaceError
from compat_sdk.files.seal import sealed_json
from compat_sdk.images import Preprocessing
from compat_sdk.space import covers_all
from compat_train.config.parts import Classification
from compat_train.evaluation.certify import certify, require_certifiable
from compat_train.evaluation.evaluate import evaluate
from compat_train.evaluation.result import Evaluation
from compat_train.models.build import build_model
from compat_train.runs.certificates import CERTIFICATES
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.space_name import identity_of
from compat_train.runs.transform_run import TransformRun
from tests.golden.files import HERE
from tests.train.records import edit_record

ARCH = "global:plain:4:c3s3c3"
OWN = Preprocessing(size=16)
OF_0_7 = HERE / "0.7" / "runs"


def a_model(path: Path, seed: int = 0, *, searches: tuple[str, ...] = (), taken: Preprocessing = OWN) -> Checkpoint:
    torch.manual_seed(seed)
    state = build_model(ARCH, dim=8).state_dict()
    identity = identity_of(state, arch=ARCH, dim=8, width=1.0, stem_stride=1, preprocessing=taken)
    made = Checkpoint(
        path=path,
        role="query" if searches else "gallery",
        arch=ARCH,
        dim=8,
        width=1.0,
        stem_stride=1,
        preprocessing=taken,
        space=identity.space,
        searches=searches,
        classes=(),
        method="bct",
        classification=Classification(),
        license="",
        config={"epochs": 3},
        state=state,
        classifier=None,
    )
    path.mkdir(exist_ok=True)
    made.save()
    return made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery model, and a query model that declares its space."""
    folder = tmp_path_factory.mktemp("models")
    gallery = a_model(folder / "gallery")
    a_model(folder / "query", 1, searches=(gallery.space,))
    return folder


@pytest.fixture
def runs(models: Path, tmp_path: Path) -> Path:
    return shutil.copytree(models, tmp_path / "runs")


def few() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16), np.uint8)
    labels = tuple("abcd" * 3)
    ids = tuple(map(str, range(12)))
    return Dataset(
        "few",
        {
            "query": Split("query", images[:4], labels[:4], ids[:4]),
            "gallery": Split("gallery", images[4:], labels[4:], ids[4:]),
        },
    )


@pytest.fixture(scope="module")
def evaluation(models: Path) -> Evaluation:
    return evaluate(few(), models / "query", models / "gallery", threads=1)


def test_a_model_trained_twice_is_one_space_and_another_picture_before_it_is_another(tmp_path: Path) -> None:
    one, again = a_model(tmp_path / "a"), a_model(tmp_path / "b")
    assert one.space == again.space == Checkpoint.load(tmp_path / "a").space
    others = {a_model(tmp_path / "c", taken=Preprocessing(size=16, fit="stretch")).space}
    others |= {
        a_model(tmp_path / "d", taken=Preprocessing(size=16, mean=(0.5, 0.5, 0.4))).space,
        a_model(tmp_path / "e", 1).space,
    }
    assert len(others | {one.space}) == 4


def test_weights_are_their_names_types_shapes_and_bytes() -> None:
    def space(**state: torch.Tensor) -> str:
        return identity_of(state, arch="tiny", dim=4, width=1.0, stem_stride=1, preprocessing=OWN).space

    zero = torch.zeros(2, 3)
    different = [
        space(a=zero),
        space(b=zero),
        space(a=zero.reshape(3, 2)),
        space(a=zero.half()),
        space(a=zero.bfloat16()),
        space(a=zero.to(torch.int32)),
        space(a=zero + 1),
        space(a=zero, b=torch.tensor(1)),
        space(a=zero[:1], b=zero[1:]),
        space(a=zero[:0], b=zero),
    ]
    assert len(set(different)) == len(different)
    assert space(a=zero, b=zero + 1) == space(b=zero + 1, a=zero)


FIELDS = (
    "arch classes classification config dim license method preprocessing role searches space stem_stride width"
).split()


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_record_is_sealed(runs: Path, field: str) -> None:
    path = runs / "query" / "model.json"
    before = json.loads(path.read_text())["model"]
    assert set(before) == set(FIELDS)
    edit_record(path, {field: {"other": 1}}, seal=False)
    with pytest.raises(CorruptFileError, match="was changed after it was written"):
        Checkpoint.load(runs / "query")


def test_the_seal_covers_the_weights_digest_too(runs: Path) -> None:
    shutil.copy(runs / "gallery" / "model.safetensors", runs / "query")
    record = json.loads((runs / "query" / "model.json").read_text())
    record["weights"] = json.loads((runs / "gallery" / "model.json").read_text())["weights"]
    (runs / "query" / "model.json").write_text(json.dumps(record))
    with pytest.raises(CorruptFileError, match="was changed after it was written"):
        Checkpoint.load(runs / "query")
    record.pop("digest")
    (runs / "query" / "model.json").write_bytes(sealed_json(record))
    with pytest.raises(CorruptFileError, match="changed after the space was named"):
        Checkpoint.load(runs / "query")


def test_a_record_may_be_laid_out_anew(runs: Path) -> None:
    path = runs / "query" / "model.json"
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    assert Checkpoint.load(runs / "query").role == "query"


@pytest.mark.parametrize(
    "change",
    [
        {"preprocessing": Preprocessing(size=16, mean=(0.4, 0.5, 0.5)).to_json()},
        {"preprocessing": Preprocessing(size=17).to_json()},
        {"preprocessing": Preprocessing(size=16, fit="stretch").to_json()},
        {"preprocessing": Preprocessing(size=16, channels="bgr").to_json()},
        {"stem_stride": 2},
        {"width": 0.5},
        {"arch": "global:plain:4:c3s3s3"},
    ],
)
def test_what_decides_a_vector_contradicts_the_space_though_the_seal_was_made_anew(
    runs: Path, change: dict[str, Any]
) -> None:
    edit_record(runs / "query" / "model.json", change)
    with pytest.raises(CorruptFileError, match="changed after the space was named"):
        Checkpoint.load(runs / "query")


def unsealed(record: dict[str, Any]) -> None:
    del record["digest"]


def of_version_1(record: dict[str, Any]) -> None:
    del record["digest"]
    record["version"] = 1


@pytest.mark.parametrize("change", [unsealed, of_version_1])
@pytest.mark.parametrize("role", ["query", "transform"])
def test_the_seal_cannot_be_left_out(
    runs: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], role: str
) -> None:
    run = runs / "query"
    if role == "transform":
        gallery = Checkpoint.load(runs / "gallery")
        old = TransformRun.load(OF_0_7 / "h")
        run = tmp_path / "h"
        run.mkdir()
        spaces = dataclasses.replace(old.spaces, space=gallery.space)
        dataclasses.replace(old, path=run, spaces=spaces).save()
        assert TransformRun.load(run).spaces == spaces
    record = json.loads((run / "model.json").read_text())
    change(record)
    (run / "model.json").write_text(json.dumps(record))
    with pytest.raises(CorruptFileError, match="was changed after it was written"):
        (TransformRun if role == "transform" else Checkpoint).load(run)


def test_a_record_of_0_7_is_an_old_space_and_its_weights_are_compared_with_it(tmp_path: Path) -> None:
    run = shutil.copytree(OF_0_7 / "gallery", tmp_path / "gallery")
    found = Checkpoint.load(run)
    assert found.identity is None and not covers_all(found.space)
    other = Checkpoint.load(OF_0_7 / "new").space
    edit_record(run / "model.json", {"space": other}, seal=False)
    with pytest.raises(CorruptFileError, match="its weights make"):
        Checkpoint.load(run)


def test_an_old_model_that_is_saved_again_stays_in_its_old_space(tmp_path: Path) -> None:
    old = Checkpoint.load(OF_0_7 / "query")
    dataclasses.replace(old, path=tmp_path).save()
    again = Checkpoint.load(tmp_path)
    assert (again.space, again.identity) == (old.space, None)


def test_a_resume_point_is_sealed(tmp_path: Path) -> None:
    points = ResumePoints(tmp_path)
    points.save(1, {"a": torch.zeros(2)}, {"settings": {"lr": 0.1}})
    points.save(2, {"a": torch.ones(2)}, {"settings": {"lr": 0.1}})
    record = tmp_path / "state" / "step-000000002.json"
    record.write_text(record.read_text().replace("0.1", "0.2"))
    found = points.newest()
    assert found is not None and found[0] == 1
    assert "was changed after it was written" in found[3][0]


def test_a_certificate_says_what_the_evaluation_found_and_is_the_models_own(runs: Path, evaluation: Evaluation) -> None:
    require_certifiable(runs / "query", runs / "gallery")
    path = certify(evaluation, few(), runs / "query")
    query, gallery = Checkpoint.load(runs / "query"), Checkpoint.load(runs / "gallery")
    (shown,) = query.certificates
    assert path.parent == runs / "query" / CERTIFICATES and gallery.certificates == ()
    assert (shown.query_space, shown.gallery_space) == (query.space, gallery.space)
    assert (shown.data, shown.splits, shown.queries, shown.gallery_size) == ("few", ("query", "gallery"), 4, 8)
    for pair in ("query_query", "query_gallery", "gallery_gallery"):
        found, kept = getattr(evaluation, pair), getattr(shown, pair)
        assert (kept.top1, kept.top5, kept.top10, kept.map) == (found.cmc[1], found.cmc[5], found.cmc[10], found.map)
    assert shown.rule_holds == evaluation.compatible
    assert certify(evaluation, few(), runs / "query") == path  # the same again is one certificate
    assert query.certificates == (shown,)


def test_other_pictures_or_labels_are_other_data(runs: Path, evaluation: Evaluation) -> None:
    def shown(dataset: Dataset) -> str:
        return Certificate.from_json(json.loads(certify(evaluation, dataset, runs / "query").read_text())).data_sha256

    def with_query(**changes: Any) -> Dataset:
        splits = few().splits
        return Dataset("few", {**splits, "query": dataclasses.replace(splits["query"], **changes)})

    images = np.array(few().splits["query"].images)
    images[3, 15, 15] ^= 1
    same = with_query(ids=("w", "x", "y", "z"))
    assert shown(same) == shown(few())
    other = [with_query(images=images), with_query(labels=("a", "b", "c", "c"))]
    assert len({shown(few()), *map(shown, other)}) == 3


def test_a_certificate_that_was_edited_or_is_of_another_model_is_refused(runs: Path, evaluation: Evaluation) -> None:
    path = certify(evaluation, few(), runs / "query")
    whole = path.read_text()
    path.write_text(whole.replace('"queries": 4', '"queries": 5'))
    with pytest.raises(CorruptFileError, match="was changed after it was written"):
        Checkpoint.load(runs / "query").certificates  # noqa: B018
    path.write_text(whole)
    shutil.copytree(path.parent, runs / "gallery" / CERTIFICATES)
    with pytest.raises(CorruptFileError, match="is of a model in space"):
        Checkpoint.load(runs / "gallery").certificates  # noqa: B018


def test_what_cannot_be_certified_is_refused_before_it_is_evaluated(runs: Path) -> None:
    with pytest.raises(IncompatibleSpaceError, match="expected the gallery model that it was trained for"):
        require_certifiable(runs / "gallery", runs / "query")
    with pytest.raises(ConfigError, match="old space"):
        require_certifiable(OF_0_7 / "query", OF_0_7 / "gallery")
    with pytest.raises(ConfigError, match="is no RUN"):
        require_certifiable(HERE / "0.7" / "bundles" / "gallery.bundle", runs / "gallery")


def test_an_evaluation_of_other_models_certifies_nothing(runs: Path, evaluation: Evaluation) -> None:
    gallery = Checkpoint.load(runs / "gallery")
    a_model(runs / "other", 2, searches=(gallery.space,))
    with pytest.raises(ConfigError, match="the evaluation of a model in"):
        certify(evaluation, few(), runs / "other")
    with pytest.raises(IncompatibleSpaceError, match="expected the gallery model that it was trained for"):
        certify(dataclasses.replace(evaluation, gallery_space="other-8-1"), few(), runs / "query")
    assert not (runs / "other" / CERTIFICATES).exists() and not (runs / "query" / CERTIFICATES).exists()
