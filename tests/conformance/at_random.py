"""Random cases beside the committed ones, in their form, for a runtime in another language to pass.

    python -m tests.conformance.at_random DIR [--seed 0]

Galleries of all types, of many sizes, with rows that repeat, segments, removed rows and any JSON for a model. Pictures
of any size by all kernels. What they become is what the Python runtime makes of them. No two hits of a search lie so
close that rounding could exchange them, unless their rows are equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Graph
from compat_sdk.embedder import graph_input
from compat_sdk.errors import GalleryError
from compat_sdk.files.documents import indented_json
from compat_sdk.files.seal import sealed
from compat_sdk.gallery import Gallery
from compat_sdk.images import Preprocessing, to_pixels
from compat_sdk.space import Embeddings
from compat_sdk.unit import unit_rows
from tests.conformance.place import Place

_SPACE, _QUERY = "big-8-fedcba9876543210", "tiny-8-0123456789abcdef"
_SHAPES = ((1, 9), (5, 8), (40, 13), (255, 67), (256, 16), (257, 10), (600, 9), (20_000, 12))
"""Rows and numbers a row: around a block of 256 rows, and more than one thread takes."""
_APART = 2e-6


def _any_json(rng: np.random.Generator, depth: int = 0) -> Any:
    kind = int(rng.integers(8 if depth < 3 else 6))
    if kind == 0:
        return float(np.frombuffer(rng.bytes(8), "<f8")[0])
    if kind == 1:
        return float(rng.integers(1, 10**6)) * 10.0 ** int(rng.integers(-30, 30))
    if kind == 2:
        return 2.0 ** int(rng.integers(-1070, 1023))
    if kind == 3:
        return int(rng.integers(-(2**63), 2**63)) + (2**63 if rng.random() < 0.2 else 0)
    if kind == 4:
        return "".join(map(chr, (int(one) for one in rng.integers(0, 0x3000, 6))))
    if kind == 5:
        return [None, True, False][int(rng.integers(3))]
    items = [_any_json(rng, depth + 1) for _ in range(int(rng.integers(4)))]
    return items if kind == 6 else {chr(int(rng.integers(0xFF00, 0x1F600))): item for item in items}


def _finite(value: Any) -> Any:
    """The same without NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.5
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return {key: _finite(item) for key, item in value.items()} if isinstance(value, dict) else value


def _apart(gallery: Gallery, query: NDArray[np.float32], k: int) -> bool:
    """Whether rounding could exchange no two of the first hits: they differ, or their rows are equal."""
    rows, scores = gallery.search_rows(Embeddings(query, _QUERY, (_SPACE,)), k + 1, index="exact")
    stored = gallery.vectors[rows[0]]
    equal = (stored[1:] == stored[:-1]).all(axis=1)
    return bool((equal | (-np.diff(scores[0]) > _APART)).all())


