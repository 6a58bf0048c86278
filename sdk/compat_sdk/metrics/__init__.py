"""Retrieval accuracy, ranked exactly, and what an image costs over a system's life."""

from __future__ import annotations

from compat_sdk.metrics.cost_curve import CostCurve, cost_curve
from compat_sdk.metrics.ranking import PerQuery, score_queries
from compat_sdk.metrics.scores import RetrievalScores, paired_difference, rank_correlation, summarise, upgrade_gain

__all__ = [
    "CostCurve",
    "PerQuery",
    "RetrievalScores",
    "cost_curve",
    "paired_difference",
    "rank_correlation",
    "score_queries",
    "summarise",
    "upgrade_gain",
]
