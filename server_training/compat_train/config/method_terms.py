"""The methods by which a query model is trained: the terms of each one's loss, and what a term looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

QueryMethod = Literal[
    "vanilla",
    "kd",
    "finetune",
    "bct",
    "classifier",
    "regression",
    "bct-regression",
    "dmu",
    "lce",
    "unibct",
    "focal",
    "regression-centred",
    "csd",
    "infonce",
    "aml",
]
AnyMethod = Literal[QueryMethod, "auto"]

WEIGHTS: Mapping[QueryMethod, Mapping[str, float]] = {
    "vanilla": {"own": 1.0},
    "kd": {"own": 1.0, "kd": 1.0},
    "finetune": {"own": 1.0},
    "bct": {"own": 1.0, "gallery": 1.0},
    "classifier": {"gallery": 1.0},
    "regression": {"regression": 20.0},
    "bct-regression": {"own": 1.0, "gallery": 1.0, "regression": 20.0},
    "dmu": {"own": 1.0, "gallery": 1.0, "adaptation": 1.0},
    "lce": {"own": 1.0, "alignment": 100.0, "boundary": 1.0},
    "unibct": {"own": 1.0, "gallery": 1.0},
    "focal": {"own": 1.0, "focal": 1.0},
    "regression-centred": {"regression": 20.0},
    "csd": {"csd": 1.0},
    "infonce": {"infonce": 1.0},
    "aml": {"aml": 10.0},
}
"""Weight of each term of a method's loss, where none is set apart; terms that are not named have none."""
CENTRED: tuple[QueryMethod, ...] = ("regression-centred", "csd", "infonce", "aml")
"""Methods whose targets are the gallery model's vectors without their mean."""
TERMS = (
    "own", "gallery", "kd", "focal", "regression", "alignment", "boundary", "adaptation", "csd", "infonce", "aml",
)  # fmt: skip
OF_LABELS = ("own", "gallery", "kd", "focal", "alignment", "boundary", "adaptation")
"""Terms that look at labels, besides ``aml``, which takes them where there are some."""
COMPATIBLE = ("gallery", "focal", "regression", "alignment", "boundary", "csd", "infonce", "aml")
"""Terms that draw a model into the gallery's space, which it may then declare to search."""
OF_OUTPUTS = ("kd", "focal", "regression", "adaptation", "csd", "infonce", "aml")
"""Terms for which the gallery model embeds every view of the training images."""
OF_BANK = ("csd", "infonce")
"""Terms that compare with a bank of the gallery model's vectors."""
OF_VECTORS = ("regression", "csd", "infonce", "aml")
"""Terms whose targets are the gallery model's vectors, which centring changes."""


def method_weights(term: str) -> dict[str, float]:
    """Weight of a term of the loss by method, where none is set apart."""
    return {method: weights.get(term, 0.0) for method, weights in WEIGHTS.items()}
