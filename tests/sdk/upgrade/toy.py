"""A small transform that worker processes can open, and galleries for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings, TransformSpaces

OLD, SIDE, NEW = "old-16-0123456789ab", "side-8-0123456789ab", "new-24-0123456789ab"


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32))


@dataclass(frozen=True)
class ToyTransform:
    """Elementwise, so that its result does not depend on the block a row comes in.

    ``spoilt`` is the first number of an old vector that it gives NaN for; ``log`` a file that gets a byte per row.
    """

    side_space: str | None
    spoilt: float | None
    log: str | None
    scale: float

    @property
    def spaces(self) -> TransformSpaces:
        return TransformSpaces(OLD, 16, self.side_space, None if self.side_space is None else 8, NEW, 24)

    def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        found = np.concatenate([old, old[:, :8] if side is None else side], axis=1)
        found = found * np.linspace(0.5, 1.5, 24, dtype=np.float32)
        found /= np.sqrt((found * found).sum(axis=1, keepdims=True))
        if self.spoilt is not None:
            found[old[:, 0] == np.float32(self.spoilt)] = np.nan
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write("x" * len(old))
        return found * np.float32(self.scale)


@dataclass(frozen=True)
class Toy:
    """Opens a ToyTransform."""

    side_space: str | None = SIDE
    spoilt: float | None = None
    log: str | None = None
    scale: float = 1.0
    version: str = "1"

    @property
    def name(self) -> str:
        return "toy"

    @property
    def identity(self) -> Mapping[str, str]:
        return {"version": self.version}

    def __call__(self) -> ToyTransform:
        return ToyTransform(self.side_space, self.spoilt, self.log, self.scale)


def names(n: int, prefix: str = "image") -> list[str]:
    return [f"{prefix}-{i}" for i in range(n)]


def make(folder: Path, sizes: Sequence[int] = (40, 25), seed: int = 0) -> tuple[Path, Path]:
    """Make a gallery of several segments, and its side-information in another order; return their folders."""
    gallery = Gallery.create(folder / "gallery", space=OLD, dim=16, model={"name": "old-model"})
    n = sum(sizes)
    ids, labels, first = names(n), [f"class-{i % 5}" for i in range(n)], 0
    old = vectors(n, 16, seed)
    for size in sizes:
        rows = slice(first, first + size)
        gallery.add(Embeddings(old[rows], OLD), ids[rows], labels[rows])
        first += size
    order = np.random.default_rng(seed + 1).permutation(n)
    side = Gallery.create(folder / "side", space=SIDE, dim=8)
    side.add(Embeddings(np.ascontiguousarray(vectors(n, 8, seed + 2)[order]), SIDE), [ids[row] for row in order])
    return gallery.path, side.path


def add(gallery: Path, side: Path | None, ids: Sequence[str], seed: int = 99, label: str = "late") -> None:
    """Add rows, in the gallery's present space, and their side-information."""
    opened = Gallery.open(gallery)
    new = Embeddings(vectors(len(ids), opened.dim, seed), opened.space)
    opened.add(new, ids, [label] * len(ids))
    if side is not None:
        Gallery.open(side).add(Embeddings(vectors(len(ids), 8, seed + 1), SIDE), ids)


def expected(gallery: Path, side: Path | None) -> dict[str, NDArray[np.float32]]:
    """The transformed vector of every id, in order, computed without the code under test."""
    old = Gallery.open(gallery)
    other = None if side is None else Gallery.open(side)
    transform = Toy(SIDE if side else None)()
    rows = {}
    for id, vector in zip(old.ids, old.vectors, strict=True):
        pair = None if other is None else other.vectors[other.ids.index(id)][None]
        rows[id] = unit(transform.apply(vector[None], pair))[0]
    return rows


def contents(gallery: Path) -> tuple[str, tuple[str, ...], tuple[str, ...], bytes]:
    """Space, ids, labels and vectors of a gallery whose every digest holds."""
    opened = Gallery.open(gallery)
    return opened.space, opened.ids, opened.labels, np.ascontiguousarray(opened.vectors).tobytes()


def close(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    """The same rows, but for the last bits of how a length was summed up."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
