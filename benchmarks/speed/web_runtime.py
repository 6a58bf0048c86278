"""The runtime in JavaScript beside Python's, in one run: decode, resize, embed and search, in Node and in Chromium.

    python -m benchmarks.speed.web_runtime          # writes web_runtime.json, and web_runtime.md beside it
    python -m benchmarks.speed.web_runtime --report   # writes the page from the JSON that is there

The model is an untrained mobilenet_v2 at 112 pixels, and the picture a JPEG of 12 megapixels. A search is the exact one
for one query and ten hits in random unit vectors of 128 numbers. Each figure is a median over rounds, in milliseconds.
``overhead`` is ``embedPixels`` over a bare session of onnxruntime-web on a prepared tensor, taken in turns.
A visit to the site ends with the hits of that picture; at the second one the browser's service worker has kept all.
`make test-web` has to have run before: it installs onnxruntime-web and the browser's driver.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from benchmarks.pages import table, write_page
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
    beside = Path(__file__).with_suffix(".json")
    parser.add_argument("--out", type=Path, default=beside, help="the JSON, beside which the page is written")
    parser.add_argument("--report", action="store_true", help="write the page alone")
    options = parser.parse_args()
    if not options.report:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(Path(folder), options.rows, options.rounds)
        options.out.write_text(json.dumps(figures, indent=2) + "\n")
    found = json.loads(options.out.read_text())
    write_page(options.out.with_suffix(".md"), "benchmarks.speed.web_runtime", _tables(found))


def _tables(found: dict[str, Any]) -> list[str]:
    """The tables of a page, of the figures that `measure` took."""
    sides = {"Python": found["python"], "Node": found["node"], "Chromium": found["chromium"]}
    searches = [
        [
            f"{int(name.partition('-')[0]):,}",
            name.partition("-")[2],
            *(f"{of['search_ms'][name]:.1f}" for of in sides.values()),
        ]
        for name in found["python"]["search_ms"]
    ]
    threads = {
        f"{side}, threads: {name.removeprefix('threads_')}": found[side.lower()][name]
        for side in ("Node", "Chromium")
        for name in found[side.lower()]
        if name.startswith("threads_")
    }
    steps = {"decode": "decode", "resize": "resize", "embed": "embed", "bare_session": "the bare session alone"}
    lines = [
        [said, *(f"{of[step]:.1f}" if step in of else "" for of in (found["python"], *threads.values()))]
        for step, said in steps.items()
    ]
    lines.append(["embed / bare session", "", *(f"{of['overhead']:.3f}" for of in threads.values())])
    visits = [found["site"][name] for name in ("first", "again")]
    size, chromium = found["size"], found["chromium"]
    int8 = [name for name in chromium["search_ms"] if name.endswith("int8")]
    named = min(int8, key=lambda name: abs(int(name.partition("-")[0]) - 100_000))  # the size that the goal names
    rows, search_ms = int(named.partition("-")[0]), chromium["search_ms"][named]
    meaning = (
        f"**In Chromium an exact search of {rows:,} int8 rows takes {search_ms:.1f} ms. Embedding takes "
        f"{chromium['threads_1']['overhead']:.2f} times what the bare session takes. A second visit to a site has its "
        f"first hit after {visits[1]['first_hit_ms'] / 1000:.1f} seconds.**"
    )
    return [
        "# The runtime in JavaScript beside Python's",
        meaning,
        table(
            "Milliseconds of an exact search: one query, ten hits, 128 numbers", ["rows", "stored as", *sides], searches
        ),
        table("Milliseconds of one picture of 12 megapixels", ["step", "Python, threads: 1", *threads], lines),
        table(
            "A visit to the site",
            ["", "first", "again"],
            [
                ["seconds until it is ready", *(f"{visit['ready_ms'] / 1000:.1f}" for visit in visits)],
                ["seconds until the first hit", *(f"{visit['first_hit_ms'] / 1000:.1f}" for visit in visits)],
                ["MB fetched, not compressed", *(f"{visit['fetched_bytes'] / 1e6:.1f}" for visit in visits)],
            ],
        ),
        table(
            "Size",
            ["", "KB", "KB, gzipped"],
            [
                [said, f"{size[f'{name}_bytes'] / 1000:.1f}", f"{size[f'{name}_gzip_bytes'] / 1000:.1f}"]
                for name, said in {
                    "source": "the runtime as it is written",
                    "runtime": "the runtime as a site has it",
                    "site": "the whole site without what only a browser with WebGPU fetches",
                }.items()
            ],
            f"{found['machine']}; medians of {found['rounds']} rounds. The script says how they were taken.",
        ),
    ]


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
    of = {
        "source": sorted((_WEB / "src").glob("*.js")),
        "runtime": sorted((site / "compat-sdk").glob("*.js")),
        "site": [path for path in site.rglob("*") if path.is_file() and not re.search("webgpu|asyncify", path.name)],
    }
    found = {}
    for name, paths in of.items():
        texts = [path.read_bytes() for path in paths]
        pieces = texts if name == "site" else [b"".join(texts)]
        found[f"{name}_bytes"] = sum(map(len, texts))
        found[f"{name}_gzip_bytes"] = sum(len(gzip.compress(piece, 9)) for piece in pieces)
    return found


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
