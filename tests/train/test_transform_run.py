"""Transforms as RUN folders, beside the models that take images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compat_sdk.errors import ConfigError, CorruptFileError, TrainingError
from compat_sdk.files.seal import sealed_json
from compat_sdk.images import Preprocessing
from compat_sdk.space import TransformSpaces
from compat_train.config.parts import Classification
from compat_train.models.build import build_model
from compat_train.models.transform import ForwardAdaptation, ForwardTransform
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.run_files import read_role
from compat_train.runs.transform_run import TransformRun
from tests.train.records import edit_record


def a_transform(path: Path, side: int | None = 4) -> TransformRun:
    torch.manual_seed(0)
    return TransformRun(
        path=path,
        method="fct",
        kind="forward-transform",
        spaces=TransformSpaces("old-8", 8, None if side is None else "side-4", side, "new-6", 6),
        hidden=16,
        license="CC0-1.0",
        config={"epochs": 3},
        state=ForwardTransform(old=8, side=side, new=6, hidden=16).state_dict(),
    )


def an_encoder(path: Path) -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        path=path,
        role="side-info",
        arch="mobilenet_v1_0.5",
        dim=4,
        width=0.25,
        stem_stride=1,
        preprocessing=Preprocessing(size=32),
        space="side-4",
        searches=(),
        classes=(),
        method="simclr",
        classification=Classification(),
        license="",
        config={},
        state=build_model("mobilenet_v1_0.5", dim=4, width=0.25).state_dict(),
        classifier=None,
    )


@pytest.mark.parametrize("side", [4, None])
def test_a_transform_is_read_as_it_was_saved(tmp_path: Path, side: int | None) -> None:
    saved = a_transform(tmp_path, side)
    saved.save()
    found = TransformRun.load(tmp_path)
    for field in dataclasses.fields(TransformRun):
        if field.name != "state":
            assert getattr(found, field.name) == getattr(saved, field.name)
    inputs = [torch.randn(5, 8)] + ([] if side is None else [torch.randn(5, side)])
    assert not found.build().training
    assert torch.equal(found.build()(*inputs), saved.build()(*inputs))
    assert found.name == tmp_path.name


def test_an_adaptation_has_its_own_network(tmp_path: Path) -> None:
    run = dataclasses.replace(
        a_transform(tmp_path, None),
        kind="forward-adaptation",
        method="dmu",
        state=ForwardAdaptation(old=8, new=6, hidden=16).state_dict(),
    )
    run.save()
    assert isinstance(TransformRun.load(tmp_path).build(), ForwardAdaptation)


def test_a_transform_and_an_image_model_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    transform, encoder = tmp_path / "h", tmp_path / "side"
    transform.mkdir()
    encoder.mkdir()
    a_transform(transform).save()
    an_encoder(encoder).save()
    assert (read_role(transform), read_role(encoder)) == ("transform", "side-info")
    assert Checkpoint.load(encoder).role == "side-info"
    with pytest.raises(TrainingError, match=r"h is a transform of embeddings .* expected a gallery model or a query"):
        Checkpoint.load(transform)
    with pytest.raises(TrainingError, match=r"side is a side-information encoder .* expected a transform"):
        TransformRun.load(encoder)


def test_damage_and_absence_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds no model\.json"):
        TransformRun.load(tmp_path)
    a_transform(tmp_path).save()
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorruptFileError, match="SHA-256"):
        TransformRun.load(tmp_path)
    weights.write_bytes(whole)
    record = tmp_path / "model.json"
    edit_record(record, {"hidden": 0})
    with pytest.raises(CorruptFileError, match="hidden is 0"):
        TransformRun.load(tmp_path)
    edit_record(record, {"role": 7})
    with pytest.raises(CorruptFileError, match="no model record with a role"):
        TransformRun.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "forward-adaptation", "side_space": None, "side_dim": None},
        {"hidden": 17},
        {"old_space": "old-9"},
        {"old_dim": 9},
        {"side_space": "side-5"},
        {"side_dim": 5},
        {"space": "new-7"},
        {"dim": 7},
    ],
    ids=str,
)
def test_every_edit_contradicts_the_name_though_the_seal_was_made_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    a_transform(tmp_path).save()
    edit_record(tmp_path / "model.json", change)
    with pytest.raises(CorruptFileError, match="changed after the transform was named"):
        TransformRun.load(tmp_path)


def test_other_weights_contradict_the_name(tmp_path: Path) -> None:
    run = a_transform(tmp_path)
    run.save()
    name = json.loads((tmp_path / "model.json").read_text())["model"]["identity"]
    assert name == run.identity.name == TransformRun.load(tmp_path).identity.name
    other = dataclasses.replace(run, state={key: value + 1 for key, value in run.state.items()})
    assert other.identity.name != name
    other.save()
    edit_record(tmp_path / "model.json", {"identity": name})
    with pytest.raises(CorruptFileError, match="changed after the transform was named"):
        TransformRun.load(tmp_path)


def test_the_name_cannot_be_left_out_but_in_a_record_of_0_7(tmp_path: Path) -> None:
    a_transform(tmp_path).save()
    record = json.loads((tmp_path / "model.json").read_text())
    del record["model"]["identity"], record["digest"]
    (tmp_path / "model.json").write_bytes(sealed_json(record))
    with pytest.raises(CorruptFileError, match="does not name its transform"):
        TransformRun.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(record | {"version": 1}))
    assert TransformRun.load(tmp_path).identity == a_transform(tmp_path).identity


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side_space": None}, "expected both"),
        ({"side_dim": None}, "expected both"),
        ({"kind": "forward-adaptation"}, "takes no side-information"),
        ({"kind": "linear"}, "kind is 'linear'"),
        ({"dim": 0}, "dim is 0"),
        ({"old_dim": True}, "old_dim is True"),
        ({"old_space": "a space"}, "space"),
        ({"old_space": "new-6"}, "to itself"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    run = a_transform(tmp_path)
    with pytest.raises(ConfigError, match=message):
        if "kind" in change:
            dataclasses.replace(run, **change)  # type: ignore[arg-type]
        else:
            dataclasses.replace(run.spaces, **change)  # type: ignore[arg-type]
