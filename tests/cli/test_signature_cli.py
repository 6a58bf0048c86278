"""`compat-sdk bundle sign` and `verify`; the Makefile's target bare has the library that they need."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from compat_sdk.bundle import Bundle, sign_bundle
from tests.cli.test_bundle_cli import run
from tests.sdk.bundles import make_bundle
from tests.sdk.signing import key_pair


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_pair(tmp_path, "maker")


def test_the_openssl_commands_of_the_help_make_a_usable_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("model_signing", exc_type=ImportError)
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    _, out, _ = run(capsys, "bundle", "sign", "--help")
    commands = [line.strip() for line in out.splitlines() if line.strip().startswith("openssl ")]
    assert len(commands) == 2
    monkeypatch.chdir(tmp_path)
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True)
    sign_bundle(make_bundle(tmp_path / "tiny").path, "private.pem")
    Bundle.open("tiny", "public.pem")


def test_the_commands_sign_and_verify(
    capsys: pytest.CaptureFixture[str], keys: tuple[Path, Path], tmp_path: Path
) -> None:
    path = make_bundle(tmp_path / "tiny.zip").path
    verify = ("bundle", "verify", path, "--files-only", "--public-key")
    code, _, err = run(capsys, *verify, keys[1])
    assert code == 1 and "is not signed" in err
    code, out, _ = run(capsys, "bundle", "sign", path, "--key", keys[0], "--json")
    assert (code, json.loads(out)) == (0, {"bundle": str(path), "form": "zip", "key": str(keys[0])})
    code, out, _ = run(capsys, *verify, keys[1])
    assert code == 0 and f"signed by the owner of {keys[1]}" in out
    code, _, err = run(capsys, *verify, key_pair(tmp_path, "stranger")[1])
    assert code == 1 and "valid signature" in err
    assert json.loads(run(capsys, "bundle", "info", path, "--json")[1])["signed"] is True
    code, _, err = run(capsys, "bundle", "sign", path, "--key", keys[0], "--overwrite")
    assert code == 2 and "--out" in err
