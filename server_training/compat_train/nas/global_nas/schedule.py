"""How fast every network of a global search is trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

from compat_train.config.checks import check_range
from compat_train.config.fields import setting
from compat_train.config.parts import Optimisation


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How every network of a search is trained; only its epochs are the search's. Cosine decay to 0 (section 4.1)."""

    batch: int = setting(64, "images per step", unit="images")
    lr: float = setting(0.025, "highest learning rate")
    momentum: float = setting(0.9, "SGD momentum, or Adam's first beta")
    weight_decay: float = setting(
        3e-4, "weight decay, on weights with more than one axis; biases and batch norms have none"
    )
    warmup_epochs: float = setting(0.0, "epochs of linear growth of the rate from nothing", unit="epochs")
    optimiser: Literal["sgd", "adam"] = setting("sgd", "optimiser; Adam decays weights in its gradient")
    gradient_norm: float = setting(
        5.0, "gradients that are longer are shortened to it, as in the authors' code; 0: none are"
    )

    def __post_init__(self) -> None:
        check_range("warmup_epochs", self.warmup_epochs, 0)
        _ = self.of(max(1, math.ceil(self.warmup_epochs)))  # refuses what cannot work

    def of(self, epochs: int) -> Optimisation:
        """The schedule of a training of so many epochs."""
        return Optimisation(epochs=epochs, **asdict(self))
