"""One accuracy by its name: top-1, top-10, map, map@100, tpir@fpir=0.1. One value a query, so that systems pair up."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics.average_precision import average_precision, average_precision_at
from compat_sdk.metrics.identification import best_scores, identify, split_galleries
from compat_sdk.metrics.ranking import PerQuery, check_exclusions, score_queries

_FORMS = "top-K, map, map@K and tpir@fpir=RATE"


@dataclass(frozen=True)
class Metric:
    """An accuracy of retrieval that is the mean of one value per query.

    Attributes:
        kind: ``top``: a positive stands among the first results. ``map``: average precision. ``tpir``: the query's
            identity stands first with a score above the threshold that lets through a rate of strangers.
        at: Results that count, for ``top`` and ``map`` (0: all of them), or the FPIR.
    """

    kind: Literal["top", "map", "tpir"] = "top"
    at: float = 1

    def __post_init__(self) -> None:
        """Checks the number.

        Raises:
            ConfigError: It is out of the kind's range.
        """
        whole = float(self.at).is_integer() and self.at >= (0 if self.kind == "map" else 1)
        if not (0 <= self.at < 1 if self.kind == "tpir" else whole):
            raise ConfigError(f"{self.at:g} is no {self.kind} metric; expected one of {_FORMS}, such as top-1")

    def __str__(self) -> str:
        """The name that `Metric.parse` reads."""
        if self.kind == "map":
            return f"map@{self.at:g}" if self.at else "map"
        return f"top-{self.at:g}" if self.kind == "top" else f"tpir@fpir={self.at:g}"

    @classmethod
    def parse(cls, text: str) -> Metric:
        """The metric of a name.

        Raises:
            ConfigError: There is no such metric.
        """
        number = r"(\d{1,9})"
        if found := re.fullmatch(rf"top-{number}", text):
            return cls("top", int(found[1]))
        if text == "map":
            return cls("map", 0)
        if (found := re.fullmatch(rf"map@{number}", text)) and int(found[1]):
            return cls("map", int(found[1]))
        if found := re.fullmatch(r"tpir@fpir=(\d?\.\d{1,9}|0)", text):
            return cls("tpir", float(found[1]))
        raise ConfigError(f"there is no metric {text[:40]!r}; expected one of {_FORMS}, such as top-1 or tpir@fpir=0.1")

    @property
    def cut_off(self) -> Callable[[NDArray[np.int64]], float] | None:
        """The average precision that a ranking must be asked for as `also`; None where it says the value anyway."""
        return partial(average_precision_at, cut_off=int(self.at)) if self.kind == "map" and self.at else None

    def of(self, ranked: PerQuery) -> NDArray[np.float64] | None:
        """The value of each scored query where the ranking says it, else None. [kept].

        Args:
            ranked: Of map@K, what was ranked with `cut_off` as ``also``.
        """
        if self.kind == "top":
            return ranked.hits(int(self.at))
        if self.kind == "map":
            return ranked.also if self.at else ranked.average_precision
        return None

    def values(
        self,
        queries: NDArray[np.float32],
        query_labels: Sequence[str],
        gallery: NDArray[np.float32],
        gallery_labels: Sequence[str],
        *,
        memory_mib: float = 256,
        exclude_self: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """The value of each query whose label the gallery holds, in [0, 1], in input order. [kept].

        TPIR needs queries that the gallery lacks. Where it lacks none, it is split by identity into two, each query is
        a stranger to one half, and its value is that of the half that holds it.

        Args:
            queries: Unit-norm vectors. [q, dim]
            query_labels: One label per query.
            gallery: Unit-norm vectors. [n, dim]
            gallery_labels: One label per gallery row.
            memory_mib: Bound on the memory used besides the arguments, in MiB.
            exclude_self: Gallery row of each query's own image, which counts neither way; -1 for none. [q]

        Raises:
            VectorError: Vectors are not finite unit-norm float32 rows of one length.
            DataError: No query has a positive, or labels and vectors differ in number.
            ConfigError: ``memory_mib`` is too small for one row, or ``exclude_self`` names no gallery row.
        """
        if self.kind == "tpir":
            return self._identified(queries, query_labels, gallery, gallery_labels, memory_mib, exclude_self)
        found = score_queries(
            queries,
            query_labels,
            gallery,
            gallery_labels,
            memory_mib=memory_mib,
            exclude_self=exclude_self,
            precision=self.cut_off or average_precision,
        )
        return found.hits(int(self.at)) if self.kind == "top" else found.average_precision

    def _identified(
        self,
        queries: NDArray[np.float32],
        query_labels: Sequence[str],
        gallery: NDArray[np.float32],
        gallery_labels: Sequence[str],
        memory_mib: float,
        exclude_self: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        own = check_exclusions(exclude_self, len(queries), len(gallery))
        whole = best_scores(queries, query_labels, gallery, gallery_labels, memory_mib=memory_mib, exclude_self=own)
        if not whole.mated.any():
            raise DataError(f"none of the {len(queries)} queries has its identity in the gallery; give some that have")
        if not whole.mated.all():
            return identify(whole, float(self.at)).hits
        values = np.zeros(len(queries))
        for rows in split_galleries(gallery_labels):
            inside = None
            if own is not None:
                place = np.searchsorted(rows, own)
                held = (own >= 0) & (rows[np.minimum(place, len(rows) - 1)] == own)
                inside = np.where(held, place, -1)
            part = best_scores(
                queries,
                query_labels,
                np.ascontiguousarray(gallery[rows]),
                [gallery_labels[row] for row in rows],
                memory_mib=memory_mib,
                exclude_self=inside,
            )
            values[part.mated] = identify(part, float(self.at)).hits
        return values
