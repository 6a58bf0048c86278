"""DeepFashion2, consumer to shop: garments cut from photographs by their annotated boxes.

An identity is a pair id with a style. A consumer's garment asks, and finds those of shops.

Source: Ge et al., CVPR 2019, https://arxiv.org/abs/1901.07973, section 4; boxes from the ground truth as in Shen et
al., CMP-NAS, 2021, https://arxiv.org/abs/2105.06047.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compat_sdk.datasets.published.places import require_folder
from compat_sdk.datasets.shuffle import shuffled
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images.packed import CroppedPicture
from compat_sdk.shown import shortened

_SEED, _ONE_IN = 20, 20
_UNPAIRED, _LONE = "garment without a style", "consumer's garment without a style"


@dataclass(frozen=True)
class _Garment:
    image: CroppedPicture
    pair: int
    style: int
    by_user: bool
    id: str

    @property
    def label(self) -> str:
        return f"{self.pair}-{self.style}"


def open_deepfashion2(root: Path) -> Dataset:
    """Garments of ``train/`` and ``validation/``, each with folders ``image`` and ``annos``.

    Of the training pairs one in twenty, by a fixed shuffle, judges candidates: ``val``, with its sides. Query and
    gallery are of the validation pairs. Shops' garments without a style stay in the gallery and match nothing; other
    garments without a style have no identity and are left out.

    Raises:
        DataError: A folder or a photograph is missing, or an annotation is not of this set.
    """
    files: list[Path] = []
    train = list(_garments(require_folder(root, "train"), files))
    test = list(_garments(require_folder(root, "validation"), files))
    paired = [each for each in train if each.style > 0]
    pairs = shuffled({str(each.pair) for each in paired}, _SEED)
    judges = set(pairs[: len(pairs) // _ONE_IN])
    splits = {"train": [each for each in paired if str(each.pair) not in judges]}
    if judges:
        splits["val"] = [each for each in paired if str(each.pair) in judges]
    splits["query"] = [each for each in test if each.by_user and each.style > 0]
    splits["gallery"] = [each for each in test if not each.by_user]
    left_out = {
        "train": Counter({_UNPAIRED: len(train) - len(paired)}),
        "query": Counter({_LONE: sum(each.by_user and each.style == 0 for each in test)}),
    }
    made = {name: _split(name, rows, +left_out.get(name, Counter())) for name, rows in splits.items()}
    described = "DeepFashion2: garments of consumers, searched among those of shops"
    return Dataset("deepfashion2", made, described, files=tuple(files))


def _split(name: str, rows: list[_Garment], left_out: Counter[str]) -> Split:
    return Split(
        name,
        tuple(each.image for each in rows),
        tuple(each.label for each in rows),
        tuple(each.id for each in rows),
        tuple(each.by_user for each in rows) if name == "val" else None,
        dict(left_out),
    )


def _garments(folder: Path, files: list[Path]) -> Iterator[_Garment]:
    images, annos = require_folder(folder, "image"), require_folder(folder, "annos")
    places = sorted(path for path in annos.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    if not places:
        raise DataError(f"{annos} has no annotations; expected files such as 000001.json")
    for path in places:
        files.append(path)
        try:
            yield from _read(path, images / f"{path.stem}.jpg", f"{folder.name}/{path.stem}")
        except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
            raise DataError(
                f"{path} is no annotation of DeepFashion2 ({shortened(str(error), 80)}); expected source, pair_id, and "
                f"items with style and bounding_box; unpack the set again"
            ) from error


def _read(path: Path, image: Path, name: str) -> Iterator[_Garment]:
    try:
        value: Any = json.loads(read_plain(path))
    except (OSError, CorruptFileError) as error:
        if isinstance(error, OSError):
            raise_if_refused(path, error)
        raise DataError(f"cannot read {path}: {shortened(str(error))}; unpack the set again") from error
    source, pair = value["source"], _whole(value["pair_id"])
    if source not in ("user", "shop"):
        raise ValueError(f"source is {shortened(repr(source), 40)}")
    for key in sorted(key for key in value if key.startswith("item")):
        item = value[key]
        left, top, right, bottom = (float(edge) for edge in item["bounding_box"])
        if not all(map(math.isfinite, (left, top, right, bottom))) or left >= right or top >= bottom:
            raise ValueError(f"the box of {key} is {left:g}, {top:g}, {right:g}, {bottom:g}")
        box = CroppedPicture(image, (left, top, right, bottom))
        yield _Garment(box, pair, _whole(item["style"]), source == "user", f"{name}/{key}")


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError(f"{shortened(repr(value), 40)} is no number of a pair or style")
    return value
