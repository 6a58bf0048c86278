"""M(q,g) on held-out images, looked at during training: closeness can rise for a long time without any retrieval.

The gallery model's vectors of a narrow cone are close to their mean. A network that puts out the mean has a high cosine
to each of them and finds none. So what is asked a few times in a training is the retrieval itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.images import Preprocessing
from compat_train.embed import input_tensor

_LOOKS = 20
_FEW = 50
_RISE = 0.05
_NEAR = 5.0
_LEAST = 0.02
_BATCH = 128

By = Literal["labels", "images"]


@dataclass(frozen=True)
class Look:
    """What was seen at one step.

    Attributes:
        step: Steps done.
        accuracy: M(q, g) at top-1, in [0, 1].
        chance: What guessing gives, in [0, 1].
        cosine: Mean cosine of each query to the gallery model's vector of the same image, in [-1, 1].
        queries: Images asked with.
        gallery: Vectors searched.
        by: ``labels``, or ``images`` where only the image's own vector is right.
    """

    step: int
    accuracy: float
    chance: float
    cosine: float
    queries: int
    gallery: int
    by: By

    @property
    def near_chance(self) -> bool:
        """Whether retrieval is not worth its name: at most 2 %, or five times what guessing gives, among 50 or more."""
        few = min(self.queries, self.gallery) < _FEW or self.chance * _NEAR > 0.5
        return not few and self.accuracy <= max(_LEAST, self.chance * _NEAR + 1.0 / self.queries)

    def to_json(self) -> dict[str, Any]:
        """JSON values, with ``near_chance`` among them."""
        return asdict(self) | {"near_chance": self.near_chance}

    @staticmethod
    def from_json(row: dict[str, Any]) -> Look:
        """The look that `to_json` wrote, ``near_chance`` being computed again."""
        return Look(**{name: value for name, value in row.items() if name != "near_chance"})

    def __str__(self) -> str:
        kind = "images by their own gallery vectors" if self.by == "images" else "images by their labels"
        return (
            f"M(q,g) {100 * self.accuracy:.1f} % at top-1 of {self.queries} held-out {kind} among {self.gallery} "
            f"(chance {100 * self.chance:.1f} %), cosine {self.cosine:.3f}"
        )


def hits_at_1(queries: Tensor, searched: Tensor, right: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Whether the nearest vector that a query may find is a right one, bool ``[n]``.

    Args:
        queries: ``[n, dim]``, of unit length, on the CPU like the rest.
        searched: ``[m, dim]``, of unit length.
        right: bool ``[n, m]``, which of them are right.
        hidden: bool ``[n, m]``, which of them a query may not find; None for none.
    """
    scores = queries @ searched.T
    nearest = (scores if hidden is None else scores.masked_fill(hidden, -2.0)).argmax(1)
    return right[torch.arange(len(queries)), nearest]


def chance_of(right: Tensor, hidden: Tensor | None = None) -> float:
    """What guessing gives at top-1, in [0, 1]; arguments as of `hits_at_1`."""
    open_to = torch.full((len(right),), right.shape[1]) if hidden is None else (~hidden).sum(1)
    return float((right.sum(1) / open_to.to(right.device)).mean())


class Watch:
    """Held-out images as the query model sees them, and what the gallery model makes of them."""

    def __init__(
        self,
        network: nn.Module,
        pixels: NDArray[np.uint8],
        of_gallery: Tensor,
        searched: Tensor,
        right: Tensor,
        preprocessing: Preprocessing,
        device: torch.device,
        *,
        by: By,
        hidden: Tensor | None = None,
        complete: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Keeps the images.

        Args:
            network: The query network, in training.
            pixels: uint8 ``[n, size, size, 3]`` of the queries, decoded as the query model does.
            of_gallery: ``[n, dim]``, the gallery model's unit vectors of the same images.
            searched: ``[m, dim]``, the gallery model's unit vectors that are searched.
            right: bool ``[n, m]``, which of them are right; each query has at least one.
            preprocessing: The query model's.
            device: Where to run.
            by: ``labels`` or ``images``; see `Look`.
            hidden: bool ``[n, m]``, vectors that a query may not find: its own, where labels say what is right.
            complete: From the network's outputs ``[n, dim]`` to what the finished model writes; None where that is the
                same.
        """
        self._network, self._pixels, self._preprocessing, self._device = network, pixels, preprocessing, device
        self._of_gallery, self._searched, self._right = of_gallery.cpu(), searched.cpu(), right.cpu()
        self._by, self._hidden, self._complete = by, hidden, complete
        self.chance = chance_of(right, hidden)

    def look(self, step: int) -> Look:
        """Embeds the held-out images and searches with them; nothing of the training changes."""
        found = self._embedded()
        hits = hits_at_1(found, self._searched, self._right, self._hidden)
        return Look(
            step=step,
            accuracy=float(hits.float().mean()),
            chance=self.chance,
            cosine=float((found * self._of_gallery).sum(1).mean()),
            queries=len(found),
            gallery=len(self._searched),
            by=self._by,
        )

    @torch.no_grad()
    def _embedded(self) -> Tensor:
        """Unit vectors ``[n, dim]``; zero where a young network puts out nothing finite, which finds no image."""
        modes = [(module, module.training) for module in self._network.modules()]
        self._network.eval()
        blocks = []
        for start in range(0, len(self._pixels), _BATCH):
            block = torch.from_numpy(np.array(self._pixels[start : start + _BATCH])).to(self._device)
            inputs = input_tensor(block, self._preprocessing).contiguous(memory_format=torch.channels_last)
            blocks.append(self._network(inputs).float().cpu())
        for module, training in modes:
            module.training = training
        outputs = torch.cat(blocks)
        return F.normalize(outputs if self._complete is None else self._complete(outputs)).nan_to_num(0.0)


def is_due(step: int, steps: int) -> bool:
    """Whether to look after ``step`` of ``steps``: before the first, twenty times on the way, and after the last."""
    return step in (0, steps) or step % max(1, steps // _LOOKS) == 0


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """One line about a finished training from the looks that its RUN keeps, at least one; a warning where it failed."""
    first, last = Look.from_json(rows[0]), Look.from_json(rows[-1])
    line = f"{last}; before the first step M(q,g) {100 * first.accuracy:.1f} %, cosine {first.cosine:.3f}"
    return f"warning: retrieval is near chance: {line}" if last.near_chance else line


def deaf(first: Look, now: Look, steps: int) -> str:
    """What to say of a training in which closeness rises and retrieval does not; empty where all is well.

    Args:
        first: The look before the first step.
        now: The newest.
        steps: Length of the training. Nothing is said in its first quarter.
    """
    if now.step * 4 < steps or not now.near_chance or now.cosine - first.cosine < _RISE:
        return ""
    return (
        f"after step {now.step} of {steps} the cosine to the gallery's vectors has risen from {first.cosine:.2f} to "
        f"{now.cosine:.2f}, but retrieval is near chance: {now}. Learn relations to centred targets (method csd or "
        f"infonce), start from pretrained weights, or train longer"
    )
