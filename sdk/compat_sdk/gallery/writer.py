"""Changes to a gallery: each takes a snapshot, writes, and returns the snapshot after it."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CompatError, DataError
from compat_sdk.gallery import indexing
from compat_sdk.gallery.files import Segment, new_files, require_intact, write_new
from compat_sdk.gallery.lock import write_lock
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.segments import write_segment
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.state import State, StoredIndex
from compat_sdk.gallery.store import SIGNATURE, read_state, sweep, write_state
from compat_sdk.gallery.vectors import as_stored, blocks, open_vectors
from compat_sdk.index import ApproximateIndex, built_here
from compat_sdk.index.measured import check_recall
from compat_sdk.index.options import check_kind, options_of
from compat_sdk.shown import shown_names

_Written = tuple[Segment, NDArray[Any]]


@contextmanager
def writing(folder: Path, snapshot: Snapshot, verify: bool, timeout: float = 0.0) -> Iterator[Snapshot]:
    """Hold the write lock, catch up with other writers, and leave no stray file behind.

    Args:
        folder: The gallery's.
        snapshot: What the caller knows of the gallery.
        verify: Compare the digests of vector files that it does not know.
        timeout: Seconds to wait for other writers.

    Raises:
        GalleryLockedError: Another process is writing.
        CompatError: The disk is full or the folder cannot be written; nothing was changed.
    """
    with write_lock(folder, timeout=timeout), new_files() as written:
        if read_state(folder).identity != snapshot.state.identity:
            vouched = snapshot.vouched
            held, named = isinstance(snapshot.parts, tuple), snapshot.names is not None
            snapshot = load_snapshot(folder, verify, names=named, held=held, known=snapshot)
            snapshot.vouched = vouched
        try:
            yield snapshot
        except BaseException as error:
            with suppress(CompatError, OSError):
                _delete(written, read_state(folder))
            if isinstance(error, OSError):
                raise CompatError(
                    f"cannot write to gallery {folder}: {error.strerror or error}; nothing was changed; make room or "
                    f"set permissions, and try again"
                ) from error
            raise
        with suppress(CompatError, OSError):
            if (state := read_state(folder)).identity != snapshot.state.identity:
                sweep(folder, state)
                _drop_signature(folder)


def _drop_signature(folder: Path) -> None:
    """Delete the signature of a state that is no more, and say so; it would be refused from now on."""
    if os.path.lexists(folder / SIGNATURE):
        (folder / SIGNATURE).unlink()
        warnings.warn(
            f"gallery {folder} was signed; it changed, so that its signature was deleted: sign it again with "
            f"`compat-sdk index sign {folder}`",
            stacklevel=2,
        )


def _delete(written: Iterable[Path], state: State) -> None:
    """Delete the files of a change that was not made; those that the state names are of one that was."""
    named = {file.name for file in state.files}
    for path in written:
        if path.name not in named:
            path.unlink(missing_ok=True)


def check_names(
    ids: Sequence[str], labels: Sequence[str] | None, count: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return ``count`` ids and as many labels, empty where none are given.

    Raises:
        DataError: A wrong number, not strings, or ids that are empty or repeated.
    """
    names = _strings("ids", ids, count)
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated or "" in names:
        found = f"repeated ids {shown_names(repeated)}" if repeated else "an empty id"
        raise DataError(f"found {found}; give every vector an id of its own")
    return names, ("",) * count if labels is None else _strings("labels", labels, count)


def append(snapshot: Snapshot, vectors: NDArray[np.float32], ids: tuple[str, ...], labels: tuple[str, ...]) -> Snapshot:
    """Add rows at the end.

    Smaller segments at the end are absorbed, so that n single additions leave about log2(n) segments.
    """
    segments = snapshot.state.segments
    keep, rows = len(segments), len(ids)
    while keep and segments[keep - 1].rows <= rows:
        keep -= 1
        rows += segments[keep].rows
    require_intact(snapshot.folder, [segment.vectors for segment in segments[keep:]])
    first = sum(segment.rows for segment in segments[:keep])
    all_ids, all_labels = snapshot.ids + ids, snapshot.labels + labels
    pieces = blocks([*snapshot.parts[keep:], vectors])
    written = _write(snapshot, all_ids[first:], all_labels[first:], pieces)
    kept = list(zip(segments[:keep], snapshot.parts[:keep], strict=True))
    known = snapshot.row_of
    after = _commit(snapshot, [*kept, written], all_ids, all_labels, changed=True)
    known.update(zip(ids, range(len(snapshot), len(all_ids)), strict=True))
    after.__dict__["row_of"] = known  # the cache moves on: building it again would cost n for every addition
    return after


def select(snapshot: Snapshot, keep: NDArray[np.bool_], follows: State | None = None) -> Snapshot:
    """Keep the rows for which ``keep`` is True; segments that lose none are not written again.

    Args:
        snapshot: Whose rows.
        keep: bool ``[rows]``.
        follows: The state that the gallery is in, where that is not the snapshot's.
    """
    ids, labels = (tuple(compress(names, keep)) for names in (snapshot.ids, snapshot.labels))
    result: list[_Written] = []
    first = done = 0
    for segment, part in zip(snapshot.state.segments, snapshot.parts, strict=True):
        mask = keep[first : first + segment.rows]
        rows = int(np.count_nonzero(mask))
        if rows == segment.rows:
            result.append((segment, part))
        elif rows:
            require_intact(snapshot.folder, [segment.vectors])
            names = slice(done, done + rows)
            result.append(_write(snapshot, ids[names], labels[names], blocks([part], mask)))
        first, done = first + segment.rows, done + rows
    return _commit(snapshot, result, ids, labels, changed=True, follows=follows)


