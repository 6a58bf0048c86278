"""The day until which something may be used, in one form and by this machine's clock."""

from __future__ import annotations

from datetime import date


def is_day(value: object) -> bool:
    """Return whether this is a day of the calendar in the one form ``YYYY-MM-DD``."""
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
