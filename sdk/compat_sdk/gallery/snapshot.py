"""One state of a gallery with its files opened: what a search uses from start to end."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import (
    ConfigError,
    GalleryError,
    StateError,
    VectorError,
)
from compat_sdk.gallery import indexing
from compat_sdk.gallery.files import StoredFile, read_checked
from compat_sdk.gallery.given import checked
from compat_sdk.gallery.names import StoredNames
from compat_sdk.gallery.state import State, StoredIndex, parse_state
from compat_sdk.gallery.store import read_state
from compat_sdk.gallery.tables import StoredTable
from compat_sdk.gallery.vectors import as_unit, blocks
from compat_sdk.index import KINDS, ApproximateIndex, ExactIndex, Index, check_k
from compat_sdk.index.built_here import was_built_here
from compat_sdk.index.exact import Product
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import Embeddings, require_compatible

_PRODUCTS: dict[str, Product] = {"exact-faiss": "faiss", "exact-faiss-gpu": "faiss-gpu"}
_CHOICES = ("auto", "exact", *_PRODUCTS, *KINDS)
"""What may answer a search."""
REPAIR = "the vectors are not affected: rebuild the index (repair)"


@dataclass
class Snapshot:
    """A state, its mapped vectors as they are stored (one array per segment), and the id and label of every row.

    ``parts`` are open files in a tuple, or `StoredParts`, which are opened as needed. ``names`` are the ids and the
    labels. Where they are None they are read from ``tables`` when they are first asked for: what works through these
    line by line never holds them all. ``signed_by`` is the maker whose signature over the state was required and holds,
    ``vouched`` the SHA-256 of the index file that such a signature covers, and ``payload`` what it covers beside the
    rows.
    """

    folder: Path
    state: State
    parts: Sequence[NDArray[Any]]
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    approximate: ApproximateIndex | None = None
    signed_by: str | None = None
    vouched: str = ""
    payload: StoredFile | None = None
    held_tables: tuple[StoredTable, ...] = ()
    _told: bool = field(default=False, repr=False)
    _by_faiss: dict[Product, ExactIndex] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return sum(segment.rows for segment in self.state.segments)

    @property
    def tables(self) -> Sequence[StoredTable]:
        """The table of each segment; held, or opened when it is read."""
        return self.held_tables or [StoredTable(self.folder, segment) for segment in self.state.segments]

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of every row."""
        return self._read_names()[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of every row, empty where none was given."""
        return self._read_names()[1]

    def _read_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if self.names is None:
            ids, labels = list[str](), list[str]()
            for more_ids, more_labels in self.each_names():
                ids += more_ids
                labels += more_labels
            self.names = tuple(ids), tuple(labels)
        return self.names

    @cached_property
    def _stored_names(self) -> StoredNames:
        return StoredNames(self.tables)

    def name(self, row: int) -> tuple[str, str]:
        """Id and label of a row, without those of all others."""
        if self.names is not None:
            return self.names[0][row], self.names[1][row]
        return self._stored_names.of(row)

    def labelled(self, labels: set[str]) -> NDArray[np.bool_]:
        """Which rows have one of these labels, bool ``[rows]``."""
        if self.names is None:
            return self._stored_names.labelled(labels)
        return np.fromiter((label in labels for label in self.names[1]), bool, len(self))

    def each_names(self) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """Yield the ids and labels of all rows in their order, some at a time where they lie on the disk."""
        if self.names is not None:
            yield self.names
            return
        for table in self.tables:
            yield from table.lines()

    def rows_named(self, ids: Iterable[str]) -> dict[str, int]:
        """Row numbers of some ids, of those that are there; the names of all others are passed over, not held."""
        if self.names is not None:
            return {id: self.row_of[id] for id in ids if id in self.row_of}
        wanted, found, done = set(ids), dict[str, int](), 0
        for names, _ in self.each_names():
            found |= {id: done + row for row, id in enumerate(names) if id in wanted}
            done += len(names)
        return found

    def ids_at(self, rows: NDArray[np.int64]) -> list[str]:
        """Ids of some rows, which rise; the names of all others are passed over, not held."""
        found, done = list[str](), 0
        for names, _ in self.each_names():
            first, last = np.searchsorted(rows, (done, done + len(names)))
            found += [names[row - done] for row in rows[first:last].tolist()]
            done += len(names)
        return found

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row number by id."""
        return {id: row for row, id in enumerate(self.ids)}

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """``[n, dim]`` unit float32, read-only: the mapped file, or a copy of all segments together."""
        if len(self.parts) == 1 and self.state.dtype == "float32":
            return self.parts[0]
        empty = np.empty((0, self.state.dim), np.float32)
        vectors: NDArray[np.float32] = np.concatenate([empty, *map(as_unit, blocks(self.parts))])
        vectors.flags.writeable = False
        return vectors

    @cached_property
    def exact(self) -> ExactIndex:
        """The exact index over the mapped segments, without a copy if they are float32."""
        try:
            return ExactIndex([as_unit(part) for part in self.parts] or np.empty((0, self.state.dim), np.float32))
        except VectorError as error:
            raise GalleryError(
                f"gallery {self.folder} holds vectors that no index may see: {shortened(str(error), 160)}; "
                f"build it again"
            ) from error

    def search(
        self, query: Embeddings, k: int, index: str, among: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Row numbers and cosines of the best ``k`` rows, as `compat_sdk.gallery.Gallery.search_rows` returns them.

        With ``among``, bool ``[rows]``, those of the rows that may be found.
        """
        if isinstance(query, Embeddings):
            require_compatible(query, self.state.space)
        vectors = checked(query, self.state.dim)
        k = check_k(k)
        return self._choose(index).search(vectors, k, among=among)

    def _choose(self, index: str) -> Index:
        if index not in _CHOICES:
            raise ConfigError(f"index is {shown_value(index)}, expected one of {', '.join(_CHOICES)}")
        if index in _PRODUCTS:
            return self._exact_by(_PRODUCTS[index])
        if index == "exact" or (index == "auto" and not self.state.index_is_fresh):
            return self.exact
        if self.state.index is None or not self.state.index_is_fresh:
            found = "none" if self.state.index is None else "one that rows were added to or removed from since"
            raise StateError(f"found {found}, expected a fresh {index} index; run build_index, or use 'auto'")
        if index not in ("auto", self.state.index.kind):
            raise StateError(
                f"found an index of kind {shown_value(self.state.index.kind)}, expected a fresh {index} index; run "
                f"build_index, or use 'auto'"
            )
        if self.approximate is None:
            if self.index_is_foreign:
                self._say_foreign("the exact scan answers" if index == "auto" else "one is built in memory")
                if index == "auto":
                    return self.exact
                self.approximate, _ = indexing.build_again(self.state.index, self.vectors)
            else:
                try:
                    self.approximate = self.open_index(self.state.index)
                except GalleryError:
                    if not self._superseded(self.state.index):
                        raise
                    if index == "auto":
                        return self.exact
                    raise StateError(
                        f"the index of {self.folder} was replaced after the gallery was opened and before it was read; "
                        f"reload the gallery, or use 'auto'"
                    ) from None
        return self.approximate

    def _exact_by(self, product: Product) -> ExactIndex:
        """The exact index by faiss, made when it is first asked for."""
        if product not in self._by_faiss:
            self._by_faiss[product] = ExactIndex(self.exact.arrays, product=product)
        return self._by_faiss[product]

    def is_of(self, data: bytes) -> bool:
        """Whether this is the content of gallery.json that the snapshot was opened from."""
        return parse_state(self.folder, data).identity == self.state.identity

    @property
    def index_is_foreign(self) -> bool:
        """Whether there is an index that no native code may read: not built here, and not signed by a known maker."""
        index = self.state.index
        if index is None or (self.approximate is not None and self.state.index_is_fresh):
            return False
        return index.file.sha256 != self.vouched and not was_built_here(index.file.sha256)

    def _say_foreign(self, instead: str) -> None:
        """Say, once, that a search does without the stored index."""
        if not self._told:
            self._told = True
            warnings.warn(
                f"the index of gallery {self.folder} was not built here and no trusted maker signed it, so it is not "
                f"read and {instead}; `compat-sdk index repair {self.folder}` builds it again for good",
                stacklevel=2,
            )

    def _superseded(self, record: StoredIndex) -> bool:
        """Whether a later writer replaced the index file of this snapshot before it was read."""
        missing = not (self.folder / record.file.name).exists()
        return missing and read_state(self.folder).identity != self.state.identity

    def open_index(self, record: StoredIndex) -> ApproximateIndex:
        """Open the stored index, whose digest is compared first.

        Raises:
            GalleryError: It is damaged, over other vectors, or of a kind that this release does not read.
            ForeignIndexError: It was not built here and nobody vouches for it.
            MissingExtraError: Its library is not installed.
        """
        if record.kind not in KINDS:
            raise GalleryError(
                f"found an index of kind {shown_value(record.kind)}, this release reads {', '.join(KINDS)}; {REPAIR}"
            )
        content = read_checked(self.folder, record.file, REPAIR)
        vouched = record.file.sha256 == self.vouched
        return indexing.load(record, content, len(self), self.state.dim, lambda: self.exact, vouched=vouched)
