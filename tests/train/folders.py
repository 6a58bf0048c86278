"""Writes a small folder dataset from real images, in the layout that users have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from compat_sdk.datasets import Dataset

COUNTS = {"train": 12, "query": 4, "gallery": 6}


def write_folder(root: Path, dataset: Dataset, classes: int) -> Path:
    """Writes the first images of the first classes of each split as ``root/split/class/number.png``."""
    names = sorted(set(dataset.splits["train"].labels))[:classes]
    for split_name, count in COUNTS.items():
        split = dataset.splits[split_name]
        labels = np.array(split.labels)
        for name in names:
            folder = root / split_name / name.replace("/", "-")
            folder.mkdir(parents=True)
            for number, row in enumerate(np.flatnonzero(labels == name)[:count]):
                Image.fromarray(np.asarray(split.images[int(row)])).save(folder / f"{number:02d}.png")
    return root


OPEN_SET = {
    "train": (slice(0, 4), 12),
    "val": (slice(4, 7), 8),
    "query": (slice(7, 10), 4),
    "gallery": (slice(7, 10), 6),
}


def write_identities(root: Path, dataset: Dataset) -> Path:
    """Writes an open set of real images: 4 identities to train on, 3 others to validate, 3 others to search."""
    names = sorted(set(dataset.splits["train"].labels))
    for split, (part, count) in OPEN_SET.items():
        source = dataset.splits[split if split in ("query", "gallery") else "train"]
        labels = np.array(source.labels)
        for name in names[part]:
            folder = root / split / name.replace("/", "-")
            folder.mkdir(parents=True)
            for number, row in enumerate(np.flatnonzero(labels == name)[:count]):
                Image.fromarray(np.asarray(source.images[int(row)])).save(folder / f"{number:02d}.png")
    return root
