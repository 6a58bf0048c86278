"""Does the compatibility rule hold where a large model can show what it is worth? Kanji, one hard image an identity.

Training: 1,800 characters in all 45 typefaces. Gallery: one brush, pen or display image of each of 965 unseen
characters. Queries: the other brush, pen and display images of these. Five draws say which image is the gallery's. For
each seed one gallery model is trained, then one query model per method against it, at a ninth of its
multiply-accumulates. No model is trained anew for another draw.

    compat-sdk data build kanji --out data/kanji
    python -m benchmarks.accuracy.kanji_hard --root data/kanji     # half an hour a seed and two methods; resumable
    python -m benchmarks.accuracy.kanji_hard --report               # the table from the rows

Finished runs are kept in ``--runs`` and not trained again; rows go to kanji_hard.json as they come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compat_sdk.images import Preprocessing
from compat_train.config.training import (
    Augmentation,
    Classification,
    Execution,
    GalleryConfig,
    Optimisation,
    QueryConfig,
    Source,
)

SMALL: dict[str, Any] = {"arch": "shufflenet_v2", "width": 0.5, "stem_stride": 2}
EPOCHS = 4


def gallery_config(root: str, seed: int) -> GalleryConfig:
    """The gallery model of one seed: 8.4 MMACs."""
    return GalleryConfig(
        source=Source(data="kanji", root=root),
        arch="resnet18",
        width=0.1875,
        preprocessing=Preprocessing(size=32),
        classification=Classification(margin=0.3, scale=30.0),
        optimisation=Optimisation(epochs=EPOCHS, batch=128, lr=0.1),
        augmentation=Augmentation(shift=0.05, zoom=0.08, rotate=4),
        execution=Execution(seed=seed, device="cpu", precision="fp32", threads=1),
    )


def query_config(root: str, seed: int, gallery: Path, settings: dict[str, Any]) -> QueryConfig:
    """One query model against the gallery model of the same seed: 0.94 MMACs."""
    return QueryConfig(
        source=Source(data="kanji", root=root),
        gallery=str(gallery),
        optimisation=Optimisation(epochs=EPOCHS, batch=128, lr=0.2, weight_decay=1e-4),
        execution=Execution(seed=seed, device="cpu", precision="fp32", threads=1),
        **(SMALL | settings),
    )
