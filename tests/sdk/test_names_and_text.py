"""Names that become files, and text from files on its way to a terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from compat_sdk.arrays import read_array
from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.documents import parse_json, read_json
from compat_sdk.files.plain import read_plain
from compat_sdk.names import check_name
from compat_sdk.shown import escaped, escaped_json, shortened, shown_names


@pytest.mark.parametrize("name", ["a", "resnet18", "bct-2", "_x", "0.9.1", "-", "a" * 120])
def test_a_plain_name_may_name_a_file(name: str) -> None:
    assert check_name(name, "a run") == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../up", "a/b", "a\\b", "/abs", "C:x", ".hidden", "dot.", "CON", "nul.txt", "Lpt1", "a b"),
        *("a\n", "é", "a\0", "\udcff", "٣", "a" * 121, 3, None, ["a"]),
    ],
)
def test_a_name_that_leads_elsewhere_or_is_no_file_somewhere_is_refused_in_one_short_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^a run is named .*expected 1 to 120") as refused:
        check_name(name, "a run")
    assert len(str(refused.value)) < 300 and str(refused.value).isprintable()


HOSTILE = "a\x1b[31m\n\r\t\x85\u202egpj\u2028\ufeff\udcff.jpg"


def test_no_character_that_acts_on_a_terminal_is_shown_raw() -> None:
    assert escaped(HOSTILE) == r"a\x1b[31m\n\r\t\x85\u202egpj\u2028\ufeff\udcff.jpg"
    assert escaped(escaped(HOSTILE)) == escaped(HOSTILE)
    assert escaped("日本 é\n", keep="\n") == "日本 é\n"


def test_an_escaped_json_document_is_the_same_document() -> None:
    value = {HOSTILE: [HOSTILE, "日本"]}
    text = escaped_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_long_text_loses_its_middle() -> None:
    assert shortened("a" * 50 + "\n" + "b" * 50, 20) == "aaaaaaaaaaaa...bbbbb"
    assert shortened("short\n", 20) == r"short\n"


def test_of_many_names_the_first_are_shown_and_dots_tell_that_there_are_more() -> None:
    assert shown_names(["a", "b"]) == "a, b" and shown_names(["a", "b"], 3) == "a, b, ..."
    assert shown_names([str(number) for number in range(11)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."
    assert len(shown_names(["x" * 5000] * 3)) == 80


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1e400}', "not a finite number"),
        (b'{"a": -1e999}', "not a finite number"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": 18446744073709551616}', "more than 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "nested more than 32"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a": ["\\ud800"]}', "surrogates"),
        (b'{"\\udfff": 1}', "surrogates"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"' + b"k" * 9000 + b'": ' + b"x" * 9000, "Expecting"),
    ],
)
def test_a_number_or_form_that_readers_differ_about_is_one_short_line(data: bytes, said: str) -> None:
    with pytest.raises(CorruptFileError, match=said) as refused:
        parse_json(data, "f")
    assert len(str(refused.value)) < 300 and str(refused.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(CorruptFileError, match="is a pipe or a device"):
        read_json(tmp_path / "f")
    with pytest.raises(CorruptFileError, match="is a pipe or a device"):
        read_array(tmp_path / "f")


def test_a_file_beyond_its_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert read_plain(tmp_path / "f", 5) == b"12345"
    with pytest.raises(CorruptFileError, match="more than 4 bytes"):
        read_plain(tmp_path / "f", 4)


def test_the_largest_numbers_and_deepest_form_of_our_own_files_are_read() -> None:
    value = {"seed": 2**64 - 1, "low": -(2**63), "tiny": 5e-324, "deep": [[[[{"a": [1.5]}]]]]}
    assert parse_json(json.dumps(value).encode(), "f") == value
