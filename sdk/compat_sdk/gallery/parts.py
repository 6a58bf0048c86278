"""One gallery in several folders or machines: it answers what one folder answers.

    Gallery.open(["photos-2025.gallery", "qdrant://localhost:6333/photos-2026"])
    Gallery.open("photos.parts")

All parts are in one space, and an id is in one part alone. Each part is a gallery of its own, with its own writer,
index and upgrade. A change that concerns several parts is one step in each of them, and not one step in all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle.trust import Trust
from compat_sdk.errors import ConfigError, DataError, GalleryError
from compat_sdk.gallery.changing import WAIT_S
from compat_sdk.gallery.gallery import Gallery
from compat_sdk.gallery.given import checked
from compat_sdk.gallery.reading import Hit
from compat_sdk.gallery.remote import RemoteGallery
from compat_sdk.gallery.together import check_together, facts_of, shared_ids
from compat_sdk.gallery.where import Where
from compat_sdk.gallery.writer import check_names
from compat_sdk.index import check_k
from compat_sdk.shown import shown_names, shown_value
from compat_sdk.space import Embeddings
from compat_sdk.stores import Rows


def open_parts(
    name: str, parts: Sequence[str], *, verify: bool = True, trust: Trust | None = None, space: str | None = None
) -> PartsGallery:
    """Open every part as `Gallery.open` does, and put them together.

    Args:
        name: What to call the whole.
        parts: Paths and addresses, see `compat_sdk.gallery.part_list.parts_of`.
        verify: As of one gallery; and compare the ids of the folders with each other.
        trust: Whose signature each part must have.
        space: The space that each part must be in.

    Raises:
        CompatError: What a part's opening or `PartsGallery` raises.
    """
    opened = list[Gallery]()
    try:
        for part in parts:
            opened.append(Gallery.open(part, verify=verify, trust=trust, space=space))
        return PartsGallery(Path(name), opened, verify=verify)
    except BaseException:
        _close(opened)
        raise


class PartsGallery(Gallery):
    """Parts of one space, in the order in which they were named. Rows are added to the last one."""

    def __init__(self, path: Path, parts: Sequence[Gallery], *, verify: bool = True) -> None:
        """Put opened galleries together.

        Args:
            path: What to call the whole.
            parts: At least one.
            verify: Compare the ids of the folders among them; those of collections are compared by `verify` alone.

        Raises:
            IncompatibleSpaceError: Two parts are in different spaces.
            GalleryError: An id is in two folders.
            ConfigError: A part compares by inner products, whose scores no cosine may stand beside.
        """
        self.path = path
        self._parts = tuple(parts)
        check_together(self._parts)
        if verify and (twice := shared_ids([part for part in parts if not isinstance(part, RemoteGallery)])):
            raise GalleryError(f"{twice[0]}; remove it from one of them")

    def reload(self) -> bool:
        """Go over to the present state of every part, in one step; see `Gallery.reload`.

        Raises:
            IncompatibleSpaceError: One part was cut over to another space, and another was not yet. What was opened
                before goes on to serve.
            GalleryError: A part is damaged. What was opened before goes on to serve.
        """
        fresh = tuple(copy.copy(part) for part in self._parts)
        changed = [part.reload() for part in fresh]
        check_together(fresh)
        self._parts = fresh
        return any(changed)

    def close(self) -> None:
        """Let the connections of collections go."""
        _close(self._parts)

    @property
    def parts(self) -> tuple[Gallery, ...]:
        """The galleries that it is of, in their order."""
        return self._parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def space(self) -> str:
        """Embedding space of every part."""
        return self._parts[0].space

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self._parts[0].dim

    @property
    def model(self) -> Mapping[str, object]:
        """What is remembered about the gallery model, if all parts remember the same."""
        first = self._parts[0].model
        return first if all(part.model == first for part in self._parts) else {}

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of every row, part after part."""
        return tuple(id for part in self._parts for id in part.ids)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of every row in the order of ``ids``, empty where none was given."""
        return tuple(label for part in self._parts for label in part.labels)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """``[n, dim]`` float32 in the order of ``ids``, copied together at each call."""
        return np.concatenate([part.vectors for part in self._parts])

    def held(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that are in a part."""
        wanted = list(ids)
        return set[str]().union(*(part.held(wanted) for part in self._parts))

    def info(self) -> dict[str, object]:
        """Return what there is to know, with the keys that a folder's has; numbers are sums over the parts.

        ``index`` is that of all parts, where they have one of the same kind.
        """
        return facts_of([part.info() for part in self._parts]) | {
            "path": str(self.path),
            "labels": len(set(self.labels) - {""}),
            "model": dict(self.model),
        }

    def add(
        self,
        embeddings: Embeddings,
        ids: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        payload: Sequence[Mapping[str, object]] | None = None,
        timeout: float = WAIT_S,
    ) -> None:
        """Append vectors to the last part; see `Gallery.add`.

        Raises:
            DataError: As of one gallery, or an id is in another part. Two writers that add one id to two parts in the
                same moment are told apart by `verify` alone.
        """
        self.reload()
        names = ids if isinstance(ids, str) else list(ids)
        if known := sorted(self.held(name for name in names if isinstance(name, str))):
            raise DataError(f"{len(known)} ids are in the gallery already: {shown_names(known)}; remove them first")
        self._parts[-1].add(embeddings, names, labels, payload=payload, timeout=timeout)

    def remove(self, ids: Iterable[str], *, timeout: float = WAIT_S) -> int:
        """Delete rows by id, whichever part they are in; ids that are in none are passed over."""
        if isinstance(ids, str):
            raise DataError(f"ids is the string {ids!r}, expected a list of ids")
        wanted = set(ids)
        return sum(part.remove(wanted, timeout=timeout) for part in self._parts)

    def replace(self, embeddings: Embeddings, ids: Sequence[str], *, timeout: float = WAIT_S) -> None:
        """Put other vectors in the place of rows, whichever part they are in; one step in each part.

        Raises:
            DataError: As of one gallery; then nothing was replaced.
        """
        self.reload()
        names, _ = check_names(ids, None, len(checked(embeddings, self.dim)))
        for part, rows in self._owners(names):
            chosen = Embeddings(embeddings.vectors[rows], embeddings.space, embeddings.searches)
            part.replace(chosen, [names[row] for row in rows], timeout=timeout)

    def get(self, ids: Sequence[str]) -> Rows:
        """Return the rows of some ids, in their order, from whichever part they are in.

        Raises:
            DataError: An id is in no part.
        """
        vectors = np.empty((len(ids), self.dim), np.float32)
        labels, payload = [""] * len(ids), list[Mapping[str, object]]([{}] * len(ids))
        for part, rows in self._owners(ids):
            found = part.get([ids[row] for row in rows])
            vectors[rows] = found.vectors
            for row, label, beside in zip(rows, found.labels, found.payload, strict=True):
                labels[row], payload[row] = label, beside
        return Rows.of(list(ids), vectors, labels, payload)

    def search(
        self, query: Embeddings, k: int = 10, *, index: str = "auto", where: Where | None = None
    ) -> list[list[Hit]]:
        """Find the nearest stored images of every query in all parts, as `Gallery.search` does in one.

        Rows that are equally near come in the order of the parts.
        """
        k = check_k(k)
        found = [part.search(query, k, index=index, where=where) for part in self._parts]
        merged = ([hit for hits in lines for hit in hits] for lines in zip(*found, strict=True))
        return [sorted(hits, key=lambda hit: -hit.score)[:k] for hits in merged]

    def search_rows(
        self, query: Embeddings, k: int = 10, index: str = "auto"
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Like `search`, but return row numbers, in the order of ``ids``, and scores, both ``[q, min(k, n)]``.

        Raises:
            ConfigError: A part is a collection, whose rows have no numbers.
        """
        k, parts = check_k(k), self._parts
        found = [part.search_rows(query, k, index) for part in parts]
        firsts = np.cumsum([0, *map(len, parts[:-1])])
        rows = np.concatenate([rows + first for (rows, _), first in zip(found, firsts, strict=True)], axis=1)
        scores = np.concatenate([scores for _, scores in found], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)

    def verify(self) -> list[str]:
        """Check every part, as it checks itself, and that no id is in two of them; what is wrong, one sentence each."""
        return [f"{part.path}: {problem}" for part in self._parts for problem in part.verify()] + shared_ids(
            self._parts
        )

    def sign(self, *_: object, **__: object) -> NoReturn:
        """Refused: each part has a signature of its own."""
        raise ConfigError(f"{self.path} is a gallery of {len(self._parts)} parts, each of which is signed by itself")

    def compact(self, *, timeout: float = WAIT_S) -> None:
        """Compact every part."""
        self._each(lambda part: part.compact(timeout=timeout))

    def build_index(
        self, kind: str = "usearch", *, recall: float | None = None, timeout: float = WAIT_S, **options: int
    ) -> None:
        """Build an index of every part; see `Gallery.build_index`."""
        self._each(lambda part: part.build_index(kind, recall=recall, timeout=timeout, **options))

    def repair(self) -> list[str]:
        """Repair every part, and return what was done."""
        done = list[str]()
        self._each(lambda part: done.extend(f"{part.path}: {line}" for line in part.repair()))
        return done

    def _each(self, work: Callable[[Gallery], object]) -> None:
        """Work on the folders among the parts, or refuse where there is none: a collection keeps its own files."""
        folders = [part for part in self._parts if not isinstance(part, RemoteGallery)]
        for part in folders or self._parts[:1]:
            work(part)

    def _owners(self, ids: Sequence[str]) -> list[tuple[Gallery, list[int]]]:
        """Which part has which of the ids, by their places in the list.

        Raises:
            DataError: An id is in no part.
        """
        holding = [(part, part.held(ids)) for part in self._parts]
        missing = set(ids).difference(*(held for _, held in holding))
        if missing:
            first = next(id for id in ids if id in missing)
            raise DataError(f"{len(missing)} ids are not in the gallery, such as {shown_value(first)}")
        owners = [(part, [row for row, id in enumerate(ids) if id in held]) for part, held in holding]
        return [(part, rows) for part, rows in owners if rows]


def _close(parts: Iterable[Gallery]) -> None:
    for part in parts:
        if isinstance(part, RemoteGallery):
            part.close()
