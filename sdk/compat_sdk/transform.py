"""From old embeddings to a new model's space: a verified bundle of a transform and an engine behind one call."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle, Graph, Trust
from compat_sdk.bundle.bundle import opened
from compat_sdk.bundle.self_test import SelfTest, compare_golden, min_cosine
from compat_sdk.engines import Engine, choose_graph, open_graph, proves_itself
from compat_sdk.errors import BundleError, ConfigError, VectorError
from compat_sdk.missing_side import MissingSide, require_missing_side
from compat_sdk.space import Embeddings, TransformSpaces
from compat_sdk.unit import unit_rows

ROWS = 4096
"""Most rows that an engine is given at once: what it holds in between is 8 KiB per row at 2048 hidden numbers."""


class Transform:
    """Turns old embeddings into a new model's with the transform of one bundle.

    Calls from several threads are independent. A row does not depend on the other rows of its call, but its last bits
    may depend on how many there are, since engines choose their arithmetic by shape: the same call on the same machine
    with the same number of threads gives the same bytes.

    Make one with `Transform.load`.

    Attributes:
        bundle: The bundle.
        engine: What runs its graph.
        spaces: From where to where it leads; the six attributes below say the same one by one.
        old_space: Embedding space of the vectors that it takes.
        old_dim: Numbers per old vector.
        side_space: Embedding space of the side-information beside them; None where it takes none.
        side_dim: Numbers of side-information per row; None where it takes none.
        space: Embedding space of the vectors that it gives, the new model's.
        dim: Numbers per new vector.
        missing_side: ``"zeros"`` where rows of zeros stand for side-information that a row does not have, or
            ``"refuse"``.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, *, graph: Graph | None = None, missing_side: MissingSide = "refuse"
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.spaces = spaces = _spaces(bundle)
        self.old_space, self.old_dim = spaces.old_space, spaces.old_dim
        self.side_space, self.side_dim = spaces.side_space, spaces.side_dim
        self.space, self.dim = spaces.space, spaces.dim
        require_missing_side(self.side_space, missing_side)
        self.missing_side = missing_side
        self._graph = graph
        batch = (graph and graph.batch) or 1
        self._rows = -(-ROWS // batch) * batch  # whole blocks of a graph with a fixed batch

    @classmethod
    def load(
        cls,
        bundle: str | os.PathLike[str] | Bundle,
        *,
        engine: str | Engine = "auto",
        threads: int | None = None,
        precision: str | None = None,
        missing_side: MissingSide = "refuse",
        public_key: str | os.PathLike[str] | None = None,
        trust: str | os.PathLike[str] | Trust | None = None,
    ) -> Transform:
        """Verify a bundle, load its graph and return the transform.

        Args:
            bundle: A transform's bundle, folder or zip, or an opened one.
            engine: ``"auto"``, or one of `compat_sdk.engines.open_engine`, such as ``"onnxruntime:cuda"``, of which a
                self-test comes first; or any object with a ``name`` and a ``run`` of ``[n, old_dim]`` and, where there
                is side-information, ``[n, side_dim]``.
            threads: Threads of the engine; None leaves it to the engine.
            precision: Which of the engine's graphs, such as ``"fp16"``; None takes the first listed.
            missing_side: What `apply` does with rows of zeros in the place of side-information: ``"refuse"``, or
                ``"zeros"``, which gives them to the transform, whose vectors of such rows are worth less.
            public_key: Require this maker's signature, see `compat_sdk.bundle.Bundle.open`.
            trust: Require the signature of a maker that this trust file, or what was read from one, names.

        Raises:
            BundleError: The bundle is damaged, incomplete or past its last day, or not signed as is asked for.
            MissingExtraError: The engine, or what checks signatures, is not installed.
            ConfigError: The bundle is a model of images, or opened already and a signature is asked for; zeros for a
                transform without side-information; unknown engine, one that this system cannot run, ``threads`` below
                1, or threads or a precision together with an engine that has its graph already.
            CheckFailedError: The self-test failed on the device that was asked for.
        """

        def load(bundle: Bundle) -> Transform:
            _spaces(bundle)
            if isinstance(engine, str):
                graph = choose_graph(bundle, engine, precision)
                transform = cls(
                    bundle, open_graph(bundle, graph, threads, engine), graph=graph, missing_side=missing_side
                )
                if proves_itself(engine):
                    transform.self_test()
                return transform
            if precision is not None or threads is not None:
                raise ConfigError(
                    f"precision is {precision!r} and threads {threads!r}, but {engine.name} has its graph already; "
                    f"leave both out"
                )
            return cls(bundle, engine, missing_side=missing_side)

        return opened(bundle, load, public_key, trust)

    def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the new-space vector of each row.

        Args:
            old: float32 ``[n, old_dim]`` of unit norm, in ``old_space``. No row at all gives ``[0, dim]``.
            side: float32 ``[n, side_dim]`` of unit norm, in ``side_space``, side-information of the same rows. Zeros
                for a row that has none, if the transform was loaded with ``missing_side="zeros"``. None where the
                transform takes none, and only there.

        Returns:
            float32 ``[n, dim]`` of unit norm, in ``space``.

        Raises:
            ConfigError: Side-information is missing, or is given to a transform that takes none.
            VectorError: An input is of another type or shape, or has rows that are not finite or not of unit norm; or
                the engine gave NaN, infinity or zeros. ``rows`` are the positions.
            BundleError: The graph gave another shape than the manifest states.
        """
        inputs = [_checked("old", old, self.old_space, self.old_dim)]
        if self.side_space is None or self.side_dim is None:
            if side is not None:
                raise ConfigError(
                    f"side-information was given, but the transform {self.bundle.path} takes none; leave it out"
                )
        elif side is None:
            raise ConfigError(
                f"the transform {self.bundle.path} takes side-information, space {self.side_space}, {self.side_dim} "
                f"numbers per row, and none was given; embed the gallery's images with its encoder"
            )
        else:
            inputs.append(_checked_side(side, self.side_space, self.side_dim, self.missing_side))
            if len(side) != len(old):
                raise VectorError(
                    f"there are {len(old)} old vectors and {len(side)} of side-information; expected one per row"
                )
        vectors = np.empty((len(old), self.dim), np.float32)
        for start in range(0, len(old), self._rows):
            block = [array[start : start + self._rows] for array in inputs]
            vectors[start : start + len(block[0])] = self._run(block)
        what = f"rows have no vector by {self.engine.name}"
        return unit_rows(vectors, what, "run the bundle's self-test")

    def self_test(self) -> SelfTest:
        """Transform the golden vectors on this machine and compare with what the trained transform made of them.

        Raises:
            CheckFailedError: A cosine is below what the graph's precision allows. An engine that came without a graph
                 is held to the lowest bound of the bundle's graphs.
        """
        inputs, expected = self.bundle.golden_vectors()
        graphs = self.bundle.manifest.graphs if self._graph is None else (self._graph,)
        return compare_golden(
            self.apply(*inputs), expected, self.engine.name, self.bundle.path, bound=min_cosine(graphs)
        )

    def _run(self, block: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        found = self.engine.run(*block)
        if found.shape != (len(block[0]), self.dim) or found.dtype != np.float32:
            raise BundleError(
                f"{self.engine.name} gave {found.dtype} {list(found.shape)} for {len(block[0])} rows, expected float32 "
                f"{[len(block[0]), self.dim]}; the manifest of {self.bundle.path} does not fit its graph"
            )
        return found


def _spaces(bundle: Bundle) -> TransformSpaces:
    """From where to where the bundle's transform leads."""
    spaces = bundle.manifest.spaces
    if spaces is None:
        raise ConfigError(
            f"{bundle.path} is a {bundle.manifest.role} model, which takes images; open it with "
            f"compat_sdk.embedder.Embedder.load, and here a bundle exported from a `compat-sdk train upgrade` run"
        )
    return spaces


def _checked_side(vectors: NDArray[np.float32], space: str, dim: int, missing_side: MissingSide) -> NDArray[np.float32]:
    """The rows in one piece, if each is a unit vector of this dimension or, where that is allowed, all zeros."""
    if isinstance(vectors, np.ndarray) and vectors.ndim == 2 and not (has := vectors.any(axis=1)).all():
        if missing_side == "refuse":
            rows = np.flatnonzero(~has).tolist()
            raise VectorError(
                f"the side vectors have only zeros in {len(rows)} of {len(vectors)} rows, first row {rows[0]}; embed "
                f"these images with the side-information's encoder, or load the transform with missing_side='zeros'",
                rows[:1000],
            )
        filled = np.array(vectors)
        filled[~has, :1] = 1
        _checked("side", filled, space, dim)
        return np.ascontiguousarray(vectors)
    return _checked("side", vectors, space, dim)


def _checked(name: str, vectors: NDArray[np.float32], space: str, dim: int) -> NDArray[np.float32]:
    """The rows in one piece, if they are unit vectors of this dimension."""
    try:
        given = Embeddings(np.ascontiguousarray(vectors) if isinstance(vectors, np.ndarray) else vectors, space)
    except VectorError as error:
        raise VectorError(f"the {name} {error}", error.rows) from error
    if given.dim != dim:
        raise VectorError(
            f"the {name} vectors have {given.dim} numbers; expected {dim}, as vectors of space {space} have"
        )
    return given.vectors
