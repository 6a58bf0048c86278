"""Vectors in fewer bytes come back as unit vectors in nearly the same direction."""

from __future__ import annotations

import numpy as np
import pytest

from compat_sdk.errors import VectorError
from compat_sdk.gallery.compact import from_float16, from_int8, to_float16, to_int8


def unit_rows(count: int, dim: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_code_by_hand() -> None:
    codes = to_int8(np.array([[0.6, -0.8, 0.0]], np.float32))
    assert codes.dtype == np.int8 and codes.tolist() == [[95, -127, 0]]
    length = float(np.hypot(95, 127))
    assert from_int8(codes)[0].tolist() == pytest.approx([95 / length, -127 / length, 0])


def test_codes_take_a_quarter_and_keep_the_direction() -> None:
    rows = unit_rows(200, 128)
    codes = to_int8(rows)
    restored = from_int8(codes)
    assert codes.nbytes * 4 == rows.nbytes and codes.min() >= -127
    assert np.allclose(np.linalg.norm(restored, axis=1), 1, atol=1e-6) and restored.flags.c_contiguous
    assert (rows * restored).sum(1).min() > 0.9998


def test_coding_what_was_coded_changes_nothing() -> None:
    codes = to_int8(unit_rows(50, 64))
    assert np.array_equal(to_int8(from_int8(codes)), codes)


def test_half_floats_take_half_and_are_closer_than_codes() -> None:
    rows = unit_rows(200, 128)
    halves = to_float16(rows)
    assert halves.nbytes * 2 == rows.nbytes
    assert np.abs(from_float16(halves) - rows).max() < np.abs(from_int8(to_int8(rows)) - rows).max()


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_vector_without_a_direction_is_refused_by_row(bad: float) -> None:
    rows = unit_rows(4, 8)
    rows[2] = bad
    for compress in (to_int8, to_float16):
        with pytest.raises(VectorError, match=r"no direction to store: .*\(rows 2\)") as caught:
            compress(rows)
        assert list(caught.value.rows) == [2]
