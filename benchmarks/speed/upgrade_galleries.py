"""Galleries of random rows, and a transform of them that costs next to nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.gallery import Gallery
from compat_sdk.gallery.segments import write_segment
from compat_sdk.gallery.store import read_state, write_state
from compat_sdk.space import TransformSpaces

DIM = 128
CHUNK = 1 << 16
OLD, SIDE, NEW = "old-128-benchmark", "side-128-benchmark", "new-128-benchmark"
SPACES = TransformSpaces(OLD, DIM, SIDE, DIM, NEW, DIM)


@dataclass(frozen=True)
class Cheap:
    """A transform of one small product, and its own opener."""

    spaces: TransformSpaces = SPACES
    name: str = "cheap"
    peaks: str | None = None  # folder where every process tells its peak memory

    @property
    def identity(self) -> Mapping[str, str]:
        """One transform, one identity."""
        return {"name": self.name}

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """``[dim, dim]``."""
        return np.random.default_rng(0).standard_normal((DIM, DIM), dtype=np.float32)

    def __call__(self) -> Cheap:
        """Open it."""
        return self

    def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return unit rows."""
        assert side is not None
        if self.peaks is not None:
            Path(self.peaks, str(os.getpid())).write_text(str(peak_mib()))
        return unit(((old + side) @ self.weights).astype(np.float32, copy=False))


def peak_mib() -> float:
    """Return this process's peak resident memory; not that of the process that started it, as getrusage may."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale every row to length 1, in place."""
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def random_rows(rows: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Return ``[rows, dim]`` random unit rows."""
    return unit(np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32))


def make_gallery(path: Path, space: str, dim: int, rows: int, seed: int) -> None:
    """Store random rows, the same ones again after CHUNK; as one segment, written without ever holding them all."""
    gallery = Gallery.create(path, space=space, dim=dim)
    chunk = random_rows(min(CHUNK, rows), dim, seed)
    starts = range(0, rows, CHUNK)
    blocks = (chunk[: rows - start] for start in starts)
    ids = (list(map(str, range(start, min(start + CHUNK, rows)))) for start in starts)
    segment = write_segment(gallery.path, 1, blocks, (rows, dim), ((names, [""] * len(names)) for names in ids))
    before = read_state(gallery.path)
    write_state(gallery.path, replace(before, generation=1, content=1, segments=(segment,)), before)
