"""What the documents tell a reader to type: the commands and Python blocks of a Markdown file, in order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "tutorials"),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
)
"""All pages that tell a reader to type something. The tutorials are the examples, which tests/docs looks after."""
PROGRAMS = ("compat-sdk", "make", "pip", "python", "python3")

_FENCE = re.compile(r"(```+|~~~+)\s*(\w*)")
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Command:
    """One command line, its continuations joined.

    Attributes:
        line: Number of its first line in the document, from 1.
        words: As a shell splits it, without comments.
    """

    line: int
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The line again, on one line."""
        return shlex.join(self.words)


@dataclass(frozen=True)
class Block:
    """A block of Python."""

    line: int
    text: str


def steps_of(document: Path) -> list[Command | Block]:
    """The commands and the Python blocks of a document, in order.

    A command is a line of a code block, indented or fenced, that begins with one of `PROGRAMS`, after ``$`` or not. A
    Python block is fenced as ``python``, or indented and begins with an import.
    """
    found: list[Command | Block] = []
    for start, language, lines in _code(document.read_text("utf-8").splitlines()):
        text = "\n".join(lines)
        if language == "python" or (not language and re.match(r"(from|import) \w", text)):
            found.append(Block(start, text))
            continue
        place = 0
        while place < len(lines):
            first, line = place, lines[place].strip().removeprefix("$ ")
            while line.endswith("\\") and place + 1 < len(lines):
                place += 1
                line = f"{line[:-1]} {lines[place].strip()}"
            place += 1
            if line.split(" ", 1)[0] in PROGRAMS:
                found.append(Command(start + first, tuple(shlex.split(line, comments=True))))
    return found


def inline_of(document: Path) -> list[Command]:
    """What stands between backticks in the text and begins with ``compat-sdk`` or the name of a script."""
    found = []
    for number, line in enumerate(document.read_text("utf-8").splitlines(), 1):
        for text in _INLINE.findall(line):
            if re.match(r"compat-sdk \w|[a-z_/]+\.py\b", text):
                found.append(Command(number, tuple(text.replace('"', "").split())))
    return found


def _code(lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Number of the first line, language, and lines of each code block."""
    place = 0
    while place < len(lines):
        if fence := _FENCE.match(lines[place]):
            end = next(n for n in range(place + 1, len(lines)) if lines[n].startswith(fence[1]))
            yield place + 2, fence[2], lines[place + 1 : end]
            place = end + 1
        elif lines[place].startswith("    ") and (place == 0 or not lines[place - 1].strip()):
            end = place
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield place + 1, "", [line[4:] for line in lines[place:end]]
            place = end
        else:
            place += 1
