"""One state of a gallery with its files opened: what a search uses from start to end."""

from __future__ import annotations

import errno
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle.trust import Trust
from compat_sdk.errors import (
    ConfigError,
    GalleryError,
    IncompatibleSpaceError,
    MissingExtraError,
    StateError,
    SystemRefusedError,
    VectorError,
)
from compat_sdk.gallery import indexing
from compat_sdk.gallery.files import RESTORE, Segment, StoredParts, as_unit, problem_with, read_checked, read_names
from compat_sdk.gallery.release import RELEASE_FILE, Release, read_release
from compat_sdk.gallery.store import (
    SIGNATURE,
    STATE_FILE,
    State,
    StoredIndex,
    parse_state,
    read_signature,
    read_state,
    read_state_bytes,
)
from compat_sdk.index import KINDS, ApproximateIndex, ExactIndex, Index, check_k, check_vectors
from compat_sdk.index.built_here import was_built_here
from compat_sdk.index.equal_rows import EqualRows
from compat_sdk.index.exact import Product
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import Embeddings, require_compatible
from compat_sdk.spread import spread

_PRODUCTS: dict[str, Product] = {"exact-faiss": "faiss", "exact-faiss-gpu": "faiss-gpu"}
_CHOICES = ("auto", "exact", *_PRODUCTS, *KINDS)
"""What may answer a search."""
_REPAIR = "the vectors are not affected: rebuild the index (repair)"
_ROWS_PER_BLOCK = 65536
_SAMPLED_ROWS, _SAMPLED_K, _LOWEST_RECALL = 256, 10, 0.9


