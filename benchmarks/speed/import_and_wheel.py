"""How long ``import compat_sdk`` takes beyond numpy's own import, and how large the wheel is.

    python -m benchmarks.speed.import_and_wheel --out import_and_wheel.json

Every import runs in a fresh process, numpy first and unclocked; the kinds alternate and medians are reported.
The wheel is built from the working tree (needs the ``build`` and ``hatchling`` packages). Goals: below 0.2 s,
below 10 MB.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CLOCKED = {
    "import_compat_sdk_ms": "import compat_sdk",
    "import_embedder_and_gallery_ms": "from compat_sdk import Embedder, Gallery",
    "import_pillow_ms": "import PIL.Image",
}
CHILD = """
import time, numpy
start = time.perf_counter()
{statement}
print(1e3 * (time.perf_counter() - start))
"""
NUMPY = "import time; start = time.perf_counter(); import numpy; print(1e3 * (time.perf_counter() - start))"


def main() -> None:
    """Parse the command line, measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="where the JSON goes, beside standard output")
    options = parser.parse_args()
    statements = {name: CHILD.format(statement=statement) for name, statement in CLOCKED.items()}
    statements["import_numpy_ms"] = NUMPY
    times: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(options.rounds + 1):
        for name, code in statements.items():
            child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
            times[name].append(float(child.stdout))
    figures: dict[str, object] = {"benchmark": "import_and_wheel", "rounds": options.rounds}
    # The first round fills the disk cache and is dropped.
    figures |= {name: float(np.median(found[1:])) for name, found in times.items()}
    figures |= wheel()
    figures["goal"] = "import_compat_sdk_ms below 200, wheel_mb below 10"
    figures["versions"] = {"python": platform.python_version(), "numpy": np.__version__}
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


def wheel() -> dict[str, object]:
    """Build the wheel; its size in megabytes (10^6 bytes), packed and unpacked, and its largest files."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(ROOT)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (path,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        largest = sorted(entries, key=lambda entry: -entry.compress_size)[:3]
        return {
            "wheel_mb": path.stat().st_size / 1e6,
            "unpacked_mb": sum(entry.file_size for entry in entries) / 1e6,
            "wheel_files": len(entries),
            "largest": {entry.filename: entry.compress_size / 1e6 for entry in largest},
        }


if __name__ == "__main__":
    main()
