"""Google Landmarks v2: training by landmark, and 750 queries whose matches a list gives.

Source: Weyand et al., CVPR 2020, https://arxiv.org/abs/2004.01804, with the solution file of version 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from compat_sdk.datasets.published.places import bad_line, lines_of, require_file
from compat_sdk.datasets.relevance import Relevance, ascending
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import DataError

_ID = re.compile(r"[0-9a-f]{16}")
_NUMBER = re.compile(r"\d{1,9}")
_SOLUTION = "retrieval_solution_v2.1.csv"
_USAGES = ("Private", "Public", "Ignored")


def open_gldv2(root: Path, clean: bool) -> Dataset:
    """Training pictures, the index as the gallery, and the private queries of the solution; others are left out.

    Pictures lie in ``train/``, ``index/`` and ``test/``, each under the first three characters of its id.

    Args:
        root: Folder with these and with the lists.
        clean: Whether to train on ``train_clean.csv``, else on ``train.csv``.

    Raises:
        DataError: A list is missing, or a line is not as it should be.
    """
    lists = [require_file(root, name) for name in ("train_clean.csv" if clean else "train.csv", "index.csv", _SOLUTION)]
    pairs = list((_clean if clean else _all)(lists[0]))
    train = _split("train", root, "train", [id for id, _ in pairs], [label for _, label in pairs])
    index = [_id(lists[1], number, line.partition(",")[0]) for number, line in _body(lists[1], "id")]
    rows = {id: row for row, id in enumerate(index)}
    if len(rows) != len(index):
        raise DataError(f"{lists[1]} lists a picture twice; download it again")
    queries: list[str] = []
    positives = []
    skipped = 0
    for number, line in _body(lists[2], "id,images,Usage"):
        parts = line.split(",")
        if len(parts) != 3 or parts[2] not in _USAGES:
            raise bad_line(lists[2], number, line, "an id, ids of the index, and Private, Public or Ignored")
        if parts[2] != "Private":
            skipped += 1
            continue
        found = parts[1].split()
        lost = next((each for each in found if each not in rows), None)
        if lost is not None:
            raise bad_line(lists[2], number, lost, f"an id of {lists[1].name}")
        queries.append(_id(lists[2], number, parts[0]))
        positives.append(ascending([rows[each] for each in found]))
    query = _split("query", root, "test", queries, [""] * len(queries), {"query that is not private": skipped})
    gallery = _split("gallery", root, "index", index, [""] * len(index))
    nothing = (ascending([]),) * len(queries)
    described = f"Google Landmarks v2, trained on {lists[0].name}; the private queries, judged by map@100"
    return Dataset(
        "gldv2" if clean else "gldv2-all",
        {"train": train, "query": query, "gallery": gallery},
        described,
        files=tuple(lists),
        relevance=Relevance(tuple(positives), nothing),
    )


def _split(
    name: str, root: Path, folder: str, ids: list[str], labels: list[str], left_out: dict[str, int] | None = None
) -> Split:
    if not ids:
        raise DataError(f"the lists in {root} have no picture for {name}; download them again")
    places = tuple(f"{folder}/{id[0]}/{id[1]}/{id[2]}/{id}.jpg" for id in ids)
    counted = {reason: count for reason, count in (left_out or {}).items() if count}
    return Split(name, tuple(root / place for place in places), tuple(labels), places, left_out=counted)


def _body(path: Path, header: str) -> Iterator[tuple[int, str]]:
    """The lines after the header."""
    lines = lines_of(path)
    number, first = next(lines, (1, ""))
    if first != header and not first.startswith(f"{header},"):
        raise bad_line(path, number, first, f"the header {header}")
    return lines


def _clean(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in _body(path, "landmark_id,images"):
        landmark, _, ids = line.partition(",")
        for id in ids.split():
            yield _id(path, number, id), _landmark(path, number, landmark)


def _all(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in _body(path, "id,url,landmark_id"):  # the address between them may have commas
        yield _id(path, number, line.partition(",")[0]), _landmark(path, number, line.rpartition(",")[2])


def _id(path: Path, number: int, text: str) -> str:
    if not _ID.fullmatch(text):
        raise bad_line(path, number, text, "an id of 16 hexadecimal digits")
    return text


def _landmark(path: Path, number: int, text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise bad_line(path, number, text, "the number of a landmark")
    return text
