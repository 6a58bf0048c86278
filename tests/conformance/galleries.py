"""Galleries that open and what searches find in them, and galleries that are refused."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from compat_sdk.files.documents import indented_json
from compat_sdk.files.seal import sealed
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.files import Dtype
from compat_sdk.space import Embeddings
from tests.conformance.place import Place, unit

SPACE, QUERY = "big-8-fedcba9876543210", "tiny-8-0123456789abcdef"
DIM = 8
MODEL = {
    "name": "big",
    "params_m": 1e-05,
    "whole": 2.0,
    "😀": "é \u2028",
    "\uffff": [1, [], {}, None, True],
    "most": 2**64 - 1,
}


def rows(seed: int, n: int, dim: int = DIM) -> NDArray[np.float32]:
    """Unit rows on a grid: no two scores are equal by accident, and none lie within rounding of each other."""
    return unit(np.random.default_rng(seed).integers(-50, 51, (n, dim)) * 2 + 1)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "gallery.lock"}


def _gallery(
    vectors: NDArray[np.float32],
    *,
    dtype: Dtype = "float32",
    segments: Sequence[int] = (),
    remove: Sequence[str] = (),
    model: Mapping[str, object] | None = None,
) -> dict[str, bytes]:
    """The files of a gallery, by name: the same bytes each time."""
    numbers = count(1)
    ids = [f"shop/{row:03}.jpg" if row % 7 else f"fotos/é {row} 😀 \udcff.jpg" for row in range(len(vectors))]
    labels = ["", "chair", "table", "Stühle"]
    tokens = patch("secrets.token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
    with tempfile.TemporaryDirectory() as folder, tokens:
        made = Gallery.create(Path(folder) / "g", space=SPACE, dim=vectors.shape[1], model=model, dtype=dtype)
        edges = [0, *segments, len(vectors)]
        for start, end in pairwise(edges):
            found = [labels[row % 4] for row in range(start, end)]
            made.add(Embeddings(np.ascontiguousarray(vectors[start:end]), SPACE), ids[start:end], found)
        made.remove(remove)
        return _files(Path(folder) / "g")


def _hits(files: Mapping[str, bytes], searches: Sequence[dict[str, Any]], queries: Mapping[str, Any]) -> dict[str, Any]:
    """What the Python runtime reads and finds."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        gallery = Gallery.open(folder)
        found = []
        for search in searches:
            query = Embeddings(queries[search["queries"]], search["space"], tuple(search["searches"]))
            hits = gallery.search(query, search["k"], index="exact")
            found.append(search | {"hits": [[vars(hit) for hit in line] for line in hits]})
        info = gallery.info()
    told = {name: info[name] for name in ("space", "dim", "dtype", "rows", "segments", "generation")}
    return {
        "opens": told | {"ids": list(gallery.ids), "labels": list(gallery.labels), "model": info["model"]},
        "searches": found,
    }


Edit = Callable[[dict[str, Any]], object]


def _state(change: Edit, base: bytes) -> bytes:
    value = json.loads(base)
    change(value)
    return indented_json(sealed({key: item for key, item in value.items() if key != "digest"}))


def _put(*path: Any, to: Any) -> Edit:
    def edit(value: dict[str, Any]) -> None:
        inner: Any = value
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = to

    return edit


def _nested(levels: int) -> Any:
    return [_nested(levels - 1)] if levels else 1


