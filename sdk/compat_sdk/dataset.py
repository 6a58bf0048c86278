"""The name that `compat_sdk.datasets` had up to version 0.7; its names are importable from here too."""

from __future__ import annotations

from compat_sdk.datasets import NAMES, SPLIT_NAMES, Dataset, Problem, Split, check_dataset, dataset_info, open_dataset

__all__ = ["NAMES", "SPLIT_NAMES", "Dataset", "Problem", "Split", "check_dataset", "dataset_info", "open_dataset"]
