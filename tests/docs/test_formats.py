"""The page of formats names every field that the code writes, and none besides."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.bundle.graph import Graph
from compat_sdk.bundle.manifest import TransformSource
from compat_sdk.certificate import Accuracy, Certificate
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.release import Release
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing
from compat_sdk.space import Embeddings, TransformSpaces
from compat_sdk.transform_identity import TransformIdentity
from tests.pipeline.documents import ROOT
from tests.sdk.bundles import make_bundle
from tests.sdk.upgrade.toy import vectors

PAGE = (ROOT / "docs" / "formats.md").read_text("utf-8")
CROPPED = Preprocessing(size=32, crop=0.9)


def section(title: str) -> str:
    return re.split(r"^#+ ", PAGE.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def fields_of(title: str) -> set[str]:
    """Names in the first column of a section's table."""
    rows = re.findall(r"^\| (`.*?) \| ", section(title), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def certificate() -> Certificate:
    share = Accuracy(0.5, 0.6, 0.7, 0.4)
    return Certificate(
        "a-8-0123456789abcdef",
        "b-8-0123456789abcdef",
        "data",
        "0" * 64,
        ("query", "gallery"),
        9,
        0,
        9,
        share,
        share,
        share,
        "me",
        rule="M(new,old) > M(old,old)",
    )


def test_preprocessing_identity_certificate_and_release() -> None:
    assert fields_of("Preprocessing") == set(CROPPED.to_json())
    assert fields_of("Identity") == set(Identity("0" * 64, "net", 8, CROPPED).to_json())
    spaces = TransformSpaces("a", 8, None, None, "b", 8)
    transform = TransformIdentity("0" * 64, "forward-adaptation", {"hidden": 8}, spaces)
    assert fields_of("Identity of a transform") == set(transform.to_json())
    assert fields_of("Certificate") == set(certificate().to_json())
    assert fields_of("Release") == set(json.loads(Release("name").to_bytes()))


def test_a_bundle(tmp_path: Path) -> None:
    manifest: dict[str, Any] = make_bundle(tmp_path / "b").manifest.to_json()
    assert fields_of("Manifest") == set(manifest)
    assert fields_of("Graph") == {item.name for item in dataclasses.fields(Graph)}
    assert fields_of("Source") == {item.name for item in dataclasses.fields(TransformSource)}
    assert f"`version` is {manifest['version']}" in section("Manifest") and str(manifest["format"]) in section(
        "Manifest"
    )
    assert set(manifest["files"]) <= fields_of("Bundle") | {"model.onnx"}


def test_a_gallery(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", space="tiny", dim=8, dtype="float16")
    gallery.add(Embeddings(vectors(2, 8, 0), "tiny"), ["a", "b"])
    state = json.loads((tmp_path / "g" / "gallery.json").read_text())
    assert fields_of("State") == set(state)
    named = set(re.findall(r"`(\w+)`", section("State")))
    assert set(state["segments"][0]) | set(state["segments"][0]["vectors"]) <= named
    told = {re.sub(r"GENERATION-RANDOM", r"\\d{8}-[0-9a-f]{16}", name) for name in fields_of("Gallery")}
    for path in (tmp_path / "g").iterdir():
        assert any(re.fullmatch(name, path.name) for name in told), path.name


def test_a_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from compat_export.profile_model import untrained_checkpoint
    from compat_train.runs.transform_run import TransformRun

    run = dataclasses.replace(untrained_checkpoint("global:plain:16:s3c3s3", size=28, dim=16), path=tmp_path)
    run.save()
    record = json.loads((tmp_path / "model.json").read_text())
    assert fields_of("Record") == set(record)
    assert f"`version` is {record['version']}" in section("Record") and record["format"] in section("Record")
    assert fields_of("Record of a model of images") == set(record["model"]) | {"network", "of_bundle"}
    spaces = TransformSpaces("a", 8, None, None, "b", 8)
    TransformRun(
        path=tmp_path, method="dmu", kind="forward-adaptation", spaces=spaces, hidden=8, license="", config={}, state={}
    ).save()
    record = json.loads((tmp_path / "model.json").read_text())
    assert fields_of("Record of a transform") == set(record["model"])
