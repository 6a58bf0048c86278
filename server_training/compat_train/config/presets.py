"""Settings for the two places where people train: parts of tables that lie over each command's own defaults.

``laptop`` suits a few hundred to a few thousand photos on a CPU. ``gpu`` suits hundreds of thousands on an accelerator:
it names the papers' settings, which are the defaults, and arithmetic in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = ("laptop", "gpu")
"""Presets that each command below has."""

_VIEWS = {"augmentation.flip": True, "augmentation.shift": 0.1}
_ON_GPU = {"execution.precision": "bf16"}
_SHORT = {"optimisation.batch": 32, "optimisation.lr": 0.05}

_PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "train gallery": {
        "laptop": {
            "arch": "resnet18", "width": 0.25, "preprocessing.size": 64, "classification.margin": 0.2,
            "classification.scale": 16.0, "optimisation.epochs": 40, **_SHORT, **_VIEWS,
        },
        "gpu": {
            "arch": "resnet101", "preprocessing.size": 112, "optimisation.epochs": 16, "optimisation.batch": 320,
            "augmentation.flip": True, **_ON_GPU,
        },
    },
    "train query": {
        "laptop": {
            "arch": "shufflenet_v2", "width": 0.5, "method": "bct-regression", "optimisation.epochs": 80, **_SHORT,
            **_VIEWS,
        },
        "gpu": {"arch": "mobilenet_v2", "optimisation.epochs": 32, "augmentation.flip": True, **_ON_GPU},
    },
    "train side-info": {
        "laptop": {
            "arch": "shufflenet_v2", "width": 0.5, "dim": 64, "preprocessing.size": 64, "optimisation.epochs": 40,
            **_SHORT,
        },
        "gpu": {"preprocessing.size": 112, "optimisation.epochs": 16, "optimisation.batch": 320, **_ON_GPU},
    },
    "train upgrade": {
        "laptop": {"hidden": 256, "optimisation.epochs": 40, "optimisation.batch": 128},
        "gpu": {"hidden": 2048, **_ON_GPU},
    },
    "nas cmp": {
        "laptop": {
            "supernet.optimisation.epochs": 40, "supernet.optimisation.batch": 32, "supernet.optimisation.lr": 0.05,
            "retrain.epochs": 40, "retrain.batch": 32, "retrain.lr": 0.05, "search.rounds": 6, "search.population": 20,
            "search.parents": 5, "search.crossovers": 10, "search.mutations": 10, "keep": 2,
            "static": ["shufflenet_v2"],
        },
        "gpu": {"supernet.optimisation.epochs": 32, "retrain.epochs": 32, **_ON_GPU},
    },
    "nas global": {
        "laptop": {"preprocessing.size": 64, "macro_epochs": 4, "final_epochs": 20, **_SHORT},
        "gpu": {"optimisation.batch": 320, **_ON_GPU},
    },
}  # fmt: skip


def preset(command: str, name: str) -> Mapping[str, Any]:
    """Values by setting's key that a preset gives a command; what it does not name is the command's own default.

    Args:
        command: Its words, such as ``train query``.
        name: One of `NAMES`.
    """
    return _PRESETS[command][name]


def presets_of(command: str) -> Mapping[str, Mapping[str, Any]]:
    """Every preset of a command by name; none where it has none."""
    return _PRESETS.get(command, {})
