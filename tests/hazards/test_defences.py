"""The hazards of docs/hazards.md, their defences and the kept output of `python -m tests.hazards` say the same."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.hazards.defences import DEFENCES

ROOT = Path(__file__).parents[2]
FOUND_ELSEWHERE = 40  # hazards that others reported; later rows came out of attacks on this package


@cache
def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def functions_of(file: str) -> frozenset[str]:
    return frozenset(re.findall(r"^def (\w+)\(", text_of(file), re.MULTILINE))


def rows(page: str) -> list[list[str]]:
    """Cells of the lines of a page's table that begin with a number."""
    lines = text_of(page).splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if re.match(r"\| \d", line)]


def test_every_defence_is_found_once_in_its_file() -> None:
    for defence in DEFENCES:
        assert text_of(defence.file).count(defence.text) == 1, (defence.number, defence.name)
        assert defence.instead != defence.text


def test_every_named_test_is_there() -> None:
    for defence in DEFENCES:
        for test in defence.tests:
            file, _, name = test.partition("::")
            assert name in functions_of(file), test
        assert defence.tests and len(set(defence.tests)) == len(defence.tests), defence.name


def test_the_page_of_hazards_has_a_row_for_each_with_its_tests_or_says_not_yet() -> None:
    found = rows("docs/hazards.md")
    numbers = [int(number) for number, *_ in found]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= FOUND_ELSEWHERE
    assert {defence.number for defence in DEFENCES} <= set(numbers)
    for number, hazard, what, tests in found:
        named = dict.fromkeys(test for one in DEFENCES if one.number == int(number) for test in one.tests)
        assert hazard and what
        assert tests == ("<br>".join(f"`{test}`" for test in named) or "not yet"), number
        assert what.startswith("Not yet: ") == (not named), number


def test_the_kept_output_has_every_defence() -> None:
    kept = [(int(number), name, file.strip("`")) for number, name, file, *_ in rows("benchmarks/hazards.md")]
    assert kept == [(defence.number, defence.name, defence.file) for defence in DEFENCES]
