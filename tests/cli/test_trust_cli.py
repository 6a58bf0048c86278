"""`--public-key`, `--trust` and COMPAT_SDK_TRUST: one meaning in every command that takes a model."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image

from compat_cli.app import app
from compat_sdk.bundle import Bundle, sign_bundle
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from tests.cli.test_bundle_cli import run
from tests.pipeline.commands import subcommands
from tests.sdk.bundles import make_bundle
from tests.sdk.signing import key_pair, trust_file
from tests.sdk.transforms import make_transform

MODELS: dict[str, tuple[str, ...]] = {
    "bundle info": ("bundle", "info", "query.bundle"),
    "bundle verify": ("bundle", "verify", "query.bundle"),
    "bundle pack": ("bundle", "pack", "query.bundle", "--out", "new.zip"),
    "bundle unpack": ("bundle", "unpack", "query.zip", "--out", "new"),
    "search": ("search", "photos.gallery", "photo.png", "--model", "query.bundle"),
    "index build": ("index", "build", "--model", "query.bundle", "--images", "photos", "--out", "new"),
    "index add": ("index", "add", "photos.gallery", "--model", "query.bundle", "--images", "photos"),
    "index verify": ("index", "verify", "photos.gallery"),
    "profile": ("profile", "query.bundle"),
    "adopt": ("adopt", "query.bundle", "--out", "new"),
    "upgrade plan": ("upgrade", "plan", "photos.gallery", "--transform", "h.bundle"),
    "upgrade run": ("upgrade", "run", "photos.gallery", "--transform", "h.bundle"),
    "upgrade cutover": ("upgrade", "cutover", "photos.gallery", "--transform", "h.bundle"),
    "upgrade follow": ("upgrade", "follow", "photos.gallery", "--transform", "h.bundle"),
    "upgrade backfill": (
        *("upgrade", "backfill", "photos.gallery", "--model", "query.bundle", "--images", "photos"),
        *("--uncertainty", "uncertainty.csv", "--budget", "1"),
    ),
    "upgrade verify": ("upgrade", "verify", "photos.gallery", "--transform", "h.bundle"),
    "app web": ("app", "web", "--bundle", "query.bundle", "--gallery", "photos.gallery", "--out", "new"),
    "serve": ("serve", "--bundle", "query.bundle", "--gallery", "photos.gallery", "--port", "0"),
    "evaluate": ("evaluate", "--data", "sample", "--query", "query.bundle", "--gallery", "query.bundle"),
}
"""Every command that takes a model, or something else that can be signed, from elsewhere; here nothing is signed."""
NEEDS = {"evaluate": "torch", "serve": "fastapi"}
OF_ONES_OWN = {
    *("bundle sign", "index sign", "index remove", "index compact", "index info", "index repair", "index approximate"),
    *("upgrade rollback", "upgrade discard", "upgrade status", "upgrade canary"),
}
"""Commands that read or write a bundle or a gallery, and give its content to no engine."""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = make_bundle(Path("query.bundle"))
    made.copy_to("query.zip")
    make_transform(Path("h.bundle"))
    gallery = Gallery.create("photos.gallery", space=made.manifest.space, dim=made.manifest.dim)
    gallery.add(Embeddings(np.eye(made.manifest.dim, dtype=np.float32)[:2], gallery.space), ["a", "b"])
    Path("photos").mkdir()
    Image.new("RGB", (8, 8), "red").save("photos/1.png")
    Image.new("RGB", (8, 8), "red").save("photo.png")
    return tmp_path


def leaves(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in subcommands(group).items():
        if subcommands(command):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_every_command_that_takes_a_model_from_elsewhere_takes_a_trust_file() -> None:
    taking = {
        name
        for name, command in leaves(typer.main.get_command(app))
        if {"--public-key", "--trust"} <= {word for parameter in command.params for word in parameter.opts}
    }
    assert taking == set(MODELS)
    groups = ("bundle ", "index ", "upgrade ")
    touching = {name for name, _ in leaves(typer.main.get_command(app)) if name.startswith(groups)}
    assert touching - taking == OF_ONES_OWN


@pytest.mark.parametrize(
    ("name", "way"),
    [(name, "--public-key") for name in MODELS] + [("search", "--trust"), ("upgrade run", "COMPAT_SDK_TRUST")],
)
def test_what_is_unsigned_is_refused_by_every_command(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    _, public = key_pair(work, "maker")
    before = sorted(work.iterdir())
    words: tuple[object, ...] = MODELS[name]
    if way == "--public-key":
        words += (way, public)
    else:
        file = trust_file(work, {"name": "A", "public_key": public.name})
        before.append(file)
        if way == "--trust":
            words += (way, file)
        else:
            monkeypatch.setenv(way, str(file))
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "") and "is not signed" in err, err
    assert sorted(work.iterdir()) == sorted(before)


@pytest.mark.parametrize("name", MODELS)
def test_where_signatures_cannot_be_checked_every_command_refuses(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.setitem(sys.modules, "model_signing", None)
    monkeypatch.setenv("COMPAT_SDK_TRUST", str(work / "trust.toml"))
    code, out, err = run(capsys, *MODELS[name])
    assert (code, out) == (1, "") and "[sign]" in err


@pytest.mark.parametrize("words", [MODELS["search"], MODELS["index build"], MODELS["profile"], MODELS["evaluate"]])
def test_a_run_is_refused_where_a_signature_is_asked_for(
    work: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    if words[0] == "evaluate":
        pytest.importorskip("torch")
    _, public = key_pair(work, "maker")
    Path("run").mkdir()
    Path("run/model.json").write_text("{}")
    code, _, err = run(capsys, *("run" if word == "query.bundle" else word for word in words), "--public-key", public)
    assert code == 2 and "run is no bundle and so is never signed" in err


def test_a_trusted_bundle_is_verified_shown_packed_and_unpacked(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = key_pair(work, "maker")
    sign_bundle("query.bundle", private)
    monkeypatch.setenv("COMPAT_SDK_TRUST", str(trust_file(work, {"name": "Example AG", "public_key": public.name})))
    code, out, err = run(capsys, "bundle", "verify", "query.bundle", "--files-only")
    assert (code, out) == (0, "query.bundle: digests match, signed by Example AG\n"), err
    facts = json.loads(run(capsys, "bundle", "info", "query.bundle", "--json")[1])
    assert (facts["signed"], facts["signed_by"], facts["release"], facts["expires"]) == (True, "Example AG", 1, None)
    assert run(capsys, "bundle", "pack", "query.bundle", "--out", "new.zip")[0] == 0
    assert run(capsys, "bundle", "unpack", "new.zip", "--out", "new")[0] == 0
    code, _, err = run(capsys, "bundle", "info", "query.bundle", "--public-key", public)
    assert code == 2 and "COMPAT_SDK_TRUST" in err


def test_no_command_puts_an_older_release_in_the_place_of_a_newer_one(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(Path("newer.zip"), release=2)
    words = ("bundle", "pack", "query.bundle", "--out", "newer.zip", "--overwrite")
    code, _, err = run(capsys, *words)
    assert code == 2 and "is release 2 of tiny query model" in err
    assert run(capsys, *words, "--allow-older")[0] == 0
    code, _, err = run(capsys, *words[:-1], "--allow-older")
    assert code == 2 and "--overwrite" in err


def test_an_expired_bundle_is_shown_and_used_no_more(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_bundle(work / "expired.zip", expires="2020-01-01").path
    code, out, _ = run(capsys, "bundle", "info", path)
    assert code == 0 and "expires: 2020-01-01" in out
    for words in (("bundle", "verify", path), ("search", "photos.gallery", "photo.png", "--model", path)):
        code, _, err = run(capsys, *words)
        assert code == 1 and "was meant to be used until 2020-01-01" in err


def test_a_gallery_is_signed_and_verified(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = key_pair(work, "maker")
    code, out, err = run(capsys, "index", "sign", "photos.gallery", "--key", private, "--json")
    told = {"name": "photos.gallery", "release": 1, "expires": None}
    assert (code, json.loads(out)) == (0, {"gallery": "photos.gallery", "rows": 2, "key": str(private), **told}), err
    code, out, _ = run(capsys, "index", "verify", "photos.gallery", "--public-key", public)
    assert (code, out) == (0, f"photos.gallery: no problems, signed by {public}\n")
    code, _, err = run(capsys, "index", "verify", "photos.gallery", "--public-key", key_pair(work, "stranger")[1])
    assert code == 1 and "valid signature" in err


def test_an_older_signed_gallery_is_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = key_pair(work, "maker")
    old = work / "old"
    Gallery.open("photos.gallery").sign(private, name="photos")
    shutil.copytree("photos.gallery", old)
    code, out, _ = run(capsys, "index", "sign", "photos.gallery", "--key", private)
    assert (code, out) == (0, "photos.gallery: 2 rows signed as release 2 of photos\n")
    file = trust_file(work, {"name": "A", "public_key": public.name}, least_release={"photos": 2})
    assert run(capsys, "index", "verify", "photos.gallery", "--trust", file)[0] == 0
    code, _, err = run(capsys, "index", "verify", old, "--trust", file)
    assert code == 1 and "is release 1 of photos, and 2 or later is trusted" in err
    code, _, err = run(capsys, "index", "sign", "photos.gallery", "--key", private, "--release", 1)
    assert code == 2 and "was signed as release 2 of photos already" in err
    code, _, err = run(
        capsys, *("index", "sign", old, "--key", private, "--release", 1, "--allow-older", "--expires", "2020-01-01")
    )
    assert code == 0, err
    code, _, err = run(capsys, "index", "verify", old, "--public-key", public)
    assert code == 1 and "was meant to be used until 2020-01-01" in err


def test_a_search_checks_a_signature_that_a_gallery_has_and_asks_for_one_where_the_trust_file_does(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = key_pair(work, "maker")
    stranger = key_pair(work, "stranger")
    sign_bundle("query.bundle", private)
    maker = {"name": "A", "public_key": public.name}
    words = (*MODELS["search"], "--trust", trust_file(work, maker, galleries=True))
    code, _, err = run(capsys, *words)
    assert code == 1 and "photos.gallery is not signed" in err
    Gallery.open("photos.gallery").sign(stranger[0])
    code, _, err = run(capsys, *MODELS["search"], "--trust", trust_file(work, maker))
    assert code == 1 and "photos.gallery does not carry a valid signature" in err
    assert Bundle.open("query.bundle", public).signed_by == str(public)
