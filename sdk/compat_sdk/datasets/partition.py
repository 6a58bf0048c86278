"""Pictures of identities, divided into train, val, query and gallery; the pictures stay where they are.

A division by identity asks the question of a search in use: the identities of query and gallery are new to the model.
A division by picture shows every identity in training, which is easier, and all that a few identities allow.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from compat_sdk.datasets.folder import open_identities
from compat_sdk.datasets.manifest import MANIFEST, check_row, open_labelled_list
from compat_sdk.datasets.near_copies import contrast_hashes, near_copies
from compat_sdk.datasets.repeats import same_bytes, same_files
from compat_sdk.datasets.shuffle import shuffled
from compat_sdk.datasets.split import SPLIT_NAMES, Split
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.outputs import Layout, require_own
from compat_sdk.shown import shortened

By = Literal["identity", "picture"]

_COPY, _CONTRADICTION = "copy of another picture", "picture that stands under two identities"
_NEAR, _NEAR_OTHER = "near copy of another picture", "near copy of a picture of another identity"
_LEAST = 2
"""Identities that each part needs: with one, every answer is right."""
DIVISION: Layout = {r"compat-data\.csv(\.compat-data\.lock\.json)?": None}
"""What a division leaves in its folder."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How much goes where.

    Attributes:
        val: Fraction that judges candidates and watches trainings, in [0, 0.5]; of the identities, or of each
            identity's pictures.
        test: Fraction that is searched with and searched in, in (0, 0.8], of the same.
        queries: Fraction of an identity's test pictures that are queries, in (0, 1); at least one is, and one is not.
        by: ``identity``: no identity of one part is in another, but for query and gallery. ``picture``: all are in all.
        seed: Of the draw.
    """

    val: float = 0.1
    test: float = 0.3
    queries: float = 0.3
    by: By = "identity"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("val", 0.0, 0.5), ("test", 0.0, 0.8), ("queries", 0.0, 1.0)):
            value = getattr(self, name)
            inside = 0 <= value <= high if name == "val" else low < value <= high and value < 1
            if not inside:
                least = "0" if name == "val" else "above 0"
                raise ConfigError(f"{name} is {value:g}; expected a fraction from {least} to {high:g}", setting=name)
        if self.val + self.test > 0.9:
            raise ConfigError(
                f"val and test are {self.val:g} and {self.test:g}, which leaves less than a tenth to train on; lower "
                f"one of them"
            )
        if self.by not in get_args(By):
            raise ConfigError(f"by is {shortened(repr(self.by))}; expected identity or picture", setting="by")


@dataclass(frozen=True)
class Division:
    """What a division gives.

    Attributes:
        source: Where the pictures are.
        splits: By name, in the order train, val, query, gallery; none is empty.
        left_out: What stands in no split, and how often, by reason.
        untested: Identities whose pictures are all to train on, since they have too few to be tested.
    """

    source: Path
    splits: Mapping[str, Split] = field(repr=False)
    left_out: Mapping[str, int]
    untested: int

    def write(self, out: Path, *, relative: bool = False) -> Path:
        """Write the manifest ``compat-data.csv`` into a folder, which opens as a dataset from then on.

        Args:
            out: The folder, absent, empty, or with the same manifest.
            relative: Write paths relative to the source, so that the dataset opens with it as ``root`` alone.

        Returns:
            The manifest.

        Raises:
            ConfigError: The folder holds something else, or another division.
            DataError: A path or an identity cannot stand in a manifest.
        """
        require_own(out, DIVISION, "data split")
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("path", "label", "split"))
        for split in self.splits.values():
            for name, image, label in zip(split.ids, split.images, split.labels, strict=True):
                path = name if relative else _whole(Path(str(image)))
                try:
                    check_row(path, label, split.name)
                except DataError as error:
                    raise DataError(f"{image}: {error}; rename it") from None
                rows.writerow((path, label, split.name))
        content, place = text.getvalue().encode(), out / MANIFEST
        if place.is_file() and place.read_bytes() != content:
            raise ConfigError(f"{out} holds another division of pictures; choose another folder, or delete {place}")
        make_folder(out)
        write_atomic(place, content)
        return place


def divide(
    photos: str | Path, shares: Shares = Shares(), *, root: Path | None = None, leave_near_copies_out: bool = False
) -> Division:
    """Divide the pictures of a folder with one sub-folder per identity, or of a CSV file ``path,label``.

    Pictures of the same bytes are one picture: the first stays, and none does where two identities claim it. So no
    picture stands in two parts. Equal input and seed give an equal division, whatever else lies in the folder.

    Args:
        photos: The folder, or the file.
        shares: How much goes where.
        root: What the paths of the CSV file are relative to; its own folder if not given.
        leave_near_copies_out: Also leave out what looks like an earlier picture that stays, see
            `compat_sdk.datasets.near_copies`; every picture is decoded for that.

    Raises:
        DataError: There are no identities, too few of them, or too few pictures of each; or there are splits already.
    """
    place = Path(photos)
    if place.is_dir() and root is not None:
        raise DataError(f"root was given as {root}, but {place} is a folder; leave it out")
    found = open_identities(place) if place.is_dir() else open_labelled_list(place, root)
    left_out = Counter(found.left_out)
    rows = _distinct(found, left_out)
    if leave_near_copies_out:
        rows = _unlike(found, rows, left_out)
    pictures: dict[str, list[int]] = {}
    for row in rows:
        pictures.setdefault(found.labels[row], []).append(row)
    if len(pictures) < _LEAST:
        raise DataError(
            f"{place} holds pictures of {len(pictures)} identities; expected 2 or more, each a folder of its pictures"
        )
    number = {found.ids[row]: row for row in rows}
    drawn = {
        label: [number[name] for name in shuffled((found.ids[row] for row in own), shares.seed)]
        for label, own in pictures.items()
    }
    parts = _by_identity(drawn, shares, place) if shares.by == "identity" else _by_picture(drawn, shares, place)
    untested = set(drawn) - {found.labels[row] for row in parts["query"]}
    splits = {name: _taken(found, name, sorted(parts[name])) for name in SPLIT_NAMES if parts[name]}
    few = sum(len(drawn[label]) < 2 for label in untested)
    return Division(place, splits, dict(left_out), few if shares.by == "identity" else len(untested))


def _distinct(split: Split, left_out: Counter[str]) -> list[int]:
    """Rows that stay: of equal pictures the first, and none where they are of two identities."""
    gone: set[int] = set()
    for group in (*same_files(split), *same_bytes(split)):
        others = set(group) - gone
        if len({split.labels[row] for row in group}) > 1:
            left_out[_CONTRADICTION] += len(others)
            gone |= others
        else:
            copies = set(sorted(others)[1:])
            left_out[_COPY] += len(copies)
            gone |= copies
    for reason in (_COPY, _CONTRADICTION):
        if not left_out[reason]:
            del left_out[reason]
    return [row for row in range(len(split)) if row not in gone]


def _unlike(split: Split, rows: list[int], left_out: Counter[str]) -> list[int]:
    """Rows that look like no earlier one that stays; what cannot be read is no copy."""
    readable, hashes = contrast_hashes([split.images[row] for row in rows])
    copies = {rows[readable[copy]]: rows[readable[of]] for copy, of in near_copies(hashes).items()}
    for copy, of in copies.items():
        left_out[_NEAR if split.labels[copy] == split.labels[of] else _NEAR_OTHER] += 1
    return [row for row in rows if row not in copies]


def _by_identity(drawn: Mapping[str, list[int]], shares: Shares, place: Path) -> dict[str, list[int]]:
    order = shuffled(drawn, shares.seed)
    many = [label for label in order if len(drawn[label]) > 1]
    needed = _LEAST * (3 if shares.val else 2)
    if len(order) < needed or len(many) < _LEAST:
        what = f"{len(order)} identities, {len(many)} of them with 2 pictures or more"
        without = ", --val 0" if shares.val and len(order) >= 2 * _LEAST else ""
        raise DataError(
            f"{place} holds {what}; a division by identity needs {needed}, and 2 of them with 2 pictures: add "
            f"identities{without}, or divide with --by picture"
        )
    tested = many[: min(max(_LEAST, round(shares.test * len(order))), len(order) - needed + _LEAST)]
    taken = set(tested)
    rest = [label for label in many if label not in taken] + [label for label in order if len(drawn[label]) == 1]
    judges = rest[: max(_LEAST, round(shares.val * len(order)))] if shares.val else []
    if len(rest) - len(judges) < _LEAST:
        judges = judges[:_LEAST]
    parts: dict[str, list[int]] = {name: [] for name in SPLIT_NAMES}
    for label in tested:
        queries = _some(shares.queries, len(drawn[label]))
        parts["query"] += drawn[label][:queries]
        parts["gallery"] += drawn[label][queries:]
    parts["val"] = [row for label in judges for row in drawn[label]]
    parts["train"] = [row for label in rest[len(judges) :] for row in drawn[label]]
    return parts


def _by_picture(drawn: Mapping[str, list[int]], shares: Shares, place: Path) -> dict[str, list[int]]:
    needed = 4 if shares.val else 3
    parts: dict[str, list[int]] = {name: [] for name in SPLIT_NAMES}
    enough = 0
    for rows in drawn.values():
        if len(rows) < needed:
            parts["train"] += rows
            continue
        enough += 1
        judges = max(1, round(shares.val * len(rows))) if shares.val else 0
        tested = min(max(2, round(shares.test * len(rows))), len(rows) - judges - 1)
        queries = _some(shares.queries, tested)
        parts["val"] += rows[:judges]
        parts["query"] += rows[judges : judges + queries]
        parts["gallery"] += rows[judges + queries : judges + tested]
        parts["train"] += rows[judges + tested :]
    if enough < _LEAST:
        without = ", or leave val out with --val 0" if shares.val else ""
        raise DataError(
            f"{place} holds {enough} identities with {needed} different pictures or more; a division by picture needs "
            f"2 of them: add pictures{without}"
        )
    return parts


def _some(fraction: float, count: int) -> int:
    """A fraction of at least two things, but neither none nor all of them."""
    return min(max(1, round(fraction * count)), count - 1)


def _whole(image: Path) -> str:
    """The absolute path of a picture, without ``..``, which no manifest has."""
    place = image.absolute()
    return (place.parent.resolve() / place.name if ".." in place.parts else place).as_posix()


def _taken(split: Split, name: str, rows: list[int]) -> Split:
    return replace(
        split,
        name=name,
        images=tuple(split.images[row] for row in rows),
        labels=tuple(split.labels[row] for row in rows),
        ids=tuple(split.ids[row] for row in rows),
        left_out={},
    )
