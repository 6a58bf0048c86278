"""One defence: the text of a file that keeps a hazard off, and the tests that fail without it."""

from __future__ import annotations

from dataclasses import dataclass

SDK = "sdk/compat_sdk"
TRAIN = "server_training/compat_train"


@dataclass(frozen=True)
class Defence:
    """One text of one file.

    Attributes:
        number: Of the hazard, a row of docs/hazards.md.
        name: What the text does.
        file: Where it is, from the top of the tree.
        text: The text itself, which its file has once.
        instead: What a tree without the defence has in its place.
        tests: Names of tests; every one of them fails without the text.
        signing: Whether they need the environment of ``make test-signing``.
    """

    number: int
    name: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]
    signing: bool = False


def tests_in(file: str, *names: str) -> tuple[str, ...]:
    """Names of tests of one file, each given without ``test_``."""
    return tuple(f"tests/{file}::test_{name}" for name in names)
