"""Images per second that reach a training step: streamed and from the store, beside the decoder and torch's DataLoader.

    python -m benchmarks.speed.reading                       # two minutes on two cores
    python -m benchmarks.speed.reading --threads 1 --out benchmarks/speed/reading.json

Pictures are JPEGs of 500 x 375 pixels, the usual size of ImageNet's, decoded for a model of 112. Each way gives every
picture once, as float batches in [0, 1], and all take turns in one run. "decoder" is the limit: threads that decode and
keep nothing. "streamed" is ``source.streamed``; "stored" maps pixels that were decoded before; "DataLoader" is torch's,
with as many worker processes, which decode by the same function. JSON goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import machine
from benchmarks.speed.photographs import scene
from compat_sdk.datasets import Split, open_dataset
from compat_sdk.images import Preprocessing, to_pixels
from compat_sdk.workers import usable_cores
from compat_train.config.parts import Augmentation
from compat_train.data.batches import Batches, unit_range
from compat_train.data.pixels import decode_split
from compat_train.data.streamed import StreamedImages

_SIZE, _BATCH, _WIDTH, _HEIGHT = 112, 64, 500, 375


class _Files(Dataset[Tensor]):
    """Decoded pictures, as torch's loader asks for them."""

    def __init__(self, split: Split) -> None:
        self._images = split.images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(to_pixels(self._images[row], Preprocessing(size=_SIZE)))


def write_pictures(folder: Path, count: int) -> Split:
    """Writes pictures, and opens them as a training split."""
    rng = np.random.default_rng(0)
    garments = open_dataset("sample").splits["train"].images
    (folder / "train" / "all").mkdir(parents=True)
    for number in range(count):
        picture = scene(np.asarray(garments[number % len(garments)]), rng, _WIDTH, _HEIGHT)
        picture.save(folder / "train" / "all" / f"{number:05d}.jpg", quality=90)
    return open_dataset(str(folder)).splits["train"]


def ways(split: Split, folder: Path, threads: int) -> dict[str, Callable[[], int]]:
    """Each way to read all pictures once; a call returns how many came."""
    wanted = Preprocessing(size=_SIZE)
    stored = decode_split(split, wanted, cache=folder).images
    streamed = StreamedImages(split, wanted, threads=threads).as_array()
    loader = DataLoader(_Files(split), batch_size=_BATCH, num_workers=threads, drop_last=True, shuffle=True)

    def decoder() -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(1 for _ in pool.map(lambda image: to_pixels(image, wanted), split.images))

    def batches(pixels: np.ndarray) -> int:
        labels = np.zeros(len(pixels), np.int64)
        made = Batches(
            pixels, labels, batch=_BATCH, seed=0, augmentation=Augmentation(), device=torch.device("cpu"), size=_SIZE
        )
        return sum(len(batch.images) for _, batch in made.between(0, made.steps_per_epoch))

    return {
        "decoder": decoder,
        "streamed": lambda: batches(streamed),
        "stored": lambda: batches(stored),
        "DataLoader": lambda: sum(len(unit_range(batch)) for batch in loader),
    }


def measure(pictures: int, rounds: int, threads: int) -> dict[str, object]:
    """Images per second of each way, the median over rounds, and its share of the decoder's."""
    with tempfile.TemporaryDirectory() as place:
        split = write_pictures(Path(place) / "pictures", pictures)
        found: dict[str, list[float]] = {}
        each = ways(split, Path(place) / "store", threads)
        for turn in range(rounds + 1):
            for name, read in each.items():
                start = time.perf_counter()
                count = read()
                if turn:  # the first warms up
                    found.setdefault(name, []).append(count / (time.perf_counter() - start))
    rates = {name: median(values) for name, values in found.items()}
    shares = {name: median(np.divide(values, found["decoder"])) for name, values in found.items()}
    return {
        "machine": machine(),
        "torch": torch.__version__,
        "pictures": pictures,
        "threads": threads,
        "rounds": rounds,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "share_of_decoder": {name: round(float(share), 3) for name, share in shares.items()},
    }


def main() -> None:
    """Parse the command line, measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="threads, or processes of the DataLoader")
    parser.add_argument("--out", type=Path, help="where the JSON goes, beside standard output")
    options = parser.parse_args()
    text = json.dumps(measure(options.pictures, options.rounds, options.threads), indent=2)
    sys.stdout.write(text + "\n")
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
