"""The one check of vectors: what is refused, how it is named, and that a division leaves directions alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_sdk import unit
from compat_sdk.errors import VectorError
from compat_sdk.unit import check_rows, unit_rows


@pytest.fixture
def rows() -> NDArray[np.float32]:
    found = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_every_kind_of_bad_row_is_named_in_one_message(
    rows: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows[[3, 39], [0, 5]] = np.nan, np.inf
    rows[7] = 0
    rows[20:32] *= 1.5
    monkeypatch.setattr(unit, "_ROWS_PER_BLOCK", 8)
    with pytest.raises(VectorError) as caught:
        check_rows(rows, "vectors of x", "embed them again")
    assert caught.value.rows == (3, 7, *range(20, 32), 39)
    assert str(caught.value) == (
        "15 of 40 vectors of x: 2 with NaN or infinity (rows 3, 39); 1 of norm zero (rows 7); 12 not of unit norm "
        "(rows 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, ...); expected finite vectors of unit length; embed them again"
    )


def test_rows_are_divided_by_their_length_where_they_have_one(rows: NDArray[np.float32]) -> None:
    check_rows(rows, "vectors", "none")
    lengths = np.linspace(0.1, 9, len(rows), dtype=np.float32)[:, None]
    np.testing.assert_allclose(unit_rows(rows * lengths, "vectors", "none"), rows, atol=1e-6)
    assert unit_rows(rows[:0], "vectors", "none").shape == (0, 6)
    for value in (0.0, np.nan, 1e30):  # the square of the last is infinite
        rows[2] = value
        with pytest.raises(VectorError, match=r"1 of 40 vectors: .*\(rows 2\)") as caught:
            unit_rows(rows, "vectors", "none")
        assert caught.value.rows == (2,)
