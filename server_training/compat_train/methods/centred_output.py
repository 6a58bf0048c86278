"""From what a network learned on centred targets to vectors that are compared with stored, uncentred ones.

Trained on centred targets, a network writes ``u``, the direction of the gallery's vector less the mean. What it must
write is ``mean + s * u``. Then its cosine with a stored vector ranks the gallery by how near ``s * u`` is to that
vector less the mean. ``u`` alone does not: among stored vectors of one length, those furthest from the mean would win.
The scale ``s`` gives ``s * u`` the mean length of the targets, which a cosine loss leaves open.

Mean and scale go into the last layer, a linear one, as its bias and a factor on its weights. So every converter has
them already, and the digest of the weights covers them.

Measured on 600 unseen drawings: the gallery model a pretrained ResNet whose mean has length 0.81, the query model a
ridge regression from pixels. M(q,g) was 6.7 with ``u`` alone, 5.7 with ``mean + u`` at the length to which the
regression shrank it, and 8.8 with ``mean + s * u``. The gallery model's own vectors found 91.8 without their mean and
95.8 with it.
"""

from __future__ import annotations

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


@dataclass(frozen=True, eq=False)
class Cone:
    """Where the gallery model's vectors lie.

    Attributes:
        mean: float32 ``[dim]``, of the unit vectors.
        length: Mean length of a unit vector less the mean, in [0, 1].
    """

    mean: Tensor
    length: float

    @staticmethod
    def around(vectors: Tensor, mean: Tensor) -> Cone:
        """Of unit vectors ``[n, dim]`` and their mean."""
        return Cone(mean, float((F.normalize(vectors) - mean).norm(dim=1).mean()))

    def scale(self, outputs: Tensor) -> float:
        """The factor that gives outputs ``[n, dim]`` of a network the targets' mean length."""
        return self.length / max(float(outputs.float().norm(dim=1).mean()), 1e-12)

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