_V, _T = ("segments", 0, "vectors"), ("segments", 0, "table")
_INDEX = {
    "kind": "usearch",
    "content": 1,
    "options": {},
    "file": {"name": "index-00000001-0000000000000001.usearch", "bytes": 1, "sha256": "ab" * 32},
}
BAD: dict[str, Edit] = {
    "format": _put("format", to="compat-sdk-bundle"),
    "version-0": _put("version", to=0),
    "version-5": _put("version", to=5),
    "version-4-of-no-index": _put("version", to=4),
    "version-2-of-float32": _put("version", to=2),
    "version-3-of-one-line": _put("version", to=3),
    "version-text": _put("version", to="1"),
    "version-float": _put("version", to=1.0),
    "unknown-field": _put("colour", to="red"),
    "missing-field": lambda value: value.pop("content"),
    "space": _put("space", to="a b"),
    "dim-negative": _put("dim", to=-8),
    "dim-float": _put("dim", to=8.0),
    "dim-other": _put("dim", to=9),
    "generation-true": _put("generation", to=True),
    "model-list": _put("model", to=[1]),
    "segments-object": _put("segments", to={}),
    "segments-null": _put("segments", to=None),
    "rows-other": _put("segments", 0, "rows", to=23),
    "rows-text": _put("segments", 0, "rows", to="24"),
    "segment-field": _put("segments", 0, "colour", to=1),
    "vectors-climb": _put(*_V, "name", to="../vectors-00000001-0000000000000001.npy"),
    "vectors-elsewhere": _put(*_V, "name", to="model.npy"),
    "vectors-size": _put(*_V, "bytes", to=511),
    "vectors-size-large": _put(*_V, "bytes", to=2**62),
    "vectors-sha256": _put(*_V, "sha256", to="ab" * 32),
    "vectors-sha256-upper": _put(*_V, "sha256", to="AB" * 32),
    "vectors-field": _put(*_V, "mode", to=1),
    "table-sha256": _put(*_T, "sha256", to="ab" * 32),
    "table-is-the-vectors": lambda value: value["segments"][0].update(table=value["segments"][0]["vectors"]),
    "index-text": _put("index", to="usearch"),
    "index-without-a-file": _put("index", to={"kind": "usearch", "content": 1, "options": {}}),
    "index-kind-number": _put("index", to=_INDEX | {"kind": 1}),
    "index-options-list": _put("index", to=_INDEX | {"options": []}),
    "dtype-float64": lambda value: value.update(dtype="float64", version=2),
    "nested-40-deep": _put("model", to={"a": _nested(40)}),
    "number-of-65-bits": _put("model", to={"a": 2**64}),
}
"""Changes of gallery.json, each with its digest made anew; all are refused."""


def _texts(base: bytes) -> dict[str, bytes]:
    text = base.decode()
    return {
        "text-empty": b"",
        "text-cut": base[:200],
        "text-no-line-end": base.rstrip(),
        "text-other-spaces": text.replace('"dim": 8', '"dim":  8').encode(),
        "text-other-order": (json.dumps(dict(reversed(json.loads(text).items())), indent=2) + "\n").encode(),
        "text-key-twice": text.replace('  "dim": 8,\n', '  "dim": 8,\n  "dim": 8,\n').encode(),
        "text-1e400": text.replace('"dim": 8', '"dim": 1e400').encode(),
        "text-byte-order-mark": b"\xef\xbb\xbf" + base,
        "text-list": b"[]\n",
        "digest-other": text.replace(json.loads(text)["digest"], "0" * 64).encode(),
        "digest-of-another-value": text.replace('"dim": 8', '"dim": 9').encode(),
    }


def _with_file(files: Mapping[str, bytes], which: str, data: bytes) -> dict[str, bytes]:
    """The gallery with other vectors or another table, and a state that records them as they are."""
    state = json.loads(files["gallery.json"])
    record = state["segments"][0][which]
    record |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    body = {key: item for key, item in state.items() if key != "digest"}
    return {**files, "gallery.json": indented_json(sealed(body)), record["name"]: data}


