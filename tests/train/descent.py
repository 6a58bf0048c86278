"""What a training is sure to do: small steps of plain gradient descent over the same images lower their loss.

Which of two small trainings ends better, or how far one comes, differs from machine to machine: kernels round
differently, and hundreds of steps make it grow. Such questions belong to ``benchmarks/``.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from compat_train.config.parts import Optimisation
from compat_train.runs.log import read_log

IMAGES = 48  # in the training split of the fixture ``clothes``


def small_steps(lr: float, count: int = 5) -> Optimisation:
    """Plain gradient descent: each step sees every image, without warm-up, momentum or decay of weights."""
    return Optimisation(epochs=count, batch=IMAGES, lr=lr, momentum=0.0, weight_decay=0.0, warmup_epochs=0.0)


def falls(run: Path, term: str = "loss") -> bool:
    """Whether a run's loss, or one of its terms, is lower after every step than before it."""
    found = [row[term] for row in read_log(run)]
    return len(found) > 1 and all(after < before for before, after in pairwise(found))
