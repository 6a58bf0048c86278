"""Operations that turn compressed weights into weights, once, when a program is read.

Source: Apple, Core ML model format, MIL operations of iOS 16 (``constexpr_affine_dequantize``,
``constexpr_lut_to_dense``) and of iOS 18 (``constexpr_blockwise_shift_scale``, ``constexpr_lut_to_dense``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compat_export.mil.blobs import unpack_bits
from compat_sdk.errors import BundleError, CheckFailedError


def affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor) -> Tensor:
    """``scale * (quantized_data - zero_point)``.

    Args:
        quantized_data: Integers of any shape.
        zero_point: One, or one per entry of ``axis``.
        scale: Likewise.
        axis: Which axis they belong to.
    """
    along = [1] * quantized_data.dim()
    along[int(axis)] = -1
    zero = zero_point.reshape(along) if zero_point.dim() else zero_point
    factor = scale.reshape(along) if scale.dim() else scale
    return (quantized_data - zero).float() * factor


def blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """``scale * (data - offset)``, with one scale and offset per block.

    Args:
        data: Integers of any shape.
        scale: Same rank; a block's length along an axis is ``data``'s length divided by ``scale``'s.
        offset: Same shape as ``scale``, or None for 0.
    """
    shifted = data.float() if offset is None else data.float() - _spread(offset, data, "offset").float()
    return shifted * _spread(scale, data, "scale")


def lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Tensor | None = None, vector_axis: Tensor | None = None
) -> Tensor:
    """Weights out of a palette, in the form of iOS 16 (with ``shape``) or of iOS 18.

    Args:
        indices: iOS 16: packed bytes ``[m]``. iOS 18: one number per weight, of the weights' shape.
        lut: iOS 16: ``[colours]``. iOS 18: ``[..., colours, 1]``, a palette for each block of the weights.
        shape: Of the weights, iOS 16 only.
        vector_axis: Given for palettes of vectors, which are not computed here.
    """
    if shape is not None:
        lengths = [int(length) for length in shape]
        bits, count = int(math.log2(lut.numel())), math.prod(lengths)
        if 2**bits != lut.numel() or indices.numel() != -(-bits * count // 8):
            raise BundleError(f"{indices.numel()} bytes of indices and {lut.numel()} colours for weights {lengths}")
        numbers = unpack_bits(indices.to(torch.uint8).numpy(), bits, count)
        return lut[torch.from_numpy(numbers).long()].reshape(lengths)
    if lut.dim() != indices.dim() + 2:
        raise BundleError(f"a palette of rank {lut.dim()} for weights of rank {indices.dim()}; expected 2 more")
    if vector_axis is not None or lut.shape[-1] != 1:
        raise CheckFailedError("palettes of vectors are not computed here; use a palette of numbers")
    if indices.numel() and int(indices.max()) >= lut.shape[-2]:
        raise BundleError(f"index {int(indices.max())} into a palette of {lut.shape[-2]} colours")
    tables = lut.reshape(-1, lut.shape[-2])
    which = torch.arange(len(tables)).reshape(lut.shape[:-2])
    return tables[_spread(which, indices, "palette"), indices]


def _spread(blocks: Tensor, data: Tensor, what: str) -> Tensor:
    """Repeat one value per block so that every element has its own."""
    if blocks.dim() != data.dim() or any(b == 0 or a % b for a, b in zip(data.shape, blocks.shape, strict=True)):
        raise BundleError(f"a {what} of shape {list(blocks.shape)} for weights of shape {list(data.shape)}")
    for axis, length in enumerate(data.shape):
        repeats = length // blocks.shape[axis]
        blocks = blocks if repeats == 1 else blocks.repeat_interleave(repeats, axis)
    return blocks
