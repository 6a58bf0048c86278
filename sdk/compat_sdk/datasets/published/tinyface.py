"""TinyFace: faces of a few pixels, searched among 153,428 distractors.

Source: Cheng, Zhu and Gong, "Low-Resolution Face Recognition", ACCV 2018, https://arxiv.org/abs/1811.08965.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from compat_sdk.datasets.folder import open_identities
from compat_sdk.datasets.published.places import require_folder
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import DataError
from compat_sdk.images import find_pictures

_NAME = re.compile(r"(\d{1,9})_.+")
_DISTRACTOR = "distractor"


def open_tinyface(root: Path) -> Dataset:
    """``Training_Set/`` by person, and ``Testing_Set/`` with probes, their matches and distractors.

    Names of probes and matches begin with the person's number. Distractors have one label that no probe has.

    Raises:
        DataError: A folder is missing, or a picture's name tells no person.
    """
    train = open_identities(require_folder(root, "Training_Set"))
    test = require_folder(root, "Testing_Set")
    probes, matches, others = (require_folder(test, name) for name in ("Probe", "Gallery_Match", "Gallery_Distractor"))
    query, gallery = _named(probes, "query"), _named(matches, "gallery")
    beside = find_pictures(others)
    distractors = beside.paths
    gallery = Split(
        "gallery",
        (*gallery.images, *distractors),
        (*gallery.labels, *(_DISTRACTOR for _ in distractors)),
        (*gallery.ids, *(f"{others.name}/{path.relative_to(others).as_posix()}" for path in distractors)),
        left_out=dict(Counter(gallery.left_out) + Counter(beside.left_out)),
    )
    described = "TinyFace: faces of a few pixels, among distractors"
    return Dataset("tinyface", {"train": train, "query": query, "gallery": gallery}, described)


def _named(folder: Path, name: str) -> Split:
    found = find_pictures(folder)
    paths = found.paths
    labels = []
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise DataError(f"{path} tells no person; expected a name that begins with a number, such as 12_1.jpg")
        labels.append(match[1])
    ids = tuple(f"{folder.name}/{path.relative_to(folder).as_posix()}" for path in paths)
    return Split(name, paths, tuple(labels), ids, left_out=found.left_out)
