"""What a transform is held against: vectors that it does not learn from tell when to stop, and how good it is."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_train.evaluation.verdict import Verdict, judge
from compat_train.methods.ridge import Ridge

_LOOKS, _PATIENCE = 80, 16
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class StoredRows:
    """What a gallery has stored of some things, and what the new model makes of them; unit rows, on the device.

    Attributes:
        inputs: ``[n, dim]`` of the old model; and side-information where the transform takes it.
        new: ``[n, dim]``.
    """

    inputs: tuple[Tensor, ...]
    new: Tensor

    @property
    def joined(self) -> Tensor:
        """``[n, dim]``: all that a transform sees of a row."""
        return torch.cat(self.inputs, 1)

    def some(self, rows: Tensor | slice) -> tuple[Tensor, ...]:
        """The inputs of some rows."""
        return tuple(one[rows] for one in self.inputs)

    @torch.no_grad()
    def through(self, transform: nn.Module) -> Tensor:
        """What a transform in eval mode makes of the inputs: unit rows, as galleries store them."""
        mode = transform.training
        transform.eval()
        found = [
            F.normalize(transform(*self.some(slice(first, first + _ROWS_AT_ONCE))))
            for first in range(0, len(self.new), _ROWS_AT_ONCE)
        ]
        transform.train(mode)
        return torch.cat(found)

    def cosine(self, transform: nn.Module) -> float:
        """Mean cosine of what a transform makes of the inputs and the new vectors."""
        return float((self.through(transform) * self.new).sum(1).mean())

    def verdict(self, transform: nn.Module, ridge: Ridge, labels: Sequence[str]) -> Verdict:
        """How good a transform is on these rows, beside not upgrading and beside ridge regression.

        Args:
            transform: It learnt from none of them.
            ridge: From the joined inputs; nor did it.
            labels: Of each row, empty where there is none.
        """
        linear = F.normalize(self.joined.double().cpu() @ ridge.weight.T + ridge.bias).float()
        made = self.through(transform)
        return judge(_numbers(self.inputs[0]), _numbers(self.new), _numbers(made), _numbers(linear), labels)


class Kept(nn.Module):
    """A transform in training, and what it was when it came closest to vectors that it does not learn from.

    Both are one module, so that a resume point has both.
    """

    highest: Tensor
    at: Tensor

    def __init__(self, transform: nn.Module, held_out: StoredRows) -> None:
        super().__init__()
        self.transform, self.best = transform, copy.deepcopy(transform).requires_grad_(False)
        self._held_out = held_out
        self.register_buffer("highest", torch.tensor(-2.0, dtype=torch.float64))
        self.register_buffer("at", torch.tensor(0))
        self.look(0)

    def look(self, done: int) -> None:
        """Compare, after so many steps, and keep the transform if it never came closer."""
        cosine = self._held_out.cosine(self.transform)
        if cosine > float(self.highest):
            self.best.load_state_dict(self.transform.state_dict())
            self.highest.fill_(cosine)
            self.at.fill_(done)

    def ended(self, done: int, steps: int) -> bool:
        """Look, eighty times in a whole run; whether it has come no closer for a fifth of that."""
        every = max(1, steps // _LOOKS)
        if done % every and done != steps:
            return False
        self.look(done)
        return done - int(self.at) >= _PATIENCE * every


def _numbers(rows: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = rows.cpu().numpy()
    return found
