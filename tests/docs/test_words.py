"""The words of what a reader sees: README's number, the length of sentences, and no name that only we use."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.prose import sentences
from tests.pipeline.documents import DOCUMENTS, ROOT

LONGEST = 25
README_WORDS = 700
PRIVATE = re.compile(r"\bseed[ _-]?00\d\b", re.IGNORECASE)
"""How notes of ours once called papers, which everybody else calls CMP-NAS, FCT, Global NAS and DMU."""


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= README_WORDS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_sentence_has_one_idea(document: Path) -> None:
    """Figures are no words."""
    words = re.compile(r"\S*[^\W\d_]\S*")
    long = [said for said in sentences(document.read_text("utf-8")) if len(words.findall(said)) > LONGEST]
    assert not long, f"{len(long)} sentences of more than {LONGEST} words, such as: {long[0]}"


def test_sentences_are_found() -> None:
    page = """# A heading of many words is none

One. Two: Three; Four
goes on.
- An item
- `code. of. dots` and [a. link](b.md)

    code. is. none

| a | table. is. none |

```python
nor. is. this
```
End"""
    assert [found.strip() for found in sentences(page)] == [
        "One.",
        "Two:",
        "Three;",
        "Four goes on.",
        "An item",
        "X and a.",
        "link",
        "End",
    ]


def test_a_docstring_says_it_itself() -> None:
    empty = re.compile(r'''"""See [^\n]*"""|\b[Ss]ee there\b|Raises: See |Error: See `''')
    for folder in ("sdk", "server_training", "export", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            found = empty.search(path.read_text("utf-8"))
            assert found is None, f"{path.relative_to(ROOT)} says: {found and found[0]}"


def test_no_private_name_is_left() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = done.stdout.decode().split("\0") if done.returncode == 0 else []
    if not names:
        pytest.skip("not a checkout of git")
    for name in filter(None, names):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yml", ".cff", ".css", ".js", ".html", "") and path.is_file():
            found = PRIVATE.search(path.read_text("utf-8", errors="replace"))
            assert found is None or path == Path(__file__), f"{name} says {found and found[0]}"


RESULTS = [page for page in DOCUMENTS if "benchmarks" in page.parts and page.name != "README.md"]


@pytest.mark.parametrize("page", RESULTS, ids=lambda path: path.stem)
def test_a_page_of_results_leads_with_a_line_of_meaning_and_a_table(page: Path) -> None:
    text = re.sub(r"<!--.*?-->", "", page.read_text("utf-8"))
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip() and not block.startswith("##")]
    assert blocks[0].startswith("# ") and blocks[1].startswith("**") and blocks[1].endswith("**"), blocks[1]
    assert blocks[2].startswith("|"), f"expected a table, found: {blocks[2][:80]}"
