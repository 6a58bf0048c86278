"""The runtime in JavaScript beside Python's, in one run: decode, resize, embed and search, in Node and in Chromium.

    python -m benchmarks.speed.web_runtime --out benchmarks/speed/web_runtime.json

The model is an untrained mobilenet_v2 at 112 pixels, and the picture a JPEG of 12 megapixels. A search is the exact one
for one query and ten hits in random unit vectors of 128 numbers. Each figure is a median over rounds, in milliseconds.
``overhead`` is ``embedPixels`` over a bare session of onnxruntime-web on a prepared tensor, taken in turns.
`make test-web` has to have run before: it installs onnxruntime-web and the browser's driver.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from benchmarks.speed.untrained import untrained_bundle
from compat_cli.pages.website import write_site
from compat_sdk.bundle import Bundle
from compat_sdk.embedder import Embedder
from compat_sdk.gallery import Gallery
from compat_sdk.images import open_image, to_pixels
from compat_sdk.space import Embeddings

_WEB = Path(__file__).parents[2] / "sdk" / "web"
_DIM = 128


def main() -> None:
    """Parse the command line, measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="galleries' sizes")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, help="where the JSON goes, beside standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.rows, options.rounds)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


def measure(folder: Path, sizes: list[int], rounds: int) -> dict[str, object]:
    """Write what all sides work on, and take the figures of each."""
    rng = np.random.default_rng(0)
    bundle = untrained_bundle("mobilenet_v2", 112, folder / "query.bundle")
    embedder = Embedder.load(bundle, threads=1)
    galleries = {}
    for rows in sizes:
        vectors = rng.standard_normal((rows, _DIM), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for dtype in ("float32", "float16", "int8"):
            name = f"{rows}-{dtype}"
            galleries[name] = Gallery.create(folder / name, space=embedder.space, dim=_DIM, dtype=dtype)
            galleries[name].add(Embeddings(vectors, embedder.space), [str(row) for row in range(rows)])
    noise = np.repeat(np.repeat(rng.integers(0, 256, (150, 200, 3), dtype=np.uint8), 20, 0), 20, 1)
    Image.fromarray(noise).save(folder / "photo.jpg", quality=90)
    picture = open_image(folder / "photo.jpg")
    (folder / "photo.raw").write_bytes(picture.tobytes())
    (folder / "blank.html").write_text("<!doctype html><title>blank</title>")
    plan = {"galleries": list(galleries), "photo": {"width": picture.width, "height": picture.height}}
    (folder / "plan.json").write_text(json.dumps(plan))
    _site(folder, bundle, f"{sizes[0]}-int8")
    shutil.copy(Path(__file__).with_suffix(".mjs"), folder)
    pixels = to_pixels(folder / "photo.jpg", embedder.preprocessing)
    query = Embeddings(np.full((1, _DIM), _DIM**-0.5, np.float32), embedder.space)
    python = {
        "decode_and_resize": _median(lambda: to_pixels(folder / "photo.jpg", embedder.preprocessing), rounds),
        "resize": _median(lambda: to_pixels(picture, embedder.preprocessing), rounds),
        "embed": _median(lambda: embedder.embed_pixels(pixels[None]), rounds),
        "search_ms": {
            name: _median(lambda gallery=gallery: gallery.search(query, 10, index="exact"), rounds)  # type: ignore[misc]
            for name, gallery in galleries.items()
        },
    }
    galleries.clear()
    words = ["node", str(Path(__file__).with_suffix(".mjs")), str(folder), str(_WEB), str(rounds)]
    web = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    return {"machine": machine(), "rounds": rounds, "python": python, **web, "size": _sizes(folder / "site")}


def _site(folder: Path, bundle: Path, gallery: str) -> None:
    """The site, and beside it what the pages of the benchmark load."""
    write_site(
        folder / "site",
        Bundle.open(bundle),
        folder / gallery,
        onnxruntime_web=_WEB / "node_modules",
        pictures=None,
        title="Benchmark",
        k=10,
        precision=None,
        side=320,
        webgpu=True,
        trust=None,
        progress=lambda *told: None,
    )
    for name in ("ort", "compat-sdk"):
        shutil.copytree(folder / "site" / name, folder / name)


def _sizes(site: Path) -> dict[str, int]:
    """Bytes of the runtime and of the site, as they are and as a host sends them."""
    files = [path for path in site.rglob("*") if path.is_file()]
    runtime = b"".join(path.read_bytes() for path in sorted((_WEB / "src").glob("*.js")))
    return {
        "runtime_bytes": len(runtime),
        "runtime_gzip_bytes": len(gzip.compress(runtime, 9)),
        "site_bytes": sum(path.stat().st_size for path in files),
        "site_gzip_bytes": sum(len(gzip.compress(path.read_bytes(), 6)) for path in files),
    }


def _median(step: Callable[[], object], rounds: int) -> float:
    """Milliseconds of a step: the median over rounds, after one that does not count."""
    step()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


if __name__ == "__main__":
    main()