def replace_rows(snapshot: Snapshot, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> Snapshot:
    """Put other vectors in the place of rows; ids, labels and order stay, as do segments without such rows.

    Args:
        snapshot: Whose rows.
        vectors: ``[n, dim]`` unit rows.
        rows: int64 ``[n]``, rising: which rows they take the place of.
    """
    result: list[_Written] = []
    first = 0
    for segment, part in zip(snapshot.state.segments, snapshot.parts, strict=True):
        here = (rows >= first) & (rows < first + segment.rows)
        if here.any():
            require_intact(snapshot.folder, [segment.vectors])
            names = slice(first, first + segment.rows)
            stored = np.array(part)
            stored[rows[here] - first] = as_stored(np.ascontiguousarray(vectors[here]), snapshot.state.dtype)
            result.append(_write(snapshot, snapshot.ids[names], snapshot.labels[names], blocks([stored])))
        else:
            result.append((segment, part))
        first += segment.rows
    return _commit(snapshot, result, snapshot.ids, snapshot.labels, changed=True)


def compact(snapshot: Snapshot) -> Snapshot:
    """Merge all segments into one."""
    if len(snapshot.parts) < 2:
        return snapshot
    require_intact(snapshot.folder, [segment.vectors for segment in snapshot.state.segments])
    written = _write(snapshot, snapshot.ids, snapshot.labels, blocks(snapshot.parts))
    return _commit(snapshot, [written], snapshot.ids, snapshot.labels, changed=False)


def compact_folder(folder: Path, timeout: float) -> Snapshot:
    """Merge all segments of a gallery into one, though it has more files than this process may open.

    Raises:
        GalleryError: No gallery, or a damaged one.
        GalleryLockedError: Another process is writing.
        CompatError: The disk is full or the folder cannot be written; nothing was changed.
    """
    with writing(folder, load_snapshot(folder, False, held=False), False, timeout) as snapshot:
        return compact(snapshot)


def build_index(snapshot: Snapshot, kind: str, recall: float | None, options: Mapping[str, int]) -> Snapshot:
    """Build and store an approximate index over the present rows.

    Args:
        snapshot: Whose rows.
        kind: See `compat_sdk.gallery.indexing.build`, as for the other two.
        recall: What it is to find of the nearest rows.
        options: How it is built.

    Raises:
        ConfigError: Unknown kind or option, an option out of its range, or a recall out of reach.
        MissingExtraError: The extra of that index is not installed.
    """
    options_of(check_kind(kind), {name: value for name, value in options.items() if name != "threads"})
    if recall is not None:
        check_recall(recall)
    return _store_index(snapshot, lambda vectors: indexing.build(kind, vectors, recall, options))


def build_index_again(snapshot: Snapshot) -> Snapshot:
    """Build the recorded index again, if there is one, as it was asked for, and store it.

    Raises:
        ConfigError: The recall that was asked for is out of reach by now.
        MissingExtraError: The extra of that index is not installed.
    """
    record = snapshot.state.index
    return snapshot if record is None else _store_index(snapshot, partial(indexing.build_again, record))


def _store_index(
    snapshot: Snapshot, build: Callable[[NDArray[np.float32]], tuple[ApproximateIndex, dict[str, int]]]
) -> Snapshot:
    built_here.prepare()
    require_intact(snapshot.folder, [segment.vectors for segment in snapshot.state.segments])
    index, kept = build(snapshot.vectors)
    generation = snapshot.state.generation + 1
    suffix = f".{index.name.partition('-')[0]}"
    file = write_new(snapshot.folder, "index", generation, suffix, [index.to_bytes()])
    record = StoredIndex(index.name, snapshot.state.content, kept, file)
    state = replace(snapshot.state, generation=generation, index=record)
    write_state(snapshot.folder, state, snapshot.state)
    return replace(snapshot, state=state, approximate=index)


def _write(snapshot: Snapshot, ids: Sequence[str], labels: Sequence[str], rows: Iterable[NDArray[Any]]) -> _Written:
    dim, generation = snapshot.state.dim, snapshot.state.generation + 1
    segment = write_segment(snapshot.folder, generation, rows, (len(ids), dim), [(ids, labels)], snapshot.state.dtype)
    return segment, open_vectors(snapshot.folder, segment, dim, snapshot.state.dtype)


def _commit(
    snapshot: Snapshot,
    segments: Sequence[_Written],
    ids: tuple[str, ...],
    labels: tuple[str, ...],
    *,
    changed: bool,
    follows: State | None = None,
) -> Snapshot:
    state = replace(
        snapshot.state,
        generation=snapshot.state.generation + 1,
        content=snapshot.state.content + changed,
        segments=tuple(segment for segment, _ in segments),
    )
    write_state(snapshot.folder, state, snapshot.state if follows is None else follows)
    return Snapshot(
        snapshot.folder, state, tuple(part for _, part in segments), (ids, labels), vouched=snapshot.vouched
    )


def _strings(what: str, values: Sequence[str], count: int) -> tuple[str, ...]:
    found = () if isinstance(values, str) else tuple(values)
    if isinstance(values, str) or len(found) != count:
        shown = f"the string {values!r}" if isinstance(values, str) else f"{len(found)} {what}"
        raise DataError(f"found {shown}, expected {count} {what}, one per vector")
    wrong = [value for value in found if not isinstance(value, str)]
    if wrong:
        raise DataError(f"found {what} such as {wrong[0]!r} ({type(wrong[0]).__name__}), expected strings")
    return tuple(str(value) for value in found)
