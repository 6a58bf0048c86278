"""Checking what an upgrade has written: every digest, a sample of rows, and the images themselves when at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import IncompatibleSpaceError, VectorError
from compat_sdk.gallery.files import Segment, problem_with
from compat_sdk.gallery.opening import gallery_problems
from compat_sdk.gallery.store import read_state
from compat_sdk.gallery.tables import NameCursor, StoredTable
from compat_sdk.gallery.vectors import as_stored, as_unit, open_vectors
from compat_sdk.space import Embeddings
from compat_sdk.spread import spread
from compat_sdk.upgrade.accuracy import MOST_ROWS, Accuracy, compare
from compat_sdk.upgrade.manifest import AFTER, BEFORE, FOLDER, SHARDS, SIDE, SOURCES, Manifest, Shard, require_manifest
from compat_sdk.upgrade.opener import TransformOpener
from compat_sdk.upgrade.plan import open_held_out
from compat_sdk.upgrade.rows import StackedRows
from compat_sdk.upgrade.shard import Record, input_blocks, input_digest, job_for, opened, read_record, transformed_rows

SAMPLE_COSINE = 0.9999
"""Lowest cosine similarity of a stored row and the same row transformed and stored again, rounded to the gallery's
dtype as it was: another block size rounds anew."""


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        problems: What is wrong, one sentence each; empty when all is well.
        shards: Shards in all.
        unfinished: Shards that are still to be transformed; no problem.
        cut_over: Whether the gallery is in the new space.
        sampled: Rows transformed again.
        lowest_cosine: The lowest cosine similarity to the stored row among them; None without a sample.
        accuracy: Stored rows against re-embedded ones, if any were given.
    """

    problems: tuple[str, ...]
    shards: int
    unfinished: int
    cut_over: bool
    sampled: int
    lowest_cosine: float | None
    accuracy: Accuracy | None


def verify(
    path: str | Path,
    opener: TransformOpener,
    *,
    sample: int = 256,
    held_out: str | Path | None = None,
    embedded: tuple[Sequence[str], Embeddings] | None = None,
) -> Verification:
    """Compare every file of an upgrade with its digest, and transform a sample of rows again.

    Args:
        path: The gallery, before or after the cutover.
        opener: The transform of the run.
        sample: Rows to transform again, spread evenly.
        held_out: Gallery in the new space with some of the same ids, embedded by the new model.
        embedded: Ids and the new model's vectors of their images, in place of ``held_out``.

    Raises:
        ConfigError: No upgrade was begun, or too few ids to compare.
        IncompatibleSpaceError: The held-out vectors are not in the new space.
        GalleryError: The gallery or the manifest is damaged.
    """
    gallery = Path(path)
    state = read_state(gallery)
    folder = gallery / FOLDER
    manifest = require_manifest(gallery)
    problems = []
    if dict(opener.identity) != dict(manifest.transform):
        problems.append("the transform is not the one of this upgrade, or is run in another way")
    problems += _source_problems(folder, manifest)
    done = [
        (shard, record)
        for shard in manifest.shards
        if (record := read_record(folder, shard, manifest.transform)) is not None
    ]
    for shard, record in done:
        problem = problem_with(folder / SHARDS, record.output)
        if problem:
            problems.append(f"shard {shard.number}: {problem}; run again")
        elif not problems and input_digest(job_for(folder, manifest, shard, opener)) != record.inputs:
            problems.append(f"shard {shard.number} was made of other rows than its record says; discard the upgrade")
    cut_over = state.space == manifest.spaces.space
    for place in (gallery, folder / BEFORE, folder / AFTER) if cut_over else (gallery,):
        problems += gallery_problems(place)
    lowest, sampled, accuracy = None, 0, None
    if not problems:
        try:
            lowest, sampled = _transform_again(folder, manifest, done, opener, sample)
        except VectorError as error:
            problems.append(f"rows that were transformed before cannot be now: {error}")
        if lowest is not None and not lowest >= SAMPLE_COSINE:
            problems.append(
                f"a sample of {sampled} rows transformed again has a lowest cosine of {lowest:.6f} to what is stored, "
                f"expected at least {SAMPLE_COSINE}; discard the upgrade and run it again"
            )
        given = _given(manifest, held_out, embedded)
        if given is not None:
            accuracy = _accuracy(folder, manifest, done, *given)
    unfinished = len(manifest.shards) - len(done)
    return Verification(tuple(problems), len(manifest.shards), unfinished, cut_over, sampled, lowest, accuracy)


