"""One spelling of a name: é may be one character or an e and an accent, and systems differ in which they write.

macOS unpacks archives with accents apart (NFD), other systems with composed letters (NFC). Both look the same, and
people mean the same by them. Names are kept as they were given, and compared in one form.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), also one that is no valid Unicode."""
    return unicodedata.normalize("NFC", name)


def known_spellings(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return names, each as something known spells it; unchanged where nothing does.

    Args:
        names: As somebody gave them. A spelling that stands here itself is never given to another.
        known: As they are kept.
    """
    given, kept = list(names), set(known)
    taken = set(given)
    spelled = {composed(name): name for name in sorted(kept) if name not in taken}
    return tuple(name if name in kept else spelled.get(composed(name), name) for name in given)
