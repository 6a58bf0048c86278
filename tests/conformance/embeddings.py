"""What an engine gives, and what a runtime makes of it: unit vectors, or a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle
from compat_sdk.bundle.self_test import min_cosine
from compat_sdk.embedder import graph_input
from compat_sdk.images import to_pixels
from tests.conformance.bundles import DIM, photo
from tests.conformance.place import Place, unit
from tests.sdk.engines.tiny import embed


def write(place: Place) -> None:
    """Write embeddings.json and its arrays."""
    bundle = Bundle.open(_laid_out(place))
    graph, preprocessing = bundle.manifest.graphs[0], bundle.manifest.preprocessing
    assert preprocessing is not None
    files = json.loads((place.root / "bundles.json").read_bytes())["cases"][0]["files"]
    cases: list[dict[str, Any]] = []
    for name, picture in {"wide": photo(31, 30, 44), "tall": photo(32, 50, 9), "grey": photo(33, 20, 20, 1)}.items():
        fed = graph_input(to_pixels(picture, preprocessing)[None], preprocessing, graph)
        # Lengths off 1, as graphs of low precision have them: a runtime divides by the length.
        output = np.round(embed(fed) * 3, 3).astype(np.float32)
        made = {
            "output": place.array(f"embed-{name}-output", output),
            "embedding": place.array(f"embed-{name}", unit(output)),
        }
        asked = {"files": files, "pixels": place.array(f"embed-{name}-pixels", picture)}
        cases.append({"name": name, **asked, "input": place.array(f"embed-{name}-input", fed), **made})
    bad: dict[str, tuple[NDArray[Any], str]] = {
        "nan": (np.full((1, DIM), np.nan, np.float32), "VectorError"),
        "infinity": (np.full((1, DIM), np.inf, np.float32), "VectorError"),
        "one-nan": (np.array([[1, 0, 0, np.nan, 0, 0, 0, 0]], np.float32), "VectorError"),
        "zero": (np.zeros((1, DIM), np.float32), "VectorError"),
        "too-few-numbers": (np.ones((1, DIM - 1), np.float32), "BundleError"),
        "too-many-rows": (np.ones((2, DIM), np.float32), "BundleError"),
    }
    for name, (output, error) in bad.items():
        asked = {key: cases[0][key] for key in ("files", "pixels", "input")}
        cases.append(
            {"name": f"bad-{name}", **asked, "output": place.array(f"embed-bad-{name}", output), "error": error}
        )
    assert min_cosine((graph,)) == 0.999
    place.cases("embeddings", cases)


def _laid_out(place: Place) -> Path:
    return place.root / "bundles" / "good"
