"""Signatures: only the key's owner can make a bundle that opens with the key."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.bundle import Bundle, sign_bundle
from compat_sdk.bundle import bundle as bundle_module
from compat_sdk.bundle.archive import zip_bytes
from compat_sdk.bundle.manifest import Manifest
from compat_sdk.bundle.records import record_of
from compat_sdk.bundle.signature import PublicKey, make_signature, require_signature
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError
from compat_sdk.files.documents import indented_json
from tests.sdk.bundles import make_bundle
from tests.sdk.signing import key_pair
from tests.sdk.test_bundle_zip import contents_of


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_pair(tmp_path, "maker")


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    return sign_bundle(make_bundle(tmp_path / "tiny").path, keys[0]).path


# ---- what was signed opens with the key


@pytest.mark.parametrize("name", ["tiny", "tiny.bundle.zip"])
def test_a_signed_bundle_opens_with_the_public_key_and_without(
    tmp_path: Path, keys: tuple[Path, Path], name: str
) -> None:
    made = make_bundle(tmp_path / name)
    assert not made.signed
    assert sign_bundle(made.path, keys[0]).signed
    assert Bundle.open(made.path, keys[1]).manifest == made.manifest
    assert Bundle.open(made.path).signed
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted([name, keys[0].name, keys[1].name])


def test_the_signature_travels_through_both_forms(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    packed = Bundle.open(signed).copy_to(tmp_path / "packed.zip")
    unpacked = packed.copy_to(tmp_path / "renamed")
    for bundle in (packed, unpacked):
        assert bundle.signed
        Bundle.open(bundle.path, keys[1])
    assert (unpacked.path / "signature.json").read_bytes() == (signed / "signature.json").read_bytes()


def test_a_signed_copy_leaves_the_bundle_as_it_is(keys: tuple[Path, Path], tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "tiny").path
    copy = sign_bundle(path, keys[0], out=tmp_path / "signed.zip")
    assert (copy.form, copy.signed, Bundle.open(path).signed) == ("zip", True, False)
    with pytest.raises(ConfigError, match="exists"):
        sign_bundle(path, keys[0], out=tmp_path / "signed.zip")
    Bundle.open(sign_bundle(path, keys[0], out=tmp_path / "signed.zip", overwrite=True).path, keys[1])


def test_signing_again_replaces_the_signature(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = key_pair(tmp_path, "other", "SECP384R1")
    sign_bundle(signed, other[0])
    Bundle.open(signed, other[1])
    with pytest.raises(BundleError, match="valid signature"):
        Bundle.open(signed, keys[1])


# ---- what was not is refused


def test_a_bundle_without_a_signature_does_not_open_with_a_key(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    for name in ("tiny", "tiny.zip"):
        with pytest.raises(BundleError, match="is not signed"):
            Bundle.open(make_bundle(tmp_path / name).path, keys[1])


def test_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Key mismatch"):
        Bundle.open(signed, key_pair(tmp_path, "stranger")[1])


def resealed(contents: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """Files under a manifest with right digests: what someone makes who can rewrite a bundle but has no key."""
    manifest = Manifest.from_json(json.loads(contents["manifest.json"]))
    listed = {name: record_of(data) for name, data in contents.items() if "/" in name or name == "model.onnx"}
    manifest = dataclasses.replace(manifest, files=listed, **changes)
    return contents | {"manifest.json": indented_json(manifest.to_json())}


@pytest.mark.parametrize(
    "change",
    [
        lambda files: resealed(files | {"model.onnx": b"another graph"}),
        lambda files: resealed(files, space="another-8-cccccccccccc"),
        lambda files: resealed(files | {"golden/more.bin": b""}),
        lambda files: files | {"manifest.json": files["manifest.json"] + b"\n"},
        lambda files: files | {"model.onnx": b"damaged"},
        lambda files: files | {"extra.bin": b""},
        lambda files: {name: data for name, data in files.items() if name != "model.onnx"},
        lambda files: files | {"other.onnx": files["model.onnx"]},
    ],
    ids=["graph", "manifest", "added and listed", "a blank", "damage", "added", "removed", "copied"],
)
def test_any_change_after_signing_is_refused(
    signed: Path, keys: tuple[Path, Path], change: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> None:
    packed = Bundle.open(signed).copy_to(signed.with_name("tiny.zip")).path
    Bundle.open(packed, keys[1])
    packed.write_bytes(zip_bytes(change(contents_of(packed))))
    with pytest.raises(BundleError, match="does not carry a valid signature"):
        Bundle.open(packed, keys[1])


def test_files_that_a_signing_tool_may_pass_over_are_refused(signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / ".git").mkdir()
    (signed / ".git" / "hook").write_bytes(b"")
    with pytest.raises(BundleError):
        Bundle.open(signed, keys[1])


def test_a_signature_covers_every_file_whatever_its_name(keys: tuple[Path, Path]) -> None:
    files = {"manifest.json": b"{}", ".gitignore": b"one", ".github/x": b"two"}
    signature, known = make_signature(files, keys[0]), [PublicKey.read(keys[1])]

    def require(found: dict[str, bytes]) -> int:
        return require_signature("a bundle", [(name, (data,)) for name, data in found.items()], signature, known)

    assert require(files) == 0
    for name in files:
        with pytest.raises(BundleError, match="valid signature"):
            require(files | {name: b"another"})


def test_the_signature_of_another_bundle_is_refused(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = sign_bundle(make_bundle(tmp_path / "other", graph=b"other").path, keys[0]).path
    (signed / "signature.json").write_bytes((other / "signature.json").read_bytes())
    with pytest.raises(BundleError, match=r"made for other content of manifest\.json, model\.onnx;"):
        Bundle.open(signed, keys[1])


def test_a_signature_that_is_none_is_refused(signed: Path, keys: tuple[Path, Path]) -> None:
    whole = json.loads((signed / "signature.json").read_bytes())
    envelope = whole["dsseEnvelope"]
    for found in (
        b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b"{" + b" " * 1000,
        json.dumps(whole | {"dsseEnvelope": envelope | {"signatures": []}}).encode(),
        json.dumps(whole | {"dsseEnvelope": envelope | {"signatures": [{"sig": "AAAA", "keyid": ""}]}}).encode(),
        json.dumps(whole | {"dsseEnvelope": envelope | {"payload": "e30="}}).encode(),
        json.dumps(whole | {"dsseEnvelope": envelope | {"payloadType": "text/plain"}}).encode(),
        json.dumps(whole | {"verificationMaterial": {}}).encode(),
        json.dumps(whole | {"mediaType": "application/json"}).encode(),
        b" " * (5 << 20),
    ):  # fmt: skip
        (signed / "signature.json").write_bytes(found)
        with pytest.raises(BundleError, match=r"valid signature|larger than"):
            Bundle.open(signed, keys[1])


def test_the_signature_is_checked_before_anything_is_parsed(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*arguments: object) -> None:
        raise AssertionError("a file of a bundle with a wrong signature was parsed")

    stranger = key_pair(tmp_path, "stranger")[1]
    monkeypatch.setattr(bundle_module, "parse_manifest", parse)
    with pytest.raises(BundleError, match="valid signature"):
        Bundle.open(signed, stranger)


def test_nothing_of_the_check_is_left_behind(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    Bundle.open(signed, keys[1])
    (signed / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError):
        Bundle.open(signed, keys[1])
    assert list(temporary.iterdir()) == []


# ---- keys and libraries that cannot be used


def test_a_key_that_cannot_be_used_is_a_setting_out_of_range(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    pem = form.Encoding.PEM
    locked, small, text = tmp_path / "locked.pem", tmp_path / "rsa.pem", tmp_path / "text.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(key.private_bytes(pem, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")))
    other = rsa.generate_private_key(65537, 2048)
    small.write_bytes(other.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption()))
    text.write_text("no key")
    before = (signed / "signature.json").read_bytes()
    for private in (locked, small, text, keys[1], tmp_path / "absent.pem", key_pair(tmp_path, "k", "SECP256K1")[0]):
        with pytest.raises(ConfigError, match=r"private key|no key file"):
            sign_bundle(signed, private)
    for public in (text, keys[0], tmp_path / "absent.pem", key_pair(tmp_path, "k", "SECP256K1")[1]):
        with pytest.raises(ConfigError, match=r"public key|no key file"):
            Bundle.open(signed, public)
    assert (signed / "signature.json").read_bytes() == before


@pytest.mark.parametrize(("module", "package"), [("model_signing", "model-signing")])
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    bundle = make_bundle(tmp_path / "tiny").path
    (bundle / "signature.json").write_bytes(b"{}")
    monkeypatch.setitem(sys.modules, module, None)
    for act in (lambda: Bundle.open(bundle, "public.pem"), lambda: sign_bundle(bundle, "private.pem")):
        with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*\[sign\]"):
            act()
    assert Bundle.open(bundle).signed
