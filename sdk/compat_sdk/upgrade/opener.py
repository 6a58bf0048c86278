"""Where a transform comes from: something small that every worker process can open for itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.missing_side import MissingSide
from compat_sdk.space import TransformSpaces

if TYPE_CHECKING:
    from compat_sdk.bundle import Trust


class Transformer(Protocol):
    """A map from old embeddings, and side-information where it takes one, to the new space."""

    @property
    def spaces(self) -> TransformSpaces:
        """From where to where it leads."""
        ...

    def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return ``[n, dim]`` unit rows for ``old`` ``[n, old_dim]`` and ``side`` ``[n, side_dim]``."""
        ...


class TransformOpener(Protocol):
    """Opens one transform; hashable, and small enough to be sent to another process."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What must be equal for two runs to write the same bytes."""
        ...

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    def __hash__(self) -> int: ...

    def __call__(self) -> Transformer:
        """Open it in this process."""
        ...


@dataclass(frozen=True)
class OfSide:
    """A transform of side-information (FCT's g) as its gallery sees it: what it upgrades comes first, the rest beside.

    Such a transform reads old embeddings and side-information, as one of embeddings does, and gives side-information of
    the next model. Here the side-information is the gallery that is upgraded, and the embeddings lie beside it.

    Source: Ramanujan et al., Forward Compatible Training, CVPR 2022, https://arxiv.org/abs/2112.02805.
    """

    inner: TransformOpener

    @property
    def identity(self) -> Mapping[str, str]:
        """That of the transform, and that its inputs are turned."""
        return {**self.inner.identity, **_TURNED}

    @property
    def name(self) -> str:
        """That of the transform."""
        return self.inner.name

    def __call__(self) -> Transformer:
        """Open the transform, and turn its inputs."""
        return _Turned(self.inner())


@dataclass(frozen=True)
class _Turned:
    inner: Transformer

    @property
    def spaces(self) -> TransformSpaces:
        whole = self.inner.spaces
        if whole.side_space is None or whole.side_dim is None:
            raise ConfigError("a transform without side-information upgrades none; name the gallery of its embeddings")
        old = whole.old_space, whole.old_dim
        return TransformSpaces(whole.side_space, whole.side_dim, *old, whole.space, whole.dim)

    def apply(self, old: NDArray[np.float32], side: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        if side is None:
            raise ConfigError("found no embeddings beside the side-information; name their gallery (--side)")
        return self.inner.apply(side, old)


_TURNED = {"upgrades": "side-information"}


def facing(opener: TransformOpener, spaces: TransformSpaces, space: str) -> TransformOpener:
    """The opener as a gallery in ``space`` needs it: turned where that is what the transform takes beside the old."""
    return OfSide(opener) if space == spaces.side_space and space != spaces.old_space else opener


def turned(identity: Mapping[str, str]) -> bool:
    """Whether an upgrade with a transform of this identity is one of side-information, see `OfSide`."""
    return _TURNED.items() <= identity.items()


@dataclass(frozen=True)
class BundleTransform:
    """A transform that lies in a bundle, which every worker opens by its path.

    Attributes:
        path: The bundle, folder or zip.
        sha256: Digest of its manifest, which lists the digest of every other file.
        engine: Name of the engine; `at` has settled what ``"auto"`` is here.
        precision: Of the graph.
        threads: CPU threads of each worker; rounding may depend on them, so a run keeps to one number. Core ML, which
            chooses its own, takes 1 alone.
    """

    path: str
    sha256: str
    engine: str
    precision: str
    threads: int = 1

    @classmethod
    def at(
        cls,
        path: str | Path,
        *,
        engine: str = "auto",
        precision: str | None = None,
        threads: int = 1,
        public_key: str | os.PathLike[str] | None = None,
        trust: str | os.PathLike[str] | Trust | None = None,
    ) -> BundleTransform:
        """Return the opener of a bundle, with the engine and the graph that this machine would choose now.

        A signature is required here, once: the workers take the bundle of this digest and no other.

        Raises:
            BundleError: No bundle, a damaged one, one not signed as is asked for, or without a graph for the engine.
            ConfigError: ``threads`` is below 1, or the engine is unknown or cannot run here.
            MissingExtraError: No engine that runs one of its graphs is installed.
        """
        from compat_sdk.bundle import Bundle
        from compat_sdk.engines import choose_graph, engines_here

        if threads < 1:
            raise ConfigError(f"threads is {threads}, expected at least 1")
        bundle = Bundle.open(path, public_key, trust=trust)
        graph = choose_graph(bundle, engine, precision)
        chosen = engines_here()[graph.target] if engine == "auto" else engine
        return cls(str(Path(path).absolute()), bundle.digest, chosen, graph.precision, threads)

    @property
    def identity(self) -> Mapping[str, str]:
        """Digest of the bundle, and how it is run."""
        return {
            "sha256": self.sha256,
            "engine": self.engine,
            "precision": self.precision,
            "threads": str(self.threads),
        }

    @property
    def name(self) -> str:
        """Name of the bundle's folder or file."""
        return Path(self.path).name

    def __call__(self) -> Transformer:
        """Load the bundle.

        Raises:
            BundleError: It is damaged, or another one than when the run began.
            MissingExtraError: Its engine is not installed.
            ConfigError: The bundle is a model of images, or the engine is unknown or cannot run here.
        """
        from compat_sdk.bundle import Bundle
        from compat_sdk.engines import choose_graph
        from compat_sdk.transform import Transform

        if (bundle := Bundle.open(self.path)).digest != self.sha256:
            raise BundleError(f"{self.path} changed since this upgrade was begun; restore the bundle")
        graph = choose_graph(bundle, self.engine, self.precision)
        # Core ML chooses its own threads, and refuses any number; 1 is what nobody asked for.
        threads = None if graph.target == "coreml" and self.threads == 1 else self.threads
        spaces = bundle.manifest.spaces  # a run asks about missing side-information itself, by id, and counts it
        missing: MissingSide = "refuse" if spaces is None or spaces.side_space is None else "zeros"
        return Transform.load(
            bundle, engine=self.engine, precision=self.precision, threads=threads, missing_side=missing
        )
