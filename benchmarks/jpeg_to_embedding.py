"""From a 12-megapixel JPEG to an embedding: our scaled decode against Pillow's full decode.

    python benchmarks/jpeg_to_embedding.py --out jpeg_to_embedding.json        (--bundle DIR for a model of yours)

A: ``Embedder.embed`` on the file's bytes; the JPEG is decoded at the DCT scale that the bundle's preprocessing
allows. B: ``PIL.Image.open(...).convert("RGB")``, as data loaders have it, the same centre crop and kernel, then
the same model; ``full_unconverted`` leaves the conversion out, which only RGB files allow. One image per call,
one thread, the sides in alternating order; the ratio is the median over photographs of B / A, once by the clock
and once in processor time, which a busy machine disturbs less. ``--drafts`` adds other values of the setting.

Hits are compared with those of full decode; an untrained model has hits that mean nothing, so give a trained
bundle for them. The photographs are made here: a garment of the sample data enlarged in front of a textured,
tinted background with camera noise, quality 90. The gallery holds other scenes and the sample's gallery,
embedded as they are. Goal: 4 times faster with the same ten hits.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from compat_sdk.bundle import Bundle
from compat_sdk.datasets import open_dataset
from compat_sdk.embedder import Embedder
from compat_sdk.images import Preprocessing, to_pixels
from compat_sdk.index import ExactIndex

WIDTH, HEIGHT = 4032, 3024


def main() -> None:
    """Parse the command line, measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="model to run; default: an untrained --arch")
    parser.add_argument("--arch", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--scenes", type=int, default=600, help="other scenes in the gallery")
    parser.add_argument("--drafts", type=int, nargs="*", default=[1, 3, 4, 8], help="other settings to compare")
    parser.add_argument("--out", type=Path, help="where the JSON goes, beside standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.bundle or untrained_bundle(options.arch, options.size, Path(folder) / "bundle")
        figures = measure(path, options)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


def untrained_bundle(arch: str, size: int, out: Path) -> Path:
    """A bundle of an untrained architecture; weights do not change what it costs."""
    from compat_export import export
    from compat_export.profile_model import untrained_checkpoint

    return export(untrained_checkpoint(arch, size=size), out).bundle.path


def scene(garment: np.ndarray, rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A photo-like picture, RGB: background texture at several scales, an enlarged garment, a tinted light."""
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (3, 9, 27, 81, 243):
        grid = rng.normal(0, 20 / cells**0.5, (cells * 3 // 4 + 1, cells, 3)).clip(-128, 127) + 128
        layer = Image.fromarray(grid.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        picture += np.asarray(layer, np.float32) - 128
    picture += rng.uniform(5, 45, 3).astype(np.float32)
    side = int(height * rng.uniform(0.88, 1.0))
    enlarged = Image.fromarray(garment).resize((side, side), Image.Resampling.BICUBIC)
    cloth = np.asarray(enlarged, np.float32)[..., None]
    top = int(rng.integers(0, height - side + 1))
    left = int((width - side) / 2 + rng.uniform(-0.03, 0.03) * width)
    tint = rng.uniform(0.8, 1.0, 3).astype(np.float32)
    mask = np.clip(cloth / 64, 0, 1)
    part = picture[top : top + side, left : left + side]
    part[:] = part * (1 - mask) + cloth * tint * mask
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def photograph(garment: np.ndarray, rng: np.random.Generator, noise: np.ndarray) -> bytes:
    """A scene as a camera would store it: 12 megapixels, sensor noise, JPEG at quality 90."""
    small = scene(garment, rng, WIDTH // 4, HEIGHT // 4)
    large = np.array(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    large += np.roll(noise, int(rng.integers(HEIGHT)), axis=0)
    buffer = io.BytesIO()
    Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def full_decode(data: bytes, preprocessing: Preprocessing, *, convert: bool = True) -> np.ndarray:
    """What one writes by hand: decode everything, crop and resize with the model's kernel."""
    image = Image.open(io.BytesIO(data))
    if convert:  # copies every pixel, needed or not; the photographs made here are RGB already
        image = image.convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side) if preprocessing.fit == "crop" else None
    kernel = Image.Resampling[preprocessing.resize.upper()]
    return np.asarray(image.resize((preprocessing.size,) * 2, kernel, box=box))


def measure(path: Path, options: argparse.Namespace) -> dict[str, object]:
    """Time every side on every photograph, then compare what they find."""
    rng = np.random.default_rng(0)
    bundle = Bundle.open(path)
    preprocessing = bundle.manifest.preprocessing
    embedder = Embedder.load(bundle, threads=1)
    splits = open_dataset("sample").splits
    garments, labels = splits["query"].images, splits["query"].labels
    others = rng.permutation(len(garments))
    scenes = [scene(np.asarray(garments[i]), rng, WIDTH // 8, HEIGHT // 8) for i in others[: options.scenes]]
    gallery = [embedder.embed(scenes).vectors, embedder.embed(list(splits["gallery"].images)).vectors]
    gallery_labels = [labels[i] for i in others[: options.scenes]] + list(splits["gallery"].labels)

    def with_draft(draft: int) -> Callable[[bytes], np.ndarray]:
        changed = replace(preprocessing, draft=draft)
        return lambda data: embedder.embed_pixels(to_pixels(data, changed)[None]).vectors

    sides: dict[str, Callable[[bytes], np.ndarray]] = {
        "full": lambda data: embedder.embed_pixels(full_decode(data, preprocessing)[None]).vectors,
        "full_unconverted": lambda data: (
            embedder.embed_pixels(full_decode(data, preprocessing, convert=False)[None]).vectors
        ),
        "runtime": lambda data: embedder.embed(data).vectors,
    }
    sides |= {f"draft_{draft}": with_draft(draft) for draft in options.drafts}
    names = list(sides)
    times = {name: np.zeros(options.photos) for name in names}
    cpu_times = {name: np.zeros(options.photos) for name in names}
    model_ms = np.zeros(options.photos)
    noise = rng.normal(0, 4, (HEIGHT, WIDTH, 1)).round().astype(np.int16)
    vectors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    photo_labels, differences, sizes = [], [], []
    for i in range(options.photos):
        row = int(others[-1 - i])  # not among the scenes of the gallery
        data = photograph(np.asarray(garments[row]), rng, noise)
        sizes.append(len(data))
        photo_labels.append(labels[row])
        for name in names if i % 2 == 0 else names[::-1]:
            start, cpu_start = time.perf_counter_ns(), time.process_time_ns()
            vectors[name].append(sides[name](data))
            cpu_times[name][i] = (time.process_time_ns() - cpu_start) / 1e6
            times[name][i] = (time.perf_counter_ns() - start) / 1e6
        pixels = full_decode(data, preprocessing)
        start = time.perf_counter_ns()
        embedder.embed_pixels(pixels[None])
        model_ms[i] = (time.perf_counter_ns() - start) / 1e6
        differences.append(float(np.abs(to_pixels(data, preprocessing).astype(int) - pixels).mean()))

    index = ExactIndex(np.ascontiguousarray(np.concatenate(gallery)))
    found = {name: index.search(np.concatenate(rows), 10)[0] for name, rows in vectors.items()}
    full = np.concatenate(vectors["full"])

    def agreement(name: str) -> dict[str, float]:
        pairs = list(zip(found[name].tolist(), found["full"].tolist(), strict=True))
        overlap = [len(set(ours) & set(theirs)) / 10 for ours, theirs in pairs]
        right = [
            np.mean([gallery_labels[row] == label for row in rows])
            for rows, label in zip(found[name].tolist(), photo_labels, strict=True)
        ]
        cosines = (np.concatenate(vectors[name]) * full).sum(1)
        return {
            "ms": float(np.median(times[name])),
            "cpu_ms": float(np.median(cpu_times[name])),
            "speed_up": float(np.median(times["full"] / times[name])),
            "cpu_speed_up": float(np.median(cpu_times["full"] / cpu_times[name])),
            "speed_up_over_unconverted": float(np.median(times["full_unconverted"] / times[name])),
            "cpu_speed_up_over_unconverted": float(np.median(cpu_times["full_unconverted"] / cpu_times[name])),
            "cosine_mean": float(cosines.mean()),
            "cosine_worst": float(cosines.min()),
            "same_first_hit": float(np.mean([ours[0] == theirs[0] for ours, theirs in pairs])),
            "top_10_overlap": float(np.mean(overlap)),
            "same_10_hits": float(np.mean([share == 1 for share in overlap])),
            "hits_of_the_right_class": float(np.mean(right)),
        }

    return {
        "benchmark": "jpeg_to_embedding",
        "model": bundle.manifest.name,
        "arch": bundle.manifest.arch,
        "size": preprocessing.size,
        "draft": preprocessing.draft,
        "photos": options.photos,
        "pixels": [WIDTH, HEIGHT],
        "median_file_mib": float(np.median(sizes)) / 2**20,
        "gallery": len(gallery_labels),
        "model_ms": float(np.median(model_ms)),
        "mean_pixel_difference": float(np.mean(differences)),
        "sides": {name: agreement(name) for name in names},
        "goal": "sides.runtime.speed_up at least 4, same hits",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
    }


if __name__ == "__main__":
    main()
