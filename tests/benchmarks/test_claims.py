"""Pages of claims are what the benchmarks' pages say now, and none hides what failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claims import CLAIMS, Claim, page_of

PAGE = """# A title

**What holds.**

## What failed

One thing.

## Commands

Told beforehand.

    python -m somewhere

<!-- below this line: written by somewhere -->

### The table of it

| row | M(q,g) |
|---|---|
| one: with a meaning | 70.0 [69.0, 71.0] |

A note.

### Another

| row |
|---|
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one benchmark's page."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "a.md").write_text(PAGE)
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_page_says_what_the_benchmark_says(claim: Claim) -> None:
    text, path = page_of(claim), claims.FOLDER / f"{claim.name}.md"
    if text is None:
        assert not path.exists(), f"{path} is of rows that are gone"
    else:
        assert path.is_file() and path.read_text("utf-8") == text, "run python -m benchmarks.claims"
        assert path.with_suffix(".png").is_file()


def test_a_page_has_claim_picture_table_failures_and_commands(root: Path) -> None:
    text = page_of(Claim("a", "a.md", "The table", ("M(q,g)",)))
    assert text is not None
    order = ["# A title", "**What holds.**", "](a.png)", "| one: with", "A note.", "One thing.", "    python -m some"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "Told beforehand" not in text and "Another" not in text


@pytest.mark.parametrize(
    ("gone", "problem"),
    [("**What holds.**", "bold line"), ("One thing.", "What failed"), ("    python -m somewhere", "commands")],
)
def test_a_page_without_a_part_is_refused(root: Path, gone: str, problem: str) -> None:
    (root / "benchmarks" / "a.md").write_text(PAGE.replace(gone, ""))
    with pytest.raises(ValueError, match=problem):
        page_of(Claim("a", "a.md", "The table", ("M(q,g)",)))


def test_a_benchmark_without_rows_has_no_page_and_a_column_must_be_there(root: Path) -> None:
    assert page_of(Claim("a", "a.md", "No such table", ("M(q,g)",))) is None
    with pytest.raises(ValueError, match="no column mAP"):
        page_of(Claim("a", "a.md", "The table", ("mAP",)))
