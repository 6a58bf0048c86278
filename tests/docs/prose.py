"""The sentences of a Markdown page: its text without code, tables, headings and links' targets."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCED = re.compile(r"^(```+|~~~+).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ITEM = re.compile(r"\s*(?:[-*]|\d+\.) ")
_END = re.compile(r"(?<=[.!?:;])[*\")]*\s+(?=[A-Z`\"(*])|(?<=[.!?])\s+(?=[a-z0-9])(?<!\be\.g\.\s)(?<!\bi\.e\.\s)")


def sentences(page: str) -> Iterator[str]:
    """Every sentence. A colon or semicolon before a capital ends one, and so does the end of an item."""
    for block in _blocks(_COMMENT.sub("", _FENCED.sub("", page))):
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "X", block))
        yield from (part for part in _END.split(text) if part.strip())


def _blocks(page: str) -> Iterator[str]:
    found: list[str] = []
    before, code = "", False
    for line in (*page.splitlines(), ""):
        code = line.startswith("    ") and (code or not before.strip()) and not (found and not code)
        apart = not line.strip() or line.startswith(("|", "#", "<")) or code
        if apart or _ITEM.match(line):
            if found:
                yield " ".join(found)
            found = []
        if not apart:
            found.append(_ITEM.sub("", line, count=1).strip() if _ITEM.match(line) else line.strip())
        before = line
