"""Vectors of the same things by two models, matched by their ids: all that a transform has to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.exchange.table import Table, read_table
from compat_sdk.shown import shown_value
from compat_sdk.space import TransformSpaces, check_space
from compat_sdk.unit import unit_rows
from compat_train.data.batches import step_generator
from compat_train.data.origin import Origin
from compat_train.runs.run_files import RECORD

_LEAST_PAIRS = 50
_MOST_HELD_OUT = 6000
_LABELS_WORTH_HOLDING_OUT = 20
_PART = 6


@dataclass(frozen=True, eq=False)
class Pairs:
    """What two models, and a side-information encoder, wrote for the same things.

    Attributes:
        ids: One text per row, sorted.
        old: float32 ``[n, dim]``, unit norm, as are the others.
        new: float32 ``[n, dim]``.
        side: float32 ``[n, dim]``; None without side-information.
        labels: One text per row, of the new vectors or else of the old ones; empty where there is none.
        spaces: From where to where.
        unmatched: Ids that not all of the tables have.
    """

    ids: tuple[str, ...]
    old: NDArray[np.float32]
    new: NDArray[np.float32]
    side: NDArray[np.float32] | None
    labels: tuple[str, ...]
    spaces: TransformSpaces
    unmatched: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def inputs(self) -> NDArray[np.float32]:
        """float32 ``[n, old_dim + side_dim]``: all that a transform sees of a row."""
        return self.old if self.side is None else np.concatenate([self.old, self.side], axis=1)

    @property
    def origin(self) -> Origin:
        """What tells these pairs from others."""
        content = np.concatenate([self.inputs, self.new], axis=1)
        return Origin(content.view(np.uint8), self.labels, self.ids)

    def parts(self, held_out: float, seed: int) -> Parts:
        """Divide the rows, see `divide`.

        Args:
            held_out: Part of the rows that is not learnt from, in (0, 1); at most 6,000 rows.
            seed: Of the choice.
        """
        return divide(self.labels, held_out, seed)


@dataclass(frozen=True, eq=False)
class Parts:
    """Row numbers, int64 and rising, that share none.

    Attributes:
        learn: What is learnt from.
        stop: What tells when to stop.
        judge: What tells how good it is.
    """

    learn: NDArray[np.int64]
    stop: NDArray[np.int64]
    judge: NDArray[np.int64]


def divide(labels: Sequence[str], held_out: float, seed: int) -> Parts:
    """Divide rows: those that are learnt from, those that end the training, and those that judge the result.

    Labels stay together where there are 20 or more: what is held out is then of things that were never seen.

    Args:
        labels: Of each row.
        held_out: Part of the rows for the last two together, in (0, 1]; at most 6,000 rows.
        seed: Of the choice.
    """
    count = min(round(held_out * len(labels)), _MOST_HELD_OUT)
    groups = np.arange(len(labels))
    if len(set(labels)) >= _LABELS_WORTH_HOLDING_OUT:
        groups = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)[1]
    generator = np.random.default_rng(step_generator(seed, _PART, 0).initial_seed())
    place = generator.permutation(int(groups.max()) + 1)[groups]
    order = np.argsort(place, kind="stable")  # whole groups, in an order that the seed draws
    first, second = (
        int(np.searchsorted(place[order], place[order][at])) if at < len(order) else at for at in (count // 2, count)
    )
    judge, stop, learn = np.split(order, [first, second])
    return Parts(np.sort(learn), np.sort(stop), np.sort(judge))


def read_pairs(
    old: str, new: str, side: str | None = None, *, spaces: tuple[str | None, str | None, str | None] = (None,) * 3
) -> Pairs:
    """Read stored vectors and match them by their ids.

    Args:
        old: File of vectors, gallery folder or collection, see `compat_sdk.exchange.place`.
        new: The same, of the new model.
        side: The same, of the side-information.
        spaces: What they do not name themselves: the spaces of the three.

    Raises:
        ConfigError: One is of no kind that is read, or is a model; or names no space, or another than is told.
        CorruptFileError: One is damaged.
        DataError: Fewer than 50 ids match, or an id occurs twice.
        VectorError: Rows are not finite, or of no length.
        MissingExtraError: What reads it is not installed.
    """
    tables = {"old": _table("old", old, spaces[0]), "new": _table("new", new, spaces[1])}
    if side is not None:
        tables["side"] = _table("side", side, spaces[2])
    if tables["old"].space == tables["new"].space:
        raise ConfigError(
            f"old and new are of one space, {tables['old'].space}, so that there is nothing to transform; "
            f"pass the vectors of another model as new"
        )
    every = [set(table.ids) for table in tables.values()]
    shared = sorted(set.intersection(*every))
    if len(shared) < _LEAST_PAIRS:
        first = ", ".join(f"{name} {shown_value(next(iter(table.ids), ''))}" for name, table in tables.items())
        raise DataError(
            f"{len(shared)} ids stand in all of {', '.join(tables)}, expected at least {_LEAST_PAIRS}; the first ids: "
            f"{first}"
        )
    rows = {name: _rows(name, table, shared) for name, table in tables.items()}
    labels = next((_labels(tables[name], shared) for name in ("new", "old") if any(tables[name].labels)), None)
    of_side = tables.get("side")
    return Pairs(
        ids=tuple(shared),
        old=rows["old"],
        new=rows["new"],
        side=rows.get("side"),
        labels=labels or ("",) * len(shared),
        spaces=TransformSpaces(
            space=str(tables["new"].space),
            dim=rows["new"].shape[1],
            old_space=str(tables["old"].space),
            old_dim=rows["old"].shape[1],
            side_space=None if of_side is None else of_side.space,
            side_dim=None if of_side is None else rows["side"].shape[1],
        ),
        unmatched=len(set.union(*every)) - len(shared),
    )


def _table(name: str, place: str, told: str | None) -> Table:
    if (Path(place) / RECORD).is_file() or (Path(place) / "manifest.json").is_file():
        raise ConfigError(
            f"{name} is the model {place}, and no images are given that it could embed; pass --data, or the vectors "
            f"that it wrote"
        )
    table = read_table(place)
    if told is not None and table.space not in (None, told):
        raise ConfigError(f"{name}_space is {told}, but {place} names {table.space}; leave it out")
    space = table.space or told
    if space is None:
        raise ConfigError(
            f"{place} names no space; give the name of the model that wrote it as {name}_space "
            f"(--{name.replace('_', '-')}-space)"
        )
    return Table(table.ids, table.vectors, table.labels, check_space(space))


def _rows(name: str, table: Table, ids: list[str]) -> NDArray[np.float32]:
    row_of = {id: row for row, id in enumerate(table.ids)}
    chosen = table.vectors[[row_of[id] for id in ids]]
    return unit_rows(chosen, f"vectors of {name} have no direction", "leave them out, or embed them again")


def _labels(table: Table, ids: list[str]) -> tuple[str, ...]:
    label_of = dict(zip(table.ids, table.labels, strict=True))
    return tuple(label_of[id] for id in ids)
