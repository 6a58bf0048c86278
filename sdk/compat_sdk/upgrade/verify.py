"""Checking what an upgrade has written: every digest, a sample of rows, and the images themselves when at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compat_sdk.errors import ConfigError, VectorError
from compat_sdk.gallery.files import problem_with
from compat_sdk.gallery.opening import gallery_problems
from compat_sdk.gallery.store import read_state
from compat_sdk.gallery.vectors import as_stored, as_unit
from compat_sdk.progress import Progress
from compat_sdk.shown import shown_value
from compat_sdk.space import Embeddings
from compat_sdk.spread import spread
from compat_sdk.upgrade.accuracy import Accuracy
from compat_sdk.upgrade.manifest import (
    AFTER,
    BEFORE,
    FOLDER,
    SHARDS,
    SIDE,
    SOURCES,
    Manifest,
    Verified,
    read_manifest,
    require_manifest,
    write_manifest,
)
from compat_sdk.upgrade.measured import given_vectors, measured, shard_rows
from compat_sdk.upgrade.opener import OfSide, TransformOpener, turned
from compat_sdk.upgrade.prepare import upgrading
from compat_sdk.upgrade.quality import VERDICTS, Quality, Verdict
from compat_sdk.upgrade.shard import Record, input_blocks, input_digest, job_for, opened, read_record, transformed_rows
from compat_sdk.upgrade.sharding import Shard
from compat_sdk.upgrade.verified import digest_of

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
        quality: What is found beside what was found before; None where neither labels nor new vectors tell.
        recorded: Whether the upgrade's manifest now says that these bytes were verified, which `cutover` asks for.
    """

    problems: tuple[str, ...]
    shards: int
    unfinished: int
    cut_over: bool
    sampled: int
    lowest_cosine: float | None
    accuracy: Accuracy | None
    quality: Quality | None = None
    recorded: bool = False


