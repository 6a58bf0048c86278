"""What is wrong with one state of a gallery: its files, its ids, its vectors, and what its index finds."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, GalleryError, MissingExtraError
from compat_sdk.gallery.files import StoredFile, problem_with
from compat_sdk.gallery.snapshot import REPAIR, Snapshot
from compat_sdk.index.equal_rows import EqualRows
from compat_sdk.index.recall import Questions
from compat_sdk.progress import Progress
from compat_sdk.shown import shown_names
from compat_sdk.spread import spread

_SAMPLED_ROWS, _SAMPLED_K, _LOWEST_RECALL = 256, 10, 0.9


def snapshot_problems(
    snapshot: Snapshot, compared: set[StoredFile] | None = None, progress: Progress | None = None
) -> list[str]:
    """Say everything that is wrong with the stored files, one sentence each.

    Args:
        snapshot: The state, opened.
        compared: Files that were found intact, which are not compared again; those of this call are added.
        progress: Called with the stage, and bytes compared of how many.
    """
    state, intact = snapshot.state, set() if compared is None else compared
    found = list[str]()
    done, total = 0, sum(file.bytes for file in state.files)
    for file in state.files:
        if progress is not None:
            progress("compare files", done, total, {})
        done += file.bytes
        if file in intact or (state.index is not None and file == state.index.file):
            continue
        if problem := problem_with(snapshot.folder, file):
            found.append(problem)
        else:
            intact.add(file)
    if found:
        return found
    try:
        if repeated := _repeated_ids(snapshot):
            return [f"{len(repeated)} ids occur more than once: {shown_names(repeated)}"]
    except GalleryError as error:
        return [str(error)]
    try:
        _ = snapshot.exact
    except GalleryError as error:
        return [str(error)]
    return index_problems(snapshot)


def _repeated_ids(snapshot: Snapshot) -> list[str]:
    """Ids of more than one row, found by eight bytes of each; those alone of which these are equal are compared."""
    marks = np.fromiter((hash(id) for ids, _ in snapshot.each_names() for id in ids), np.int64)
    marks.sort()
    suspect = set(marks[1:][marks[1:] == marks[:-1]].tolist())
    if not suspect:
        return []
    times = Counter(id for ids, _ in snapshot.each_names() for id in ids if hash(id) in suspect)
    return [id for id, count in times.items() if count > 1]


def index_problems(snapshot: Snapshot) -> list[str]:
    """Say what is wrong with a fresh index: its digest, its content, or its answers to stored rows.

    Of one that no native code may read, its digest alone.
    """
    record = snapshot.state.index
    if record is None or not snapshot.state.index_is_fresh:
        return []
    if snapshot.index_is_foreign:
        problem = problem_with(snapshot.folder, record.file)
        return [f"{problem}; {REPAIR}"] if problem else []
    try:
        index = snapshot.open_index(record)
    except (GalleryError, ConfigError) as error:
        return [str(error)]
    except MissingExtraError as error:
        return [f"the {record.kind} index could not be checked: {error}"]
    if not len(snapshot):
        return []
    asked = Questions.of(
        snapshot.exact, _near_distinct(snapshot.vectors[spread(len(snapshot), _SAMPLED_ROWS)]), _SAMPLED_K
    )
    recall = asked.recall(index.search(asked.queries, _SAMPLED_K)[0])
    if recall < _LOWEST_RECALL:
        return [f"the {record.kind} index finds {recall:.0%} of the nearest rows of a sample; {REPAIR}"]
    return []


def _near_distinct(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors near each distinct row and equal to none: what other pictures would ask for."""
    distinct = rows[EqualRows.of(rows).firsts]
    moved = distinct + np.float32(0.2) * np.roll(distinct, 1, axis=0)  # at least 0.8 long
    near: NDArray[np.float32] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return near
