"""Text from files and commands as it may be shown: no control code reaches a terminal, no line is split by a name."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Control codes, line and paragraph separators, what turns the direction of text, and halves of surrogate pairs.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)

# What stands before the host of an address of ours, and after its question mark but for the name of vectors.
_KEYS = re.compile(r"\b(qdrants?:/{1,2})[^\s\"']*@")
_QUERY = re.compile(r"\b(qdrant(?:s?:/|\+path:)[^\s\"'?]*\?)(?!vector=[^\s\"'&]*(?:[\s\"',;:)]|$))[^\s\"']*")


def without_keys(text: str) -> str:
    """Return ``text`` with every key in an address such as ``qdrant://KEY@host/photos`` as ``***``.

    Args:
        text: Any text, with any number of addresses in it.
    """
    return _QUERY.sub(r"\1***", _KEYS.sub(r"\1***@", text))


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` with every character that acts on a terminal as ``\n``, ``\x1b`` or ``\u202e`` would write it.

    Escaping twice changes nothing more.

    Args:
        text: Any text, also one that is no valid Unicode.
        keep: Characters to leave alone, such as the line breaks of a table.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def escaped_json(text: str) -> str:
    r"""Return a JSON document with such characters as ``\uXXXX``: the same document, safe to print.

    Args:
        text: Output of `json.dumps`, whose line breaks stay.
    """
    return _UNSAFE.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def as_unicode(text: str) -> str:
    r"""Return ``text`` as a record may hold it: bytes of a name that are no UTF-8 as ``\udceb``, the rest as it is.

    Args:
        text: Any text, such as the name of a file that was made on another system.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shortened(text: str, most: int = 80) -> str:
    """Return ``text`` on one line and of at most ``most`` characters, its middle left out where it is longer.

    Args:
        text: Any text.
        most: At least 8.
    """
    line = escaped(text)
    if len(line) <= most:
        return line
    tail = (most - 3) // 3
    return f"{line[: most - 3 - tail]}...{line[-tail:]}"


def shown_names(names: Sequence[str], count: int | None = None) -> str:
    """Return how an error names some of many: the first ten, shortened, and dots where there are more.

    Args:
        names: Ids of rows, or what else there is; all of them or the first.
        count: How many there are in all, where these are the first.
    """
    some = names[:10]
    more = (len(names) if count is None else count) > len(some)
    return shortened(", ".join(some)) + (", ..." if more else "")


def shown_value(value: object) -> str:
    """Return how an error shows a value that it found: its `repr`, shortened."""
    return shortened(repr(value))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
