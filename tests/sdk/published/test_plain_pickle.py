"""Pickles read as data: what numpy and Python write comes out, and nothing in a file is ever imported or called."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.datasets import open_dataset
from compat_sdk.datasets.published.plain_pickle import read_pickle
from compat_sdk.datasets.published.strings_in_place import Span
from compat_sdk.errors import DataError
from tests.sdk.published.layouts import LAYOUTS, as_python_2, put


class Runs:
    """What a hostile pickle does when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("protocol", range(1, 6))
def test_what_python_writes_in_a_binary_protocol_is_read(protocol: int, tmp_path: Path) -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3)
    value = {
        "n": [1, -7, 300, 70_000, 2.5, None, True, False, 1 << 40],
        3: (1, (2, 3)),
        "a": array,
        "f": [np.float32(0.5)],
    }
    found, _ = read_pickle(put(tmp_path / "x.pkl", pickle.dumps(value, protocol=protocol)))
    assert found["n"] == value["n"] and [type(each) for each in found["n"]] == [type(each) for each in value["n"]]
    assert found[3] == (1, (2, 3)) and np.array_equal(found["a"], array) and found["f"] == [0.5]


@pytest.mark.parametrize("protocol", range(1, 6))
def test_strings_are_places_in_the_file_and_shared_ones_are_one(protocol: int, tmp_path: Path) -> None:
    text = "é" * 200
    path = put(tmp_path / "x.pkl", pickle.dumps(["ab", text, text], protocol=protocol))
    found, file = read_pickle(path)
    assert all(isinstance(each, Span) for each in found) and found[1] == found[2]
    assert file.texts(found) == ["ab", text, text]


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_in_a_pickle_is_refused_and_not_made(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = put(tmp_path / "lfw.bin", pickle.dumps(([Runs(mark)], [True]), protocol=protocol))
    with pytest.raises(DataError, match="nothing in it was run") as refused:
        open_dataset(path)
    assert not mark.exists() and len(str(refused.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("layout", ["cifar-10 of Python", "cifar-100 of Python", "roxford5k", "roxford5k-hard"])
def test_a_set_whose_pickle_calls_something_is_refused_and_the_call_not_made(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    mark = tmp_path / "ran"
    for path in tmp_path.iterdir():
        if path.is_file():
            path.write_bytes(pickle.dumps({"gnd": Runs(mark), "data": Runs(mark)}))
    with pytest.raises(DataError, match="nothing in it was run"):
        open_dataset(layout.split(" ")[0], tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"]",
        b"(.",
        b"h\0.",
        b"\x86.",
        b"T\xff\xff\xff\x7fab.",
        b"\x8e" + b"\xff" * 8 + b".",
        b"cnumpy\nndarray\n.",
        b"]cnumpy\nndarray\na.",
        b"](K\1K\2e",
        b"}(K\1u.",
        b"K\1K\2.",
        b"L" + b"9" * 5000 + b"L\n.",
        b"\x80\2cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R.",
    ],
)
def test_damaged_pickles_are_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read_pickle(put(tmp_path / "x.pkl", content))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("kind", [np.dtype(object), np.dtype("U3"), np.dtype("M8[s]"), np.dtype([("a", "i4")])])
def test_arrays_of_anything_but_numbers_are_refused(kind: np.dtype[Any], tmp_path: Path) -> None:
    path = put(tmp_path / "x.pkl", pickle.dumps(np.zeros(2, kind), protocol=2))
    with pytest.raises(DataError):
        read_pickle(path)


def test_lists_that_hold_one_another_a_billion_times_take_no_memory(tmp_path: Path) -> None:
    LAYOUTS["roxford5k-hard"](tmp_path)
    rows: list[Any] = [0]
    for _ in range(21):
        rows = [rows, rows]
    query = {"bbx": rows, "easy": rows, "hard": rows, "junk": rows}
    value = {"gnd": [query], "imlist": ["a"], "qimlist": ["b"]}
    put(tmp_path / "gnd_roxford5k.pkl", pickle.dumps(value))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="query 0 has no easy, hard and junk rows"):
            open_dataset("roxford5k", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_strings_of_python_2_are_read(tmp_path: Path) -> None:
    found, file = read_pickle(put(tmp_path / "x.pkl", as_python_2({b"key": [b"a", b"b" * 300]})))
    assert file.texts(found["key"]) == ["a", "b" * 300]
