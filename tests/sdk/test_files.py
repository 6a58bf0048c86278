from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.atomic import link_or_copy, write_atomic
from compat_sdk.files.digests import file_problem, sha256_file
from compat_sdk.files.documents import canonical_json, parse_json, read_json, write_json_atomic
from compat_sdk.files.plain import read_chunks
from compat_sdk.files.seal import parse_sealed, sealed_json


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


def test_a_file_is_compared_with_its_record_by_kind_size_and_digest(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    record = {"sha256": hashlib.sha256(b"data").hexdigest(), "bytes": 4}
    assert file_problem(tmp_path / "f", record) is None
    for name, change, message in (
        ("g", {}, "cannot be read"),
        ("f", {"bytes": 5}, "4 bytes, expected 5"),
        ("f", {"sha256": "0" * 64}, "SHA-256"),
    ):
        assert message in str(file_problem(tmp_path / name, record | change))
    (tmp_path / "link").symlink_to(tmp_path / "f")
    assert "plain file" in str(file_problem(tmp_path / "link", record))


def test_no_more_is_read_than_was_announced(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(10)))
    for size, found in ((4, 4), (10, 10), (1 << 40, 10), (0, 0)):
        with (tmp_path / "f").open("rb") as file:
            assert b"".join(read_chunks(file, size)) == bytes(range(found))


def test_a_sealed_value_comes_back_and_no_changed_byte_is_missed() -> None:
    data = sealed_json({"rows": 3, "name": "a"})
    assert parse_sealed(data, "record") == {"rows": 3, "name": "a"}
    for position in range(len(data)):
        with pytest.raises(CorruptFileError):
            parse_sealed(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :], "record")


def test_a_second_name_is_a_link_or_where_there_are_none_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    link_or_copy(source, tmp_path / "link")
    assert (tmp_path / "link").samefile(source)

    def none(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "link", none)
    link_or_copy(source, tmp_path / "copy")
    link_or_copy(source, tmp_path / "copy")  # is there already
    assert not (tmp_path / "copy").samefile(source) and (tmp_path / "copy").read_bytes() == b"content"
    monkeypatch.setattr(os, "fsync", none)
    with pytest.raises(OSError, match="not implemented"):
        link_or_copy(source, tmp_path / "full")
    with pytest.raises(OSError, match="not implemented"):
        link_or_copy(tmp_path / "missing", tmp_path / "full")
    assert names_in(tmp_path) == ["copy", "link", "source"]