def _source_problems(folder: Path, manifest: Manifest) -> list[str]:
    found = []
    seen = set()
    for source in manifest.sources:
        files = [(SOURCES, source.segment.vectors), (SOURCES, source.segment.table)]
        if source.side is not None:
            files.append((SOURCES, source.side.pairs))
            files += [(SIDE, segment.vectors) for segment in source.side.segments]
        for name, file in files:
            if file.name not in seen and (problem := problem_with(folder / name, file)):
                found.append(f"{problem}; discard the upgrade and run it again")
            seen.add(file.name)
    return found


def _transform_again(
    folder: Path, manifest: Manifest, done: Sequence[tuple[Shard, Record]], opener: TransformOpener, sample: int
) -> tuple[float | None, int]:
    transform = opened(opener)
    total = sum(shard.rows for shard, _ in done)
    wanted = spread(total, sample)
    first, sampled, lowest = 0, 0, 1.0
    for shard, record in done:
        inside = wanted[(wanted >= first) & (wanted < first + shard.rows)] - first
        first += shard.rows
        if not len(inside):
            continue
        stored = _output(folder, manifest, shard, record)
        job = job_for(folder, manifest, shard, opener)
        for start, old, side in input_blocks(job, inside + shard.start):
            again = as_unit(as_stored(transformed_rows(transform, old, side), manifest.dtype))
            rows = inside[start : start + len(old)]
            lowest = min(lowest, float(np.einsum("nd,nd->n", again, as_unit(stored[rows])).min()))
            sampled += len(old)
    return (lowest if sampled else None), sampled


def _given(
    manifest: Manifest, held_out: str | Path | None, embedded: tuple[Sequence[str], Embeddings] | None
) -> tuple[Sequence[str], StackedRows] | None:
    """The ids and vectors of the new model to compare with, if there are any."""
    if embedded is not None:
        ids, vectors = embedded
        if vectors.space != manifest.spaces.space or vectors.dim != manifest.spaces.dim:
            raise IncompatibleSpaceError(
                vectors.space,
                vectors.searches,
                manifest.spaces.space,
                f"the images to compare with were embedded in space {vectors.space}; expected the upgrade's new space "
                f"{manifest.spaces.space}: pass the new model",
            )
        return ids, StackedRows([vectors.vectors], manifest.spaces.dim)
    if held_out is None:
        return None
    found = open_held_out(Path(held_out), manifest.spaces.space, manifest.spaces.dim)
    return found.ids, StackedRows(found.parts, manifest.spaces.dim)


def _accuracy(
    folder: Path,
    manifest: Manifest,
    done: Sequence[tuple[Shard, Record]],
    ids: Sequence[str],
    embedded: StackedRows,
) -> Accuracy:
    place = {id: row for row, id in enumerate(ids)}
    rows: dict[str, int] = {}
    first = 0
    read, names = -1, None
    for shard, _ in done:
        if read != shard.source or names is None:
            read, names = (
                shard.source,
                NameCursor(StoredTable(folder / SOURCES, manifest.sources[shard.source].segment)),
            )
        for known, _labels in names.between(shard.start, shard.stop):
            rows |= {id: first + row for row, id in enumerate(known) if id in place}
            first += len(known)
    stored = StackedRows([_output(folder, manifest, shard, record) for shard, record in done], manifest.spaces.dim)
    pairs = np.array([(row, place[id]) for id, row in rows.items()], np.int64).reshape(-1, 2)
    ours, theirs = pairs[spread(len(pairs), MOST_ROWS)].T
    return compare(stored.take(ours), embedded.take(theirs))


def _output(folder: Path, manifest: Manifest, shard: Shard, record: Record) -> NDArray[Any]:
    return open_vectors(
        folder / SHARDS, Segment(shard.rows, record.output, record.output), manifest.spaces.dim, manifest.dtype
    )
