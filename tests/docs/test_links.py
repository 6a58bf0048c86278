"""Every link of a page leads to a file of the repository, and to a heading of it where it names one."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.pipeline.documents import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
_CODE = re.compile(r"^(```+|~~~+).*?^\1[^\n]*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """Names of its headings, as GitHub and MkDocs make them."""
    text = re.sub(r"^(```+|~~~+).*?^\1[^\n]*$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[ ]", "-", re.sub(r"[^\w\- ]", "", name.strip().lower())) for name in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text("utf-8"))):
        if re.match(r"(https?|mailto):", link):
            continue
        target, _, anchor = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"there is no {link}"
        assert found.is_relative_to(ROOT), f"{link} is outside of the repository"
        assert not anchor or anchor in anchors_of(found), f"{found.name} has no heading {anchor}"


def test_every_page_of_docs_is_in_the_site() -> None:
    told = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in told, f"mkdocs.yml has no {page.name}"