def _gallery(place: Place, rng: np.random.Generator, name: str, shape: tuple[int, int], dtype: Any) -> dict[str, Any]:
    rows, dim = shape
    vectors = rng.standard_normal(shape, dtype=np.float32)
    vectors[rng.integers(rows, size=rows // 5)] = vectors[rng.integers(rows, size=rows // 5)]
    vectors = unit_rows(vectors, "rows", "draw again")
    ids = [f"{row}{chr(int(rng.integers(0x20, 0xE000)))}" for row in range(rows)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "g"
        model = {"any": [_finite(_any_json(rng)) for _ in range(40)]}
        gallery = Gallery.create(folder, space=_SPACE, dim=dim, dtype=dtype, model=model)
        edges = sorted({0, rows, *(int(one) for one in rng.integers(0, rows, 3))})
        for start, end in pairwise(edges):
            gallery.add(
                Embeddings(vectors[start:end], _SPACE), ids[start:end], [str(row % 3) for row in range(start, end)]
            )
        gallery.remove([ids[int(row)] for row in set(rng.integers(rows, size=rows // 10).tolist())])
        gallery = Gallery.open(folder)
        files = {
            path.name: place.put(f"galleries/{name}/{path.name}", path.read_bytes())
            for path in folder.iterdir()
            if path.name != "gallery.lock"
        }
        searches: list[dict[str, Any]] = []
        while len(searches) < 4:
            query = unit_rows(rng.standard_normal((1, dim), dtype=np.float32), "queries", "draw again")
            k = int(rng.integers(1, 12 if rows > 300 else rows + 3))
            if not _apart(gallery, query, k):
                continue
            stored = place.array(f"{name}-{len(searches)}", query)
            asked = Embeddings(query, _QUERY, (_SPACE,))
            hits = [[vars(hit) for hit in line] for line in gallery.search(asked, k, index="exact")]
            searches.append({"queries": stored, "k": k, "space": _QUERY, "searches": [_SPACE], "hits": hits})
        info = gallery.info()
        told = {key: info[key] for key in ("space", "dim", "dtype", "rows", "segments", "generation", "model")}
        opens = told | {"ids": list(gallery.ids), "labels": list(gallery.labels)}
    return {"name": name, "files": files, "opens": opens, "searches": searches}


def _refused(
    place: Place, sound: dict[str, Any], name: str, edit: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """A gallery whose digests are right and that says what none may: Python refuses it, or this is no case."""
    files = dict(sound["files"])
    state = json.loads((place.root / files["gallery.json"]).read_bytes())
    edit(state)
    body = {key: value for key, value in state.items() if key != "digest"}
    files["gallery.json"] = place.put(f"galleries/{name}/gallery.json", indented_json(sealed(body)))
    vectors = state["segments"][0]["vectors"]
    stored = bytearray((place.root / files[vectors["name"]]).read_bytes())
    if name.startswith("float16"):
        stored[-2:] = np.array([np.inf if name.endswith("infinity") else np.nan], "<f2").tobytes()
        vectors["sha256"] = hashlib.sha256(stored).hexdigest()
        files[vectors["name"]] = place.put(f"galleries/{name}/vectors.npy", bytes(stored))
        files["gallery.json"] = place.put(f"galleries/{name}/gallery.json", indented_json(sealed(body)))
    with tempfile.TemporaryDirectory() as folder:
        for file, source in files.items():
            (Path(folder) / file).write_bytes((place.root / source).read_bytes())
        try:
            gallery = Gallery.open(folder)
            gallery.search(Embeddings(np.eye(1, gallery.dim, dtype=np.float32), gallery.space), 1, index="exact")
        except GalleryError:
            return {"name": name, "files": files, "error": "GalleryError"}
    raise AssertionError(f"{name}: Python takes it")


def _picture(place: Place, rng: np.random.Generator, name: str) -> dict[str, Any]:
    height, width = (int(one) for one in rng.integers(1, 70, 2))
    channels = [(), (1,), (3,), (4,)][int(rng.integers(4))]
    pixels = rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)
    preprocessing = Preprocessing(
        size=int(rng.integers(1, 40)),
        fit=("crop", "stretch")[int(rng.integers(2))],  # type: ignore[arg-type]
        resize=("bilinear", "bicubic", "lanczos", "box")[int(rng.integers(4))],  # type: ignore[arg-type]
        crop=1.0 if rng.random() < 0.5 else float(rng.uniform(0.05, 1)),
        mean=tuple(rng.random(3).tolist()),
        std=tuple((0.1 + rng.random(3)).tolist()),
        channels=("rgb", "bgr")[int(rng.integers(2))],  # type: ignore[arg-type]
    )
    graph = Graph("onnx", "fp32", "model.onnx")
    graph = replace(
        graph, layout=("nchw", "nhwc")[int(rng.integers(2))], values=("prepared", "pixels")[int(rng.integers(2))]
    )
    resized = to_pixels(pixels, preprocessing)
    return {
        "name": name,
        "pixels": place.array(f"{name}-pixels", pixels),
        "preprocessing": preprocessing.to_json(),
        "layout": graph.layout,
        "values": graph.values,
        "resized": place.array(f"{name}-resized", resized),
        "input": place.array(f"{name}-input", graph_input(resized[None], preprocessing, graph)),
    }


def make(root: Path, seed: int) -> None:
    """Write galleries.json, preprocessing.json and their files into a folder."""
    rng = np.random.default_rng(seed)
    place = Place(root)
    dtypes = ("float32", "float16", "int8")
    asked = [(f"random-{rows}-{dtype}", (rows, dim), dtype) for rows, dim in _SHAPES for dtype in dtypes]
    galleries = [_gallery(place, rng, *one) for one in asked]
    half = next(one for one in galleries if one["name"] == "random-40-float16")
    index = {"kind": "usearch", "content": 0, "options": {}, "file": None}

    def with_index(**changes: object) -> Callable[[dict[str, Any]], object]:
        return lambda state: state.update(index=index | {"file": state["segments"][0]["table"]} | changes)

    galleries += [
        _refused(place, half, "float16-infinity", lambda state: None),
        _refused(place, half, "float16-nan", lambda state: None),
        _refused(place, half, "index-kind-number", with_index(kind=5)),
        _refused(place, half, "index-options-list", with_index(options=[["a", 1]])),
    ]
    place.cases("galleries", galleries)
    place.cases("preprocessing", [_picture(place, rng, f"random-{number}") for number in range(60)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make(options.dir, options.seed)
