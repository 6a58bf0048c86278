"""Trust files: whose signature counts, for what, and how old a bundle may be; refused before a parser sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.bundle import Bundle, Trust, last_day, sign_bundle
from compat_sdk.bundle import bundle as bundle_module
from compat_sdk.embedder import Embedder
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError
from compat_sdk.transform import Transform
from compat_sdk.upgrade import BundleTransform
from tests.sdk.bundles import LinearEngine, make_bundle
from tests.sdk.signing import key_pair, trust_file
from tests.sdk.transforms import make_transform

PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_pair(tmp_path, "maker")


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    return sign_bundle(make_bundle(tmp_path / "tiny", release=3).path, keys[0]).path


# ---- reading a trust file


def test_a_trust_file_in_toml_says_all_that_it_can(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(PEM)
    (tmp_path / "trust.toml").write_text(
        'galleries = true\n[[makers]]\nname = "A"\npublic_key = "key.pem"\nroles = ["query", "index"]\n'
        f'spaces = ["s"]\nbundles = ["b"]\n[[makers]]\nname = "B"\npublic_key = """{PEM}"""\n'
        '[least_release]\n"b" = 3\n'
    )
    found = Trust.read(tmp_path / "trust.toml")
    first, second = found.makers
    assert (first.roles, first.spaces, first.bundles) == (("query", "index"), ("s",), ("b",))
    assert (second.name, second.roles) == ("B", None)
    assert first.key.pem.decode() == second.key.pem.decode() == PEM
    assert (found.least_release, found.galleries) == ({"b": 3}, True)


MAKER = {"name": "A", "public_key": PEM}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no maker to trust"),
        (b"\xff", "not valid"),
        (b"makers = [", "not valid"),
        (b"a = " + b"[" * 100_000, "not valid"),
        (b"x" * (2 << 20), "more than"),
        (b"makers = 3", "expected a list"),
        (b"makers = [3]", "expected a table"),
        (b"[[makers]]\nname = 'A'", "has no public_key"),
        (b"[[makers]]\npublic_key = 'k.pem'", "has no name"),
        (b"[[makers]]\nname = 'A'\npublic_key = 'gone.pem'", "no key file"),
        (b"[[makers]]\nname = 'A'\npublic_key = 3", "expected a str"),
        (b"[[makers]]\nname = 'A'\npublic_key = '-----BEGIN'\nrole = ['query']", "the key 'role'"),
        (b"[[makers]]\nname = 'A'\npublic_key = '-----BEGIN'\nroles = ['queries']", "the role 'queries'"),
        (b"[[makers]]\nname = 'A'\npublic_key = '-----BEGIN'\nspaces = [3]", "expected texts"),
        (b"[[makers]]\nname = ''\npublic_key = '-----BEGIN'", "has no name"),
        (b"galleries = 1\n[[makers]]\nname = 'A'\npublic_key = '-----BEGIN'", "expected a bool"),
        (b"[[makers]]\nname = 'A'\npublic_key = '-----BEGIN'\n[least_release]\na = 0", "at least 1"),
        (b"[[makers]]\nname = 'A'\npublic_key = '-----BEGIN'\n[least_release]\na = true", "at least 1"),
        (b"trusted = []", "the key 'trusted'"),
    ],
)
def test_a_malformed_trust_file_is_one_line_about_it(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "trust.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        Trust.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_pipe_in_the_place_of_a_trust_file_or_a_key_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no trust file"):
        Trust.read(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no key file"):
        Trust.of_key(tmp_path / "pipe")


def test_where_signatures_cannot_be_checked_nothing_opens_that_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "tiny").path
    file = trust_file(tmp_path, MAKER)
    monkeypatch.setitem(__import__("sys").modules, "model_signing", None)
    for act in (
        lambda: Bundle.open(bundle, trust=file),
        lambda: Bundle.open(bundle, trust=Trust.read(file)),
        lambda: Embedder.load(bundle, trust=file, engine=LinearEngine()),
        lambda: Transform.load(bundle, trust=file),
        lambda: BundleTransform.at(bundle, trust=file),
    ):
        with pytest.raises(MissingExtraError, match=r"\[sign\]"):
            act()


# ---- who may sign what


def test_a_bundle_of_a_known_maker_opens_and_says_whose_it_is(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    other = key_pair(tmp_path, "other", "SECP384R1")[1]
    file = trust_file(
        tmp_path, {"name": "Other", "public_key": other.name}, {"name": "Example AG", "public_key": keys[1].name}
    )
    assert Bundle.open(signed, trust=file).signed_by == "Example AG"
    assert Bundle.open(signed, trust=Trust.read(file)).signed_by == "Example AG"
    assert Bundle.open(signed).signed_by is None
    assert Embedder.load(signed, engine=LinearEngine(), trust=file).bundle.signed_by == "Example AG"
    assert Embedder.load(signed, engine=LinearEngine(), public_key=keys[1]).bundle.signed_by == str(keys[1])


LOADERS: dict[str, Callable[..., object]] = {
    "Bundle.open": Bundle.open,
    "Embedder.load": lambda path, **asked: Embedder.load(path, engine=LinearEngine(), **asked),
    "Transform.load": Transform.load,
    "BundleTransform.at": BundleTransform.at,
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_every_loader_refuses_the_unsigned_and_the_unknown_before_anything_is_parsed(
    load: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, stranger = key_pair(tmp_path, "known"), key_pair(tmp_path, "stranger")
    made = (
        make_transform(tmp_path / "t") if load in (Transform.load, BundleTransform.at) else make_bundle(tmp_path / "t")
    )
    asked = ({"public_key": known[1]}, {"trust": trust_file(tmp_path, {"name": "A", "public_key": "known-public.pem"})})

    def parse(*arguments: object) -> None:
        raise AssertionError("a file of a bundle that is not trusted was parsed")

    by_stranger = sign_bundle(made.path, stranger[0], out=tmp_path / "s").path
    monkeypatch.setattr(bundle_module, "parse_manifest", parse)
    for one in asked:
        with pytest.raises(BundleError, match="is not signed"):
            load(made.path, **one)
        with pytest.raises(BundleError, match="valid signature of"):
            load(by_stranger, **one)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"roles": ["gallery", "index"]}, "of the role query"),
        ({"roles": []}, "may sign none"),
        ({"spaces": ["another-8-aaaaaaaaaaaa"]}, "of the space tiny-8"),
        ({"bundles": ["another model"]}, "of the name tiny query model"),
    ],
)
def test_a_maker_signs_only_what_the_trust_file_allows(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path, limits: dict[str, Any], said: str
) -> None:
    maker = {"name": "A", "public_key": keys[1].name}
    with pytest.raises(BundleError, match=said):
        Bundle.open(signed, trust=trust_file(tmp_path, maker | limits))
    both = trust_file(tmp_path, maker | limits, maker | {"name": "the same key, for more"})
    assert Bundle.open(signed, trust=both).signed_by == "the same key, for more"


def test_a_key_and_a_trust_file_at_once_or_for_an_opened_bundle_are_refused(tmp_path: Path) -> None:
    opened = make_bundle(tmp_path / "tiny")
    with pytest.raises(ConfigError, match="both a public key and a trust file"):
        Bundle.open(opened.path, tmp_path / "k.pem", trust=tmp_path / "t.toml")
    for load in (Embedder.load, Transform.load):
        for asked in ({"public_key": "k.pem"}, {"trust": "t.toml"}):
            with pytest.raises(ConfigError, match="is opened already"):
                load(opened, **asked)  # type: ignore[arg-type]


# ---- old versions


def test_an_older_release_than_the_trust_file_names_is_refused_though_its_signature_holds(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    maker = {"name": "A", "public_key": keys[1].name}
    for least, refused in ((3, False), (4, True)):
        file = trust_file(tmp_path, maker, least_release={"tiny query model": least, "another": 9})
        if refused:
            with pytest.raises(BundleError, match="release 3 of tiny query model, and 4 or later is trusted"):
                Bundle.open(signed, trust=file)
        else:
            Bundle.open(signed, trust=file)


def test_a_bundle_is_refused_after_its_last_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle(tmp_path / "tiny", expires="2030-06-30").path
    monkeypatch.setattr(last_day, "_today", lambda: date(2030, 6, 30))
    Bundle.open(path)
    monkeypatch.setattr(last_day, "_today", lambda: date(2030, 7, 1))
    for load in (Bundle.open, lambda path: Embedder.load(path, engine=LinearEngine())):
        with pytest.raises(BundleError, match=r"until 2030-06-30, .* it is 2030-07-01"):
            load(path)
    expired = Bundle.open(path, allow_expired=True)
    assert expired.copy_to(tmp_path / "copy.zip").manifest.expires == "2030-06-30"


@pytest.mark.parametrize("name", ["there", "there.zip"])
def test_no_older_release_takes_the_place_of_a_newer_one(tmp_path: Path, name: str) -> None:
    newer = make_bundle(tmp_path / name, release=5)
    with pytest.raises(ConfigError, match="release 5 of tiny query model, and release 4"):
        make_bundle(tmp_path / name, release=4, overwrite=True)
    older = make_bundle(tmp_path / "older", release=4)
    with pytest.raises(ConfigError, match="allow an older one"):
        older.copy_to(newer.path, overwrite=True)
    assert Bundle.open(newer.path).manifest.release == 5
    make_bundle(tmp_path / name, release=5, overwrite=True)
    make_bundle(tmp_path / name, release=1, name="another model", overwrite=True)
    make_bundle(tmp_path / name, release=5, overwrite=True)
    older.copy_to(newer.path, overwrite=True, allow_older=True)
    assert Bundle.open(newer.path).manifest.release == 4
