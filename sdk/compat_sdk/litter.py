"""Files that desktops put into any folder that is looked at: they are nobody's content, and ignored everywhere."""

from __future__ import annotations

_NAMES = frozenset((".ds_store", ".localized", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory"))


def is_litter(name: str) -> bool:
    """Whether a file of this name is a desktop's own: Finder's, with its ``._NAME`` doubles, Explorer's or Dolphin's.

    No file that this package writes has such a name.
    """
    return name.lower() in _NAMES or name.startswith("._")
