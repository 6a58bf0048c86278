"""What is done to an image before a model sees it, as one frozen value that loads no image library.

How an image is decoded, cropped and resized is part of the model, so a `Preprocessing` travels inside every
checkpoint and bundle; `compat_sdk.images.preprocess` carries it out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from compat_sdk.errors import ConfigError
from compat_sdk.fields import exact_fields
from compat_sdk.shown import shown_value

Fit = Literal["crop", "stretch"]
Resize = Literal["bilinear", "bicubic", "lanczos", "box"]
Channels = Literal["rgb", "bgr"]


def _about(text: str, unit: str = "", *, added: bool = False) -> dict[str, Any]:
    """What a setting is, its unit and whether it came after the first release, where tools look for them."""
    return {"help": text, "unit": unit, "added": added}


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a model sees it.

    Attributes:
        size: Side of the square input, in pixels, 1 to 4096.
        fit: ``"crop"`` takes the central square and keeps proportions; ``"stretch"`` takes the whole image.
        resize: Pillow's antialiased kernel of this name.
        draft: JPEGs are decoded at the smallest DCT scale (1/8, 1/4, 1/2, 1) whose shorter side stays at or
            above ``draft * size``; 0 decodes in full. 0 to 64.
        mean: Subtracted per channel (R, G, B), in units of the full range 0..1.
        std: Divisor per channel (R, G, B), in units of the full range, above 0.
        channels: Order of the three channels in the model's input.
        crop: Side of the central part that is kept, as a fraction: of the shorter side under ``fit`` ``"crop"``, of
            each side under ``"stretch"``. Pretrained models call it the crop ratio. Above 0, up to 1.

    Raises:
        ConfigError: A value is out of its range.
    """

    size: int = field(metadata=_about("side of the square input", "pixels"))
    fit: Fit = field(default="crop", metadata=_about("crop takes the central square, stretch the whole image"))
    resize: Resize = field(default="bicubic", metadata=_about("Pillow's antialiased kernel of this name"))
    draft: int = field(
        default=2, metadata=_about("a JPEG is decoded at a scale no smaller than this many times size; 0: in full")
    )
    mean: tuple[float, float, float] = field(
        default=(0.5, 0.5, 0.5), metadata=_about("subtracted per channel, red first", "of the full range")
    )
    std: tuple[float, float, float] = field(
        default=(0.5, 0.5, 0.5), metadata=_about("divisor per channel, red first", "of the full range")
    )
    channels: Channels = field(default="rgb", metadata=_about("order of the channels in the model's input"))
    crop: float = field(
        default=1.0, metadata=_about("central part of the image that is kept", "fraction of the side", added=True)
    )

    def __post_init__(self) -> None:
        _check_integer("size", self.size, 1, 4096)
        _check_integer("draft", self.draft, 0, 64)
        _check_choice("fit", self.fit, get_args(Fit))
        _check_choice("resize", self.resize, get_args(Resize))
        _check_choice("channels", self.channels, get_args(Channels))
        object.__setattr__(self, "crop", _fraction("crop", self.crop))
        object.__setattr__(self, "mean", _three("mean", self.mean))
        object.__setattr__(self, "std", _three("std", self.std))
        if min(self.std) <= 0:
            raise ConfigError(f"std is {list(self.std)}; expected three numbers above 0", setting="std")

    def inside_graph(self) -> Preprocessing:
        """Return what is left to do for a graph that has mean, deviation and channel order inside: sizes alone.

        Its mean 0 and deviation 1/255 leave the values of 8-bit RGB as they are.
        """
        return dataclasses.replace(self, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255), channels="rgb")

    @property
    def scale(self) -> tuple[float, ...]:
        """Factor of each channel of the input, in its order: input = pixel * scale + offset, pixel in [0, 255]."""
        return tuple(1 / (255 * std) for std in self._in_order(self.std))

    @property
    def offset(self) -> tuple[float, ...]:
        """What is added to each channel of the input, in its order, see `scale`."""
        return tuple(
            0.0 - mean / std for mean, std in zip(self._in_order(self.mean), self._in_order(self.std), strict=True)
        )

    def _in_order(self, values: tuple[float, float, float]) -> tuple[float, ...]:
        return values if self.channels == "rgb" else values[::-1]

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values; `from_json` reads them back to an equal object.

        ``crop`` is left out where all of the image is kept, so that models of earlier releases keep their names.
        """
        found = dataclasses.asdict(self)
        if self.crop == 1.0:
            del found["crop"]
        return found | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Preprocessing:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: A field is missing, unknown, of the wrong type or out of its range.
        """
        found = exact_fields(value, cls, "preprocessing")
        try:
            return cls(**found)  # every field is checked on construction
        except ConfigError as error:
            raise error.within("preprocessing.") from None


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} is {shown_value(value)}; expected an integer from {low} to {high}", setting=name)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {shown_value(value)}; expected one of {', '.join(choices)}", setting=name)


def _fraction(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise ConfigError(f"{name} is {shown_value(value)}; expected a fraction above 0, up to 1", setting=name)
    return float(value)


def _three(name: str, value: object) -> tuple[float, float, float]:
    if (
        not isinstance(value, Sequence)
        or len(value) != 3
        or not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)
    ):
        raise ConfigError(f"{name} is {shown_value(value)}; expected three finite numbers", setting=name)
    return float(value[0]), float(value[1]), float(value[2])
