"""From images to embeddings: a verified bundle, its preprocessing and an engine behind one call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import permutations
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compat_sdk.bundle import Bundle, Graph, Manifest, Trust
from compat_sdk.bundle.bundle import opened
from compat_sdk.bundle.self_test import (
    MIN_COSINE,
    SelfTest,
    compare_golden,
    compare_inputs,
    compare_orders,
    compare_pixels,
    input_statistics,
    min_cosine,
)
from compat_sdk.engines import Engine, choose_graph, open_graph, proves_itself
from compat_sdk.errors import BundleError, ConfigError, ImageError
from compat_sdk.images import ImageLike, Preprocessing, to_input
from compat_sdk.images.preprocess import decode_many, is_pixels, pixels_at
from compat_sdk.space import Embeddings
from compat_sdk.unit import unit_rows
from compat_sdk.workers import usable_cores

__all__ = ["Embedder", "SelfTest", "graph_input"]


def graph_input(pixels: NDArray[np.uint8], preprocessing: Preprocessing, graph: Graph) -> NDArray[np.float32]:
    """What a graph takes for decoded images.

    Args:
        pixels: uint8 ``[n, size, size, 3]`` RGB.
        preprocessing: Of the bundle, or the model's own.
        graph: Says the layout, and whether the graph prepares pixels itself.

    Returns:
        float32 ``[n, 3, size, size]`` or, for layout nhwc, ``[n, size, size, 3]``, C-contiguous.

    Raises:
        ImageError: ``pixels`` has another type or shape.
    """
    images = to_input(pixels, graph.client_part(preprocessing))
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if graph.layout == "nhwc" else images


class Embedder:
    """Embeds images with the model of one bundle; made by `load`. Calls from several threads are independent.

    Attributes:
        bundle: The bundle.
        engine: What runs its graph.
        preprocessing: What is done to an image before the model sees it.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        graph: Graph | None = None,
        threads: int | None = None,
        batch: int = 8,
    ) -> None:
        for name, value in (("threads", threads), ("batch", batch)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected at least 1")
        self.bundle = bundle
        self.engine = engine
        self.preprocessing = _preprocessing(bundle)
        self._threads = usable_cores() if threads is None else threads
        rows = (graph and graph.batch) or 1
        self._batch = -(-batch // rows) * rows  # whole blocks of a graph with a fixed batch
        # An engine that came without a graph takes what most graphs do: prepared values, channels first.
        self._graph = graph

    @classmethod
    def load(
        cls,
        bundle: str | os.PathLike[str] | Bundle,
        *,
        engine: str | Engine = "auto",
        threads: int | None = None,
        batch: int = 8,
        precision: str | None = None,
        public_key: str | os.PathLike[str] | None = None,
        trust: str | os.PathLike[str] | Trust | None = None,
    ) -> Embedder:
        """Verify a bundle, load its graph and return the embedder.

        Args:
            bundle: Folder or zip of a bundle, or an opened one.
            engine: ``"auto"``, or one of `compat_sdk.engines.open_engine`, such as ``"onnxruntime:cuda"``, of which a
                self-test comes first; or any object with a ``name`` and a ``run``, which is given prepared images
                ``[n, 3, size, size]``.
            threads: Threads for decoding and for the engine; None takes one per usable core.
            batch: Images per run of the engine, rounded up to whole blocks of a graph with a fixed batch. On a CPU the
                time per image is the same from 1 to 32, while memory grows with it.
            precision: Which of the engine's graphs, such as ``"fp16"``; None takes the first listed.
            public_key: Require this maker's signature, see `compat_sdk.bundle.Bundle.open`.
            trust: Require the signature of a maker that this trust file, or what was read from one, names.

        Raises:
            BundleError: The bundle is damaged, incomplete or past its last day, or not signed as is asked for.
            MissingExtraError: The engine, or what checks signatures, is not installed.
            ConfigError: The bundle is a transform, or opened already and a signature is asked for; unknown engine, one
                that this system cannot run, a number below 1, or a precision together with an engine that has its graph
                already.
            CheckFailedError: The self-test failed on the device that was asked for.
        """

        def load(bundle: Bundle) -> Embedder:
            _preprocessing(bundle)
            if isinstance(engine, str):
                graph = choose_graph(bundle, engine, precision)
                own = open_graph(bundle, graph, threads, engine)
                embedder = cls(bundle, own, graph=graph, threads=threads, batch=batch)
                if proves_itself(engine):
                    embedder.self_test()
                return embedder
            if precision is not None:
                raise ConfigError(f"precision is {precision!r}, but {engine.name} has its graph already; leave it out")
            return cls(bundle, engine, threads=threads, batch=batch)

        return opened(bundle, load, public_key, trust)

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about its model."""
        return self.bundle.manifest

    @property
    def space(self) -> str:
        """Embedding space that the vectors are written in."""
        return self.manifest.space

    @property
    def searches(self) -> tuple[str, ...]:
        """Gallery spaces that the vectors may search, besides their own."""
        return self.manifest.searches

    @property
    def dim(self) -> int:
        """Numbers per embedding."""
        return self.manifest.dim

    def embed(self, images: ImageLike | Sequence[ImageLike] | NDArray[np.uint8]) -> Embeddings:
        """Return one unit vector per image, in order.

        While the engine runs one batch, threads decode the next.

        Args:
            images: One image, or a sequence of images in any mixture of kinds (path, encoded bytes, Pillow image,
                uint8 array), or one uint8 array ``[n, h, w, 3]``. None at all gives ``[0, dim]``.

        Returns:
            float32 ``[n, dim]`` with the model's space and what it may search.

        Raises:
            ImageError: The first image that cannot be read, by path and position.
            VectorError: The model gave NaN, infinity or a vector of zeros; ``rows`` are the positions.
            BundleError: The graph gave another shape than the manifest states.
        """
        many = _as_many(images)
        if is_pixels(many, self.preprocessing.size):
            return self.embed_pixels(many)
        return self._embed(len(many), self._decoded(many))

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Embeddings:
        """Return one unit vector per image that `compat_sdk.images.to_pixels` prepared.

        Args:
            pixels: uint8 ``[n, size, size, 3]``, RGB.

        Raises:
            ImageError: ``pixels`` has another type or shape.
            VectorError: The model gave NaN, infinity or a vector of zeros; ``rows`` are the positions.
            BundleError: The graph gave another shape than the manifest states.
        """
        batches = (self._input(pixels[start : start + self._batch]) for start in range(0, len(pixels), self._batch))
        return self._embed(len(pixels), batches)

    def self_test(self) -> SelfTest:
        """Embed the golden pictures here, from their bytes, and compare with what the trained model made of them.

        Compared are the pixels, the numbers that the graph is given, and the vectors. A bundle of 0.7 or before has no
        pictures: its prepared images are embedded, and ``pictures`` of the result is 0.

        Raises:
            CheckFailedError: Pixels or inputs differ, or a cosine is below what the graph's precision allows. An engine
                 that came without a graph is held to the lowest bound of the bundle's graphs. Where that bound is low,
                 also pictures with their channels in another order that come closer than as they are.
        """
        path, graphs = self.bundle.path, self.manifest.graphs if self._graph is None else (self._graph,)
        images, *inputs, expected = self.bundle.golden_arrays()
        pictures = self.bundle.golden_pictures()
        if pictures:
            decoded = decode_many(list(pictures.values()), self.preprocessing, self._threads)
            compare_pixels(decoded, images[: len(pictures)], list(pictures), path)
            fed = self._input(images)
            if self._graph is not None and self._graph.layout == "nhwc":
                fed = fed.transpose(0, 3, 1, 2)
            compare_inputs(input_statistics(fed), inputs[0], path)
        vectors = self.embed([*pictures.values(), *images[len(pictures) :]]).vectors
        bound = min_cosine(graphs)
        result = compare_golden(vectors, expected, self.engine.name, path, bound=bound, pictures=len(pictures))
        if pictures and bound < MIN_COSINE["fp32"]:
            orders = [list(order) for order in permutations(range(3))][1:]
            others = [self.embed_pixels(images[: len(pictures)][..., order]).vectors for order in orders]
            compare_orders(vectors[: len(pictures)], others, expected[: len(pictures)], f"{self.engine.name} of {path}")
        return result

    def _input(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (
            to_input(pixels, self.preprocessing)
            if self._graph is None
            else graph_input(pixels, self.preprocessing, self._graph)
        )

    def _decoded(self, images: Sequence[ImageLike]) -> Iterator[NDArray[np.float32]]:
        """Yield prepared batches; while one is in use, threads decode the next."""
        preprocessing, size = self.preprocessing, self.preprocessing.size
        channels_last = self._graph is not None and self._graph.layout == "nhwc"
        shape = (size, size, 3) if channels_last else (3, size, size)

        def prepare(row: NDArray[np.float32], position: int) -> None:
            row[:] = self._input(pixels_at(images, position, preprocessing)[None])[0]

        if len(images) == 1:
            yield self._input(pixels_at(images, 0, preprocessing)[None])
            return
        pool = ThreadPoolExecutor(self._threads, "compat-decode")

        def start(first: int) -> tuple[NDArray[np.float32], list[Future[None]]]:
            batch = np.empty((max(0, min(self._batch, len(images) - first)), *shape), np.float32)
            return batch, [pool.submit(prepare, row, first + place) for place, row in enumerate(batch)]

        try:
            following = start(0)
            for first in range(0, len(images), self._batch):
                batch, jobs = following
                following = start(first + self._batch)
                for job in jobs:
                    job.result()
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)

    def _embed(self, count: int, batches: Iterable[NDArray[np.float32]]) -> Embeddings:
        vectors = np.empty((count, self.dim), np.float32)
        done = 0
        for batch in batches:
            found = self.engine.run(batch)
            if found.shape != (len(batch), self.dim) or found.dtype != np.float32:
                raise BundleError(
                    f"{self.engine.name} gave {found.dtype} {list(found.shape)} for {len(batch)} images, expected "
                    f"float32 {[len(batch), self.dim]}; the manifest of {self.bundle.path} does not fit its graph"
                )
            vectors[done : done + len(batch)] = found
            done += len(batch)
        what = f"images have no embedding by {self.engine.name}"
        vectors = unit_rows(vectors, what, "run the bundle's self-test")
        return Embeddings(vectors, self.space, self.searches)


def _preprocessing(bundle: Bundle) -> Preprocessing:
    """What is done to an image before the bundle's model."""
    if bundle.manifest.preprocessing is None:
        raise ConfigError(
            f"{bundle.path} is a transform of embeddings and takes no images; open it with "
            f"compat_sdk.transform.Transform.load"
        )
    return bundle.manifest.preprocessing


def _as_many(images: ImageLike | Sequence[ImageLike] | NDArray[np.uint8]) -> Sequence[ImageLike]:
    if isinstance(images, np.ndarray):
        if images.ndim == 4:
            return cast("Sequence[ImageLike]", images)
        if images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (1, 3, 4)):
            return [images]
        raise ImageError(
            "array",
            f"its shape is {list(images.shape)}; expected one image [h, w] or [h, w, 3], or many [n, h, w, 3]; "
            f"for many grey images pass list(array)",
        )
    if isinstance(images, str | bytes | os.PathLike | Image.Image):
        return [images]
    if not isinstance(images, Sequence):
        raise ImageError(type(images).__name__, "expected an image or a sequence of images; pass list(images)")
    return cast("Sequence[ImageLike]", images)
