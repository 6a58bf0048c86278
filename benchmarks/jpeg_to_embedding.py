"""From a 12-megapixel JPEG to an embedding: our scaled decode against Pillow's full decode.

    python benchmarks/jpeg_to_embedding.py --out jpeg_to_embedding.json        (--bundle DIR for a model of yours)

A: ``Embedder.embed`` on the file's bytes; the JPEG is decoded at the DCT scale that the bundle's preprocessing
allows. B: ``PIL.Image.open`` in full, ``convert``, the same centre crop and kernel, then the same model. One
image per call, one thread, A and B alternating. The photographs are made here: a garment of the sample data
enlarged in front of a textured, tinted background with camera noise, quality 90. The gallery holds other
scenes and the sample's gallery, embedded by full decode. Goal: 4 times faster with the same ten hits.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from compat_sdk.bundle import Bundle
from compat_sdk.dataset import open_dataset
from compat_sdk.embedder import Embedder
from compat_sdk.index import ExactIndex
from compat_sdk.preprocess import Preprocessing

WIDTH, HEIGHT = 4032, 3024


def main() -> None:
    """Parse the command line, measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="model to run; default: an untrained --arch")
    parser.add_argument("--arch", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--scenes", type=int, default=600, help="other scenes in the gallery")
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
    from compat_export.pack import export_checkpoint
    from compat_export.profile_model import untrained_checkpoint

    return export_checkpoint(untrained_checkpoint(arch, size=size), out=out).bundle.path


def scene(garment: np.ndarray, rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A photo-like picture, RGB: background texture at all scales, an enlarged garment, light and noise."""
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (3, 9, 27, 81, 243):
        grid = rng.normal(0, 60 / cells**0.5, (cells * 3 // 4 + 1, cells, 3)).clip(-128, 127) + 128
        layer = Image.fromarray(grid.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        picture += np.asarray(layer, np.float32) - 128
    picture += rng.uniform(70, 150, 3).astype(np.float32)
    side = int(height * rng.uniform(0.6, 0.95))
    cloth = np.asarray(Image.fromarray(garment).resize((side, side), Image.Resampling.BICUBIC), np.float32)[..., None]
    top = int(rng.integers(0, height - side + 1))
    left = int((width - side) / 2 + rng.uniform(-0.05, 0.05) * width)
    tint = rng.uniform(0.6, 1.0, 3).astype(np.float32)
    mask = np.clip(cloth / 64, 0, 1)
    part = picture[top : top + side, left : left + side]
    part[:] = part * (1 - mask) + cloth * tint * mask
    picture += rng.standard_normal((height, width, 1), dtype=np.float32) * 4
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def full_decode(data: bytes, preprocessing: Preprocessing) -> np.ndarray:
    """What one writes by hand: decode everything, crop and resize with the model's kernel."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side) if preprocessing.fit == "crop" else None
    kernel = Image.Resampling[preprocessing.resize.upper()]
    return np.asarray(image.resize((preprocessing.size,) * 2, kernel, box=box))


def measure(path: Path, options: argparse.Namespace) -> dict[str, object]:
    """Time both sides on every photograph, then compare what they find."""
    rng = np.random.default_rng(0)
    bundle = Bundle.open(path)
    preprocessing = bundle.manifest.preprocessing
    embedder = Embedder.load(bundle, threads=1)
    splits = open_dataset("sample").splits
    garments = splits["query"].images
    scenes = [
        scene(np.asarray(garments[i % len(garments)]), rng, WIDTH // 8, HEIGHT // 8)
        for i in rng.permutation(len(garments))[: options.scenes]
    ]
    gallery = np.concatenate([embedder.embed(scenes).vectors, embedder.embed(splits["gallery"].images).vectors])

    times = np.zeros((options.photos, 2))
    draft_vectors, full_vectors, pixel_difference, sizes = [], [], [], []
    for i in range(options.photos):
        buffer = io.BytesIO()
        picture = scene(np.asarray(garments[int(rng.integers(len(garments)))]), rng, WIDTH, HEIGHT)
        picture.save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
        sizes.append(len(data))
        for side in (0, 1) if i % 2 == 0 else (1, 0):
            start = time.perf_counter_ns()
            if side == 0:
                draft_vectors.append(embedder.embed(data).vectors)
            else:
                pixels = full_decode(data, preprocessing)
                full_vectors.append(embedder.embed_pixels(pixels[None]).vectors)
            times[i, side] = (time.perf_counter_ns() - start) / 1e6
        if i < 5:
            from compat_sdk.preprocess import to_pixels

            ours = to_pixels(data, preprocessing).astype(int)
            pixel_difference.append(float(np.abs(ours - pixels).mean()))
    draft, full = np.concatenate(draft_vectors), np.concatenate(full_vectors)
    # The photographs themselves are in the gallery too, embedded by full decode: rank 1 is known.
    index = ExactIndex(np.ascontiguousarray(np.concatenate([gallery, full])))
    ours, theirs = (index.search(vectors, 10)[0] for vectors in (draft, full))
    itself = len(gallery) + np.arange(options.photos)
    overlap = [len(set(a) & set(b)) / 10 for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]
    return {
        "benchmark": "jpeg_to_embedding",
        "model": bundle.manifest.name,
        "size": preprocessing.size,
        "draft": preprocessing.draft,
        "photos": options.photos,
        "pixels": [WIDTH, HEIGHT],
        "median_file_mib": float(np.median(sizes)) / 2**20,
        "gallery": len(gallery) + options.photos,
        "draft_ms": float(np.median(times[:, 0])),
        "full_ms": float(np.median(times[:, 1])),
        "speed_up": float(np.median(times[:, 1] / times[:, 0])),
        "speed_up_quartiles": [float(q) for q in np.percentile(times[:, 1] / times[:, 0], (25, 75))],
        "mean_pixel_difference": float(np.mean(pixel_difference)),
        "cosine_mean": float((draft * full).sum(1).mean()),
        "cosine_worst": float((draft * full).sum(1).min()),
        "finds_itself_first": float((ours[:, 0] == itself).mean()),
        "top_10_overlap": float(np.mean(overlap)),
        "same_10_hits": float(np.mean([o == 1 for o in overlap])),
        "goal": "speed_up at least 4, same hits",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
    }


if __name__ == "__main__":
    main()
