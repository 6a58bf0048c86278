"""The day until which something may be used, in one form and by this machine's clock."""

from __future__ import annotations

from datetime import UTC, date, datetime

from compat_sdk.errors import CorruptFileError


def is_day(value: object) -> bool:
    """Return whether this is a day of the calendar in the one form ``YYYY-MM-DD``."""
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def require_day(expires: str | None, name: str, path: object, error: type[CorruptFileError]) -> None:
    """Refuse what is used after its last day, by this machine's clock in UTC.

    Args:
        expires: The day, ``YYYY-MM-DD``; None for no such day.
        name: Of the bundle or gallery, whose newer release is to be got.
        path: Where it is.
        error: What to raise.
    """
    if expires is not None and _today() > date.fromisoformat(expires):
        raise error(
            f"{path} was meant to be used until {expires}, and by this machine's clock it is {_today()}; get a newer "
            f"release of {name} from its maker, or set the clock"
        )


def _today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()
