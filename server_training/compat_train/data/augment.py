"""Augmentation of whole batches as tensor operations, on the device that trains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from compat_sdk.errors import ConfigError
from compat_train.config.training import Augmentation


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _misalign(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Shifts, scales and rotates each image at random; what enters from outside repeats the border.

    This is the "mis-alignment" of seed 000, section 4.2.

    Args:
        images: Float ``[n, channels, size, size]``.
        augmentation: ``shift`` (fraction of the side), ``zoom`` (fraction), ``rotate`` (degrees).
        generator: CPU generator; the same state gives the same images.

    Returns:
        Images of the same shape.
    """
    count = len(images)
    angle = _uniform(count, -augmentation.rotate, augmentation.rotate, generator) * (math.pi / 180)
    zoom = 1 + _uniform(count, -augmentation.zoom, augmentation.zoom, generator)
    moved_x, moved_y = (2 * _uniform(count, -augmentation.shift, augmentation.shift, generator) for _ in range(2))
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack((cos, -sin, moved_x, sin, cos, moved_y), 1).view(count, 2, 3)
    grid = F.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def distort_colour(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Changes brightness, contrast and saturation of each image by up to ``strength``.

    Args:
        images: Float ``[n, 3, size, size]`` in [0, 1].
        strength: Largest relative change, in [0, 1).
        generator: CPU generator.

    Returns:
        Images of the same shape, clipped to [0, 1].
    """
    factors = (1 + _uniform(3 * len(images), -strength, strength, generator)).view(3, -1, 1, 1, 1)
    brightness, contrast, saturation = factors.to(images.device)
    images = images * brightness
    images = images.mean((1, 2, 3), keepdim=True).lerp(images, contrast)
    images = images.mean(1, keepdim=True).lerp(images, saturation)
    return images.clamp(0, 1)


def cut_and_paste(images: Tensor, generator: torch.Generator) -> Tensor:
    """Replaces a random rectangle of each image by the same rectangle of another image of the batch.

    The results belong to no class; they widen the inputs of a regression to the gallery model.

    Args:
        images: Float ``[n, channels, size, size]``.
        generator: CPU generator.

    Returns:
        New images of the same shape; between a quarter and three quarters of each side are replaced.
    """
    count, _, height, width = images.shape
    partner = torch.randperm(count, generator=generator).to(images.device)
    rectangles = []
    for side in (height, width):
        length = (side * _uniform(count, 0.25, 0.75, generator)).round()
        start = (torch.rand(count, generator=generator) * (side - length + 1)).floor()
        place = torch.arange(side)
        rectangles.append((place >= start[:, None]) & (place < (start + length)[:, None]))
    inside = (rectangles[0][:, :, None] & rectangles[1][:, None, :])[:, None].to(images.device)
    return torch.where(inside, images[partner], images)


def cut_out(images: Tensor, side: float, mean: Sequence[float], generator: torch.Generator) -> Tensor:
    """Blanks one square of each image, so that no single part of the object decides.

    The centre is uniform over the pixels, and what lies outside of the image is cut off: with a side of 0.5, between a
    sixteenth and a quarter of the image goes. Blank is the mean pixel that normalisation subtracts, so that the
    network reads exact zeros there, as in the paper, which blanks after normalisation.

    Source: DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552, section 3.

    Args:
        images: Float ``[n, 3, size, size]`` in [0, 1].
        side: Side of the square, fraction of the image's side, in (0, 1]; at least one pixel is blanked.
        mean: R, G, B of the blank pixels.
        generator: CPU generator.

    Returns:
        Images of the same shape.
    """
    count, _, height, width = images.shape
    inside = []
    for pixels in (height, width):
        length = max(1, round(side * pixels))
        start = (pixels * torch.rand(count, generator=generator)).floor()[:, None] - length // 2
        place = torch.arange(pixels)
        inside.append((place >= start) & (place < start + length))
    square = (inside[0][:, :, None] & inside[1][:, None, :])[:, None].to(images.device)
    return torch.where(square, images.new_tensor(mean).view(3, 1, 1), images)


def augment(
    images: Tensor, augmentation: Augmentation, generator: torch.Generator, *, mean: Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """One random view of each image.

    Args:
        images: Float ``[n, 3, size, size]`` in [0, 1].
        augmentation: What to do and how strongly.
        generator: CPU generator; it is the only source of randomness.
        mean: R, G, B in [0, 1] that normalisation subtracts; only cutout needs it.

    Returns:
        The views, and a bool ``[n]`` that is true where the image was flipped.

    Raises:
        ConfigError: ``augmentation.cutout`` is above 0, and no mean is given.
    """
    flipped = torch.zeros(len(images), dtype=torch.bool)
    if augmentation.flip:
        flipped = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(flipped.to(images.device)[:, None, None, None], images.flip(3), images)
    if augmentation.shift or augmentation.zoom or augmentation.rotate:
        images = _misalign(images, augmentation, generator)
    if augmentation.colour:
        images = distort_colour(images, augmentation.colour, generator)
    if augmentation.cutout:
        if mean is None:
            raise ConfigError(
                f"augmentation.cutout is {augmentation.cutout:g}, but no mean pixel is given to blank with; pass the "
                f"mean of the model's preprocessing"
            )
        images = cut_out(images, augmentation.cutout, mean, generator)
    return images, flipped
