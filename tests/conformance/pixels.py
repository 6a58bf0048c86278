"""From decoded pixels to what a graph takes: every fit, kernel, size, channel order and kind of picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from compat_sdk.bundle import Graph
from compat_sdk.embedder import graph_input
from compat_sdk.images import Preprocessing, to_pixels
from tests.conformance.bundles import photo
from tests.conformance.place import Place

_BASE = Preprocessing(size=12, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_GRAPH = Graph("onnx", "fp32", "model.onnx")
_BAD: dict[str, dict[str, Any]] = {
    "size-zero": {"size": 0},
    "size-text": {"size": "12"},
    "fit": {"fit": "pad"},
    "kernel": {"resize": "nearest"},
    "channels": {"channels": "RGB"},
    "std-zero": {"std": [0.2, 0.0, 0.2]},
    "mean-four": {"mean": [0.1, 0.1, 0.1, 0.1]},
    "crop-above-1": {"crop": 1.01},
}


def write(place: Place) -> None:
    """Write preprocessing.json and its arrays."""
    pictures = {
        "wide": photo(11, 37, 53),
        "tall": photo(12, 61, 24),
        "small": photo(13, 5, 7),
        "square": photo(14, 24, 24),
        "exact": photo(15, 12, 12),
        "line": photo(16, 1, 90),
        "dot": photo(17, 1, 1),
        "large": photo(18, 90, 140),
        "noise": np.random.default_rng(19).integers(0, 256, (40, 31, 3), dtype=np.uint8),
        "noise-tall": np.random.default_rng(22).integers(0, 256, (61, 24, 3), dtype=np.uint8),
        "stripes": np.repeat((np.arange(33) % 2 * 255).astype(np.uint8)[None, :, None], 45, 0).repeat(3, 2),
        "grey": photo(20, 30, 41, 1)[..., 0],
        "grey-channel": photo(20, 30, 41, 1),
        "alpha": photo(21, 34, 29, 4),
    }
    stored = {name: place.array(f"pixels-{name}", pixels) for name, pixels in pictures.items()}
    cases: list[dict[str, Any]] = []

    def add(name: str, picture: str, preprocessing: Preprocessing, graph: Graph = _GRAPH) -> None:
        resized = to_pixels(pictures[picture], preprocessing)
        fed = graph_input(resized[None], preprocessing, graph)
        made = {"resized": place.array(f"{name}-resized", resized), "input": place.array(f"{name}-input", fed)}
        asked = {"pixels": stored[picture], "preprocessing": preprocessing.to_json()}
        cases.append({"name": name, **asked, "layout": graph.layout, "values": graph.values, **made})

    for fit in ("crop", "stretch"):
        for kernel in ("bilinear", "bicubic", "lanczos", "box"):
            for picture in ("wide", "small", "noise", "noise-tall"):
                add(f"{picture}-{fit}-{kernel}", picture, replace(_BASE, fit=fit, resize=kernel))
    for picture in ("tall", "square", "exact", "line", "dot", "large", "stripes", "grey", "grey-channel", "alpha"):
        add(picture, picture, _BASE)
    for size in (1, 2, 7, 24, 33):
        add(f"size-{size}", "wide", replace(_BASE, size=size))
    for crop in (0.875, 0.5, 1 / 3):
        for fit in ("crop", "stretch"):
            add(f"crop-{crop:.3f}-{fit}", "wide", replace(_BASE, crop=crop, fit=fit, resize="bilinear"))
    add("bgr", "wide", replace(_BASE, channels="bgr"))
    add("bgr-alpha", "alpha", replace(_BASE, channels="bgr", fit="stretch"))
    add("nhwc", "wide", _BASE, replace(_GRAPH, layout="nhwc"))
    add("nhwc-bgr", "wide", replace(_BASE, channels="bgr"), replace(_GRAPH, layout="nhwc"))
    add("values-pixels", "wide", replace(_BASE, channels="bgr"), replace(_GRAPH, values="pixels"))
    add("values-pixels-nhwc", "grey", _BASE, replace(_GRAPH, layout="nhwc", values="pixels"))
    for name, change in _BAD.items():
        bad = _BASE.to_json() | change
        cases.append({"name": f"bad-{name}", "pixels": stored["wide"], "preprocessing": bad, "error": "ConfigError"})
    shapes = {"two-channels": np.zeros((3, 4, 2), np.uint8), "empty": np.zeros((0, 4, 3), np.uint8)}
    shapes["five-channels"] = np.zeros((3, 4, 5), np.uint8)
    for name, pixels in shapes.items():
        asked = {"pixels": place.array(f"pixels-{name}", pixels), "preprocessing": _BASE.to_json()}
        cases.append({"name": f"bad-{name}", **asked, "error": "ImageError"})
    place.cases("preprocessing", cases)
