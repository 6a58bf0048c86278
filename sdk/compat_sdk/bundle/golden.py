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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk import arrays
from compat_sdk.bundle.manifest import Graph, TransformSource
from compat_sdk.bundle.names import PICTURES
from compat_sdk.errors import BundleError, CheckFailedError, ConfigError
from compat_sdk.images import Preprocessing

Arrays = Sequence[NDArray[Any]]
MIN_COSINE: Mapping[str, float] = {
    "fp32": 0.999,
    "fp16": 0.999,
    "int8": 0.99,
    "palette8": 0.99,
    "palette6": 0.97,
    "int8-static": 0.9,
    "int4": 0.9,
    "palette4": 0.9,
}
"""Smallest cosine to the trained model's vector, by precision: of an export and of every self-test after it."""
_MOST_PICTURES = 16
"""Most golden pictures of a bundle."""
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}
_MOST_OFF = {".jpg": 4, ".png": 1}
"""Levels by which a pixel may differ: what is lossy is decoded a little otherwise by another library."""
_MEAN_OFF = {".jpg": 0.5, ".png": 0.05}
"""Levels by which pixels may differ in the mean of a picture."""
_BETTER = 0.75
"""Share of the right order's mean error below which another order of the channels is the right one."""
_INPUT_OFF = 2e-5
"""Share of the largest statistic by which one may differ: float32 sums in another order."""


@dataclass(frozen=True)
class SelfTest:
    """How this machine's vectors of the golden inputs differ from the trained model's.

    Attributes:
        min_cosine: Worst cosine similarity over the rows, 1 at best.
        max_abs_difference: Largest difference of any number of any vector.
        rows: Golden images, or golden vectors of a transform, in the bundle.
        bound: Smallest cosine that was allowed.
        pictures: Rows that were made from the bytes of a picture; 0 for a transform, and for a bundle of 0.7 or before,
            whose test is the weaker one of prepared pixels.
    """

    min_cosine: float
    max_abs_difference: float
    rows: int
    bound: float
    pictures: int = 0


def min_cosine(graphs: Sequence[Graph]) -> float:
    """Return the smallest cosine allowed of the one that these graphs have in common: the lowest of theirs.

    A graph's own is what it was published with, else that of its precision; of a precision that is not in `MIN_COSINE`
    that of fp32.
    """
    return min(
        MIN_COSINE.get(graph.precision, MIN_COSINE["fp32"]) if graph.min_cosine is None else graph.min_cosine
        for graph in graphs
    )


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
    wanted = [tuple(f"{PICTURES}{row:02}{suffix}" for suffix in _MOST_OFF) for row in range(len(names))]
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


def input_statistics(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean and standard deviation of each channel of prepared images, float32 ``[n, 3, 2]``.

    Args:
        inputs: float32 ``[n, 3, size, size]``.
    """
    values = inputs.reshape(*inputs.shape[:2], -1).astype(np.float64)
    return np.stack([values.mean(2), values.std(2)], 2).astype(np.float32)


def compare_pixels(found: NDArray[np.uint8], expected: NDArray[np.uint8], names: Sequence[str], bundle: object) -> None:
    """Compare what pictures become here with what they became for the trained model.

    Args:
        found: uint8 ``[n, size, size, 3]``, one row per picture.
        expected: The same of the trained model.
        names: Of the pictures, inside the bundle.
        bundle: Where the bundle is, for the message.

    Raises:
        CheckFailedError: A pixel, or the mean over a picture, differs by more than decoders do.
    """
    for name, ours, theirs in zip(names, found, expected, strict=True):
        off, suffix = np.abs(ours.astype(np.int16) - theirs), name[-4:]
        if off.max() > _MOST_OFF[suffix] or off.mean() > _MEAN_OFF[suffix]:
            raise CheckFailedError(
                f"{name} of {bundle} becomes pixels that differ from the trained model's by up to {int(off.max())} "
                f"levels, {off.mean():.2f} in the mean, expected at most {_MOST_OFF[suffix]} and {_MEAN_OFF[suffix]}: "
                f"decoding or preprocessing is another one; export the model again"
            )


def compare_inputs(found: NDArray[np.float32], expected: NDArray[np.float32], bundle: object) -> None:
    """Compare statistics of a graph's input with those of the trained model's, of the same pixels.

    Args:
        found: float32 ``[m, 3, 2]``, see `input_statistics`.
        expected: The same of the trained model.
        bundle: Where the bundle is, for the message.

    Raises:
        CheckFailedError: One differs by more than rounding.
    """
    off = float(np.abs(found - expected).max())
    if not off <= _INPUT_OFF * float(np.abs(expected).max()):
        raise CheckFailedError(
            f"golden images of {bundle} become an input whose mean or deviation of a channel differs from the trained "
            f"model's by {off:.2g}: mean, std, the order of the channels or what the graph takes is another one; "
            f"export the model again"
        )


def compare_golden(
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    engine: str,
    bundle: object,
    *,
    bound: float,
    pictures: int = 0,
) -> SelfTest:
    """Compare an engine's vectors of the golden inputs with the trained model's.

    Args:
        found: float32 ``[m, dim]``, unit rows.
        expected: float32 ``[m, dim]``.
        engine: Name of the engine, for the message.
        bundle: Where the bundle is, for the message.
        bound: Smallest cosine allowed, see `min_cosine`.
        pictures: Rows that were made from a picture's bytes.

    Raises:
        CheckFailedError: A cosine similarity is below the bound.
    """
    lengths = np.linalg.norm(expected, axis=1)
    cosines = np.einsum("ij,ij->i", found, expected) / np.maximum(lengths, np.finfo(np.float32).tiny)
    difference = float(np.abs(found - expected).max())
    result = SelfTest(float(cosines.min()), difference, len(expected), bound, pictures)
    if not result.min_cosine >= bound:
        raise CheckFailedError(
            f"{engine} turns golden row {int(cosines.argmin())} of {bundle} into a vector with cosine "
            f"{result.min_cosine:.6f} to the trained model's, expected at least {bound:g}; use another "
            f"engine or export the model again"
        )
    return result


def compare_orders(
    right: NDArray[np.float32], others: Sequence[NDArray[np.float32]], expected: NDArray[np.float32], what: str
) -> None:
    """Refuse a graph that does better with the channels of the golden pictures in another order.

    A bound of 0.9 lets through what mixes the channels up and has little else to say of colour. Whatever rounding
    costs, it costs in every order: of right graphs the best order had 1.01 times the right one's error, and a
    mixed-up one that does harm is far better in the order that undoes it.

    Args:
        right: float32 ``[m, dim]``, unit rows, the graph's vectors of the pictures.
        others: The same of the pictures with their channels in each other order.
        expected: The trained model's vectors of the pictures as they are.
        what: Engine and bundle, for the message.

    Raises:
        CheckFailedError: One of the other orders has less than three quarters of the right one's mean error.
    """

    def error(found: NDArray[np.float32]) -> float:
        return float(1 - np.einsum("ij,ij->i", found, expected).mean())

    best, own = min(map(error, others)), error(right)
    if best < _BETTER * own:
        raise CheckFailedError(
            f"{what}: golden pictures with their channels in another order come closer to the trained model's vectors "
            f"(mean cosine {1 - best:.6f}) than as they are ({1 - own:.6f}); the graph or the engine mixes up the "
            f"channels: export the model again"
        )


def _suffix(row: int, picture: bytes) -> str:
    for magic, suffix in _SUFFIXES.items():
        if picture.startswith(magic):
            return suffix
    raise ConfigError(f"golden picture {row} is neither JPEG nor PNG; convert it to one of them")
