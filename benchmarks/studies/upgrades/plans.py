"""What is trained on each dataset, and in which ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compat_train.config.parts import Augmentation, Optimisation
from compat_train.config.scenario import Scenario

KINDS = ("none", "autoencoder", "alternate", "mixup", "simclr", "simclr-new")  # in the order of FCT's table 6
COMPATIBLE: dict[str, Mapping[str, Any]] = {  # how a new model is made compatible: BCT, and DMU's selection of images
    "bct": {"method": "bct"},
    "lce": {"method": "lce"},
    "sbc-entropy": {"method": "dmu", "adaptation": 0.0, "selection": "entropy"},  # weights as printed, nearly uniform
    "sbc-least": {"method": "dmu", "adaptation": 0.0, "selection": "least-confidence"},
    "sbc-sharp": {
        "method": "dmu",
        "adaptation": 0.0,
        "selection": "entropy",
        "selection_scale": 30.0,
        "selection_temperature": 0.1,
    },
    "sbc-certainty": {"method": "dmu", "adaptation": 0.0, "selection": "certainty", "selection_scale": 30.0},
    "dmu": {"method": "dmu", "selection": "entropy"},  # with psi trained beside the model
    "dmu-sharp": {"method": "dmu", "selection": "entropy", "selection_scale": 30.0, "selection_temperature": 0.1},
}


@dataclass(frozen=True)
class Plan:
    """What is trained on one dataset: settings that all its runs share, and what makes a generation."""

    data: str
    size: int  # side of the images, pixels
    dim: int  # numbers per embedding and per vector of side-information
    model: Mapping[str, Any]  # the new model's network
    older: Mapping[str, Any]  # the old ones'
    encoder: Mapping[str, Any]  # the network of all side-information, small enough for a device
    generations: Mapping[str, Scenario]  # training classes of v1, old and new
    optimisation: Optimisation  # of models
    side: Optimisation  # of side-information
    transform: Optimisation  # of transforms
    augmentation: Augmentation = field(default_factory=Augmentation)
    hidden: int = 512
    more: str | None = None  # a dataset of further images that transforms may learn from, as they need no labels


ADAM = Optimisation(epochs=40, batch=256, lr=1e-3, weight_decay=2**-15, warmup_epochs=2.0, optimiser="adam")
SMALL = {"arch": "resnet18", "width": 0.125}
KANJI = Plan(
    data="kanji-500-seen",
    size=32,
    dim=128,
    model={"arch": "resnet18", "width": 0.1875},
    older={"arch": "resnet18", "width": 0.125},
    encoder=SMALL,
    generations={"v1": Scenario(class_fraction=0.25), "old": Scenario(class_fraction=0.5), "new": Scenario()},
    optimisation=Optimisation(epochs=8, batch=128, lr=0.1),
    side=Optimisation(epochs=30, batch=256, lr=0.2, weight_decay=1e-4),
    transform=ADAM,
    augmentation=Augmentation(shift=0.05, zoom=0.08, rotate=4),
)
PLANS = {
    "kanji": KANJI,
    "kanji-open": replace(KANJI, data="kanji-500", more="kanji"),
    "fashion-mnist": Plan(
        data="fashion-mnist",
        size=28,
        dim=64,
        model={"arch": "resnet18", "width": 0.1875},
        older={"arch": "resnet18", "width": 0.125},
        encoder=SMALL,
        generations={
            "v1": Scenario(class_fraction=0.3, fraction=0.3),
            "old": Scenario(class_fraction=0.5, fraction=0.3),
            "new": Scenario(fraction=0.3),
        },
        optimisation=Optimisation(epochs=6, batch=128, lr=0.1),
        side=Optimisation(epochs=12, batch=256, lr=0.2, weight_decay=1e-4),
        transform=ADAM,
        augmentation=Augmentation(shift=0.07, flip=True),
    ),
    "sample": Plan(
        data="sample",
        size=28,
        dim=16,
        model={"arch": "resnet18", "width": 0.125},
        older={"arch": "resnet18", "width": 0.0625},
        encoder={"arch": "resnet18", "width": 0.0625},
        generations={
            "v1": Scenario(class_fraction=0.3, fraction=0.1),
            "old": Scenario(class_fraction=0.5, fraction=0.1),
            "new": Scenario(fraction=0.1),
        },
        optimisation=Optimisation(epochs=2, batch=32, lr=0.1),
        side=Optimisation(epochs=1, batch=32, lr=0.1),
        transform=replace(ADAM, epochs=4, batch=64),
        hidden=32,
    ),
}
