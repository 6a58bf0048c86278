"""The points of a collection in the order of their ids: whole numbers first, then UUIDs, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

PointId = int | str
Page = Callable[[PointId | None], tuple[list[Any], PointId | None]]
"""Gives the records from a point on, or from the first, and the point after them."""


def pages(page: Page, first: PointId | None, end: PointId | None) -> Iterator[list[Any]]:
    """Yield the records of each page, none of them empty.

    Args:
        page: Asks the store.
        first: The point to begin with, or where it would be; None for the beginning.
        end: The point before which to end, whether or not it is there; None for the end.
    """
    following = first
    while True:
        records, following = page(following)
        before = [record for record in records if end is None or _order(record.id) < _order(end)]
        if before:
            yield before
        if following is None or len(before) < len(records):
            return


def page_starts(page: Page) -> Iterator[PointId]:
    """Yield the first point of every page but the first page."""
    following: PointId | None = None
    while True:
        _, following = page(following)
        if following is None:
            return
        yield following


def _order(id: PointId) -> tuple[str, int]:
    return (id.lower(), 0) if isinstance(id, str) else ("", id)
