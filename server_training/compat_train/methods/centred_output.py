"""From what a network learned on centred targets to vectors that are compared with stored, uncentred ones.

Trained on centred targets, a network writes ``u``, the direction of the gallery's vector less the mean. What it must
write is ``mean + s * u``. Then its cosine with a stored vector ranks the gallery by how near ``s * u`` is to that
vector less the mean. ``u`` alone does not: among stored vectors of one length, those furthest from the mean would win.
The scale ``s``, which a cosine loss leaves open, makes ``s * u`` twice as long as the targets are on the mean. At that
length what a query model is unsure of weighs less than the mean, which is the same for every query.

Mean and scale go into the last layer, a linear one, as its bias and a factor on its weights. So every converter has
them already, and the digest of the weights covers them.

M(q,g) at top-1 of 600 unseen drawings, one seed, by the length of ``s * u`` in those of the targets. The gallery model
is a pretrained ResNet whose mean has length 0.81; the query models see 16 x 16 pixels:

    query model              u alone   mean and 2 u   mean and 1.33 u   mean and u
    ridge regression             6.7           10.0               9.0          8.8
    centred regression           8.8           10.0              10.5         10.0
    csd                         15.3           18.8              17.3         15.0
    the gallery model itself    91.8           95.3              95.5         95.8
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.images import Preprocessing
from compat_train.embed import input_tensor
from compat_train.models.last_layer import last_linear

_BATCH = 128
_MOST = 1024
_LENGTHS = 2.0
_MEAN, _LENGTH = "cone.mean", "cone.length"


@dataclass(frozen=True, eq=False)
class Cone:
    """Where the gallery model's vectors lie.

    Attributes:
        mean: float32 ``[dim]``, of the unit vectors.
        length: Mean length of a unit vector less the mean, in [0, 1].
    """

    mean: Tensor
    length: float

    def to_state(self) -> dict[str, Tensor]:
        """Tensors for a file of weights, under names that no network has."""
        return {_MEAN: self.mean.detach().cpu().contiguous(), _LENGTH: torch.tensor(self.length)}

    @staticmethod
    def from_state(state: MutableMapping[str, Tensor]) -> Cone | None:
        """Takes out of a file's tensors what `to_state` put in; None where nothing did."""
        if _MEAN not in state:
            return None
        return Cone(state.pop(_MEAN), float(state.pop(_LENGTH)))

    @staticmethod
    def around(vectors: Tensor, mean: Tensor) -> Cone:
        """Of unit vectors ``[n, dim]`` and their mean."""
        return Cone(mean, float((F.normalize(vectors) - mean).norm(dim=1).mean()))

    def scale(self, outputs: Tensor) -> float:
        """The factor that makes outputs ``[n, dim]`` of a network twice as long as targets are on the mean."""
        return _LENGTHS * self.length / max(float(outputs.float().norm(dim=1).mean()), 1e-12)

    def complete(self, outputs: Tensor) -> Tensor:
        """Vectors ``mean + s * u`` of a network's outputs ``u``, ``[n, dim]``, not normalised."""
        return self.mean.to(outputs.device) + self.scale(outputs) * outputs


@torch.no_grad()
def write_mean(
    network: nn.Module,
    cone: Cone,
    pixels: NDArray[np.uint8],
    images: NDArray[np.int64],
    preprocessing: Preprocessing,
    device: torch.device,
) -> float:
    """Makes a network that writes ``u`` write ``mean + s * u``, in place, by its last layer.

    Args:
        network: On its device; runs in eval mode.
        cone: Of the gallery model's vectors.
        pixels: uint8 ``[m, size, size, 3]``, decoded as the network does.
        images: int64 ``[n]``, rows of ``pixels`` whose outputs tell ``s``; the first 1,024 count.
        preprocessing: The network's.
        device: Where to run.

    Returns:
        The scale ``s``, above 0.

    Raises:
        TrainingError: The network does not end in a linear layer.
    """
    last = last_linear(network)
    training = network.training
    network.eval()
    found = []
    for start in range(0, min(len(images), _MOST), _BATCH):
        block = torch.from_numpy(pixels[images[start : start + _BATCH]]).to(device)
        inputs = input_tensor(block, preprocessing).contiguous(memory_format=torch.channels_last)
        found.append(network(inputs).float().cpu())
    network.train(training)
    scale = cone.scale(torch.cat(found))
    last.weight.mul_(scale)
    last.bias.mul_(scale).add_(cone.mean.to(last.bias.device))
    return scale
