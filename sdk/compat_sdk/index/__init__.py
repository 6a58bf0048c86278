"""Nearest neighbours by cosine: every row in numpy, or a graph; neither sees a vector that was not checked."""

from __future__ import annotations

from compat_sdk.index.approximate import Index, UsearchIndex
from compat_sdk.index.exact import ExactIndex
from compat_sdk.index.vectors import check_k, check_vectors

__all__ = ["ExactIndex", "Index", "UsearchIndex", "check_k", "check_vectors"]
