"""The upgrades that stored vectors went through already, applied before the next transform is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_sdk.space import TransformSpaces
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.transform_run import TransformRun


class EarlierUpgrades:
    """What a gallery holds after some upgrades: its old vectors and side-information, transformed in turn.

    Attributes:
        space: Embedding space of the vectors as they are now; with no upgrade, the old model's.
        dim: Numbers of each.
        side_space: Space of the side-information as it is now; None where there is none.
        side_dim: Numbers of it.
    """

    def __init__(
        self,
        old: Checkpoint,
        side: Checkpoint | None,
        through: Sequence[str],
        side_through: Sequence[str],
        device: torch.device,
    ) -> None:
        """Loads the transforms and checks that each begins where the one before it ends.

        Args:
            old: Model that embedded the gallery.
            side: Encoder of the side-information that was stored with it.
            through: RUN folders of the transforms of the vectors (FCT's h, DMU's psi), in order.
            side_through: The same of the side-information (FCT's g): as many, or one fewer where the last upgrade
                left none.
            device: Where to run.

        Raises:
            TrainingError: A transform does not take what is there, or an upgrade in the middle left no side-information
                for the next.
        """
        self.space, self.dim = old.space, old.dim
        self.side_space: str | None = None if side is None else side.space
        self.side_dim: int | None = None if side is None else side.dim
        self._hops: list[tuple[nn.Module, nn.Module | None]] = []
        for number, path in enumerate(through):
            h = self._load(path, "through")
            g = self._load(side_through[number], "side_through") if number < len(side_through) else None
            self.space, self.dim = h.spaces.space, h.spaces.dim
            self.side_space, self.side_dim = (None, None) if g is None else (g.spaces.space, g.spaces.dim)
            carried = None if g is None else g.build().requires_grad_(False).to(device)
            self._hops.append((h.build().requires_grad_(False).to(device), carried))

    def _load(self, path: str, setting: str) -> TransformRun:
        run = TransformRun.load(path)
        takes = run.spaces
        if (takes.old_space, takes.side_space) != (self.space, self.side_space):
            raise TrainingError(
                f"{setting}: {path} takes vectors in {takes.old_space} and side-information in {takes.side_space}, but "
                f"there are vectors in {self.space} and side-information in {self.side_space}; name the transforms in "
                f"the order of the upgrades"
            )
        return run

    def to(self, new: Checkpoint) -> TransformSpaces:
        """The spaces of a transform from here to a new model.

        Raises:
            ConfigError: The new model writes in the space that the vectors are in.
        """
        return TransformSpaces(self.space, self.dim, self.side_space, self.side_dim, new.space, new.dim)

    @torch.no_grad()
    def __call__(self, old: Tensor, side: Tensor | None) -> list[Tensor]:
        """Vectors as they are now, and side-information if there is some, unit norm ``[n, dim]``, from the old ones."""
        for h, g in self._hops:
            inputs = (old,) if side is None else (old, side)
            old, side = F.normalize(h(*inputs)), None if g is None else F.normalize(g(*inputs))
        return [old] if side is None else [old, side]
