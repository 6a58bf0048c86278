"""A module that takes the pixels of a picture and prepares them itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compat_export.convert.conversion import Options, Port
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing


class _PixelInput(nn.Module):
    """A module whose image input takes RGB values in [0, 255] in place of prepared ones.

    Args:
        module: Module from a prepared image, float32 ``[n, 3, s, s]``, to float32 ``[n, dim]``.
        preprocessing: Gives the mean, the standard deviation and the order of the channels.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, module: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.module = module
        self.reverse = preprocessing.channels == "bgr"
        # One multiplication and one addition in place of two divisions and a subtraction.
        self.register_buffer("scale", torch.tensor(preprocessing.scale).reshape(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(preprocessing.offset).reshape(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings, float32 ``[n, dim]``, of RGB values in [0, 255], float32 ``[n, 3, s, s]``."""
        if self.reverse:  # by slices, which every converter knows
            image = torch.cat((image[:, 2:3], image[:, 1:2], image[:, 0:1]), 1)
        embedding: Tensor = self.module(image * self.scale + self.offset)
        return embedding


def accept_pixels(module: nn.Module, inputs: Sequence[Port], options: Options) -> nn.Module:
    """The module behind ``options.pixels``: a `_PixelInput` around it, or the module itself.

    Raises:
        ConfigError: Pixels are asked for, and the module does not have one image as its only input.
    """
    if options.pixels is None:
        return module
    if len(inputs) != 1 or len(inputs[0].shape) != 3 or inputs[0].shape[0] != 3:
        raise ConfigError(
            f"pixels in the graph need one input of shape (3, height, width); the module has "
            f"{[(port.name, port.shape) for port in inputs]}; leave pixels out"
        )
    return _PixelInput(module, options.pixels).eval()
