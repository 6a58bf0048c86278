"""Tables of several lines, which galleries of the tests' size would not have."""

from __future__ import annotations

import pytest

from compat_sdk.gallery import files


@pytest.fixture(autouse=True)
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS_PER_LINE", 7)
