"""Unit-norm embeddings of decoded images, in batches, from a network in memory.

The arithmetic from pixels to the network's input is that of `compat_sdk.images.to_input`, operation by operation,
but it runs on the network's device: a GPU receives one byte per channel and pixel instead of four.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.errors import ConfigError, ImageError
from compat_sdk.images import Preprocessing
from compat_sdk.unit import check_rows
from compat_train.data.batches import normalise, unit_range
from compat_train.device import device_of


def input_tensor(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Network input from decoded images: ``(pixel / 255 - mean) / std``, equal to `to_input` bit for bit on a CPU.

    Args:
        pixels: uint8 ``[n, size, size, 3]``, RGB, on any device.
        preprocessing: Mean, standard deviation (both R, G, B) and the channel order of the result.

    Returns:
        float32 ``[n, 3, size, size]`` on the same device.
    """
    return normalise(unit_range(pixels), preprocessing)


def embed_images(
    model: nn.Module,
    pixels: NDArray[np.uint8],
    preprocessing: Preprocessing,
    *,
    device: str | torch.device = "cpu",
    batch: int = 256,
    channels_last: bool = False,
    unit: bool = True,
) -> NDArray[np.float32]:
    """Embeddings of decoded images, each divided by its length unless that is asked for.

    The model runs in eval mode and is set back to its former mode; it stays on ``device``.

    Args:
        model: Maps float32 ``[n, 3, size, size]`` to ``[n, dim]``, normalised or not.
        pixels: uint8 ``[n, size, size, 3]``, RGB; may be memory-mapped.
        preprocessing: The model's own.
        device: Where to run; ``auto`` as `device_of` has it.
        batch: Images per forward pass, at least 1.
        channels_last: Lay activations out channels last, which suits convolutions on most machines.
        unit: Divide by the lengths; false keeps them, for `compat_sdk.metrics.pool_templates`.

    Returns:
        float32 ``[n, dim]``, unit norm unless ``unit`` is false, C-contiguous.

    Raises:
        ImageError: ``pixels`` has another type or shape.
        VectorError: An output is not finite or is zero, and so has no direction; ``rows`` names the images.
        ConfigError: ``batch`` is below 1.
    """
    size = preprocessing.size
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
        raise ImageError(
            "pixels", f"{pixels.dtype} of shape {list(pixels.shape)}; expected uint8 [n, {size}, {size}, 3]"
        )
    if batch < 1:
        raise ConfigError(f"batch is {batch}; expected at least 1 image per forward pass")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    modes = [(module, module.training) for module in model.modules()]
    where = device_of(device)
    model.to(where).eval()
    blocks: list[NDArray[np.float32]] = []
    try:
        with torch.inference_mode():
            # An empty set still tells its dimension: one empty batch goes through the model.
            for start in range(0, max(1, len(pixels)), batch):
                # A copy, because torch does not take read-only memory such as a memory map's.
                block = torch.from_numpy(np.array(pixels[start : start + batch]))
                images = input_tensor(block.to(where), preprocessing).contiguous(memory_format=layout)
                output: Tensor = model(images).float()
                blocks.append((output / output.norm(dim=1, keepdim=True) if unit else output).cpu().numpy())
    finally:
        for module, training in modes:
            module.training = training
    embeddings = np.ascontiguousarray(np.concatenate(blocks), np.float32)
    advice = "the model's weights are damaged or its training diverged: train it again"
    check_rows(embeddings, "images have no embedding", advice, unit=unit)
    return embeddings