@dataclass
class Snapshot:
    """A state, its mapped vectors as they are stored (one array per segment), and the id and label of every row.

    ``parts`` are open files in a tuple, or `StoredParts`, which are opened as needed. ``names`` are the ids and the
    labels. Where they are None they are read when they are first asked for: what works through tables line by line
    never holds them all. ``signed_by`` is the maker whose signature over the state was required and holds, and
    ``vouched`` the SHA-256 of the index file that such a signature covers.
    """

    folder: Path
    state: State
    parts: Sequence[NDArray[Any]]
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    approximate: ApproximateIndex | None = None
    signed_by: str | None = None
    vouched: str = ""
    _told: bool = field(default=False, repr=False)
    _by_faiss: dict[Product, ExactIndex] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return sum(segment.rows for segment in self.state.segments)

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
            for segment in self.state.segments:
                for more_ids, more_labels in read_names(self.folder, segment):
                    ids += more_ids
                    labels += more_labels
            self.names = tuple(ids), tuple(labels)
        return self.names

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

    def search(self, query: Embeddings, k: int, index: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Row numbers and cosines of the best ``k`` rows, as `compat_sdk.gallery.Gallery.search_rows` returns them."""
        if isinstance(query, Embeddings):
            require_compatible(query, self.state.space)
        vectors = checked(query, self.state.dim)
        k = check_k(k)
        return self._choose(index).search(vectors, k)

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
            if index == "auto" and self._superseded(self.state.index):
                return self.exact
            if self.index_is_foreign:
                self._say_foreign("the exact scan answers" if index == "auto" else "one is built in memory")
                if index == "auto":
                    return self.exact
                self.approximate, _ = indexing.build_again(self.state.index, self.vectors)
            else:
                self.approximate = self._load_index(self.state.index)
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

    def _load_index(self, record: StoredIndex) -> ApproximateIndex:
        if record.kind not in KINDS:
            raise GalleryError(
                f"found an index of kind {shown_value(record.kind)}, this release reads {', '.join(KINDS)}; {_REPAIR}"
            )
        content = read_checked(self.folder, record.file, _REPAIR)
        vouched = record.file.sha256 == self.vouched
        return indexing.load(record, content, len(self), self.state.dim, lambda: self.exact, vouched=vouched)

    def index_problems(self) -> list[str]:
        """Say what is wrong with a fresh index: its digest, its content, or its answers to stored rows.

        Of one that no native code may read, its digest alone.
        """
        if self.state.index is None or not self.state.index_is_fresh:
            return []
        if self.index_is_foreign:
            problem = problem_with(self.folder, self.state.index.file)
            return [f"{problem}; {_REPAIR}"] if problem else []
        try:
            index = self._load_index(self.state.index)
        except (GalleryError, ConfigError) as error:
            return [str(error)]
        except MissingExtraError as error:
            return [f"the {self.state.index.kind} index could not be checked: {error}"]
        if not len(self):
            return []
        queries = _near_distinct(self.vectors[spread(len(self), _SAMPLED_ROWS)])
        worst = self.exact.search(queries, _SAMPLED_K)[1][:, -1:]
        recall = float(np.mean(index.search(queries, _SAMPLED_K)[1] >= worst - 1e-5))
        if recall < _LOWEST_RECALL:
            return [f"the {self.state.index.kind} index finds {recall:.0%} of the nearest rows of a sample; {_REPAIR}"]
        return []

    def problems(self) -> list[str]:
        """Say everything that is wrong with the stored files, one sentence each."""
        index = self.state.index
        files = [file for file in self.state.files if index is None or file != index.file]
        found = [problem for file in files if (problem := problem_with(self.folder, file))]
        repeated = [id for id, times in Counter(self.ids).items() if times > 1]
        if repeated:
            found.append(f"{len(repeated)} ids occur more than once: {', '.join(repeated[:10])}")
        if found:
            return found
        try:
            _ = self.exact
        except GalleryError as error:
            return [str(error)]
        return self.index_problems()


def load_snapshot(
    folder: Path,
    verify: bool,
    *,
    names: bool = True,
    held: bool = True,
    trust: Trust | None = None,
    known: Snapshot | None = None,
) -> Snapshot:
    """Open every file of the present state; start over if a writer replaces it meanwhile.

    Args:
        folder: The gallery's folder.
        verify: Compare the digests of the vector files as well.
        names: Read the ids and labels now, rather than compare their digests now and read them when they are asked for.
        held: Open every vector file and keep it open, whatever a writer deletes; False for whoever keeps writers away.
        trust: Whose signature the state must have; None for no matter whose.
        known: An earlier state of the same gallery, opened with the same ``verify``: its files are not compared again.

    Raises:
        GalleryError: No gallery, a damaged one, or one that is not signed as is asked for.
        MissingExtraError: A signature is asked for and model-signing is not installed.
        SystemRefusedError: The system refused to open a file, such as one more than a process may hold.
    """
    while True:
        data = read_state_bytes(folder)
        try:
            check = None if trust is None else _require_signer(folder, data, trust)
            state = parse_state(folder, data)
            signed_by = None if check is None else check(state.space)
            snapshot = _open(folder, state, verify, names, held, () if known is None else known.state.segments)
        except GalleryError:
            if read_state_bytes(folder) == data:
                raise
            continue
        if signed_by is not None:
            snapshot.signed_by = signed_by
            snapshot.vouched = "" if state.index is None else state.index.file.sha256
        return snapshot


def _require_signer(folder: Path, state: bytes, trust: Trust) -> Callable[[str], str]:
    """Check who signed the state and the release, before either is parsed; what comes back takes the space."""
    signature, release = read_signature(folder), read_release(folder)
    if signature is None:
        raise GalleryError(
            f"{folder} is not signed: it has no {SIGNATURE}; sign it with `compat-sdk index sign`, or open it without "
            f"a public key and without a trust file"
        )
    if release is None:
        raise GalleryError(
            f"the signature of {folder} covers no {RELEASE_FILE}, so that any older version could take its place; sign "
            f"it again with `compat-sdk index sign`"
        )
    check = trust.require_gallery_signer(folder, {STATE_FILE: state, RELEASE_FILE: release}, signature)

    def allowed(space: str) -> str:
        told = Release.parse(release, folder / RELEASE_FILE)
        return check(space, told.name, told.release, told.expires)

    return allowed


def checked(embeddings: object, dim: int) -> NDArray[np.float32]:
    """Return the vectors of Embeddings of dimension ``dim``.

    Raises:
        VectorError: Not Embeddings, another dimension, or vectors that no index may see.
    """
    if not isinstance(embeddings, Embeddings):
        raise VectorError(
            f"found {type(embeddings).__name__}, expected Embeddings, which name their space; use "
            f"Embedder.embed(images), or Embeddings(vectors, space=...) if you know the vectors' space"
        )
    return check_vectors(embeddings.vectors, dim)


def own_vectors(embeddings: object, state: State) -> NDArray[np.float32]:
    """Return the vectors of Embeddings that may become rows of a gallery in this state.

    Raises:
        IncompatibleSpaceError: They are in another space; that they may search it is not enough.
        VectorError: Not Embeddings, another dimension, or vectors that no index may see.
    """
    if isinstance(embeddings, Embeddings) and embeddings.space != state.space:
        raise IncompatibleSpaceError(
            embeddings.space,
            embeddings.searches,
            state.space,
            f"found vectors in space {embeddings.space}, expected the gallery's own space {state.space}; "
            f"embed the images with the gallery's model",
        )
    return checked(embeddings, state.dim)


def _near_distinct(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors near each distinct row and equal to none: what other pictures would ask for."""
    distinct = rows[EqualRows.of(rows).firsts]
    moved = distinct + np.float32(0.2) * np.roll(distinct, 1, axis=0)  # at least 0.8 long
    near: NDArray[np.float32] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return near


def blocks(parts: Iterable[NDArray[Any]], keep: NDArray[np.bool_] | None = None) -> Iterator[NDArray[Any]]:
    """Yield the rows of ``parts`` as they are, in pieces of bounded size, without those that ``keep`` is False for."""
    first = 0
    for part in parts:
        for start in range(0, len(part), _ROWS_PER_BLOCK):
            block = part[start : start + _ROWS_PER_BLOCK]
            yield block if keep is None else block[keep[first + start : first + start + len(block)]]
        first += len(part)


def _open(folder: Path, state: State, verify: bool, names: bool, held: bool, known: Sequence[Segment] = ()) -> Snapshot:
    compared = {segment.vectors for segment in known}
    stored = StoredParts(folder, state.segments, state.dim, state.dtype)
    parts: list[NDArray[Any]] = []
    for segment, part in zip(state.segments, _opened(folder, stored), strict=True):
        for file, checked in ((segment.vectors, verify), (segment.table, not names)):
            problem = problem_with(folder, file) if checked and file not in compared else None
            if problem:
                raise GalleryError(f"{problem}; {RESTORE}")
        if held:
            parts.append(part)
    snapshot = Snapshot(folder, state, tuple(parts) if held else stored)
    if names:
        _ = snapshot.ids
    return snapshot


def _opened(folder: Path, parts: Sequence[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    try:
        yield from parts
    except SystemRefusedError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise SystemRefusedError(
            error.path,
            error.errno,
            f"gallery {folder} has {len(parts)} vector files, more than the system lets this process open; merge them "
            f"with `compat-sdk index compact {folder}`, or raise the limit of open files (ulimit -n)",
        ) from error
