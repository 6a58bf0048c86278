"""Pictures with identities in splits: folders, CSV manifests and named sets; and what is wrong with them."""

from __future__ import annotations

from compat_sdk.datasets.check import check_dataset, dataset_info, require_consistent
from compat_sdk.datasets.opening import NAMES, lock_dataset, open_dataset
from compat_sdk.datasets.overlap import own_rows
from compat_sdk.datasets.partition import Division, Shares, divide
from compat_sdk.datasets.problem import Problem
from compat_sdk.datasets.split import SPLIT_NAMES, Dataset, Split, require_labels

__all__ = [
    "NAMES",
    "SPLIT_NAMES",
    "Dataset",
    "Division",
    "Problem",
    "Shares",
    "Split",
    "check_dataset",
    "dataset_info",
    "divide",
    "lock_dataset",
    "open_dataset",
    "own_rows",
    "require_consistent",
    "require_labels",
]
