"""A bundle whose manifest contradicts the name of its transform is refused, whoever made its digests anew."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.bundle import Bundle, Manifest
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.files.seal import sealed, sealed_json
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing
from compat_sdk.transform import Transform
from compat_sdk.transform_identity import TransformIdentity
from tests.sdk.bundles import make_bundle
from tests.sdk.transforms import NEW, OLD, SIDE, WITH_SIDE, LinearTransform, identity_of, make_transform

OWN = identity_of(WITH_SIDE)
OTHERS: dict[str, Any] = {
    "weights": "cd" * 32,
    "arch": "quadratic",
    "network": {"hidden": 5},
    "output": "embedding",
    **{
        name: dataclasses.replace(OWN.spaces, **{name: value})
        for name, value in {
            "old_space": "old-6-eeeeeeeeeeee",
            "old_dim": OLD + 1,
            "side_space": "side-3-eeeeeeeeeeee",
            "side_dim": SIDE + 1,
            "space": "new-5-eeeeeeeeeeee",
            "dim": NEW + 1,
        }.items()
    },
}


def changed(name: str) -> TransformIdentity:
    other = OTHERS[name]
    return dataclasses.replace(OWN, **{name if name in vars(OWN) else "spaces": other})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_transform(tmp_path / "h").path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as somebody does who knows how it is sealed."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    manifest.pop("digest")
    (path / "manifest.json").write_bytes(sealed_json(manifest))


def test_the_name_is_one_number_for_all_that_decides_a_vector() -> None:
    assert OWN.name.startswith("linear-5-") and identity_of(WITH_SIDE).name == OWN.name
    assert TransformIdentity.from_json(json.loads(json.dumps(OWN.to_json()))) == OWN
    names = {OWN.name} | {changed(name).name for name in OTHERS}
    assert len(names) == len(OTHERS) + 1


@pytest.mark.parametrize("name", OTHERS)
def test_every_edit_of_the_identity_contradicts_its_name(path: Path, name: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["identity"] = changed(name).to_json() | {"name": OWN.name}

    edit(path, change)
    with pytest.raises(BundleError, match=r"names its transform 'linear-5-"):
        Bundle.open(path)


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ("weights", "network", "output")])
def test_the_identity_of_another_transform_contradicts_the_manifest(path: Path, name: str) -> None:
    edit(path, lambda manifest: manifest.update(identity=changed(name).to_json()))
    with pytest.raises(BundleError, match="changed after the transform was named"):
        Transform.load(path, engine=LinearTransform())


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "quadratic"},
        {"space": "new-5-eeeeeeeeeeee"},
        {"source": {"old_space": "old-6-eeeeeeeeeeee", "old_dim": OLD, "side_space": "s", "side_dim": SIDE}},
    ],
    ids=str,
)
def test_what_the_manifest_says_beside_it_is_the_same(path: Path, change: dict[str, Any]) -> None:
    edit(path, lambda manifest: manifest.update(change))
    with pytest.raises(BundleError, match="changed after the transform was named"):
        Bundle.open(path)


def test_it_cannot_be_left_out(path: Path, tmp_path: Path) -> None:
    edit(path, lambda manifest: manifest.update(identity=None))
    with pytest.raises(BundleError, match="no identity of the transform"):
        Transform.load(path, engine=LinearTransform())
    with pytest.raises(ConfigError, match="no identity of the transform"):
        make_transform(tmp_path / "new", identity=None)


def test_a_model_and_a_transform_do_not_take_each_others(tmp_path: Path) -> None:
    of_model = Identity("ab" * 32, "linear", NEW, Preprocessing(size=16))
    with pytest.raises(ConfigError, match="the identity of a model of images"):
        make_transform(tmp_path / "h", identity=of_model)
    with pytest.raises(ConfigError, match="the identity of a transform"):
        make_bundle(tmp_path / "b", identity=OWN)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        OWN.to_json() | {"more": 1},
        OWN.to_json() | {"spaces": []},
        OWN.to_json() | {"network": {"hidden": []}},
    ],
    ids=str,
)
def test_a_malformed_identity_is_told_in_one_line(path: Path, value: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["digest"]
    with pytest.raises(BundleError) as caught:
        Manifest.from_json(sealed(manifest | {"identity": value}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
