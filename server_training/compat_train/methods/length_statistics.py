"""Mean and deviation of the lengths of late embeddings, by which AdaFace tells the quality of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compat_train.config.parts import Classification
from compat_train.losses.adaface import embedding_lengths, image_quality

_FIRST_MEAN, _FIRST_DEVIATION = 20.0, 100.0


class LengthStatistics(nn.Module):
    """Two buffers that belong to what is trained: a resumed training goes on with them.

    Args:
        chosen: The loss, with its concentration and how fast the statistics move.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, chosen: Classification) -> None:
        super().__init__()
        self._chosen = chosen
        self.register_buffer("mean", torch.tensor(_FIRST_MEAN))
        self.register_buffer("deviation", torch.tensor(_FIRST_DEVIATION))

    @staticmethod
    def of(chosen: Classification) -> LengthStatistics | None:
        """Those of a training under this loss; None where the loss looks at no lengths."""
        return LengthStatistics(chosen) if chosen.loss == "adaface" else None

    @torch.no_grad()
    def forward(self, embeddings: Tensor) -> Tensor:
        """Quality ``[batch]`` in [-1, 1] of the images of a training step, whose lengths count from now on.

        Args:
            embeddings: ``[batch, dim]`` of the whole batch, at least two, as the network gives them.
        """
        lengths = embedding_lengths(embeddings)
        self.mean.lerp_(lengths.mean(), self._chosen.norm_momentum)
        self.deviation.lerp_(lengths.std(), self._chosen.norm_momentum)
        return image_quality(lengths, self.mean, self.deviation, concentration=self._chosen.concentration)
