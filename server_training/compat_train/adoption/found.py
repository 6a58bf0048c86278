"""What a source gives: a checkpoint that every command takes, and how the original embeds a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from compat_sdk.bundle import Trust
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing, open_image
from compat_sdk.shown import as_unicode, shown_value
from compat_train.adoption.source import AdoptSource, Kind
from compat_train.config.parts import Classification
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.space_name import identity_of

_PREPARING = ("size", "mean", "std", "channels", "fit", "resize", "crop")
_TAKEN: Mapping[Kind, tuple[str, ...]] = {
    "onnx": (*_PREPARING, "license", "layout", "output"),
    "bundle": (),
    "module": (*_PREPARING, "license", "weights"),
    "timm": (*_PREPARING, "license", "weights"),
    "open_clip": (*_PREPARING, "license"),
    "huggingface": (*_PREPARING, "license", "output"),
    "vectors": ("size", "fit", "resize", "crop", "images", "license"),
}
"""What each kind of source can be told."""
_REASONS: Mapping[Kind, str] = {
    "bundle": "{source} is a bundle, which says its own {name}",
    "vectors": "--{name} is about a network, and {source} has vectors alone",
}
_LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a user says of a model from elsewhere; None is what the model itself says.

    Attributes:
        weights: File with its weights.
        size: Side of its input in pixels.
        mean: Subtracted per channel (R, G, B), of the full range.
        std: Divisor per channel (R, G, B), of the full range.
        channels: Order of its input's channels.
        fit: ``crop`` or ``stretch``.
        resize: Resize kernel.
        crop: Central part that is kept, a fraction.
        layout: Order of an ONNX input's axes, ``nchw`` or ``nhwc``.
        output: Name of the output that is the embedding.
        images: Folder of the pictures that vectors belong to.
        license: Licence of the weights; "unspecified" where nobody says.
        trust: Whose signature a bundle must have; None for no matter whose.

    Raises:
        ConfigError: The layout is no order of axes.
    """

    weights: Path | None = None
    size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    channels: str | None = None
    fit: str | None = None
    resize: str | None = None
    crop: float | None = None
    layout: str | None = None
    output: str | None = None
    images: Path | None = None
    license: str | None = None
    trust: Trust | None = None

    def __post_init__(self) -> None:
        if self.layout not in (None, *_LAYOUTS):
            raise ConfigError(f"layout is {shown_value(self.layout)}; expected one of {', '.join(_LAYOUTS)}")

    def refuse_ignored(self, source: AdoptSource) -> None:
        """Refuse what was told and would mean nothing to a source of this kind.

        Raises:
            ConfigError: Something was.
        """
        names = {name for taken in _TAKEN.values() for name in taken} - set(_TAKEN[source.kind])
        if told := [name for name in sorted(names) if getattr(self, name) is not None]:
            reason = _REASONS.get(source.kind, "a source {kind} has no use for {name}")
            said = reason.format(kind=f"{source.kind}:", source=source.file, name=told[0])
            raise ConfigError(f"{said}; leave --{told[0]} out")

    @property
    def prepares(self) -> bool:
        """Whether anything is told about the preprocessing, so that the original's own is another one."""
        return any(getattr(self, name) is not None for name in _PREPARING)

    def over(self, own: Mapping[str, Any]) -> Preprocessing:
        """What is done to an image, the user's word over the model's own.

        Args:
            own: Fields of `Preprocessing` that the model itself states.

        Raises:
            ConfigError: A value is out of its range.
        """
        told = {name: getattr(self, name) for name in _PREPARING}
        return Preprocessing(**{**own, **{name: value for name, value in told.items() if value is not None}})


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A model from elsewhere as it is adopted.

    Attributes:
        checkpoint: What will be saved, its path the RUN folder to come.
        original: How the original embeds; None where there is nothing to compare with.
    """

    checkpoint: Checkpoint
    original: Original | None


@dataclass(frozen=True, eq=False)
class Original:
    """How the original model embeds.

    Attributes:
        inputs: From prepared inputs, float32 ``[n, 3, s, s]``, to float32 ``[n, dim]``, any norm.
        files: From JPEG and PNG files to the same, through the original's own preprocessing; None where it has none.
    """

    inputs: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    files: Callable[[tuple[bytes, ...]], NDArray[np.float32]] | None = None


def through(
    transform: Callable[[Image.Image], Tensor], run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Callable[[tuple[bytes, ...]], NDArray[np.float32]]:
    """How an original embeds picture files: through a package's own preprocessing and a network.

    Args:
        transform: The package's preprocessing of one picture, to float32 ``[3, s, s]``.
        run: From prepared inputs, float32 ``[n, 3, s, s]``, to float32 ``[n, dim]``.
    """

    def embed(files: tuple[bytes, ...]) -> NDArray[np.float32]:
        return run(np.stack([transform(open_image(file)).numpy() for file in files]))

    return embed


def adopted_checkpoint(
    *,
    out: Path,
    arch: str,
    dim: int,
    preprocessing: Preprocessing,
    state: Mapping[str, Tensor],
    wanted: Wanted,
    network: Mapping[str, int | float | str],
    origin: Mapping[str, Any],
) -> Checkpoint:
    """A gallery model without a classifier, in the space that its weights, network and preprocessing make.

    Args:
        out: RUN folder to come.
        arch: Its architecture.
        dim: Numbers per embedding.
        preprocessing: What is done to an image first.
        state: Its weights.
        wanted: Gives the licence.
        network: What else decides its vectors.
        origin: Where it is from, for people; decides nothing.
    """
    identity = identity_of(
        state, arch=arch, dim=dim, width=1.0, stem_stride=1, preprocessing=preprocessing, network=network
    )
    return Checkpoint(
        path=out,
        role="gallery",
        arch=arch,
        dim=dim,
        width=1.0,
        stem_stride=1,
        preprocessing=preprocessing,
        space=identity.space,
        searches=(),
        classes=(),
        method="adopted",
        classification=Classification(),
        license=wanted.license or "unspecified",
        config={
            "adopted": {name: as_unicode(value) if isinstance(value, str) else value for name, value in origin.items()}
        },
        state=state,
        classifier=None,
        network=network,
    )
