"""Golden files: a few inputs inside each bundle, and what the trained model makes of them.

    golden/pictures/00.jpg     JPEG and PNG files; row 0 of each array below belongs to it, and so on
    golden/images.npy          uint8 [m, size, size, 3]: the pixels that a picture becomes
    golden/inputs.npy          float32 [m, 3, 2]: mean and deviation of each channel of the model's input
    golden/embeddings.npy      float32 [m, dim]
    golden/old.npy, side.npy   float32 [m, ...]: of a transform, in place of pictures, images and inputs

A self-test goes from the pictures' bytes to the vectors and compares every stage. Vectors alone would not do: a network
may hardly notice colours in another order. Bundles of 0.7 and before have images and embeddings alone, and their
self-test sees neither decoding, nor fit, nor kernel. Rows after the last picture are prepared images
that the maker added.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk import arrays
from compat_sdk.bundle.manifest import TransformSource
from compat_sdk.bundle.names import PICTURES
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.images import Preprocessing

Arrays = Sequence[NDArray[Any]]
_MOST_PICTURES = 16
"""Most golden pictures of a bundle."""
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}


def picture_files(pictures: Sequence[bytes]) -> dict[str, bytes]:
    """Return golden pictures by their names inside the bundle.

    Args:
        pictures: Encoded JPEG or PNG, at most `_MOST_PICTURES`.

    Raises:
        ConfigError: There are more, or one is of another format.
    """
    if len(pictures) > _MOST_PICTURES:
        raise ConfigError(f"found {len(pictures)} golden pictures; expected at most {_MOST_PICTURES}")
    return {f"{PICTURES}{row:02}{_suffix(row, picture)}": picture for row, picture in enumerate(pictures)}


def picture_names(files: Iterable[str]) -> tuple[str, ...]:
    """Return the names of golden pictures among a bundle's files, in the order of their rows.

    Raises:
        BundleError: They are not numbered from 00 without a gap, or there are too many.
    """
    names = sorted(name for name in files if name.startswith(PICTURES))
    wanted = [tuple(f"{PICTURES}{row:02}{suffix}" for suffix in _SUFFIXES.values()) for row in range(len(names))]
    if len(names) > _MOST_PICTURES or any(name not in either for name, either in zip(names, wanted, strict=True)):
        raise BundleError(
            f"golden pictures are {names[:5]}; expected 00.jpg or 00.png and so on, at most {_MOST_PICTURES}; export "
            f"the model again"
        )
    return tuple(names)


def golden_names(source: TransformSource | None, pictures: int) -> tuple[str, ...]:
    """Names of the golden arrays inside a bundle, the inputs first and the embeddings last.

    Args:
        source: What a transform takes; None for a model of images.
        pictures: How many golden pictures there are.
    """
    inputs = source.inputs if source is not None else ("images", "inputs") if pictures else ("images",)
    return tuple(f"golden/{name}.npy" for name in (*inputs, "embeddings"))


def golden_files(source: TransformSource | None, pictures: int, arrays: Arrays) -> dict[str, bytes]:
    """Return the golden arrays by name inside the bundle; ``arrays`` in the order of `golden_names`."""
    files = {}
    for name, array in zip(golden_names(source, pictures), arrays, strict=True):
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        files[name] = buffer.getvalue()
    return files


def read_array(data: bytes, name: object) -> NDArray[Any]:
    """Return the array of a golden file.

    Args:
        data: Its content.
        name: What to call it in an error.

    Raises:
        BundleError: It is no plain array.
    """
    return arrays.read_array(data, name=str(name), error=BundleError)


def golden_problem(
    arrays: Arrays, *, dim: int, preprocessing: Preprocessing | None, source: TransformSource | None, pictures: int
) -> str | None:
    """Say how golden arrays differ from what a manifest says; None if they do not.

    Args:
        arrays: Of a model of images, uint8 ``[m, size, size, 3]`` and, where there are pictures, finite float32
            ``[m, 3, 2]``; of a transform, float32 ``[m, old_dim]`` and,
            where it takes side-information, ``[m, side_dim]``, all finite; then float32 ``[m, dim]``, finite.
        dim: Numbers per embedding.
        preprocessing: Of a model of images.
        source: What a transform takes.
        pictures: How many golden pictures there are.
    """
    names = golden_names(source, pictures)
    if len(arrays) != len(names):
        return f"there are {len(arrays)} golden arrays, expected {', '.join(names)}"
    *inputs, embeddings = arrays
    count = len(inputs[0]) if inputs[0].ndim else 0
    if source is None:
        if preprocessing is None:
            return "the manifest has neither preprocessing nor a source"
        size, images = preprocessing.size, inputs[0]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3) or count == 0:
            return f"golden images are {images.dtype} {list(images.shape)}, expected uint8 [m, {size}, {size}, 3]"
        if count < pictures:
            return f"there are {pictures} golden pictures and {count} golden images, expected one image of each"
        if pictures and (inputs[1].dtype != np.float32 or inputs[1].shape != (count, 3, 2)):
            return f"golden inputs are {inputs[1].dtype} {list(inputs[1].shape)}, expected float32 [{count}, 3, 2]"
        if pictures and not np.isfinite(inputs[1]).all():
            return "golden inputs hold NaN or infinity"
    else:
        if pictures:
            return f"there are {pictures} golden pictures, and a transform takes none"
        dims = dict(zip(source.inputs, (source.old_dim, source.side_dim), strict=False))
        for (name, wanted), vectors in zip(dims.items(), inputs, strict=True):
            if vectors.dtype != np.float32 or vectors.shape != (count, wanted) or count == 0:
                shape = f"{vectors.dtype} {list(vectors.shape)}"
                return f"golden {name} vectors are {shape}, expected float32 [{count or 'm'}, {wanted}]"
            if not np.isfinite(vectors).all():
                return f"golden {name} vectors hold NaN or infinity"
    if embeddings.dtype != np.float32 or embeddings.shape != (count, dim):
        found = f"{embeddings.dtype} {list(embeddings.shape)}"
        return f"golden embeddings are {found}, expected float32 [{count}, {dim}]"
    if not np.isfinite(embeddings).all():
        return "golden embeddings hold NaN or infinity"
    return None


def _suffix(row: int, picture: bytes) -> str:
    for magic, suffix in _SUFFIXES.items():
        if picture.startswith(magic):
            return suffix
    raise ConfigError(f"golden picture {row} is neither JPEG nor PNG; convert it to one of them")
