"""A bundle whose manifest contradicts the name of its space is refused, whoever made its digests anew."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.bundle import Bundle, Graph, sign_bundle
from compat_sdk.bundle.manifest import Manifest
from compat_sdk.bundle.writing import write_bundle
from compat_sdk.embedder import Embedder
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.files.seal import sealed, sealed_json
from compat_sdk.identity import Identity
from tests.sdk.bundles import DIM, PREPROCESSING, LinearEngine, golden, make_bundle
from tests.sdk.certificates import certificate
from tests.sdk.transforms import make_transform

IDENTITY = Identity("ab" * 32, "tiny", DIM, PREPROCESSING, {"width": 1.0, "stem_stride": 1})
GALLERY = "big-8-0123456789abcdef"
SHOWN = certificate(IDENTITY.space, GALLERY)
PIXELS = (Graph("onnx", "fp32", "model.onnx", values="pixels"),)
OTHERS: dict[str, Any] = {
    "size": 17,
    "fit": "stretch",
    "resize": "box",
    "draft": 0,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.1, 0.2, 0.3],
    "channels": "bgr",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    settings: dict[str, Any] = {"space": IDENTITY.space, "identity": IDENTITY, "searches": (GALLERY,)}
    return make_bundle(tmp_path / "b", **settings, certificates=(SHOWN,)).path


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and make its digest anew."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    manifest.pop("digest")
    (path / "manifest.json").write_bytes(sealed_json(manifest))


def test_a_bundle_carries_what_its_space_is_a_digest_of(path: Path) -> None:
    manifest = Bundle.open(path).manifest
    assert (manifest.identity, manifest.certificates) == (IDENTITY, (SHOWN,))
    assert (manifest.release, manifest.expires) == (1, None)
    assert manifest.certificates_for(GALLERY) == (SHOWN,) and manifest.certificates_for("other") == ()


@pytest.mark.parametrize("where", ["manifest", "identity", "both"])
@pytest.mark.parametrize("name", OTHERS)
def test_an_edited_preprocessing_contradicts_the_space(path: Path, name: str, where: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for part in {"manifest": [manifest], "identity": [manifest["identity"]]}.get(
            where, [manifest, manifest["identity"]]
        ):
            part["preprocessing"][name] = OTHERS[name]

    edit(path, change)
    with pytest.raises(BundleError, match="changed after the space was named"):
        Bundle.open(path)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "ba" * 32},
        {"network": {"width": 0.5, "stem_stride": 1}},
        {"network": {}},
        {"output": "something else"},
        {"arch": "tinier"},
        {"dim": DIM + 1},
    ],
)
def test_every_other_edit_of_the_identity_contradicts_the_space(path: Path, change: dict[str, Any]) -> None:
    edit(path, lambda manifest: manifest["identity"].update(change))
    with pytest.raises(BundleError, match=r"identity|space was named"):
        Bundle.open(path)


@pytest.mark.parametrize("change", [{"arch": "tinier"}, {"dim": DIM + 1}, {"space": "tiny-8-0123456789abcdef"}])
def test_what_the_manifest_says_beside_its_identity_is_the_same(path: Path, change: dict[str, Any]) -> None:
    edit(path, lambda manifest: manifest.update(change, certificates=[]))
    with pytest.raises(BundleError, match=r"its identity|space was named"):
        Bundle.open(path)


def test_a_graph_that_is_said_to_prepare_images_itself_contradicts_the_space(path: Path) -> None:
    edit(path, lambda manifest: manifest["graphs"][0].update(values="pixels"))
    with pytest.raises(BundleError, match="changed after the space was named"):
        Bundle.open(path)


def test_a_bundle_of_pixels_keeps_the_models_own_preprocessing_in_its_identity(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"space": IDENTITY.space, "identity": IDENTITY, "searches": (), "graphs": PIXELS}
    path = make_bundle(tmp_path / "b", **settings, preprocessing=PREPROCESSING.inside_graph()).path
    assert Bundle.open(path).manifest.space == IDENTITY.space  # one space with and without
    with pytest.raises(ConfigError, match="changed after the space was named"):
        make_bundle(tmp_path / "c", **settings, preprocessing=PREPROCESSING)
    edit(path, lambda manifest: manifest["preprocessing"].update(fit="stretch"))
    with pytest.raises(BundleError, match="changed after the space was named"):
        Bundle.open(path)


def stripped(manifest: dict[str, Any]) -> None:
    manifest["identity"] = None


def of_version_2(manifest: dict[str, Any]) -> None:
    for name in ("identity", "certificates", "release", "expires"):
        del manifest[name]
    manifest["version"] = 2


@pytest.mark.parametrize("change", [stripped, of_version_2])
def test_the_identity_cannot_be_left_out(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    edit(path, change)
    with pytest.raises(BundleError, match="identity"):
        Bundle.open(path)


def test_a_manifest_of_version_2_names_no_space_of_later(tmp_path: Path) -> None:
    model, transform = make_bundle(tmp_path / "b").path, make_transform(tmp_path / "h").path
    for path in (model, transform):
        edit(path, of_version_2)
        assert Bundle.open(path).manifest.identity is None
    edit(model, lambda manifest: manifest.update(searches=[GALLERY]))
    edit(transform, lambda manifest: manifest["source"].update(old_space=GALLERY))
    for path in (model, transform):
        with pytest.raises(BundleError, match="of a later version"):
            Bundle.open(path)


def test_a_bundle_of_version_2_is_copied_as_it_is(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b").path
    edit(path, of_version_2)
    before = (path / "manifest.json").read_bytes()
    copy = Bundle.open(path).copy_to(tmp_path / "c.zip").copy_to(tmp_path / "d")
    assert (copy.path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    "shown",
    [
        (certificate("other-8-0123456789abcdef", GALLERY),),
        (certificate(IDENTITY.space, "other-8-0123456789abcdef"),),
        (SHOWN, SHOWN),
    ],
)
def test_a_certificate_is_of_the_bundles_own_space_and_of_one_that_it_declares(path: Path, shown: Any) -> None:
    with pytest.raises(ConfigError, match="certificate"):
        dataclasses.replace(Bundle.open(path).manifest, certificates=shown)
    edit(path, lambda manifest: manifest.update(certificates=[found.to_json() for found in shown]))
    with pytest.raises(BundleError, match="certificate"):
        Bundle.open(path)


def test_an_edited_certificate_is_refused_though_the_manifests_digest_was_made_anew(path: Path) -> None:
    edit(path, lambda manifest: manifest["certificates"][0]["query_gallery"].update(top1=1.0))
    with pytest.raises(BundleError, match="certificate differs from its own digest"):
        Bundle.open(path)


@pytest.mark.parametrize(
    "change",
    [
        {"release": 0},
        {"release": True},
        {"release": "2"},
        {"release": 1.0},
        {"expires": "2027-02-30"},
        {"expires": "20270228"},
        {"expires": ""},
        {"expires": 2027},
        {"certificates": None},
        {"certificates": [1]},
        {"certificates": {}},
        {"identity": []},
        {"identity": "x"},
    ],
)
def test_malformed_fields_are_refused(path: Path, change: dict[str, Any]) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.pop("digest")
    with pytest.raises(BundleError, match=r"manifest\.json is malformed"):
        Manifest.from_json(sealed(manifest | change))


def test_a_release_and_a_day_of_expiry_are_kept(path: Path) -> None:
    manifest = dataclasses.replace(Bundle.open(path).manifest, release=7, expires="2028-02-29")
    again = Manifest.from_json(json.loads(json.dumps(manifest.to_json())))
    assert (again.release, again.expires) == (7, "2028-02-29")


def test_no_bundle_is_written_in_a_space_that_is_not_its_own(path: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(path).manifest
    with pytest.raises(ConfigError, match="names its space"):
        write_bundle(
            tmp_path / "c",
            dataclasses.replace(manifest, space="tiny-8-0123456789abcdef", certificates=(), files={}),
            {"model.onnx": b"graph"},
            golden(),
        )


def test_golden_pictures_that_were_taken_out_are_missed(path: Path, tmp_path: Path) -> None:
    assert Embedder.load(path, engine=LinearEngine()).self_test().pictures == 1
    (path / "golden" / "pictures" / "00.png").unlink()
    (path / "golden" / "inputs.npy").unlink()

    def strip(manifest: dict[str, Any]) -> None:
        for name in [*manifest["files"]]:
            if "pictures" in name or "inputs" in name:
                del manifest["files"][name]

    edit(path, strip)
    for use in (Bundle.open, partial(Embedder.load, engine=LinearEngine()), partial(sign_bundle, private_key=path)):
        with pytest.raises(BundleError, match="no golden picture, which every bundle of its version has"):
            use(path)
    with pytest.raises(ConfigError, match="no golden picture"):
        make_bundle(path.with_name("new"), space=IDENTITY.space, identity=IDENTITY, golden=golden(), pictures=())
