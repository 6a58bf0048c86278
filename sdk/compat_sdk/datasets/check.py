"""What is wrong with a dataset, found before a model wastes hours on it, and what is in it."""

from __future__ import annotations

import hashlib
import statistics
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.content import picture_sha256
from compat_sdk.datasets.near_copies import contrast_hashes, near_in_other_groups
from compat_sdk.datasets.problem import Problem, problem_of
from compat_sdk.datasets.repeats import Groups, same_bytes, same_files, same_names
from compat_sdk.datasets.split import Dataset, Split, is_array
from compat_sdk.errors import DataError, ImageError
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images import FoundPictures, PackedPicture, PictureFile, image_size, open_image
from compat_sdk.images.packed import part_of, read_picture
from compat_sdk.workers import usable_cores

_SIZES_READ = 1000
_REQUIRED = ("train", "query", "gallery")
_UNLABELLED = dict.fromkeys(("query", "gallery"), "they can be embedded, and not scored") | {
    "train": "methods that need none can train on them, such as regression",
    "val": "they cannot judge candidates",
}


def check_dataset(dataset: Dataset, *, decode: bool = True, near_copies: bool = False) -> list[Problem]:
    """Returns what is wrong, errors first.

    Args:
        dataset: What to look at.
        decode: Also read every image: finds corrupt files, and images that stand in two splits or under two labels.
        near_copies: Also find images that look like one of another split, though their bytes differ.

    Raises:
        SystemRefusedError: The system refused to read an image, so that nothing is known of it.
    """
    problems: list[Problem] = []
    for name in _REQUIRED:
        if name not in dataset.splits:
            message = f"there is no {name} split; add one before a command that needs it"
            problems.append(Problem("missing-split", name, "warning", 1, message))
    if dataset.left_out:
        note = FoundPictures((), dataset.left_out).note()
        message = f"beside the splits, {note}"
        problems.append(Problem("left-out", "", "warning", sum(dataset.left_out.values()), message))
    for split in dataset.splits.values():
        problems.extend(_check_split(split))
    problems.extend(_check_identities(dataset))
    if decode:
        problems.extend(_check_images(dataset))
        for split in dataset.splits.values():
            problems.extend(_copied(split))
    if near_copies:
        problems.extend(_near_copies(dataset))
    return sorted(problems, key=lambda problem: problem.severity != "error")


def dataset_info(dataset: Dataset, problems: Sequence[Problem]) -> dict[str, object]:
    """Returns counts per split, class sizes, image sizes and the problems, ready for JSON.

    Image sizes are ``[width, height]``, read from the headers of at most 1,000 evenly spaced images;
    unreadable ones are left to the check.
    """
    seen = set(dataset.splits["train"].classes) if "train" in dataset.splits else set()
    splits: dict[str, object] = {}
    for name, split in dataset.splits.items():
        per_class = list(Counter(filter(None, split.labels)).values())
        sizes = _image_sizes(split)
        splits[name] = {
            "images": len(split),
            "classes": len(per_class),
            "classes_unseen_in_train": len(set(split.classes) - seen),
            "images_per_class": {
                "min": min(per_class, default=0),
                "median": statistics.median(per_class) if per_class else 0,
                "max": max(per_class, default=0),
            },
            "smallest_image": list(min(sizes, key=lambda size: size[0] * size[1], default=())),
            "largest_image": list(max(sizes, key=lambda size: size[0] * size[1], default=())),
        }
    return {
        "name": dataset.name,
        "description": dataset.description,
        "splits": splits,
        "problems": [asdict(problem) | {"examples": list(problem.examples)} for problem in problems],
    }


