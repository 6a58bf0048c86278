"""A model to evaluate: a RUN that was trained or adopted here, an exported BUNDLE, or a source that can be adopted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle, Trust
from compat_sdk.bundle.trust import refuse_run
from compat_sdk.certificate import Certificate
from compat_sdk.embedder import Embedder
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_sdk.kinds import is_bundle
from compat_train.adoption.opening import open_gallery_model
from compat_train.device import device_of
from compat_train.embed import embed_images
from compat_train.models.adopted import VECTORS
from compat_train.models.cost import count_cost
from compat_train.models.timm_network import as_deployed


@dataclass(frozen=True, eq=False)
class Model:
    """A model that embeds decoded images.

    Attributes:
        name: Name of its folder.
        space: Embedding space that it writes in.
        role: What it is for, as its record says: ``query``, ``gallery`` or ``side-info``.
        searches: Gallery spaces that it declares it may search, besides its own.
        dim: Numbers per embedding.
        mmacs: Multiply-adds per image, in millions; None where only vectors are known.
        preprocessing: What is done to an image before it.
        certificates: Evaluations that show what it may search.
        embed: From uint8 ``[n, size, size, 3]`` RGB to float32 ``[n, dim]`` of unit norm.
        raw: The same as the network gives them, whose lengths tell how sure it is; None where only unit vectors are
            known, as of a BUNDLE.
        stored: From ids of pictures to their vectors, float32 ``[n, dim]`` of unit norm, of a model of which only
            vectors are known; None for one that embeds.
    """

    name: str
    space: str
    role: str
    searches: tuple[str, ...]
    dim: int
    mmacs: float | None
    preprocessing: Preprocessing
    certificates: tuple[Certificate, ...]
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    stored: Callable[[Sequence[str]], NDArray[np.float32]] | None = None
    raw: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None


def open_model(
    source: str | Path, *, device: str = "cpu", threads: int | None = None, trust: Trust | None = None
) -> Model:
    """A model, ready to embed.

    Args:
        source: Folder with ``model.json`` (a RUN), folder or zip with ``manifest.json`` (a BUNDLE), or a source that
            says all of itself, such as ``timm:NAME``.
        device: Where a RUN's network runs: auto, cpu or cuda. A BUNDLE runs on its engine.
        threads: CPU threads of a BUNDLE's engine; None leaves it to the engine.
        trust: Whose signature it must have; None for no matter whose.

    Raises:
        ConfigError: It is neither, or a RUN where a signature is asked for.
        BundleError: A file that is no bundle, or a bundle without the signature.
        TrainingError: The RUN has not finished, or CUDA was asked for and there is none.
        CorruptFileError: A file differs from its digest.
    """
    path = Path(source)
    if is_bundle(path):
        bundle = Bundle.open(path, trust=trust)
        embedder = Embedder.load(bundle, threads=threads)
        manifest = bundle.manifest
        return Model(
            name=manifest.name,
            space=manifest.space,
            role=manifest.role,
            searches=manifest.searches,
            dim=manifest.dim,
            mmacs=manifest.mmacs,
            preprocessing=embedder.preprocessing,
            certificates=manifest.certificates,
            embed=lambda pixels: embedder.embed_pixels(pixels).vectors,
        )
    refuse_run(path, trust)
    checkpoint = open_gallery_model(source)
    preprocessing = checkpoint.preprocessing
    model = Model(
        name=checkpoint.name,
        space=checkpoint.space,
        role=checkpoint.role,
        searches=checkpoint.searches,
        dim=checkpoint.dim,
        mmacs=None,
        preprocessing=preprocessing,
        certificates=checkpoint.certificates,
        embed=_embeds_nothing,
        stored=checkpoint.stored,
    )
    if checkpoint.arch == VECTORS:
        return model
    where = device_of(device)
    network = checkpoint.build()

    def embedded(pixels: NDArray[np.uint8], *, unit: bool = True) -> NDArray[np.float32]:
        return embed_images(network, pixels, preprocessing, device=where, channels_last=True, unit=unit)

    return replace(
        model,
        mmacs=count_cost(as_deployed(network, preprocessing.size), preprocessing.size).mmacs,
        embed=embedded,
        raw=partial(embedded, unit=False),
        stored=None,
    )


def _embeds_nothing(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    raise ConfigError(
        f"only vectors of this model are known, and {len(pixels)} pictures were to be embedded; use pictures that it "
        f"has vectors for"
    )
