"""The fixed boundaries of the shards: consecutive rows of one source each, numbered over all sources."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import overload


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` of one source, transformed together; ``first`` is its first row of all sources."""

    number: int
    source: int
    start: int
    stop: int
    first: int

    @property
    def rows(self) -> int:
        """Number of rows in the shard."""
        return self.stop - self.start


class Shards(Sequence[Shard]):
    """The shards of sources one after the other, each made when it is asked for.

    A manifest of a few hundred bytes may tell of a million: whoever reads it waits for none of them.
    """

    def __init__(self, rows: Sequence[int], shard_rows: int) -> None:
        """Take the rows of each source, and the rows of a shard."""
        self._rows, self._shard_rows = rows, shard_rows
        self._numbers = [0, *accumulate(-(-count // shard_rows) for count in rows)]  # first shard of each source
        self._firsts = [0, *accumulate(rows)]

    def __len__(self) -> int:
        return self._numbers[-1]

    @overload
    def __getitem__(self, index: int) -> Shard: ...
    @overload
    def __getitem__(self, index: slice) -> list[Shard]: ...
    def __getitem__(self, index: int | slice) -> Shard | list[Shard]:
        """Return one shard by its number, or those of a slice."""
        numbers = range(len(self))[index]  # an IndexError beyond the last
        return self._shard(numbers) if isinstance(numbers, int) else [self._shard(number) for number in numbers]

    def _shard(self, number: int) -> Shard:
        source = bisect_right(self._numbers, number) - 1  # the last that begins here: sources may have no rows
        start = (number - self._numbers[source]) * self._shard_rows
        stop = min(start + self._shard_rows, self._rows[source])
        return Shard(number, source, start, stop, self._firsts[source] + start)
