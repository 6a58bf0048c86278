"""Bundles that open and bundles that are refused: a good one, and one change at a time."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Bundle, Graph, Manifest, write_bundle
from compat_sdk.bundle.archive import zip_bytes
from compat_sdk.bundle.records import record_of
from compat_sdk.bundle.self_test import input_statistics
from compat_sdk.certificate import Accuracy, Certificate
from compat_sdk.files.seal import sealed
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing, to_input, to_pixels
from tests.conformance.place import Place, unit
from tests.sdk.engines.tiny import embed
from tests.sdk.transforms import make_transform

GOLDEN = Path(__file__).parents[1] / "golden"
SIZE, DIM = 8, 8
PREPROCESSING = Preprocessing(size=SIZE, mean=(0.5, 0.25, 0.125), std=(0.5, 0.5, 0.25))
BIG = Identity("cd" * 32, "big", DIM, Preprocessing(size=16))
GRAPHS = (Graph("onnx", "fp32", "model.onnx"), Graph("onnx", "fp16", "half/model.onnx", min_cosine=0.99))
NETWORK = {
    "width": 1.0,
    "stem_stride": 1,
    "tiny": 1e-05,
    "small": 0.0001,
    "large": 1e16,
    "whole": 123456789012345.0,
    "minus": -0.0,
    "third": 1 / 3,
    "most": 2**64 - 1,
    "least": -(2**63),
    "quoted": 'a "word", a \\ and a \n',
    "é": "ü \u2028 \x7f \x01 😀",
    "\uffff": "sorts before the next by code point, and after it by UTF-16",
    "😀": "sorts last",
    "constructor": "__proto__",
    "__proto__": 3,
    "": "empty",
}
"""What a reader must write as Python does to find the digests: keys, texts, and numbers in each form of theirs."""


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An RGB picture as PNG, the same bytes whatever the version of zlib."""
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    stored = (
        b"\x78\x01" + struct.pack("<BHH", 1, len(raw), len(raw) ^ 0xFFFF) + raw + struct.pack(">I", zlib.adler32(raw))
    )
    parts = {
        b"IHDR": struct.pack(">2I5B", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0),
        b"IDAT": stored,
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def photo(seed: int, height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Smooth colours with some noise, as a photo has, from integers alone."""
    rng = np.random.default_rng(seed)
    ramp = (np.arange(height)[:, None, None] * 7 + np.arange(width)[None, :, None] * 5) // 2
    shifts = rng.integers(0, 256, channels)
    noise = rng.integers(0, 40, (height, width, channels))
    return np.abs((ramp + shifts + noise) % 510 - 255).clip(0, 255).astype(np.uint8)


def _certificate(query: str, gallery: str) -> Certificate:
    alone, mixed, best = Accuracy(0.5, 0.75, 1.0, 0.5), Accuracy(0.625, 0.75, 1, 0.55), Accuracy(0.7, 0.8, 0.9, 0.6)
    counts = {"queries": 990, "skipped": 10, "gallery_size": 5000}
    return Certificate(
        query,
        gallery,
        "sample",
        "cd" * 32,
        ("query", "gallery"),
        **counts,
        query_query=alone,
        query_gallery=mixed,
        gallery_gallery=best,
        created_by="compat-sdk 0.8.0",
    )


def contents(
    network: Mapping[str, Any] | None = None, preprocessing: Preprocessing = PREPROCESSING, **changes: Any
) -> dict[str, bytes]:
    """The files of a good bundle, by name."""
    identity = Identity("ab" * 32, "tiny", DIM, preprocessing, network or {"width": 1.0, "stem_stride": 1})
    graphs = changes.get("graphs", GRAPHS)
    client = graphs[0].client_part(preprocessing)
    picture = png(photo(1, 20, 28))
    images = np.concatenate([to_pixels(picture, client)[None], photo(2, SIZE, SIZE)[None], photo(3, SIZE, SIZE)[None]])
    fed = to_input(images, preprocessing)
    golden = unit(np.round(embed(fed) * 4096))
    graph = (GOLDEN / "engines" / "tiny.onnx").read_bytes()
    manifest = {
        "name": "tiny query model",
        "role": "query",
        "space": identity.space,
        "searches": (BIG.space,),
        "dim": DIM,
        "preprocessing": client,
        "tier": "100",
        "mmacs": 0.25,
        "mmacs_paper": 1,
        "params_m": 1e-05,
        "license": "Apache-2.0",
        "arch": "tiny",
        "graphs": graphs,
        "created_by": "compat-sdk 0.8.0",
        "identity": identity,
        "certificates": (_certificate(identity.space, BIG.space),),
        "release": 3,
        "expires": "9999-12-31",
    } | changes
    with tempfile.TemporaryDirectory() as folder:
        files = {graph_of.file: graph for graph_of in manifest["graphs"]}
        statistics = input_statistics(to_input(images, client))
        made = write_bundle(
            Path(folder) / "b", Manifest(**manifest), files, (images, statistics, golden), pictures=[picture]
        )
        return {
            path.relative_to(made.path).as_posix(): path.read_bytes()
            for path in sorted(made.path.rglob("*"))
            if path.is_file()
        }


Edit = Callable[[dict[str, Any]], object]


def _set(*path: Any, to: Any) -> Edit:
    def edit(manifest: dict[str, Any]) -> None:
        inner: Any = manifest
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = to

    return edit


def _without(*path: Any) -> Edit:
    def edit(manifest: dict[str, Any]) -> None:
        inner: Any = manifest
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]

    return edit


def _renamed(name: Any) -> Edit:
    """A file of the bundle under another name."""

    def edit(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = manifest["files"].pop("half/model.onnx")
        manifest["graphs"][1]["file"] = name

    return edit


def _also(name: str) -> Edit:
    return lambda manifest: manifest["files"].update({name: manifest["files"]["model.onnx"]})


def _certified(**changes: Any) -> Edit:
    """The certificate with other values, its digest made anew."""

    def edit(manifest: dict[str, Any]) -> None:
        body = {key: item for key, item in manifest["certificates"][0].items() if key != "digest"} | changes
        manifest["certificates"][0] = sealed(body)

    return edit


def _nested(levels: int) -> Any:
    return [_nested(levels - 1)] if levels else 1


_GRAPH = ("graphs", 0)
BAD: dict[str, Edit] = {
    "format-other": _set("format", to="compat-sdk-gallery"),
    "format-missing": _without("format"),
    "version-1": _set("version", to=1),
    "version-4": _set("version", to=4),
    "version-text": _set("version", to="3"),
    "version-true": _set("version", to=True),
    "version-float": _set("version", to=3.0),
    "field-unknown": _set("colour", to="red"),
    "field-missing-license": _without("license"),
    "field-missing-identity": _without("identity"),
    "field-missing-expires": _without("expires"),
    "name-empty": _set("name", to=""),
    "name-long": _set("name", to="x" * 121),
    "name-control": _set("name", to="a\x1b[31mb"),
    "name-turns-text": _set("name", to="a\u202eb"),
    "name-number": _set("name", to=7),
    "role-unknown": _set("role", to="owner"),
    "role-list": _set("role", to=["query"]),
    "role-transform": _set("role", to="transform"),
    "space-empty": _set("space", to=""),
    "space-slash": _set("space", to="a/b"),
    "space-line-end": _set("space", to="tiny-8-aaaaaaaaaaaa\n"),
    "space-other-digest": _set("space", to="tiny-8-0123456789abcdef"),
    "space-number": _set("space", to=1),
    "searches-text": _set("searches", to="big"),
    "searches-malformed": _set("searches", to=["a b"]),
    "searches-number": _set("searches", to=[3]),
    "searches-of-side-info": _set("role", to="side-info"),
    "dim-zero": _set("dim", to=0),
    "dim-large": _set("dim", to=65537),
    "dim-float": _set("dim", to=8.0),
    "dim-true": _set("dim", to=True),
    "dim-not-the-identity's": _set("dim", to=9),
    "tier-space": _set("tier", to="a b"),
    "tier-number": _set("tier", to=100),
    "mmacs-negative": _set("mmacs", to=-1),
    "mmacs-text": _set("mmacs", to="1"),
    "mmacs-true": _set("mmacs", to=True),
    "params-null": _set("params_m", to=None),
    "license-null": _set("license", to=None),
    "arch-number": _set("arch", to=1),
    "created-by-list": _set("created_by", to=[]),
    "source-there": _set("source", to={"old_space": "a-1-x", "old_dim": 3, "side_space": None, "side_dim": None}),
    "release-zero": _set("release", to=0),
    "release-large": _set("release", to=2**31),
    "release-float": _set("release", to=1.0),
    "expires-no-day": _set("expires", to="2027-02-30"),
    "expires-other-form": _set("expires", to="20270228"),
    "expires-number": _set("expires", to=2027),
    "expired": _set("expires", to="2020-01-01"),
    "preprocessing-null": _set("preprocessing", to=None),
    "preprocessing-text": _set("preprocessing", to="crop"),
    "preprocessing-unknown-field": _set("preprocessing", "colour", to=1),
    "preprocessing-missing-field": _without("preprocessing", "fit"),
    "preprocessing-size-zero": _set("preprocessing", "size", to=0),
    "preprocessing-size-large": _set("preprocessing", "size", to=4097),
    "preprocessing-size-float": _set("preprocessing", "size", to=8.0),
    "preprocessing-size-true": _set("preprocessing", "size", to=True),
    "preprocessing-fit": _set("preprocessing", "fit", to="cover"),
    "preprocessing-resize": _set("preprocessing", "resize", to="nearest"),
    "preprocessing-draft": _set("preprocessing", "draft", to=65),
    "preprocessing-channels": _set("preprocessing", "channels", to="gbr"),
    "preprocessing-mean-two": _set("preprocessing", "mean", to=[0.5, 0.5]),
    "preprocessing-mean-text": _set("preprocessing", "mean", to=[0.5, 0.5, "0.5"]),
    "preprocessing-mean-true": _set("preprocessing", "mean", to=[True, 0.5, 0.5]),
    "preprocessing-std-zero": _set("preprocessing", "std", to=[0.5, 0.0, 0.5]),
    "preprocessing-std-negative": _set("preprocessing", "std", to=[0.5, 0.5, -0.5]),
    "preprocessing-crop-zero": _set("preprocessing", "crop", to=0),
    "preprocessing-crop-above-1": _set("preprocessing", "crop", to=1.5),
    "preprocessing-crop-true": _set("preprocessing", "crop", to=True),
    "preprocessing-not-the-identity's": _set("preprocessing", "resize", to="box"),
    "graphs-none": _set("graphs", to=[]),
    "graphs-null": _set("graphs", to=None),
    "graph-unknown-field": _set(*_GRAPH, "colour", to=1),
    "graph-missing-file": _without(*_GRAPH, "file"),
    "graph-target": _set(*_GRAPH, "target", to="on nx"),
    "graph-precision": _set(*_GRAPH, "precision", to=""),
    "graph-file-not-listed": _set(*_GRAPH, "file", to="other.onnx"),
    "graph-file-climbs": _set(*_GRAPH, "file", to="../model.onnx"),
    "graph-inputs-text": _set(*_GRAPH, "inputs", to="image"),
    "graph-inputs-none": _set(*_GRAPH, "inputs", to=[]),
    "graph-inputs-two": _set(*_GRAPH, "inputs", to=["image", "mask"]),
    "graph-inputs-twice": _set(*_GRAPH, "inputs", to=["image", "image"]),
    "graph-inputs-empty-name": _set(*_GRAPH, "inputs", to=[""]),
    "graph-output-number": _set(*_GRAPH, "output", to=0),
    "graph-batch-zero": _set(*_GRAPH, "batch", to=0),
    "graph-batch-large": _set(*_GRAPH, "batch", to=1025),
    "graph-batch-float": _set(*_GRAPH, "batch", to=4.0),
    "graph-layout": _set(*_GRAPH, "layout", to="nwhc"),
    "graph-values": _set(*_GRAPH, "values", to="raw"),
    "graph-values-not-the-identity's": _set(*_GRAPH, "values", to="pixels"),
    "graph-min-cosine-large": _set(*_GRAPH, "min_cosine", to=1.5),
    "graph-min-cosine-integer": _set(*_GRAPH, "min_cosine", to=1),
    "identity-null": _set("identity", to=None),
    "identity-unknown-field": _set("identity", "colour", to=1),
    "identity-other-weights": _set("identity", "weights", to="ef" * 32),
    "identity-weights-upper": _set("identity", "weights", to="AB" * 32),
    "identity-other-arch": _set("identity", "arch", to="other"),
    "identity-other-network": _set("identity", "network", "width", to=2.0),
    "identity-network-integer": _set("identity", "network", "width", to=1),
    "identity-network-list": _set("identity", "network", "width", to=[1]),
    "identity-network-true": _set("identity", "network", "width", to=True),
    "identity-other-output": _set("identity", "output", to="logits"),
    "identity-preprocessing": _set("identity", "preprocessing", "fit", to="stretch"),
    "certificates-null": _set("certificates", to=None),
    "certificate-edited": _set("certificates", 0, "queries", to=991),
    "certificate-unknown-field": _certified(colour="red"),
    "certificate-version": _certified(version=2),
    "certificate-of-another-model": _certified(query_space="other-8-0123456789abcdef"),
    "certificate-of-another-gallery": _certified(gallery_space="other-8-0123456789abcdef"),
    "certificate-of-equal-spaces": _certified(gallery_space="", query_space=""),
    "certificate-splits": _certified(splits=["query"]),
    "certificate-queries-zero": _certified(queries=0),
    "certificate-data-control": _certified(data="a\nb"),
    "certificate-rule": _certified(rule="M(q,g) > 0"),
    "certificate-rule-holds-false": _certified(rule_holds=False),
    "certificate-accuracy-above-1": _certified(query_query={"top1": 1.5, "top5": 1, "top10": 1, "map": 1}),
    "certificate-accuracy-field": _certified(query_query={"top1": 0.5}),
    "certificate-twice": lambda manifest: manifest["certificates"].append(manifest["certificates"][0]),
    "file-climbs": _also("../model.onnx"),
    "file-climbs-inside": _also("golden/../../model.onnx"),
    "file-absolute": _also("/etc/model.onnx"),
    "file-drive": _also("C:/model.onnx"),
    "file-backslash": _also("golden\\model.onnx"),
    "file-empty": _also(""),
    "file-dot": _also("./model2.onnx"),
    "file-empty-part": _also("golden//model.onnx"),
    "file-hidden": _also(".model.onnx"),
    "file-ends-with-dot": _also("model."),
    "file-device": _also("golden/nul.onnx"),
    "file-nul": _also("model.onnx\0.txt"),
    "file-long": _also("/".join(["x" * 100] * 3)),
    "file-part-long": _also("x" * 121),
    "file-line-end": _also("model2.onnx\n"),
    "file-accented": _also("modèle.onnx"),
    "file-manifest": _also("manifest.json"),
    "file-signature-upper": _also("SIGNATURE.json"),
    "file-case-clash": _also("Model.onnx"),
    "file-folder-case-clash": _also("Golden/model.onnx"),
    "file-is-a-folder-too": _also("model.onnx/part"),
    "file-sha256-upper": _set("files", "model.onnx", "sha256", to="A" * 64),
    "file-sha256-short": _set("files", "model.onnx", "sha256", to="ab"),
    "file-sha256-other": _set("files", "model.onnx", "sha256", to="ab" * 32),
    "file-size-negative": _set("files", "model.onnx", "bytes", to=-1),
    "file-size-float": _set("files", "model.onnx", "bytes", to=1824.0),
    "file-size-other": _set("files", "model.onnx", "bytes", to=1825),
    "file-size-large": _set("files", "model.onnx", "bytes", to=2**60),
    "file-record-field": _set("files", "model.onnx", "mode", to=1),
    "file-missing": _also("golden/more.npy"),
    "files-list": _set("files", to=[]),
    "files-null": _set("files", to=None),
    "nested-32-deep": _set("name", to=_nested(32)),
    "nested-40-deep": _set("colour", to=_nested(40)),
    "number-of-65-bits": _set("identity", "network", "most", to=2**64),
}
"""Changes of a good bundle's manifest, each with its digest made anew; all are refused."""


def _plain(edit: Edit, base: bytes) -> bytes:
    value = json.loads(base)
    edit(value)
    body = {key: item for key, item in value.items() if key != "digest"}
    return json.dumps(sealed(body), ensure_ascii=False).encode()


def _texts(base: bytes) -> dict[str, bytes]:
    """Manifests that are no JSON, or that two readers could understand differently; all are refused."""
    text = base.decode()
    deep = "[" * 20_000 + "]" * 20_000
    return {
        "text-empty": b"",
        "text-cut": base[: len(base) // 2],
        "text-two-documents": base + base,
        "text-list": b"[1]\n",
        "text-not-utf-8": base.replace(b"tiny query model", b"tiny \xff query"),
        "text-byte-order-mark": b"\xef\xbb\xbf" + base,
        "text-utf-16": text.encode("utf-16"),
        "text-comment": base.replace(b"{", b"{ // a comment\n", 1),
        "text-trailing-comma": base.rstrip()[:-1].rstrip() + b",\n}\n",
        "text-key-twice": text.replace('"dim": 8,', '"dim": 9,\n  "dim": 8,', 1).encode(),
        "text-key-twice-inside": text.replace('"bytes":', '"bytes": 1, "bytes":', 1).encode(),
        "text-key-twice-escaped": text.replace('"dim": 8,', '"dim": 8,\n  "d\\u0069m": 8,', 1).encode(),
        "text-nan": text.replace('"mmacs": 0.25', '"mmacs": NaN', 1).encode(),
        "text-infinity": text.replace('"mmacs": 0.25', '"mmacs": -Infinity', 1).encode(),
        "text-1e400": text.replace('"mmacs": 0.25', '"mmacs": 1e400', 1).encode(),
        "text-hexadecimal": text.replace('"dim": 8', '"dim": 0x8', 1).encode(),
        "text-leading-zero": text.replace('"dim": 8', '"dim": 08', 1).encode(),
        "text-half-of-a-pair": text.replace("tiny query model", "tiny \\ud800 model", 1).encode(),
        "text-control-code": text.replace("tiny query model", "tiny\tmodel", 1).encode(),
        "text-nested-20000-deep": text.replace('"mmacs": 0.25', f'"mmacs": {deep}', 1).encode(),
        "digest-missing": text.replace('"digest"', '"digested"', 1).encode(),
        "digest-upper": text.replace(json.loads(text)["digest"], json.loads(text)["digest"].upper()).encode(),
        "digest-other": text.replace(json.loads(text)["digest"], "0" * 64).encode(),
        "digest-of-another-value": text.replace('"dim": 8', '"dim": 9', 1).encode(),
        "digest-of-a-float-that-was-an-integer": text.replace('"dim": 8', '"dim": 8.0', 1).encode(),
        "digest-of-an-integer-that-was-a-float": text.replace('"width": 1.0', '"width": 1', 1).encode(),
    }


def _older(manifest: dict[str, Any]) -> None:
    """A later bundle that says it is of 0.7, which had no identity."""
    for name in ("identity", "certificates", "release", "expires"):
        del manifest[name]
    manifest["version"] = 2


def _reordered(base: bytes) -> bytes:
    """The same document in other words: no spaces, keys the other way round, letters escaped, numbers spelled out."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(turned(json.loads(base)), separators=(",", ":"), ensure_ascii=True)
    return text.replace('"mmacs":0.25', '"mmacs" :\t2.50e-1\r\n', 1).encode()


def _zips(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Zips of a good bundle whose structure no bundle has; all are refused."""
    good = zip_bytes(files)
    end = len(good) - 22
    start = struct.unpack_from("<I", good, end + 16)[0]

    def at(place: int, new: bytes, data: bytes = good) -> bytes:
        return data[:place] + new + data[place + len(new) :]

    first = struct.unpack_from("<H", good, start + 28)[0]
    twice = {**files, "x-model.onnx": files["model.onnx"]}
    crossed = zip_bytes(twice).replace(b"x-model.onnx", b"golden/x.npy")
    climbing = zip_bytes(twice).replace(b"x-model.onnx", b"../model.onn")
    return {
        "zip-empty": b"",
        "zip-cut": good[:-1],
        "zip-cut-in-half": good[: len(good) // 2],
        "zip-with-more-behind": good + b"\0",
        "zip-with-more-before": b"#!" + good,
        "zip-with-a-comment": at(end + 20, b"\1\0") + b"x",
        "zip-local-name-differs": at(30, b"x"),
        "zip-local-size-differs": at(18, b"\xff"),
        "zip-compressed": at(start + 10, b"\x08", at(8, b"\x08")),
        "zip-encrypted": at(start + 8, b"\x01", at(6, b"\x01")),
        "zip-link": at(start + 38, struct.pack("<I", 0o120777 << 16)),
        "zip-executable": at(start + 38, struct.pack("<I", 0o100755 << 16)),
        "zip-dated": at(start + 14, b"\x22\x58"),
        "zip-sizes-of-zip64": at(end + 12, b"\xff" * 4),
        "zip-count-differs": at(end + 8, b"\x01\x00\x01\x00"),
        "zip-directory-cut": at(end + 12, struct.pack("<I", end - start - 4)),
        "zip-extra-field": at(start + 30, b"\x04"),
        "zip-overlapping": at(start + 46 + first + 42, struct.pack("<I", 0)),
        "zip-out-of-order": crossed,
        "zip-climbs": climbing,
        "zip-crc-differs": at(start + 16, b"\0\0\0\0", at(14, b"\0\0\0\0")),
        "zip-content-differs": at(30 + first + 200, bytes([good[30 + first + 200] ^ 1])),
        "zip-without-manifest": zip_bytes({name: data for name, data in files.items() if name != "manifest.json"}),
        "zip-of-nothing": b"PK\5\6" + bytes(18),
    }


def expected(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What a runtime reads of a good bundle."""
    return expected_of_zip(zip_bytes(files))


def expected_of_zip(data: bytes) -> dict[str, Any]:
    """What a runtime reads of a good bundle's zip."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "b.zip"
        place.write_bytes(data)
        bundle = Bundle.open(place)
    manifest = bundle.manifest
    return {
        "digest": bundle.digest,
        "name": manifest.name,
        "role": manifest.role,
        "space": manifest.space,
        "searches": list(manifest.searches),
        "dim": manifest.dim,
        "release": manifest.release,
        "mmacs": manifest.mmacs,
        "preprocessing": manifest.preprocessing and manifest.preprocessing.to_json(),
        "graphs": [dataclasses.asdict(graph) | {"inputs": list(graph.inputs)} for graph in manifest.graphs],
        "files": sorted(manifest.files),
    }


def write(place: Place) -> None:
    """Write bundles.json and its files."""
    good = contents()
    shared = {name: place.put(f"bundles/good/{name}", data) for name, data in good.items()}
    base = good["manifest.json"]
    cases: list[dict[str, Any]] = [{"name": "good", "files": shared, "opens": expected(good)}]

    def changed(name: str, manifest: bytes) -> dict[str, str]:
        return shared | {"manifest.json": place.put(f"bundles/manifests/{name}.json", manifest)}

    def opens(name: str, files: dict[str, bytes]) -> None:
        different = {
            file: shared[file] if good.get(file) == data else place.put(f"bundles/{name}/{file}", data)
            for file, data in files.items()
        }
        cases.append({"name": name, "files": different, "opens": expected(files)})

    def refused(name: str, files: dict[str, str], error: str = "BundleError") -> None:
        cases.append({"name": name, "files": files, "error": error})

    opens("good-network-of-many-kinds", contents(NETWORK))
    opens("good-graph-takes-pixels", contents(graphs=(Graph("onnx", "fp32", "model.onnx", values="pixels"),)))
    opens("good-crop-bgr", contents(preprocessing=dataclasses.replace(PREPROCESSING, crop=0.875, channels="bgr")))
    opens("good-gallery-model", contents(role="gallery", searches=(), certificates=(), expires=None, release=1))
    opens("good-other-spelling", good | {"manifest.json": _reordered(base)})
    opens("good-accented-name", contents(name="modèle 😀"))
    for name, edit in BAD.items():
        refused(name, changed(name, _plain(edit, base)))
    for name, text in _texts(base).items():
        refused(name, changed(name, text))
    flipped = bytearray(good["model.onnx"])
    flipped[900] ^= 1
    for name, data in {
        "graph-flipped": bytes(flipped),
        "graph-cut": good["model.onnx"][:-1],
        "graph-longer": good["model.onnx"] + b"\0",
        "graph-empty": b"",
    }.items():
        refused(name, shared | {"model.onnx": place.put(f"bundles/damaged/{name}", data)})
    refused("version-2-with-a-later-space", changed("version-2-with-a-later-space", _plain(_older, base)))
    refused("file-not-there", {name: file for name, file in shared.items() if name != "golden/embeddings.npy"})
    refused("manifest-not-there", {name: file for name, file in shared.items() if name != "manifest.json"})
    refused("file-not-listed", shared | {"more.bin": shared["model.onnx"]})
    for name, more in _contents(good).items():
        files = _recorded(good, more)
        stored = {
            file: shared[file] if good.get(file) == data else place.put(f"bundles/{name}/{file}", data)
            for file, data in files.items()
        }
        refused(name, stored)
    with tempfile.TemporaryDirectory() as folder:
        transform = make_transform(Path(folder) / "t")
        files = {
            path.relative_to(transform.path).as_posix(): path.read_bytes()
            for path in sorted(transform.path.rglob("*"))
            if path.is_file()
        }
    refused(
        "transform", {name: place.put(f"bundles/transform/{name}", data) for name, data in files.items()}, "ConfigError"
    )
    for name, data in {
        "good-zip": zip_bytes(good),
        "good-zip-of-0.7": (GOLDEN / "0.7/bundles/query.bundle.zip").read_bytes(),
    }.items():
        case = {"name": name, "zip": place.put(f"bundles/zips/{name}.zip", data)}
        cases.append(case | {"opens": expected_of_zip(data)})
    for name, data in _zips(contents(graphs=GRAPHS[:1], certificates=())).items():
        cases.append({"name": name, "zip": place.put(f"bundles/zips/{name}.zip", data), "error": "BundleError"})
    place.cases("bundles", cases)


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _contents(good: Mapping[str, bytes]) -> dict[str, dict[str, bytes | None]]:
    """Contents that no bundle has, by case: files that are other ones, or gone; the manifest lists them as they are."""
    vectors = np.load(io.BytesIO(good["golden/embeddings.npy"]))
    images = np.load(io.BytesIO(good["golden/images.npy"]))
    statistics = np.load(io.BytesIO(good["golden/inputs.npy"]))
    wrong = np.array(vectors)
    wrong[1, 2] = np.nan
    arrays: dict[str, dict[str, NDArray[Any]]] = {
        "golden-vectors-nan": {"embeddings": wrong},
        "golden-vectors-of-another-dim": {"embeddings": vectors[:, :7]},
        "golden-vectors-of-fewer-rows": {"embeddings": vectors[:2]},
        "golden-vectors-float64": {"embeddings": vectors.astype(np.float64)},
        "golden-images-float": {"images": images.astype(np.float32)},
        "golden-images-of-another-size": {"images": images[:, :7]},
        "golden-images-none": {"images": images[:0], "inputs": statistics[:0], "embeddings": vectors[:0]},
        "golden-inputs-of-another-shape": {"inputs": statistics[..., :1]},
    }
    pickled = pickle.dumps({"weights": [1, 2, 3]}, 4)
    picture = good["golden/pictures/00.png"]
    return {
        name: {f"golden/{file}.npy": _npy(array) for file, array in changed.items()} for name, changed in arrays.items()
    } | {
        "golden-vectors-no-array": {"golden/embeddings.npy": b"\x93NUMPY\1\0\x10\0{'descr': '<f4', "},
        "golden-vectors-cut": {"golden/embeddings.npy": good["golden/embeddings.npy"][:-4]},
        "golden-vectors-empty": {"golden/embeddings.npy": b""},
        "golden-vectors-gone": {"golden/embeddings.npy": None},
        "golden-pictures-left-out": {"golden/pictures/00.png": None},
        "golden-pictures-with-a-gap": {"golden/pictures/02.png": picture},
        "golden-pictures-of-another-kind": {"golden/pictures/01.gif": picture},
        "golden-pictures-more-than-images": {f"golden/pictures/0{row}.png": picture for row in range(1, 4)},
        "pickle-by-name": {"weights.pt": b"anything"},
        "pickle-by-content": {"weights.bin": pickled},
        "archive-gzip": {"weights.bin": b"\x1f\x8b\x08\0 and so on"},
        "archive-zip": {"weights.bin": b"PK\3\4 and so on"},
        "archive-zip-behind-something": {"weights.bin": b"MZ" + bytes(100) + b"PK\5\6" + bytes(18)},
        "archive-tar": {"weights.bin": bytes(257) + b"ustar" + bytes(300)},
        "archive-bzip2": {"weights.bin": b"BZh91AY&SY and so on"},
    }


def _recorded(good: Mapping[str, bytes], changes: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """The files with these changes, and a manifest that lists them as they are."""
    files = {name: data for name, data in {**good, **changes}.items() if data is not None and name != "manifest.json"}
    records = {name: dataclasses.asdict(record_of(data)) for name, data in files.items()}
    return {"manifest.json": _plain(_set("files", to=records), good["manifest.json"]), **files}