def verify(
    path: str | Path,
    opener: TransformOpener,
    *,
    sample: int = 256,
    held_out: str | Path | None = None,
    embedded: tuple[Sequence[str], Embeddings] | None = None,
    at_least: Verdict = "better",
    min_cosine: float | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare every file of an upgrade with its digest, transform a sample of rows again, and judge what is found.

    With the new model's vectors of some images, searches of the new model in the transformed rows are compared with
    those of the old vectors in the old rows. Without, only harm can be shown, by the gallery's labels. A verification
    that holds, of a finished upgrade, is recorded in its manifest.

    Args:
        path: The gallery, before or after the cutover.
        opener: The transform of the run.
        sample: Rows to transform again, spread evenly.
        held_out: Gallery in the new space with some of the same ids, embedded by the new model.
        embedded: Ids and the new model's vectors of their images, in place of ``held_out``.
        at_least: The verdict that is no problem: ``"better"`` than what is replaced, or ``"equal"`` or ``"worse"`` too.
        min_cosine: Mean cosine similarity to the new model's vectors that must be reached; None for no such bound.
        progress: Called with the stage, how much is done of how much, and no figures.

    Raises:
        ConfigError: No upgrade was begun, too few ids to compare, an unknown verdict, or nothing to compare with.
        IncompatibleSpaceError: The held-out vectors are not in the new space.
        GalleryError: The gallery or the manifest is damaged.
        CompatError: The verification cannot be recorded.
    """
    if at_least not in VERDICTS:
        raise ConfigError(f"at_least is {shown_value(at_least)}, expected one of {', '.join(VERDICTS)}")
    if min_cosine is not None and held_out is None and embedded is None:
        raise ConfigError("min_cosine needs something to compare with; give the new model's vectors of some images")
    gallery = Path(path)
    state = read_state(gallery)
    folder = gallery / FOLDER
    manifest = require_manifest(gallery)
    if turned(manifest.transform):
        opener = OfSide(opener)
    given = given_vectors(manifest, held_out, embedded)
    problems = []
    if dict(opener.identity) != dict(manifest.transform):
        problems.append("the transform is not the one of this upgrade, or is run in another way")
    problems += _source_problems(folder, manifest)
    done = [
        (shard, record)
        for shard in manifest.shards
        if (record := read_record(folder, shard, manifest.transform)) is not None
    ]
    rows = sum(shard.rows for shard, _ in done)
    for shard, record in done:
        if progress is not None:
            progress("compare shards", shard.first, rows, {})
        problem = problem_with(folder / SHARDS, record.output)
        if problem:
            problems.append(f"shard {shard.number}: {problem}; run again")
        elif not problems and input_digest(job_for(folder, manifest, shard, opener)) != record.inputs:
            problems.append(f"shard {shard.number} was made of other rows than its record says; discard the upgrade")
    cut_over = state.space == manifest.spaces.space
    for place in (gallery, folder / BEFORE, folder / AFTER) if cut_over else (gallery,):
        problems += gallery_problems(place, progress)
    lowest, sampled, accuracy, quality = None, 0, None, None
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
        if progress is not None:
            progress("judge", rows, rows, {})
        accuracy, quality = measured(folder, manifest, done, given)
        problems += shortfalls(accuracy, quality, at_least, min_cosine)
    recorded = False
    if not problems and not cut_over and len(done) == len(manifest.shards):
        recorded = _record(gallery, manifest, done, measured=given is not None)
    unfinished = len(manifest.shards) - len(done)
    return Verification(
        tuple(problems), len(manifest.shards), unfinished, cut_over, sampled, lowest, accuracy, quality, recorded
    )


def shortfalls(
    accuracy: Accuracy | None, quality: Quality | None, at_least: Verdict, min_cosine: float | None
) -> list[str]:
    """Say where the upgrade finds less than it must."""
    found = []
    if accuracy is not None and min_cosine is not None and not accuracy.mean_cosine >= min_cosine:
        found.append(f"mean cosine {accuracy.mean_cosine:.4f} is below {min_cosine}")
    if quality is None:
        return found
    by_new = quality.queried_by == "new model"
    wanted: Verdict = at_least if by_new or at_least == "worse" else "equal"  # only harm shows without the new model
    if VERDICTS.index(quality.verdict) >= VERDICTS.index(wanted):
        return found
    said = "is worse than" if quality.verdict == "worse" else "is not shown to be better than"
    difference, after = quality.difference, "M(new,h)" if by_new else "M(h,h)"
    advice = (
        "train the transform longer or compare its side-information"
        if quality.verdict == "worse"
        else "hold out more images, or take it with at_least equal (--at-least equal)"
    )
    found.append(
        f"the upgrade {said} what it replaces: {after} {quality.new_h.mean:.3f}, M(old,old) "
        f"{quality.old_old.mean:.3f}, difference {difference.mean:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}] over {quality.queries} queries; {advice}"
    )
    return found


def _record(gallery: Path, manifest: Manifest, done: Sequence[tuple[Shard, Record]], *, measured: bool) -> bool:
    """Write into the manifest that these shards were verified; False if they are others by now."""
    folder, digest = gallery / FOLDER, digest_of(manifest, done)
    with upgrading(gallery):
        now = read_manifest(folder)
        if now is None or len(now.shards) < len(done):
            return False
        records = [(shard, read_record(folder, shard, now.transform)) for shard, _ in done]
        if digest_of(now, [(shard, record) for shard, record in records if record is not None]) != digest:
            return False
        write_manifest(folder, replace(now, verified=Verified(len(done), digest, measured)))
    return True


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
        stored = shard_rows(folder, manifest, shard, record)
        job = job_for(folder, manifest, shard, opener)
        for start, old, side in input_blocks(job, inside + shard.start):
            again = as_unit(as_stored(transformed_rows(transform, old, side), manifest.dtype))
            rows = inside[start : start + len(old)]
            lowest = min(lowest, float(np.einsum("nd,nd->n", again, as_unit(stored[rows])).min()))
            sampled += len(old)
    return (lowest if sampled else None), sampled
