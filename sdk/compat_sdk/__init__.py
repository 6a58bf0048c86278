"""The device side of heterogeneous visual search: embed queries, search galleries, measure both.

Importing this package loads neither an engine nor an image library; each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_sdk.door import door
from compat_sdk.errors import (
    BundleError,
    CheckFailedError,
    CompatError,
    ConfigError,
    CorruptFileError,
    DataError,
    ForeignIndexError,
    GalleryError,
    GalleryLockedError,
    ImageError,
    IncompatibleSpaceError,
    MissingExtraError,
    StateError,
    StoreError,
    SystemRefusedError,
    TrainingError,
    VectorError,
)

if TYPE_CHECKING:
    from compat_sdk.bundle import Bundle, Trust, sign_bundle
    from compat_sdk.certificate import Certificate, require_certified
    from compat_sdk.datasets import Dataset, Split, open_dataset
    from compat_sdk.embedder import Embedder
    from compat_sdk.gallery import Gallery, Hit, Where
    from compat_sdk.images import Preprocessing, open_image
    from compat_sdk.metrics import score_queries, summarise
    from compat_sdk.profile import Profile, profile_bundle
    from compat_sdk.progress import Progress
    from compat_sdk.space import Embeddings, TransformSpaces
    from compat_sdk.transform import Transform

__version__ = "0.8.0"

__all__ = [
    "Bundle",
    "BundleError",
    "Certificate",
    "CheckFailedError",
    "CompatError",
    "ConfigError",
    "CorruptFileError",
    "DataError",
    "Dataset",
    "Embedder",
    "Embeddings",
    "ForeignIndexError",
    "Gallery",
    "GalleryError",
    "GalleryLockedError",
    "Hit",
    "ImageError",
    "IncompatibleSpaceError",
    "MissingExtraError",
    "Preprocessing",
    "Profile",
    "Progress",
    "Split",
    "StateError",
    "StoreError",
    "SystemRefusedError",
    "TrainingError",
    "Transform",
    "TransformSpaces",
    "Trust",
    "VectorError",
    "Where",
    "__version__",
    "open_dataset",
    "open_image",
    "profile_bundle",
    "require_certified",
    "score_queries",
    "sign_bundle",
    "summarise",
]

__getattr__, __dir__ = door(
    __name__,
    {
        "Bundle": "bundle",
        "Certificate": "certificate",
        "Dataset": "datasets",
        "Embedder": "embedder",
        "Embeddings": "space",
        "Gallery": "gallery",
        "Hit": "gallery",
        "Preprocessing": "images",
        "Profile": "profile",
        "Progress": "progress",
        "Split": "datasets",
        "Transform": "transform",
        "TransformSpaces": "space",
        "Trust": "bundle",
        "Where": "gallery",
        "open_dataset": "datasets",
        "open_image": "images",
        "profile_bundle": "profile",
        "require_certified": "certificate",
        "score_queries": "metrics",
        "sign_bundle": "bundle",
        "summarise": "metrics",
    },
)
