"""Sets with a folder of pictures for each class or person: ImageNet, VGGFace2, CASIA-WebFace and IMDB-Face."""

from __future__ import annotations

import re
from pathlib import Path

from compat_sdk.datasets.folder import open_identities
from compat_sdk.datasets.published.places import bad_line, lines_of, require_file, require_folder
from compat_sdk.datasets.published.sides import searched_in_itself
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import DataError
from compat_sdk.images import find_pictures
from compat_sdk.images.finding import is_hidden

_SYNSET = re.compile(r"n\d{8}")


def open_imagenet(root: Path) -> Dataset:
    """ILSVRC 2012: ``train/`` by class, and ``val/``, whose images search each other.

    ``val/`` has a folder for each class, or all pictures and beside it a list: ``LOC_val_solution.csv``, or ``val.txt``
    with ``synsets.txt``. Classes are called by their WordNet ids.

    Raises:
        DataError: A folder or list is missing, or a list does not fit the pictures.
    """
    train = _by_folder(require_folder(root, "train"), "train", "train")
    folder = require_folder(root, "val")
    files: tuple[Path, ...] = ()
    if any(entry.is_dir() and not is_hidden(entry.name) for entry in folder.iterdir()):
        test = _by_folder(folder, "query", "val")
    else:
        labels, files = _val_list(root)
        test = _labelled_by_list(folder, labels, files[0], "val")
    described = "ImageNet by class; the validation images search each other"
    return Dataset("imagenet", {"train": train, **searched_in_itself(test)}, described, files=files)


def open_vggface2(root: Path) -> Dataset:
    """``train/`` and ``test/`` by person, who are different people; the test images search each other.

    Raises:
        DataError: A folder is missing, or has no pictures in folders.
    """
    train = _by_folder(require_folder(root, "train"), "train", "train")
    test = _by_folder(require_folder(root, "test"), "query", "test")
    described = "VGGFace2 by person; images of 500 unseen people search each other"
    return Dataset("vggface2", {"train": train, **searched_in_itself(test)}, described)


def open_training_faces(root: Path, name: str) -> Dataset:
    """Pictures in a folder for each person, all of them to train on.

    Raises:
        DataError: There are none.
    """
    return Dataset(name, {"train": open_identities(root)}, "faces to train on, by person")


def _labelled_by_list(folder: Path, labels: dict[str, str], source: Path, named: str) -> Split:
    """Pictures of one folder, whose labels a list gives by their names.

    Args:
        folder: Where they are.
        labels: Label of each file's name.
        source: The list, for messages.
        named: What ids begin with.

    Raises:
        DataError: A picture is not in the list, or one of the list is not there.
    """
    found = find_pictures(folder)
    paths = found.paths
    names = {path.name for path in paths}
    odd = sorted(names ^ set(labels))
    if odd or not paths:
        where = "the list lacks" if odd and odd[0] in names else "the folder lacks"
        raise DataError(
            f"{source} lists {len(labels)} pictures and {folder} has {len(names)}; {where} "
            f"{odd[0] if odd else 'pictures'}; expected the same, unpack the set again"
        )
    ids = tuple(f"{named}/{path.name}" for path in paths)
    return Split("query", paths, tuple(labels[path.name] for path in paths), ids, left_out=found.left_out)


def _by_folder(folder: Path, name: str, named: str) -> Split:
    found = open_identities(folder)
    ids = tuple(f"{named}/{each}" for each in found.ids)
    return Split(name, found.images, found.labels, ids, left_out=found.left_out)


def _val_list(root: Path) -> tuple[dict[str, str], tuple[Path, ...]]:
    """The class of each validation picture, by its file's name, and the files that say so."""
    labels: dict[str, str] = {}
    path = require_file(root, "LOC_val_solution.csv", "val.txt")
    if path.suffix == ".csv":
        for number, line in lines_of(path):
            if line == "ImageId,PredictionString":
                continue
            name, _, boxes = line.partition(",")
            first = boxes.split(" ")[0]
            if not _SYNSET.fullmatch(first) or not name or f"{name}.JPEG" in labels:
                raise bad_line(path, number, line, "a new name, a comma and a class such as n01440764")
            labels[f"{name}.JPEG"] = first
        return labels, (path,)
    synsets = require_file(root, "synsets.txt")
    classes = [line for _, line in lines_of(synsets)]
    for number, line in lines_of(path):
        name, _, label = line.rpartition(" ")
        if not (label.isascii() and label.isdigit() and len(label) < 6 and int(label) < len(classes)) or name in labels:
            raise bad_line(path, number, line, f"a new name and a number below {len(classes)}, of {synsets.name}")
        labels[name] = classes[int(label)]
    return labels, (path, synsets)
