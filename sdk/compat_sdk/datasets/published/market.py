"""Market-1501: people seen by six cameras. A match of the query's own camera counts neither way.

Source: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015, and its evaluation.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from compat_sdk.datasets.published.places import require_folder
from compat_sdk.datasets.relevance import Relevance, ascending
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import DataError
from compat_sdk.images import find_pictures

_NAME = re.compile(r"(-1|\d{4})_c([1-9])s\d_\d{6}_\d{2}")
_JUNK, _DISTRACTOR = "-1", "0000"
_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


def open_market(root: Path) -> Dataset:
    """The set's three folders. Pictures of ``-1``, junk for every query, are left out; those of ``0000`` distract.

    Raises:
        DataError: A folder is missing or empty, or a picture's name is not of the set.
    """
    splits: dict[str, Split] = {}
    cameras: dict[str, list[str]] = {}
    for name, folder in _FOLDERS.items():
        splits[name], cameras[name] = _read(require_folder(root, folder), name)
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(splits["gallery"].labels):
        rows.setdefault(label, []).append(row)
    positives, ignored = [], []
    for label, camera in zip(splits["query"].labels, cameras["query"], strict=True):
        own = rows.get(label, [])
        positives.append(ascending([row for row in own if cameras["gallery"][row] != camera]))
        ignored.append(ascending([row for row in own if cameras["gallery"][row] == camera]))
    described = "Market-1501: people seen by six cameras, searched from one to the others"
    return Dataset("market-1501", splits, described, relevance=Relevance(tuple(positives), tuple(ignored)))


def _read(folder: Path, name: str) -> tuple[Split, list[str]]:
    """A split, and the camera of each of its pictures."""
    found = find_pictures(folder)
    left_out = Counter(found.left_out)
    images, labels, cameras = [], [], []
    for path in found.paths:
        match = _NAME.fullmatch(path.name.partition(".")[0])
        if match is None:
            raise DataError(f"{path} is no picture of Market-1501; expected a name such as 0002_c1s1_000451_03.jpg")
        if match[1] == _JUNK or (match[1] == _DISTRACTOR and name != "gallery"):
            left_out["junk"] += 1
            continue
        images.append(path)
        labels.append(match[1])
        cameras.append(match[2])
    if not images:
        raise DataError(f"{folder} has no pictures of people; expected names such as 0002_c1s1_000451_03.jpg")
    ids = tuple(f"{folder.name}/{path.name}" for path in images)
    return Split(name, tuple(images), tuple(labels), ids, left_out=dict(left_out)), cameras
