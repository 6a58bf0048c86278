"""Tables of several lines, which galleries of the tests' size would not have."""

from __future__ import annotations

import pytest

from compat_sdk.gallery import tables


@pytest.fixture(autouse=True)
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS_PER_LINE", 7)
