"""Mutants of a file: of its bytes, of the numbers and words in its text, and of the value that its JSON holds."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

_BYTES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\n", b"\r", b"\x1b", b'"', b"\\", b"\xed\xa0\x80", b"\xef\xbb\xbf")
_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_NUMBERS = (
    b"0",
    b"-1",
    b"1e400",
    b"-0.0",
    b"9" * 30,
    b"9" * 5000,
    b"NaN",
    b"Infinity",
    b"0.5",
    b"true",
    b"null",
    b'""',
)
_NUMBER = re.compile(rb"-?\d+(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)
_WORD = re.compile(rb"[A-Za-z_]{2,}")


_MOST_PLACES = 500


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


_VALUES: tuple[Callable[[], Any], ...] = (
    *(lambda found=found: found for found in (None, True, False, -1, 0, 1, 2, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308)),
    *(
        lambda found=found: found
        for found in ("", ".", "..", "../../x", "/etc/passwd", "a/b", "CON", "a\nb", "\x1b[2J")
    ),
    *(lambda found=found: found for found in ("x" * 5000, "\ud800", "\0", "\u202e", "é", "e\u0301", "NaN", "1")),
    lambda: float("inf"),
    lambda: 10**400,
    list,
    dict,
    lambda: [None],
    lambda: {"": None},
    lambda: _nested(200),
    lambda: list(range(300)),
)


def mutant(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    """One to eight random changes of ``data``; ``others`` are what it may be spliced with."""
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        data = draw.choice(_CHANGES)(data, others, words, draw)
    return data


def changed(value: Any, draw: random.Random) -> Any:
    """A copy of a JSON value with one to four of its parts replaced, removed, renamed, repeated or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            return draw.choice(_VALUES)()
        holder, key = draw.choice(places)
        what = draw.randrange(8)
        if what < 4:
            holder[key] = draw.choice(_VALUES)()
        elif what == 4:
            del holder[key]
        elif what == 5:
            other, at = draw.choice(places)
            holder[key] = copy.deepcopy(other[at])
        elif isinstance(holder, dict):
            holder[draw.choice((f"{key}x", "", "format", "0", "digest"))] = (
                holder[key] if what == 6 else holder.pop(key)
            )
        elif len(places) < _MOST_PLACES:  # larger values would fill the memory here, before any reader sees them
            holder.extend([copy.deepcopy(holder[key])] * draw.choice((1, 300)))
    return value


def toml(value: Any) -> str:
    """A value as TOML, tables inline but for the first ones; what TOML cannot say is said as JSON says it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return {"Infinity": "1e400"}.get(text := json.dumps(value, default=str), text)


def _places(value: Any) -> list[tuple[Any, Any]]:
    found, waiting = [], [value]
    while waiting and len(found) < 5000:
        holder = waiting.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


def _flip(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    if not data:
        return b"\0"
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


def _put(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    put = draw.choice((*_BYTES, *words))
    return data[:place] + put + data[place + draw.choice((0, len(put))) :]


def _cut(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _remove(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + data[place + draw.choice((1, 2, 4, 16, 64)) :]


def _repeat(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    place, size = draw.randrange(len(data) + 1), draw.choice((1, 2, 4, 16, 64))
    return data[:place] + data[place : place + size] * draw.choice((1, 2, 300)) + data[place:]


def _splice(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    other = draw.choice(others)
    return data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other) + 1) :]


def _integer(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    size, order = draw.choice((1, 2, 4, 8)), draw.choice(("little", "big"))
    if len(data) < size:
        return data
    place = draw.randrange(min(len(data) - size + 1, draw.choice((64, 1 << 30))))  # headers stand at the beginning
    value = (draw.choice(_INTEGERS) % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
    return data[:place] + value + data[place + size :]


def _number(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    found = list(_NUMBER.finditer(data[:20000]))
    if not found:
        return data
    place = draw.choice(found)
    return data[: place.start()] + draw.choice(_NUMBERS) + data[place.end() :]


def _word(data: bytes, others: Sequence[bytes], words: Sequence[bytes], draw: random.Random) -> bytes:
    found = list(_WORD.finditer(data[:20000]))
    if not found:
        return data
    place = draw.choice(found)
    return data[: place.start()] + draw.choice((*words, draw.choice(found).group())) + data[place.end() :]


_CHANGES = (_flip, _put, _cut, _remove, _repeat, _splice, _integer, _number, _word)
