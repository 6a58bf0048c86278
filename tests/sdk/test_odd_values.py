"""Files whose digest is right, and whose values are of other types or ranges than any release writes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.bundle import Bundle
from compat_sdk.files.seal import sealed, sealed_json
from compat_sdk.gallery import Gallery
from compat_sdk.identity import Identity
from compat_sdk.profile.latency_table import load_table
from compat_sdk.upgrade.manifest import read_manifest
from tests.sdk.bundles import DIM, PREPROCESSING, make_bundle
from tests.sdk.certificates import certificate
from tests.sdk.mutants import faults
from tests.sdk.transforms import make_transform

GOLDEN = Path(__file__).parents[1] / "golden" / "0.7"
IDENTITY = Identity("ab" * 32, "tiny", DIM, PREPROCESSING, {"width": 1.0, "stem_stride": 1})
SHOWN = certificate(IDENTITY.space, "big-8-0123456789abcdef")


def bodies(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    value.pop("digest", None)
    return value


def resealed(value: dict[str, Any]) -> dict[str, Any]:
    return sealed({key: item for key, item in value.items() if key != "digest"})


@pytest.mark.parametrize("kind", ["query", "old", "transform"])
def test_a_manifest(tmp_path: Path, kind: str) -> None:
    if kind == "transform":
        path = make_transform(tmp_path / "b").path
    elif kind == "query":
        made = {"space": IDENTITY.space, "identity": IDENTITY, "searches": (SHOWN.gallery_space,)}
        path = make_bundle(tmp_path / "b", **made, certificates=(SHOWN,)).path
    else:
        shutil.copytree(GOLDEN / "bundles" / "gallery.bundle", path := tmp_path / "b")

    def read(value: dict[str, Any]) -> None:
        if isinstance(shown := value.get("certificates"), list):
            value["certificates"] = [resealed(each) if isinstance(each, dict) else each for each in shown]
        (path / "manifest.json").write_bytes(sealed_json(value))
        Bundle.open(path)

    assert faults(bodies(path / "manifest.json"), read, tmp_path) == []


@pytest.mark.parametrize("name", ["ann", "half"])
def test_the_state_of_a_gallery(tmp_path: Path, name: str) -> None:
    shutil.copytree(GOLDEN / "galleries" / name, path := tmp_path / "g")

    def read(value: dict[str, Any]) -> None:
        (path / "gallery.json").write_bytes(sealed_json(value))
        Gallery.open(path)

    assert faults(bodies(path / "gallery.json"), read, tmp_path) == []


def test_a_row_table(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "galleries" / "plain", path := tmp_path / "g")
    state = bodies(path / "gallery.json")
    table = state["segments"][0]["table"]

    def read(value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        (path / table["name"]).write_bytes(data)
        table.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        (path / "gallery.json").write_bytes(sealed_json(state))
        Gallery.open(path)

    rows = bodies(path / table["name"])
    assert faults({name: values[:2] for name, values in rows.items()}, read, tmp_path) == []


def test_the_manifest_of_an_upgrade(tmp_path: Path) -> None:
    def read(value: dict[str, Any]) -> None:
        (tmp_path / "manifest.json").write_bytes(sealed_json(value))
        read_manifest(tmp_path)

    assert faults(bodies(GOLDEN / "galleries" / "begun" / "upgrade" / "manifest.json"), read, tmp_path) == []


def test_a_latency_table(tmp_path: Path) -> None:
    def read(value: dict[str, Any]) -> None:
        (tmp_path / "l.json").write_text(json.dumps(value))
        _ = load_table(tmp_path / "l.json").correlation

    assert faults(bodies(GOLDEN / "latency.json"), read, tmp_path) == []
