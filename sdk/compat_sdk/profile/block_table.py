"""What the blocks of a search space take on one device, as a file that a search elsewhere reads.

    {"format": "compat-sdk-block-table", "version": 1, "device": {...}, "settings": {...}, "blocks": {...}, ...}

``compat-sdk profile FOLDER --blocks --save FILE`` writes it, ``nas cmp --milliseconds 2 --table FILE`` reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.documents import write_json_atomic
from compat_sdk.profile.table_file import read_table_file, require_place_of_table
from compat_sdk.shown import shortened, shown_value

_FORMAT, _VERSION = "compat-sdk-block-table", 1
_AGAIN = "measure again with `compat-sdk profile FOLDER --blocks --save`"


@dataclass(frozen=True)
class Checked:
    """A whole network that was measured too.

    Attributes:
        name: Architecture name.
        predicted_ms: Sum over its blocks.
        measured_ms: What it took.
    """

    name: str
    predicted_ms: float
    measured_ms: float

    @property
    def error(self) -> float:
        """Distance of the prediction from the measurement, as a fraction of the measurement."""
        return abs(self.predicted_ms - self.measured_ms) / self.measured_ms


@dataclass(frozen=True)
class BlockTable:
    """Milliseconds of every block of a search space on one device, one image at a time.

    Attributes:
        device: Facts about it, as in `compat_sdk.profile.LatencyTable`.
        engine: Name of the inference engine.
        threads: Threads that it was given.
        settings: What the blocks are of: ``space``, ``size`` in pixels, ``dim`` and ``stem_stride``.
        blocks: Milliseconds by name. A network's are the sum of its blocks', each by its weight.
        networks: Whole networks, measured beside what the blocks say of them.
    """

    device: Mapping[str, object]
    engine: str
    threads: int
    settings: Mapping[str, object]
    blocks: Mapping[str, float]
    networks: tuple[Checked, ...]

    @property
    def error(self) -> float | None:
        """Median error over whole networks, as a fraction; None where none was measured."""
        return float(np.median([network.error for network in self.networks])) if self.networks else None

    def milliseconds(self, weights: Mapping[str, float]) -> float:
        """What a network takes that has these blocks so many times; at least 0.

        Raises:
            ConfigError: The table lacks a block.
        """
        if missing := [name for name in weights if name not in self.blocks]:
            raise ConfigError(
                f"the table of blocks lacks {len(missing)} of {len(weights)} blocks, such as {shortened(missing[0])}; "
                f"make the graphs again with `compat-sdk nas blocks` and measure them"
            )
        return max(0.0, sum(weight * self.blocks[name] for name, weight in weights.items()))

    def require(self, settings: Mapping[str, object]) -> None:
        """Refuses a table of other networks.

        Raises:
            ConfigError: A setting differs.
        """
        for name, value in settings.items():
            if self.settings.get(name) != value:
                raise ConfigError(
                    f"the table of blocks is of {name} {shown_value(self.settings.get(name))}, and the search is of "
                    f"{shown_value(value)}; make graphs of the search's own with `compat-sdk nas blocks`"
                )

    def to_json(self) -> dict[str, object]:
        """The object that ``compat-sdk profile --blocks --json`` prints and ``--save`` writes."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "device": dict(self.device),
            "engine": self.engine,
            "threads": self.threads,
            "settings": dict(self.settings),
            "blocks": dict(self.blocks),
            "networks": [
                {"name": one.name, "predicted_ms": one.predicted_ms, "measured_ms": one.measured_ms}
                for one in self.networks
            ],
            "median_error": self.error,
        }


def save_block_table(table: BlockTable, path: str | os.PathLike[str]) -> None:
    """Writes a table as JSON, atomically."""
    write_json_atomic(Path(path), table.to_json())


def require_block_table_place(path: str | os.PathLike[str]) -> None:
    """Refuses to write a table over anything but such a table; call it before measuring.

    Raises:
        ConfigError: Something else is there, or the place is inside a bundle.
    """
    require_place_of_table(path, _FORMAT, "table of blocks")


def load_block_table(path: str | os.PathLike[str]) -> BlockTable:
    """Reads a table that any device wrote.

    Raises:
        CorruptFileError: The file is no such table, of a newer version, or lacks a figure.
    """
    found = read_table_file(path, _FORMAT, _VERSION, "compat-sdk profile FOLDER --blocks --save")
    device, engine, threads, settings = (found.get(name) for name in ("device", "engine", "threads", "settings"))
    blocks, networks = found.get("blocks"), found.get("networks")
    if not (
        isinstance(device, dict)
        and isinstance(engine, str)
        and type(threads) is int
        and isinstance(settings, dict)
        and isinstance(blocks, dict)
        and blocks
        and all(map(_is_time, blocks.values()))
    ):
        raise CorruptFileError(f"{path} lacks its device, its settings or a block's milliseconds; {_AGAIN}")
    if not isinstance(networks, list) or not all(map(_is_checked, networks)):
        raise CorruptFileError(f"{path} lacks the milliseconds of a whole network; {_AGAIN}")
    checked = tuple(Checked(one["name"], float(one["predicted_ms"]), float(one["measured_ms"])) for one in networks)
    return BlockTable(
        device, engine, threads, settings, {name: float(value) for name, value in blocks.items()}, checked
    )


def _is_time(value: Any) -> bool:
    """Whether it is a number of milliseconds: at least 0, and below a day, so that sums stay exact."""
    return type(value) in (int, float) and 0 <= value < 1e8


def _is_checked(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and _is_time(value.get("predicted_ms"))
        and _is_time(value.get("measured_ms"))
        and value["measured_ms"] > 0
    )
