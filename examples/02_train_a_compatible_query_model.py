"""Train a large gallery model, then a small query model that may search its gallery, and measure both.

The defaults take a minute and are small on purpose; raise ``--epochs`` and the widths for accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import compat_train
from compat_sdk import Preprocessing, open_dataset


def main() -> None:
    """Train both models into OUT/gallery-run and OUT/query-run; run again, they are only evaluated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="sample", help="name, folder or CSV manifest")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--width", type=float, default=0.25, help="factor on the gallery model's channels")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all")
    arguments = parser.parse_args()
    out = arguments.out
    shared: Any = {
        "source": compat_train.Source(data=arguments.data),
        "augmentation": compat_train.Augmentation(flip=True),
        "execution": compat_train.Execution(threads=arguments.threads),
    }
    gallery = compat_train.GalleryConfig(
        arch="resnet18",
        width=arguments.width,
        preprocessing=Preprocessing(size=28),
        classification=compat_train.Classification(margin=0.2, scale=16.0),
        optimisation=compat_train.Optimisation(epochs=arguments.epochs, batch=128, lr=0.1),
        **shared,
    )
    print(f"gallery model: {compat_train.train_gallery(gallery, out / 'gallery-run').space}")
    query = compat_train.QueryConfig(
        gallery=str(out / "gallery-run"),
        method="bct",  # the loss under the gallery model's frozen classifier is what makes it compatible
        arch="shufflenet_v2",
        width=0.5,
        optimisation=compat_train.Optimisation(epochs=arguments.epochs, batch=128, lr=0.2),
        **shared,
    )
    trained = compat_train.train_query(query, out / "query-run")
    print(f"query model: {trained.space}, may search {', '.join(trained.searches)}")
    print(compat_train.evaluate(open_dataset(arguments.data), out / "query-run", out / "gallery-run").table())


if __name__ == "__main__":
    main()
