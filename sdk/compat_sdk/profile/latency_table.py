"""What one device measured, as a file that another machine can use: models, their operations, their latency.

    {"format": "compat-sdk-latency-table", "version": 1, "device": {...}, "profiles": [...]}

Profiles are those of ``compat-sdk profile --json``. A phone or an edge box writes the file by
``--save``, another machine reads it by ``compat-sdk profile --compare`` (`compat_sdk.profile.comparison`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.documents import write_json_atomic
from compat_sdk.metrics import rank_correlation
from compat_sdk.profile.profile import Profile
from compat_sdk.profile.table_file import read_table_file, require_place_of_table
from compat_sdk.workers import usable_cores

_FORMAT, _VERSION = "compat-sdk-latency-table", 1
_TEXTS = ("name", "engine", "precision")
_NUMBERS = ("mmacs", "mmacs_paper", "params_m")


@dataclass(frozen=True)
class LatencyTable:
    """Profiles of several models on one device.

    Attributes:
        device: Facts about it: ``system``, ``machine``, ``processor``, ``cores``, ``python``.
        profiles: As `Profile.to_json` gives them.
    """

    device: Mapping[str, object]
    profiles: tuple[Mapping[str, Any], ...]

    @property
    def correlation(self) -> float | None:
        """Spearman's rank correlation of MMACs and median latency, in [-1, 1].

        None for fewer than three models, or where all of either are equal. Where it is well below 1, multiply-adds
        are a poor stand-in for time on this device.
        """
        return rank_correlation(
            [profile["mmacs"] for profile in self.profiles],
            [profile["latency_ms"]["p50"] for profile in self.profiles],
        )


def table_of(profiles: Sequence[Profile]) -> LatencyTable:
    """The table of what was measured on this machine."""
    return LatencyTable(device_facts(), tuple(profile.to_json() for profile in profiles))


def device_facts() -> dict[str, object]:
    """What a table says of this machine: ``system``, ``machine``, ``processor``, ``cores``, ``python``."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": platform.processor() or _processor(),
        "cores": usable_cores(),
        "python": platform.python_version(),
    }


def save_table(table: LatencyTable, path: str | os.PathLike[str]) -> None:
    """Write a table as JSON, atomically."""
    value = {"format": _FORMAT, "version": _VERSION, "device": dict(table.device), "profiles": list(table.profiles)}
    write_json_atomic(Path(path), value)


def require_table_place(path: str | os.PathLike[str]) -> None:
    """Refuse to write a table over anything but a table; call it before measuring.

    Raises:
        ConfigError: Something else is there, or the place is inside a bundle.
    """
    require_place_of_table(path, _FORMAT, "latency table")


def load_table(path: str | os.PathLike[str]) -> LatencyTable:
    """Read a table that any device wrote.

    Raises:
        CorruptFileError: The file is no such table, of a newer version, or lacks a figure.
    """
    found = read_table_file(path, _FORMAT, _VERSION, "compat-sdk profile --save")
    device, profiles = found.get("device"), found.get("profiles")
    if not isinstance(device, dict) or not isinstance(profiles, list) or not all(map(_is_profile, profiles)):
        raise CorruptFileError(
            f"{path} lacks a device, or a profile in it lacks its name, size, engine, precision, costs or "
            f"latency; measure again with `compat-sdk profile --save`"
        )
    return LatencyTable(device, tuple(profiles))


def _is_profile(value: object) -> bool:
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in _TEXTS):
        return False
    if type(value.get("size")) is not int:
        return False
    latency = value.get("latency_ms")
    numbers: list[Any] = [value.get(name) for name in _NUMBERS]
    numbers += [latency.get("p50"), latency.get("p95")] if isinstance(latency, dict) else [None]
    return all(type(number) in (int, float) and 0 <= number < float("inf") for number in numbers)


def _processor() -> str:
    """The processor's name where Linux tells it, else nothing."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return ""
