"""Where the cases of conformance are written and read, and the one form of their files."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMMITTED = Path(__file__).parents[2] / "sdk" / "conformance"


@dataclass(frozen=True)
class Place:
    """A folder of cases that is being written."""

    root: Path

    def put(self, name: str, data: bytes) -> str:
        """Write a file, and return its name as a case has it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name

    def array(self, name: str, array: NDArray[Any]) -> str:
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        return self.put(f"arrays/{name}.npy", file.getvalue())

    def cases(self, name: str, cases: list[dict[str, Any]]) -> None:
        """Write a list of cases, whose names differ."""
        names = [case["name"] for case in cases]
        assert len(set(names)) == len(names), names
        text = json.dumps({"cases": cases}, indent=1, ensure_ascii=True, allow_nan=False)
        self.put(f"{name}.json", (text + "\n").encode("ascii"))


def cases(name: str) -> list[Any]:
    """The committed cases of one kind, as parameters of a test."""
    import pytest

    listed = json.loads((COMMITTED / f"{name}.json").read_bytes())["cases"]
    return [pytest.param(case, id=case["name"]) for case in listed]


def laid_out(folder: Path, files: Mapping[str, str]) -> Path:
    """A new folder with these files of the committed cases under the names that a case gives them."""
    folder.mkdir()
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((COMMITTED / source).read_bytes())
    return folder


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows divided by their length, to the same bits on every processor."""
    exact = rows.astype(np.float64)
    lengths = [math.sqrt(math.fsum(number * number for number in row)) for row in exact.tolist()]
    return np.ascontiguousarray(exact / np.array(lengths)[:, None], np.float32)