def _lines(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The gallery with its table in several lines, as large ones are written."""
    state = json.loads(files["gallery.json"])
    record = state["segments"][0]["table"]
    table = json.loads(files[record["name"]])
    parts = [(0, 3), (3, 3), (3, len(table["ids"]))]
    data = b"".join(json.dumps({key: table[key][a:b] for key in ("ids", "labels")}).encode() + b"\n" for a, b in parts)
    others = {name: content for name, content in files.items() if name != record["name"]}
    record |= {"name": record["name"] + "l", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    body = {key: item for key, item in state.items() if key != "digest"} | {"version": 3}
    return {**others, "gallery.json": indented_json(sealed(body)), record["name"]: data}


def _of_another_kind(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The gallery with an index that is not of usearch, and older than its rows, so that no runtime reads it."""
    state = json.loads(files["gallery.json"])
    data = b"what only Python may read"
    name = "index-00000001-0000000000000001.hnswlib"
    record = {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    options = {"connectivity": 16, "expansion_search": 64, "recall_millionths": 993200}
    index = {"kind": "hnswlib", "content": 0, "options": options, "file": record}
    body = {key: item for key, item in state.items() if key != "digest"} | {"version": 4, "index": index}
    return {**files, "gallery.json": indented_json(sealed(body)), name: data}


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _vectors(good: NDArray[np.float32]) -> dict[str, bytes]:
    """Vector files that no gallery has, though their digests are recorded; all are refused."""
    nan, long, zero = np.array(good), np.array(good), np.array(good)
    nan[3, 1], long[5] = np.nan, long[5] * 1.01
    zero[0] = 0
    infinite = np.array(good)
    infinite[-1, -1] = np.inf
    whole = _npy(good)
    return {
        "vectors-nan": _npy(nan),
        "vectors-infinity": _npy(infinite),
        "vectors-not-of-unit-length": _npy(long),
        "vectors-zero": _npy(zero),
        "vectors-of-another-dim": _npy(good[:, :7]),
        "vectors-of-fewer-rows": _npy(good[:-1]),
        "vectors-float64": _npy(good.astype(np.float64)),
        "vectors-big-endian": _npy(good.astype(">f4")),
        "vectors-float16": _npy(good.astype(np.float16)),
        "vectors-by-column": _npy(np.asfortranarray(good)),
        "vectors-flat": _npy(good.ravel()),
        "vectors-cut": whole[:-8],
        "vectors-no-array": b"\x93NUMPX" + whole[6:],
        "vectors-empty": b"",
    }


def _tables(ids: list[str], labels: list[str]) -> dict[str, bytes]:
    """Tables of ids and labels that no gallery has; all are refused."""
    return {
        "table-of-fewer-rows": json.dumps({"ids": ids[1:], "labels": labels[1:]}).encode(),
        "table-of-more-rows": json.dumps({"ids": [*ids, "x"], "labels": [*labels, ""]}).encode(),
        "table-of-fewer-labels": json.dumps({"ids": ids, "labels": labels[1:]}).encode(),
        "table-id-number": json.dumps({"ids": [1, *ids[1:]], "labels": labels}).encode(),
        "table-label-null": json.dumps({"ids": ids, "labels": [None, *labels[1:]]}).encode(),
        "table-list": json.dumps([ids, labels]).encode(),
        "table-without-labels": json.dumps({"ids": ids}).encode(),
        "table-no-json": b"{'ids': []}",
        "table-cut": json.dumps({"ids": ids, "labels": labels}).encode()[:-1],
    }


def write(place: Place) -> None:
    """Write galleries.json and its files."""
    cases: list[dict[str, Any]] = []
    vectors = rows(41, 24)
    queries = {
        "one": rows(42, 1),
        "five": rows(43, 5),
        "row": np.ascontiguousarray(vectors[7:8]),
        "none": np.empty((0, DIM), np.float32),
        "other-dim": rows(44, 1, 7),
    }
    stored = {name: place.array(f"queries-{name}", array) for name, array in queries.items()}

    def search(name: str, k: int, space: str = QUERY, searches: Sequence[str] = (SPACE,)) -> dict[str, Any]:
        return {"queries": name, "k": k, "space": space, "searches": list(searches)}

    usual = [search("one", 1), search("five", 10), search("row", 3, SPACE, ()), search("one", 1000), search("none", 5)]
    refusals = [
        search("one", 5, QUERY, ()) | {"error": "IncompatibleSpaceError"},
        search("other-dim", 5, QUERY, ()) | {"error": "IncompatibleSpaceError"},
        search("other-dim", 5) | {"error": "VectorError"},
        search("one", 0) | {"error": "ConfigError"},
        search("one", -1) | {"error": "ConfigError"},
    ]

    def opens(name: str, files: Mapping[str, bytes], searches: Sequence[dict[str, Any]] = usual) -> dict[str, str]:
        there = {file: place.put(f"galleries/{name}/{file}", data) for file, data in files.items()}
        made = _hits(files, searches, queries)
        made["searches"] += refusals
        for asked in made["searches"]:
            asked["queries"] = stored.get(asked["queries"], asked["queries"])
        cases.append({"name": name, "files": there, **made})
        return there

    plain = _gallery(vectors)
    shared = opens("good-float32", plain)
    for dtype in ("float16", "int8"):
        opens(f"good-{dtype}", _gallery(vectors, dtype=dtype, segments=(13,)))
    opens("good-segments", _gallery(vectors, segments=(1, 2, 17)))
    gone = ["shop/001.jpg", "shop/002.jpg", "shop/016.jpg", "shop/023.jpg"]
    for dtype in ("float32", "float16", "int8"):
        opens(f"good-removed-{dtype}", _gallery(vectors, dtype=dtype, segments=(2, 17), remove=gone))
    opens("good-model", _gallery(vectors[:3], model=MODEL))
    opens("good-empty", _gallery(vectors[:0]))
    opens("good-lines", _lines(_gallery(vectors[:12])))
    opens("good-index-of-hnswlib", _of_another_kind(_gallery(vectors[:12])))
    tied = vectors[[4, 9, 4, 9, 4, 2, 9, 2, 4, 4, 9, 2]]
    for dtype in ("float32", "float16", "int8"):
        ties = [search("one", k) for k in (1, 3, 4, 6, 9, 12)] + [search("five", 5)]
        opens(f"good-ties-{dtype}", _gallery(tied, dtype=dtype, segments=(3, 8)), ties)

    def refused(name: str, files: Mapping[str, bytes], base: Mapping[str, bytes], there: Mapping[str, str]) -> None:
        made = {
            file: there[file] if base.get(file) == data else place.put(f"galleries/bad/{name}/{file}", data)
            for file, data in files.items()
        }
        cases.append({"name": name, "files": made, "error": "GalleryError"})

    state = plain["gallery.json"]
    for name, change in BAD.items():
        refused(name, {**plain, "gallery.json": _state(change, state)}, plain, shared)
    for name, text in _texts(state).items():
        refused(name, {**plain, "gallery.json": text}, plain, shared)
    for name, data in _vectors(vectors).items():
        refused(f"recorded-{name}", _with_file(plain, "vectors", data), plain, shared)
    table = json.loads(plain[json.loads(state)["segments"][0]["table"]["name"]])
    for name, data in _tables(table["ids"], table["labels"]).items():
        refused(f"recorded-{name}", _with_file(plain, "table", data), plain, shared)
    record = {which: json.loads(state)["segments"][0][which]["name"] for which in ("vectors", "table")}
    for which, name in record.items():
        flipped = bytearray(plain[name])
        flipped[-20] ^= 1
        refused(f"{which}-flipped", {**plain, name: bytes(flipped)}, plain, shared)
        refused(f"{which}-cut", {**plain, name: plain[name][:-1]}, plain, shared)
        refused(f"{which}-gone", {file: data for file, data in plain.items() if file != name}, plain, shared)
    refused("state-gone", {file: data for file, data in plain.items() if file != "gallery.json"}, plain, shared)
    codes = _gallery(vectors[:12], dtype="int8")
    there = {file: place.put(f"galleries/codes/{file}", data) for file, data in codes.items()}
    zero = np.load(io.BytesIO(codes[json.loads(codes["gallery.json"])["segments"][0]["vectors"]["name"]]))
    zero[5] = 0
    refused("recorded-codes-zero", _with_file(codes, "vectors", _npy(zero)), codes, there)
    place.cases("galleries", cases)
