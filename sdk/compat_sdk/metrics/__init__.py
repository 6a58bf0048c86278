"""Retrieval accuracy, ranked exactly, and what an image costs over a system's life."""

from __future__ import annotations

from compat_sdk.metrics.average_precision import average_precision, average_precision_at, trapezoid_average_precision
from compat_sdk.metrics.cost_curve import CostCurve, cost_curve
from compat_sdk.metrics.identification import (
    BestScores,
    Identification,
    best_scores,
    identify,
    merged_tpir_at_fpir,
    split_galleries,
    tpir_at_fpir,
)
from compat_sdk.metrics.listed import score_listed
from compat_sdk.metrics.metric import Metric
from compat_sdk.metrics.ranking import PerQuery, score_queries
from compat_sdk.metrics.scores import RetrievalScores, paired_difference, rank_correlation, summarise, upgrade_gain
from compat_sdk.metrics.templates import pool_templates
from compat_sdk.metrics.verification import Acceptance, FoldAccuracy, fold_accuracy, pair_scores, tar_at_far

__all__ = [
    "Acceptance",
    "BestScores",
    "CostCurve",
    "FoldAccuracy",
    "Identification",
    "Metric",
    "PerQuery",
    "RetrievalScores",
    "average_precision",
    "average_precision_at",
    "best_scores",
    "cost_curve",
    "fold_accuracy",
    "identify",
    "merged_tpir_at_fpir",
    "pair_scores",
    "paired_difference",
    "pool_templates",
    "rank_correlation",
    "score_listed",
    "score_queries",
    "split_galleries",
    "summarise",
    "tar_at_far",
    "tpir_at_fpir",
    "trapezoid_average_precision",
    "upgrade_gain",
]
