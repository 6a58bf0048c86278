"""A model to evaluate, whether it is still a RUN of PyTorch weights or already an exported BUNDLE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle, Trust
from compat_sdk.bundle.trust import refuse_run
from compat_sdk.certificate import Certificate
from compat_sdk.embedder import Embedder
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.device import device_of
from compat_train.embed import embed_images
from compat_train.models.cost import count_cost
from compat_train.runs.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class Model:
    """A model that embeds decoded images.

    Attributes:
        name: Name of its folder.
        space: Embedding space that it writes in.
        role: What it is for, as its record says: ``query``, ``gallery`` or ``side-info``.
        searches: Gallery spaces that it declares it may search, besides its own.
        dim: Numbers per embedding.
        mmacs: Multiply-adds per image, in millions.
        preprocessing: What is done to an image before it.
        certificates: Evaluations that show what it may search.
        embed: From uint8 ``[n, size, size, 3]`` RGB to float32 ``[n, dim]`` of unit norm.
    """

    name: str
    space: str
    role: str
    searches: tuple[str, ...]
    dim: int
    mmacs: float
    preprocessing: Preprocessing
    certificates: tuple[Certificate, ...]
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def open_model(
    path: str | Path, *, device: str = "cpu", threads: int | None = None, trust: Trust | None = None
) -> Model:
    """A RUN or BUNDLE, ready to embed.

    Args:
        path: Folder with ``model.json`` (a RUN), or folder or zip with ``manifest.json`` (a BUNDLE).
        device: Where a RUN's network runs: auto, cpu or cuda. A BUNDLE runs on its engine.
        threads: CPU threads of a BUNDLE's engine; None leaves it to the engine.
        trust: Whose signature it must have; None for no matter whose.

    Raises:
        ConfigError: It is neither, or a RUN where a signature is asked for.
        BundleError: A file that is no bundle, or a bundle without the signature.
        TrainingError: The RUN has not finished, or CUDA was asked for and there is none.
        CorruptFileError: A file differs from its digest.
    """
    path = Path(path)
    if path.is_file() or (path / "manifest.json").is_file():
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
    if not path.is_dir():
        raise ConfigError(
            f"{path} does not exist; expected a RUN (from `compat-sdk train`) or a BUNDLE (from `compat-sdk export`)"
        )
    refuse_run(path, trust)
    checkpoint = Checkpoint.load(path)
    where = device_of(device)
    network = checkpoint.build()
    preprocessing = checkpoint.preprocessing
    mmacs = count_cost(network, preprocessing.size).mmacs
    return Model(
        name=checkpoint.name,
        space=checkpoint.space,
        role=checkpoint.role,
        searches=checkpoint.searches,
        dim=checkpoint.dim,
        mmacs=mmacs,
        preprocessing=preprocessing,
        certificates=checkpoint.certificates,
        embed=lambda pixels: embed_images(network, pixels, preprocessing, device=where, channels_last=True),
    )
