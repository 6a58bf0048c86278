"""Places-365 in both forms that it is distributed in: a folder for each scene, or lists of paths with numbers.

Source: Zhou et al., "Places: A 10 Million Image Database for Scene Recognition", PAMI 2018.
"""

from __future__ import annotations

from pathlib import Path

from compat_sdk.datasets.published.places import bad_line, is_inside, lines_of, require_file, require_folder
from compat_sdk.datasets.published.sides import searched_in_itself
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import DataError

_CATEGORIES, _TRAIN, _VAL = "categories_places365.txt", "places365_train_standard.txt", "places365_val.txt"


def open_places(root: Path) -> Dataset:
    """365 scenes; the validation images search each other.

    With ``train.txt`` and ``val.txt`` the lines are paths, whose folders between the first and the last name are the
    scene. Else the lists have a path and the scene's number, and pictures are in ``data_256_standard/`` (or
    ``data_256/``, ``data_large_standard/``, ``data_large/``) and ``val_256/`` (or ``val_large/``).

    Raises:
        DataError: A list or folder is missing, or a line is not as it should be.
    """
    if (root / "val.txt").is_file():
        lists = [require_file(root, "train.txt"), require_file(root, "val.txt")]
        train, test = (_by_path(root, path, name) for path, name in zip(lists, ("train", "query"), strict=True))
    else:
        lists = [require_file(root, name) for name in (_CATEGORIES, _TRAIN, _VAL)]
        scenes = _scenes(lists[0])
        folders = (
            require_folder(root, "data_256_standard", "data_256", "data_large_standard", "data_large"),
            require_folder(root, "val_256", "val_large"),
        )
        train, test = (
            _by_number(root, folder, path, scenes, name)
            for folder, path, name in zip(folders, lists[1:], ("train", "query"), strict=True)
        )
    described = "Places-365 by scene; the validation images search each other"
    return Dataset("places365", {"train": train, **searched_in_itself(test)}, described, files=tuple(lists))


def _by_path(root: Path, path: Path, name: str) -> Split:
    ids: list[str] = []
    for number, line in lines_of(path):
        if not is_inside(line) or line.count("/") < 2:
            raise bad_line(path, number, line, "a path such as train/airfield/00000001.jpg")
        ids.append(line)
    return _split(path, name, root, ids, [line.partition("/")[2].rpartition("/")[0] for line in ids])


def _scenes(path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, line in lines_of(path):
        name, _, code = line.rpartition(" ")
        if not _is_number(code) or not name.startswith("/") or int(code) in found:
            raise bad_line(path, number, line, "a scene and its number, such as /a/airfield 0")
        found[int(code)] = name[3:]
    return found


def _by_number(root: Path, folder: Path, path: Path, scenes: dict[int, str], name: str) -> Split:
    ids, labels = [], []
    for number, line in lines_of(path):
        place, _, code = line.rpartition(" ")
        place = place.removeprefix("/")
        if not _is_number(code) or int(code) not in scenes or not is_inside(place):
            raise bad_line(path, number, line, "a path and the number of a scene, such as /a/airfield/00000001.jpg 0")
        ids.append(f"{folder.name}/{place}")
        labels.append(scenes[int(code)])
    return _split(path, name, root, ids, labels)


def _split(path: Path, name: str, root: Path, ids: list[str], labels: list[str]) -> Split:
    if not ids:
        raise DataError(f"{path} lists no pictures; download it again")
    return Split(name, tuple(root / each for each in ids), tuple(labels), tuple(ids))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6
