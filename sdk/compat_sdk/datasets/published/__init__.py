"""Sets as their makers distribute them: read where they lie, from the files as they are. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from compat_sdk.datasets.published.cifar import open_cifar
from compat_sdk.datasets.published.class_folders import open_imagenet, open_training_faces, open_vggface2
from compat_sdk.datasets.published.deepfashion import open_deepfashion2
from compat_sdk.datasets.published.digits import EMNIST_PARTS, open_emnist, open_k49, open_kmnist, open_mnist
from compat_sdk.datasets.published.landmarks import open_gldv2
from compat_sdk.datasets.published.market import open_market
from compat_sdk.datasets.published.places365 import open_places
from compat_sdk.datasets.published.revisited import open_revisited
from compat_sdk.datasets.published.tinyface import open_tinyface
from compat_sdk.datasets.split import Dataset

PUBLISHED: Mapping[str, Callable[[Path], Dataset]] = {
    "mnist": open_mnist,
    "kmnist": open_kmnist,
    "k49": open_k49,
    **{f"emnist-{part}": partial(open_emnist, part=part) for part in EMNIST_PARTS},
    "cifar-10": partial(open_cifar, classes=10),
    "cifar-100": partial(open_cifar, classes=100),
    "imagenet": open_imagenet,
    "places365": open_places,
    "vggface2": open_vggface2,
    "casia-webface": partial(open_training_faces, name="casia-webface"),
    "imdb-face": partial(open_training_faces, name="imdb-face"),
    "tinyface": open_tinyface,
    "deepfashion2": open_deepfashion2,
    "market-1501": open_market,
    "gldv2": partial(open_gldv2, clean=True),
    "gldv2-all": partial(open_gldv2, clean=False),
    "roxford5k": partial(open_revisited, name="roxford5k", hard=False),
    "roxford5k-hard": partial(open_revisited, name="roxford5k", hard=True),
    "rparis6k": partial(open_revisited, name="rparis6k", hard=False),
    "rparis6k-hard": partial(open_revisited, name="rparis6k", hard=True),
}
"""What opens each set from the folder that holds its files."""
