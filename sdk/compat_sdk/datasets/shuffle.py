"""A seeded shuffle that no library version changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Returns distinct names in the order of the hash of seed and name.

    What the random generators of Python and numpy draw from a seed may change between their versions;
    this order does not, and adding a name moves no other.
    """
    return sorted(names, key=lambda name: hashlib.sha256(_bytes(f"{seed}:{name}")).digest())


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # the name of a file may be no valid Unicode
