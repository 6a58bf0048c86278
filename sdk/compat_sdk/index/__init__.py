"""Nearest neighbours by cosine: every row, or a graph or lists by a native library; none sees an unchecked vector."""

from __future__ import annotations

from compat_sdk.index.approximate import ApproximateIndex
from compat_sdk.index.exact import ExactIndex
from compat_sdk.index.measured import Recall, build_measured
from compat_sdk.index.options import KINDS
from compat_sdk.index.protocol import Index
from compat_sdk.index.vectors import check_k, check_vectors

__all__ = [
    "KINDS",
    "ApproximateIndex",
    "ExactIndex",
    "Index",
    "Recall",
    "build_measured",
    "check_k",
    "check_vectors",
]
