"""What transformers' preprocessor_config.json says of pictures, as a `Preprocessing` has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shortened

_KERNELS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's kernels by number, as preprocessor_config.json has them."""


def told_by_processor(stated: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Fields of `Preprocessing` from a preprocessor_config.json.

    Raises:
        ConfigError: It does something that is not done here, or a value is not of the kind that transformers writes.
    """
    edges, cropped = _edges(stated, "size", where), _edges(stated, "crop_size", where)
    kernel = stated.get("resample", 2)
    if kernel not in tuple(_KERNELS):
        raise ConfigError(f"{where} has resample {_said(stated, 'resample')}; expected one of Pillow's kernels, 0 to 5")
    found: dict[str, Any] = {"resize": _KERNELS[kernel]}
    shortest = edges.get("shortest_edge", edges.get("height"))
    if stated.get("do_center_crop"):
        side = cropped.get("height")
        if side is None or side != cropped.get("width") or shortest is None:
            raise ConfigError(
                f"{where} crops to {_said(stated, 'crop_size')} after a resize to {_said(stated, 'size')}; expected a "
                f"square of one side"
            )
        found |= {"fit": "crop", "size": side, "crop": side / shortest}
    elif "crop_pct" in stated and "shortest_edge" in edges:
        found |= {"fit": "crop", "size": edges["shortest_edge"], "crop": _number(stated, "crop_pct", 1.0, where)}
    elif "height" in edges and edges["height"] == edges.get("width"):
        found |= {"fit": "stretch", "size": edges["height"]}
    else:
        raise ConfigError(
            f"{where} resizes to {_said(stated, 'size')} without a crop; expected a square: give --size and --fit"
        )
    factor = _number(stated, "rescale_factor", 1 / 255, where)
    if stated.get("do_rescale", True) and abs(255 * factor - 1) > 1e-6:
        raise ConfigError(f"{where} rescales by {factor}; expected 1/255")
    if not stated.get("do_normalize", True):
        return found | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return found | {"mean": _channels(stated, "image_mean", where), "std": _channels(stated, "image_std", where)}


def _edges(stated: Mapping[str, Any], key: str, where: str) -> dict[str, int]:
    """Sides in pixels by name; one number is height and width."""
    value = stated.get(key)
    edges = {"height": value, "width": value} if isinstance(value, int) else value or {}
    if not isinstance(edges, Mapping) or not all(type(side) is int and side > 0 for side in edges.values()):
        raise ConfigError(f"{where} has {key} {_said(stated, key)}; expected pixels, as height, width or shortest_edge")
    return dict(edges)


def _number(stated: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = stated.get(key, default)
    if type(value) not in (int, float) or not value > 0:
        raise ConfigError(f"{where} has {key} {_said(stated, key)}; expected a number above 0")
    return float(value)


def _channels(stated: Mapping[str, Any], key: str, where: str) -> tuple[float, ...]:
    value = stated.get(key)
    if not isinstance(value, list) or len(value) != 3 or not all(type(part) in (int, float) for part in value):
        raise ConfigError(f"{where} has {key} {_said(stated, key)}; expected three numbers: red, green and blue")
    return tuple(map(float, value))


def _said(stated: Mapping[str, Any], key: str) -> str:
    return shortened(str(stated.get(key)), 60)
