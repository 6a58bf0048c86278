"""How long it takes, and how much memory, from a gallery model of somebody else's to a query model on a device.

    python -m benchmarks.speed.adopt_to_bundle --onnx open-nsfw.onnx --weights WEIGHTS --data data/clipart/train

Three commands, each a process of its own: adopt the gallery model, train a pretrained query network towards it, export
it. Of each: minutes of the clock, minutes of the processor, and the peak memory of the process.
Everything is written to a new folder. `benchmarks.accuracy.foreign_teacher` says where model, weights and pictures
come from, and what such a query model finds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.machine import machine
from compat_sdk.images import find_pictures

SETTINGS = {
    "arch": "mobilenet_v2",
    "stem_stride": "2",
    "start": "ridge",
    "preprocessing.channels": "rgb",
    "preprocessing.mean": "[0, 0, 0]",
    "preprocessing.std": "[1, 1, 1]",
    "optimisation.batch": "64",
    "optimisation.lr": "5e-4",
    "optimisation.optimiser": "adam",
    "optimisation.weight_decay": "0",
    "augmentation.random_crop": "0.4",
    "augmentation.fixed_views": "2",
}


def commands(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and words of each command."""
    teacher, query, bundle = folder / "teacher", folder / "query", folder / "query.bundle"
    channels = ["--mean", "123,117,104", "--std", "1,1,1", "--range", "255", "--channels", "bgr"]
    yield "adopt", ["adopt", f"onnx:{options.onnx}", "--output", "Reshape:0", *channels, "--out", str(teacher)]
    told = SETTINGS | {
        "preprocessing.size": str(options.size),
        "optimisation.epochs": str(options.epochs),
        "weights": str(options.weights),
    }
    settings = [word for key, value in told.items() for word in ("--set", f"{key}={value}")]
    words = ["train", "query", "--gallery", str(teacher), "--data", str(options.data), "--method", "auto"]
    yield "train query", [*words, *settings, "--out", str(query)]
    yield "export", ["export", str(query), "--target", "onnx", "--out", str(bundle)]


def measure(words: Sequence[str]) -> dict[str, float]:
    """Runs one command and returns its minutes and its memory.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    before = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "compat_cli", *words])
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, list(words))
    return {
        "minutes": round((time.perf_counter() - before) / 60, 2),
        "cpu_minutes": round((used.ru_utime + used.ru_stime) / 60, 2),
        "peak_mib": round(used.ru_maxrss / 1024, 0),
    }


def main() -> None:
    """Measures every command, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", type=Path, required=True, help="the gallery model")
    parser.add_argument("--weights", type=Path, required=True, help="of mobilenet_v2")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures without labels")
    parser.add_argument("--size", type=int, default=112, help="side of the query network's images, in pixels")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, help="where the JSON goes, beside standard output")
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": machine(), "pictures": len(find_pictures(options.data).paths)}
    figures |= {"size": options.size, "epochs": options.epochs}
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(words) for name, words in commands(options, Path(folder))}
    total = {key: round(sum(row[key] for row in found.values()), 2) for key in ("minutes", "cpu_minutes")}
    figures |= {"commands": found, "all": total | {"peak_mib": max(row["peak_mib"] for row in found.values())}}
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
