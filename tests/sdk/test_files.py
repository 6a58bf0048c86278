from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from compat_sdk.errors import BundleError, CorruptFileError
from compat_sdk.files import (
    canonical_json,
    parse_json,
    read_json,
    sha256_file,
    verify_files,
    write_atomic,
    write_json_atomic,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_an_atomic_write_replaces_the_content_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for data in (b"old", b"new and longer"):
        write_atomic(tmp_path / "f", data)
        assert (tmp_path / "f").read_bytes() == data
    assert names_in(tmp_path) == ["f"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "f", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names_in(tmp_path) == ["f"]


def test_a_new_file_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "f", b"")
    assert (tmp_path / "f").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_is_written_with_sorted_keys_and_read_back(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "f.json", {"b": [1, 2.5], "a": "ü"})
    assert (tmp_path / "f.json").read_text("utf-8") == '{\n  "a": "ü",\n  "b": [\n    1,\n    2.5\n  ]\n}\n'
    assert read_json(tmp_path / "f.json") == {"a": "ü", "b": [1, 2.5]}


def test_nan_is_neither_written_nor_read_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(tmp_path / "f", {"a": float("nan")})
    with pytest.raises(CorruptFileError, match="NaN"):
        parse_json(b'{"a": NaN}', "f")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b'{"a": 1, "a": 2}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_one_json_object_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f.json").write_bytes(data)
    with pytest.raises(CorruptFileError, match=r"f\.json"):
        read_json(tmp_path / "f.json")


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"none\.json"):
        read_json(tmp_path / "none.json")


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": [1, {"d": 2, "c": 3}]}) == b'{"a":[1,{"c":3,"d":2}],"b":1}'


def test_files_are_verified_by_kind_size_and_digest(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    record = {"sha256": hashlib.sha256(b"data").hexdigest(), "bytes": 4}
    verify_files(tmp_path, {"f": record})
    for name, change, message in (
        ("g", {}, "cannot be read"),
        ("f", {"bytes": 5}, "4 bytes, expected 5"),
        ("f", {"sha256": "0" * 64}, "SHA-256"),
    ):
        with pytest.raises(BundleError, match=message):
            verify_files(tmp_path, {name: record | change}, BundleError)
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with pytest.raises(CorruptFileError, match="plain file"):
        verify_files(tmp_path, {"link": record})
