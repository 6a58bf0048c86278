"""Makes the bundled sample from the Debian package dataset-fashion-mnist.

Run ``python -m compat_sdk.datasets.make_sample [--root FOLDER] [--out FOLDER]``; the same input gives the
same images and labels, byte for byte.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from compat_sdk.datasets.fashion_mnist import DEBIAN_FOLDER, SAMPLE_FOLDER, cut_sample
from compat_sdk.datasets.idx import write_idx


def make_sample(root: Path, out: Path) -> None:
    """Writes ``NAME-images.idx.gz`` and ``NAME-labels.idx.gz`` for train, query and gallery.

    Raises:
        DataError: The IDX files of Fashion-MNIST are missing or damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in cut_sample(root).items():
        write_idx(out / f"{name}-images.idx.gz", images)
        write_idx(out / f"{name}-labels.idx.gz", labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the bundled sample of Fashion-MNIST.")
    parser.add_argument("--root", type=Path, default=DEBIAN_FOLDER, help="folder of the four IDX files")
    parser.add_argument("--out", type=Path, default=SAMPLE_FOLDER, help="folder to write")
    arguments = parser.parse_args()
    make_sample(arguments.root, arguments.out)