def _image_sizes(split: Split) -> set[tuple[int, int]]:
    """Returns the distinct ``(width, height)`` of at most 1,000 evenly spaced images."""
    images = split.images
    if is_array(images):
        return {(int(images.shape[2]), int(images.shape[1]))} if len(images) else set()
    sizes: set[tuple[int, int]] = set()
    for path in images[:: max(1, len(images) // _SIZES_READ)]:
        with suppress(ImageError):  # check_dataset names it
            sizes.add(image_size(path))
    return sizes


def require_consistent(split: Split) -> None:
    """Refuse a split that lists one image twice: with two labels it teaches and scores nonsense.

    A link to an image of the same label, and a copy under another label, may be meant: they are warned of.

    Raises:
        DataError: An id or a file stands more than once, see `check_dataset`.
        SystemRefusedError: The system refused to read an image.
    """
    for problem in (*_repeated(split), *_copied(split)):
        told = f"{problem.message}, such as {problem.examples[0]}; `compat-sdk data info` lists all"
        if problem.severity == "error":
            raise DataError(told)
        warnings.warn(told, stacklevel=2)


def _repeated(split: Split) -> Iterable[Problem]:
    """What stands in a split more than once, as a name or as a file."""
    names, files = same_names(split), same_files(split)
    conflicting = _of_two_labels(split, [*names, *files])
    if conflicting:
        message = f"{len(conflicting)} images of the {split.name} split stand more than once, with different labels"
        yield problem_of("conflicting-labels", split.name, "error", conflicting, message)
    repeated = [split.ids[rows[0]] for rows in names if len({split.labels[row] for row in rows}) == 1]
    if repeated:
        message = f"{len(repeated)} ids stand more than once in the {split.name} split; list each image once"
        yield problem_of("duplicate-id", split.name, "error", repeated, message)
    told = {*conflicting, *repeated}
    linked = [split.ids[rows[0]] for rows in files if split.ids[rows[0]] not in told]
    if linked:
        message = f"{len(linked)} images of the {split.name} split stand there again as a link, and count again"
        yield problem_of("linked-image", split.name, "warning", linked, message)


def _copied(split: Split) -> Iterable[Problem]:
    """Images whose very bytes stand in a split under two labels, in two files."""
    known = {row for rows in same_files(split) for row in rows[1:]}
    groups = [tuple(row for row in rows if row not in known) for rows in same_bytes(split)]
    copied = _of_two_labels(split, [rows for rows in groups if rows])
    if copied:
        message = (
            f"{len(copied)} images of the {split.name} split are byte for byte others with another label; keep the "
            f"right one"
        )
        yield problem_of("conflicting-copies", split.name, "warning", copied, message)


def _of_two_labels(split: Split, groups: Groups) -> list[str]:
    """The first id of every group whose rows differ in their label, each once."""
    found = [split.ids[rows[0]] for rows in groups if len({split.labels[row] for row in rows}) > 1]
    return list(dict.fromkeys(found))


def _check_split(split: Split) -> Iterable[Problem]:
    name = split.name
    if split.left_out:
        note = FoundPictures((), split.left_out).note()
        yield Problem("left-out", name, "warning", sum(split.left_out.values()), f"{name}: {note}", ())
    if len(split) == 0:
        yield Problem("empty-split", name, "error", 1, f"the {name} split has no images; add images or remove it")
        return
    yield from _repeated(split)
    if not split.labelled:
        message = f"the {len(split)} images of {name} have no labels; {_UNLABELLED[name]}"
        yield Problem("unlabelled", name, "warning", len(split), message)
    elif name == "train":
        sizes = Counter(split.labels)
        if len(sizes) < 2:
            yield problem_of(
                "one-class", name, "error", list(sizes), "the train split has one class; expected 2 or more"
            )
        single = sorted(label for label, count in sizes.items() if count == 1)
        if single:
            message = f"{len(single)} train classes have one image each; give them more or merge them"
            yield problem_of("one-image-class", name, "warning", single, message)


def _check_identities(dataset: Dataset) -> Iterable[Problem]:
    splits = dataset.splits
    judged = all(name in splits and splits[name].labelled for name in ("query", "gallery"))
    if judged and len(splits["query"]):
        known = set(splits["gallery"].labels)
        lost = sorted(set(splits["query"].labels) - known)
        if lost:
            images = sum(label not in known for label in splits["query"].labels)
            every = images == len(splits["query"])
            message = (
                f"{len(lost)} query classes ({images} images) are not in the gallery, so these queries cannot be "
                f"scored; add gallery images of them or take them out"
            )
            yield problem_of("unmatched-query", "query", "error" if every else "warning", lost, message)
    if "val" in splits and "train" in splits:
        shared = sorted(set(splits["val"].classes) & set(splits["train"].classes))
        if shared:
            message = (
                f"{len(shared)} val classes are also in train; hold val out by identity to choose an architecture "
                f"for unseen identities"
            )
            yield problem_of("val-overlap", "val", "warning", shared, message)


def _check_images(dataset: Dataset) -> Iterable[Problem]:
    owner: dict[bytes, tuple[str, str]] = {}
    for split in dataset.splits.values():
        corrupt: list[str] = []
        reasons: list[str] = []
        shared: list[str] = []
        others: set[str] = set()
        with ThreadPoolExecutor(usable_cores()) as pool:
            for row, read in enumerate(pool.map(_read, split.images)):
                if isinstance(read, ImageError):
                    corrupt.append(split.ids[row])
                    reasons.append(read.reason)
                    continue
                first = owner.setdefault(read, (split.name, split.ids[row]))
                if first[0] != split.name:
                    others.add(first[0])
                    shared.append(split.ids[row])
        if corrupt:
            message = f"{len(corrupt)} images cannot be read (first: {reasons[0]}); repair or remove them"
            yield problem_of("corrupt-image", split.name, "error", corrupt, message)
        if shared:
            message = (
                f"{len(shared)} images of {split.name} are byte for byte images of {', '.join(sorted(others))}; "
                f"scores with them are too good: keep each in one split"
            )
            yield problem_of("shared-image", split.name, "warning", shared, message)


def _near_copies(dataset: Dataset) -> Iterable[Problem]:
    """Images that look like one of an earlier split."""
    names: list[tuple[str, str]] = []
    hashes: list[NDArray[np.int64]] = []
    for split in dataset.splits.values():
        readable, found = contrast_hashes(split.images)
        names += [(split.name, split.ids[row]) for row in readable]
        hashes += found
    order = list(dataset.splits)
    near = near_in_other_groups(hashes, [order.index(split) for split, _ in names])
    for name in order:
        copies = {names[row][1]: names[of][0] for row, of in near.items() if names[row][0] == name}
        if copies:
            message = (
                f"{len(copies)} images of {name} look like images of {', '.join(sorted(set(copies.values())))}: saved "
                f"again, shrunk or cropped; scores with them are too good: `data split --near-copies` leaves such out"
            )
            yield problem_of("near-copy", name, "warning", list(copies), message)


def _read(image: PictureFile | object) -> bytes | ImageError:
    """Returns the digest of an image that decodes, or why it does not."""
    if not isinstance(image, PictureFile):
        return bytes.fromhex(picture_sha256(np.asarray(image)))  # a row of a uint8 array
    try:
        content = read_picture(image)
        open_image(content if isinstance(image, Path | PackedPicture) else image)
    except OSError as error:
        raise_if_refused(image, error)
        return ImageError(str(image), error.strerror or str(error))
    except ImageError as error:
        return error
    made = b"" if isinstance(image, Path | PackedPicture) else repr(part_of(image)).encode()
    return hashlib.sha256(content + made).digest()
