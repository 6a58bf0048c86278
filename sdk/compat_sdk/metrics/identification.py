"""Open-set identification: TPIR at a given FPIR, for queries of whom some are not in the gallery.

A probe is *mated* when the gallery holds its identity. A threshold on the score decides whether an answer is given at
all. FPIR is the fraction of non-mated probes that get one; TPIR the fraction of mated probes whose own identity stands
first and gets one.

Two definitions are in use and give different numbers. `tpir_at_fpir` is that of the standard (ISO/IEC 19795-1) and of
IJB-C's protocol. `merged_tpir_at_fpir` is what older scripts compute, and some papers' tables with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics.exact_scores import Blocks, check_pair, choose_blocks, scaled
from compat_sdk.metrics.ranking import check_exclusions, label_codes

_UNIT = 2.0**-52  # scores are products of two whole multiples of 2**-26


@dataclass(frozen=True)
class BestScores:
    """For each query the best score of its own identity, and of all others.

    Attributes:
        mate: Best cosine with a gallery row of the query's label; ``-inf`` where there is none. [q]
        other: Best cosine with a gallery row of another label; ``-inf`` where there is none. [q]
    """

    mate: NDArray[np.float64]
    other: NDArray[np.float64]

    @property
    def mated(self) -> NDArray[np.bool_]:
        """Queries whose identity the gallery holds. [q]."""
        return self.mate > -np.inf


@dataclass(frozen=True)
class Identification:
    """What a threshold does to mated and non-mated probes.

    Attributes:
        hits: 1.0 for each mated probe whose identity stands first with a score above the threshold. [mated]
        threshold: The cosine that an answer must exceed.
        fpir: Fraction of non-mated probes with an answer; at most what was asked for.
        non_mated: Probes whose identity is not in the gallery.
    """

    hits: NDArray[np.float64]
    threshold: float
    fpir: float
    non_mated: int

    @property
    def tpir(self) -> float:
        """Fraction of mated probes that are found, in [0, 1]."""
        return float(self.hits.mean())


def best_scores(
    queries: NDArray[np.float32],
    query_labels: Sequence[str],
    gallery: NDArray[np.float32],
    gallery_labels: Sequence[str],
    *,
    memory_mib: float = 256,
    exclude_self: NDArray[np.int64] | None = None,
) -> BestScores:
    """Each query's best score with its own identity and with all others, exactly, in one pass over the gallery.

    Args:
        queries: Unit-norm vectors. [q, dim]
        query_labels: One label per query.
        gallery: Unit-norm vectors. [n, dim] A memory-mapped array is read block by block.
        gallery_labels: One label per gallery row.
        memory_mib: Bound on the memory used besides the arguments, in MiB.
        exclude_self: Gallery row of each query's own image, which then counts neither way; -1 for none. [q]

    Raises:
        VectorError: Vectors are not finite unit-norm float32 rows of one length.
        DataError: Labels and vectors differ in number, or one side is empty.
        ConfigError: ``memory_mib`` is too small for one row, or ``exclude_self`` names no gallery row.
    """
    check_pair(queries, query_labels, gallery, gallery_labels)
    if not len(queries) or not len(gallery):
        raise DataError(f"there are {len(queries)} queries and {len(gallery)} gallery images; give at least one each")
    own = check_exclusions(exclude_self, len(queries), len(gallery))
    query_codes, gallery_codes = label_codes(query_labels, gallery_labels)
    blocks = choose_blocks(memory_mib, queries, gallery, 0)
    mate, other = np.full(len(queries), -np.inf), np.full(len(queries), -np.inf)
    for first, start, scores in _score_blocks(queries, gallery, blocks, own):
        at = slice(first, first + len(scores))
        same = query_codes[at, None] == gallery_codes[None, start : start + scores.shape[1]]
        np.maximum(mate[at], scores.max(axis=1, where=same, initial=-np.inf), out=mate[at])
        np.maximum(other[at], scores.max(axis=1, where=~same, initial=-np.inf), out=other[at])
    return BestScores(mate * _UNIT, other * _UNIT)


def identify(found: BestScores, fpir: float) -> Identification:
    """Mated probes that are found, at the lowest threshold that keeps FPIR at or below ``fpir``.

    The threshold is a score of a non-mated probe: with ``m`` of them, the ``floor(fpir * m) + 1``-th best of their
    best scores. An answer must exceed it.

    Args:
        found: From `best_scores`, of one gallery.
        fpir: False positive identification rate, in [0, 1).

    Raises:
        ConfigError: ``fpir`` is outside its range.
        DataError: There is no mated probe, or no non-mated one.
    """
    if not 0 <= fpir < 1:
        raise ConfigError(f"fpir is {fpir}; expected a rate of false answers, at least 0 and below 1")
    mated = found.mated
    strangers = np.sort(found.other[~mated])[::-1]
    if not len(strangers) or not mated.any():
        raise DataError(
            f"{int(mated.sum())} queries have their identity in the gallery and {len(strangers)} have not; TPIR at "
            f"FPIR needs both: split the gallery by identity (split_galleries)"
        )
    threshold = float(strangers[_rows_of(fpir, len(strangers))])
    hits = (found.mate > threshold) & (found.mate > found.other)
    accepted = float((strangers > threshold).mean())
    return Identification(hits[mated].astype(np.float64), threshold, accepted, len(strangers))


def tpir_at_fpir(galleries: Sequence[BestScores], fpir: float) -> float:
    """TPIR at an FPIR, the mean over galleries that hold other identities each, as IJB-C's G1 and G2.

    Source: IARPA Janus Benchmark C, ICB 2018, section 4.2, with its public evaluation.

    Args:
        galleries: The same probes against each gallery, from `best_scores`.
        fpir: False positive identification rate, in [0, 1).

    Returns:
        A fraction in [0, 1].

    Raises:
        ConfigError: ``fpir`` is outside its range, or there is no gallery.
        DataError: A gallery has no mated probe, or no non-mated one.
    """
    if not galleries:
        raise ConfigError("there is no gallery; give the best scores of at least one")
    return float(np.mean([identify(found, fpir).tpir for found in galleries]))


def merged_tpir_at_fpir(
    queries: NDArray[np.float32],
    query_labels: Sequence[str],
    gallery: NDArray[np.float32],
    gallery_labels: Sequence[str],
    fpir: float,
    *,
    memory_mib: float = 256,
) -> float:
    """TPIR at an FPIR as older scripts have it: one merged gallery, every pair of another identity a false answer.

    The threshold is the ``ceil(fpir * queries)``-th best score of all pairs of query and gallery row with different
    labels, whether or not they belong to one query. A query is found when its best mate exceeds it; the mate need not
    stand first. Queries without a mate count as not found. It is not the rate of the standard: see `tpir_at_fpir`.

    Args:
        queries: Unit-norm vectors. [q, dim]
        query_labels: One label per query.
        gallery: Unit-norm vectors. [n, dim]
        gallery_labels: One label per gallery row.
        fpir: Pairs of different labels above the threshold, as a fraction of the number of queries, in (0, 1).
        memory_mib: Bound on the memory used besides the arguments, in MiB.

    Returns:
        A fraction in [0, 1].

    Raises:
        VectorError: Vectors are not finite unit-norm float32 rows of one length.
        DataError: Labels and vectors differ in number, one side is empty, or there are too few pairs.
        ConfigError: ``memory_mib`` is too small for one row, or ``fpir`` is outside its range.
    """
    if not 0 < fpir < 1:
        raise ConfigError(f"fpir is {fpir}; expected a rate of false answers, above 0 and below 1")
    check_pair(queries, query_labels, gallery, gallery_labels)
    if not len(queries) or not len(gallery):
        raise DataError(f"there are {len(queries)} queries and {len(gallery)} gallery images; give at least one each")
    wanted = math.ceil(fpir * len(queries) - 1e-9)
    query_codes, gallery_codes = label_codes(query_labels, gallery_labels)
    blocks = choose_blocks(memory_mib, queries, gallery, wanted)
    mate, highest = np.full(len(queries), -np.inf), np.zeros(0)
    for first, start, scores in _score_blocks(queries, gallery, blocks, None):
        at = slice(first, first + len(scores))
        same = query_codes[at, None] == gallery_codes[None, start : start + scores.shape[1]]
        np.maximum(mate[at], scores.max(axis=1, where=same, initial=-np.inf), out=mate[at])
        highest = np.concatenate([highest, scores[~same]])
        if len(highest) > wanted:
            highest = np.partition(highest, len(highest) - wanted)[len(highest) - wanted :]
    if len(highest) < wanted:
        raise DataError(f"there are {len(highest)} pairs of different labels; this rate takes at least {wanted}")
    return float((mate > highest.min()).mean())


def split_galleries(labels: Sequence[str], parts: int = 2) -> list[NDArray[np.int64]]:
    """Rows of galleries that hold other identities each, so that every one of them lacks some probes' identities.

    Identities in sorted order are dealt out in turn: the same labels give the same galleries, in whatever order the
    rows stand.

    Args:
        labels: One label per gallery row.
        parts: Galleries, at least 2.

    Returns:
        Ascending row numbers of each gallery.

    Raises:
        ConfigError: There are fewer identities than ``parts``, or ``parts`` is below 2.
    """
    identities = {label: number for number, label in enumerate(sorted(set(labels)))}
    if parts < 2 or len(identities) < parts:
        raise ConfigError(
            f"{len(identities)} identities cannot be split into {parts} galleries; give 2 or more of both"
        )
    turn = np.fromiter((identities[label] % parts for label in labels), np.int64, len(labels))
    return [np.flatnonzero(turn == part) for part in range(parts)]


def _rows_of(rate: float, rows: int) -> int:
    """Whole rows in a rate, as a person counts: 0.1 of 30 rows is 3, though 0.1 * 30 may be less in binary."""
    return math.floor(rate * rows + 1e-9)


def _score_blocks(
    queries: NDArray[np.float32], gallery: NDArray[np.float32], blocks: Blocks, own: NDArray[np.int64] | None
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """First query, first gallery row and whole-number scores of each block; a query's own row scores ``-inf``."""
    for start in range(0, len(gallery), blocks.gallery):
        images = scaled(gallery[start : start + blocks.gallery])
        for first in range(0, len(queries), blocks.queries):
            scores = scaled(queries[first : first + blocks.queries]) @ images.T
            if own is not None:
                column = own[first : first + len(scores)] - start
                inside = np.flatnonzero(
                    (column >= 0) & (column < len(images)) & (own[first : first + len(scores)] >= 0)
                )
                scores[inside, column[inside]] = -np.inf
            yield first, start, scores
