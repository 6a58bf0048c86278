"""Names that may be meant by one that nobody knows, for errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 3
_LIKENESS = 0.5  # of difflib: 1 for equal names, 0 where no letter is shared


def nearest_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return at most three known names that look like a name, the most alike first; upper and lower case are alike.

    Args:
        name: As somebody wrote it; stars of a pattern count as nothing.
        known: The names that there are.
    """
    names = {each.casefold(): each for each in reversed(list(known))}
    found = difflib.get_close_matches(name.replace("*", "").casefold(), names, _MOST, _LIKENESS)
    return tuple(names[each] for each in found)
