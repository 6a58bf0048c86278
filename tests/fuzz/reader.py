"""What a reader of files is to the fuzzer, and how mutants are made that carry digests of their own."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LONGEST_MESSAGE = 300
"""Characters of an error, at most."""

Forge = Callable[[Path, str, random.Random], dict[str, bytes]]
"""Given a whole case and the name of its target: other content of files, by name, whose digests are right again."""


@dataclass(frozen=True)
class Case:
    """A folder that the reader takes as it is, and the file in it that mutants replace."""

    folder: Path
    target: str


@dataclass(frozen=True)
class Reader:
    """One way to read a file.

    Attributes:
        name: For people.
        read: From the copy of a case's folder and the target in it to what can be compared with ``==``.
        cases: Sound files.
        sealed: Whether a digest covers the target, so that a change is refused or changes nothing that is yielded.
        forge: Makes mutants that a digest does not stop, as whoever writes a file can; they may yield anything.
        words: What a mutant may hold that its grammar knows.
        notes: Whether the file is a note that counts for nothing where it is damaged, and so is never refused.
        dear: Whether each mutant costs a process of its own, so that tests try few.
    """

    name: str
    read: Callable[[Path, str], object]
    cases: tuple[Case, ...]
    sealed: bool = False
    forge: Forge | None = None
    words: tuple[bytes, ...] = ()
    notes: bool = False
    dear: bool = False
