"""Train a large gallery model, then a small query model that may search its gallery, and measure both.

The defaults take a minute and are small on purpose; raise ``--epochs`` and the widths for accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from compat_sdk.datasets import open_dataset
from compat_sdk.images import Preprocessing
from compat_train.config import training as config
from compat_train.evaluation.evaluate import evaluate
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query


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
        "source": config.Source(data=arguments.data),
        "augmentation": config.Augmentation(flip=True),
        "execution": config.Execution(threads=arguments.threads),
    }
    gallery = config.GalleryConfig(
        arch="resnet18",
        width=arguments.width,
        preprocessing=Preprocessing(size=28),
        classification=config.Classification(margin=0.2, scale=16.0),
        optimisation=config.Optimisation(epochs=arguments.epochs, batch=128, lr=0.1),
        **shared,
    )
    print(f"gallery model: {train_gallery(gallery, out / 'gallery-run').space}")
    query = config.QueryConfig(
        gallery=str(out / "gallery-run"),
        method="bct",  # the loss under the gallery model's frozen classifier is what makes it compatible
        arch="shufflenet_v2",
        width=0.5,
        optimisation=config.Optimisation(epochs=arguments.epochs, batch=128, lr=0.2),
        **shared,
    )
    trained = train_query(query, out / "query-run")
    print(f"query model: {trained.space}, may search {', '.join(trained.searches)}")
    print(evaluate(open_dataset(arguments.data), out / "query-run", out / "gallery-run").table())


if __name__ == "__main__":
    main()
