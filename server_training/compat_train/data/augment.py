"""Augmentation of whole batches as tensor operations, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from compat_sdk.errors import ConfigError
from compat_train.config.parts import Augmentation
from compat_train.data.views import Views, step_views

_LEAST_BLUR = 1e-3  # pixels of standard deviation: of a neighbour, nothing is left in a float32


def render(
    images: Tensor,
    views: Views,
    augmentation: Augmentation,
    *,
    size: int | None = None,
    mean: Sequence[float] | None = None,
) -> Tensor:
    """The views of images, at the size of a model.

    Crop, mirror image, shift with zoom and turn, colours, grey, blur, blank square, in this order.

    Args:
        images: Float ``[n, 3, side, side]`` in [0, 1].
        views: What is done to each, drawn from the same ``augmentation``.
        augmentation: Gives the side of the blank square.
        size: Side of the result where views are crops; without a crop it is that of the images.
        mean: R, G, B in [0, 1] that normalisation subtracts; only cutout needs it.

    Returns:
        Float ``[n, 3, size, size]`` in [0, 1], or as far as the images were.

    Raises:
        ConfigError: There is a blank square, and no mean is given.
    """
    if views.box is not None:
        images = _cropped(images, views.box, size or images.shape[-1])
    if views.flipped.any():
        images = torch.where(views.flipped.to(images.device)[:, None, None, None], images.flip(3), images)
    if views.affine is not None:
        images = _moved(images, views.affine)
    if views.colour is not None:
        images = distort_colour(images, views.colour)
    if views.grey is not None:
        images = torch.where(views.grey.to(images.device)[:, None, None, None], _grey(images), images)
    if views.blur is not None:
        images = _blurred(images, views.blur)
    if views.hole is not None:
        if mean is None:
            raise ConfigError(
                f"augmentation.cutout is {augmentation.cutout:g}, but no mean pixel is given to blank with; pass the "
                f"mean of the model's preprocessing"
            )
        images = cut_out(images, augmentation.cutout, mean, views.hole)
    return images


def augment(
    images: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
    *,
    size: int | None = None,
    mean: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """One random view of each image.

    Args:
        images: Float ``[n, 3, side, side]`` in [0, 1].
        augmentation: What to do and how strongly.
        generator: CPU generator; it is the only source of randomness.
        size: Side of the views where they are crops; the images' own if None.
        mean: R, G, B in [0, 1] that normalisation subtracts; only cutout needs it.

    Returns:
        The views, and a bool ``[n]`` that is true where the image was flipped.

    Raises:
        ConfigError: ``augmentation.cutout`` is above 0, and no mean is given.
    """
    views = step_views(len(images), augmentation, generator)
    return render(images, views, augmentation, size=size, mean=mean), views.flipped


def _cropped(images: Tensor, box: Tensor, size: int) -> Tensor:
    """Rectangles of images as squares: each pixel is a weighted mean of all that it covers, so nothing aliases.

    The weights are a triangle as wide as a pixel of the result, and of the image where that is wider: Pillow's bilinear
    kernel.
    """
    box = box.to(images)
    columns, rows = (_triangles(box[:, axis], box[:, axis + 2], images.shape[3 - axis], size) for axis in (0, 1))
    return _weighed(images, rows, columns)


def _triangles(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Weights ``[n, size, side]`` of an image's pixels in each pixel of a part of it, sum 1."""
    step = length * side / size
    places, pixels = (torch.arange(count, device=start.device) + 0.5 for count in (size, side))
    centres = start[:, None] * side + step[:, None] * places
    apart = (pixels - centres[:, :, None]).abs()
    weights = (1 - apart / step.clamp(min=1.0)[:, None, None]).clamp(min=0.0)
    return weights / weights.sum(2, keepdim=True)


def _weighed(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` by weights ``[n, new h, h]`` of their rows and ``[n, new w, w]`` of their columns."""
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


def _grey(images: Tensor) -> Tensor:
    """Images ``[n, 3, h, w]`` whose channels are all their luminance, by the weights of ITU-R BT.601."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device, dtype=images.dtype)
    return (images * weights[:, None, None]).sum(1, keepdim=True).expand_as(images)


def _blurred(images: Tensor, blur: Tensor) -> Tensor:
    """Images under a Gaussian of each one's own width, in fractions of the side; at the border the rest counts more."""
    side = images.shape[-1]
    place = torch.arange(side, device=images.device)
    apart = (place[:, None] - place[None, :]).to(images).square()
    width = (blur.to(images) * side).clamp(min=_LEAST_BLUR)
    weights = (-0.5 * apart / width.square()[:, None, None]).exp()
    weights = weights / weights.sum(2, keepdim=True)
    return _weighed(images, weights, weights)


def _moved(images: Tensor, affine: Tensor) -> Tensor:
    """Images ``[n, channels, size, size]`` shifted, scaled and turned; what enters from outside repeats the border."""
    grid = F.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def distort_colour(images: Tensor, factors: Tensor) -> Tensor:
    """Changes brightness, contrast and saturation of each image.

    Args:
        images: Float ``[n, 3, size, size]`` in [0, 1].
        factors: ``[3, n]``, one of each kind for each image; 1 changes nothing.

    Returns:
        Images of the same shape, clipped to [0, 1].
    """
    brightness, contrast, saturation = factors.view(3, -1, 1, 1, 1).to(images.device)
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
        length = (side * (torch.rand(count, generator=generator) * 0.5 + 0.25)).round()
        start = (torch.rand(count, generator=generator) * (side - length + 1)).floor()
        place = torch.arange(side)
        rectangles.append((place >= start[:, None]) & (place < (start + length)[:, None]))
    inside = (rectangles[0][:, :, None] & rectangles[1][:, None, :])[:, None].to(images.device)
    return torch.where(inside, images[partner], images)


def cut_out(images: Tensor, side: float, mean: Sequence[float], centres: Tensor) -> Tensor:
    """Blanks one square of each image, so that no single part of the object decides.

    The centre is uniform over the pixels, and what lies outside of the image is cut off: with a side of 0.5, between a
    sixteenth and a quarter of the image goes. Blank is the mean pixel that normalisation subtracts, so that the
    network reads exact zeros there, as in the paper, which blanks after normalisation.

    Source: DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552, section 3.

    Args:
        images: Float ``[n, 3, size, size]`` in [0, 1].
        side: Side of the square, fraction of the image's side, in (0, 1]; at least one pixel is blanked.
        mean: R, G, B of the blank pixels.
        centres: ``[2, n]`` in [0, 1), height and place along the row of each square's centre.

    Returns:
        Images of the same shape.
    """
    inside = []
    for pixels, centre in zip(images.shape[2:], centres, strict=True):
        length = max(1, round(side * pixels))
        start = (pixels * centre).floor()[:, None] - length // 2
        place = torch.arange(pixels)
        inside.append((place >= start) & (place < start + length))
    square = (inside[0][:, :, None] & inside[1][:, None, :])[:, None].to(images.device)
    return torch.where(square, images.new_tensor(mean).view(3, 1, 1), images)
