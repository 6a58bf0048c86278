"""Random views of images: what is drawn for each, in fractions of its side, so that one view exists at any size.

A model at 224 pixels and one at 96 are shown the same crop, turn and colours: the numbers of a view are drawn once, and
`compat_train.data.augment.render` carries them out at either size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compat_train.config.parts import Augmentation

_Numbers = Callable[[], Tensor]
"""Gives, at each call, one number in [0, 1) for each image: float32 ``[n]`` on the CPU."""

_FIXED = 4
_STEP = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio, odd


@dataclass(frozen=True, eq=False)
class Views:
    """What is done to each of n images; None where nothing of that kind is.

    Attributes:
        flipped: bool ``[n]``, true where the view is mirrored.
        affine: ``[n, 2, 3]``, from places in the view to places in the image, both in [-1, 1].
        colour: ``[3, n]``, factors of brightness, contrast and saturation.
        hole: ``[2, n]``, height and place along the row, in [0, 1), of the centre of a blanked square.
        box: ``[n, 4]``, left, top, width and height of the crop, in fractions of the image's side.
        grey: bool ``[n]``, true where the view has no colours.
        blur: ``[n]``, standard deviation of a Gaussian, in fractions of the side.
    """

    flipped: Tensor
    affine: Tensor | None = None
    colour: Tensor | None = None
    hole: Tensor | None = None
    box: Tensor | None = None
    blur: Tensor | None = None
    grey: Tensor | None = None


def _draw_views(count: int, augmentation: Augmentation, numbers: _Numbers) -> Views:
    """One random view of each image.

    What is off takes no numbers, and what came to the package later takes its own last: so the views of a run of an
    earlier release are still the same.

    Args:
        count: How many images.
        augmentation: What to do and how strongly.
        numbers: The only source of randomness, of ``count`` numbers a call.
    """
    flipped = numbers() < 0.5 if augmentation.flip else torch.zeros(count, dtype=torch.bool)
    moved = augmentation.shift or augmentation.zoom or augmentation.rotate
    affine = _affine(augmentation, numbers) if moved else None
    colour = hole = None
    if most := augmentation.colour:
        colour = torch.stack([1 + _between(numbers(), -most, most) for _ in range(3)])
    if augmentation.cutout:
        hole = torch.stack([numbers() for _ in range(2)])
    box = _box(augmentation, numbers) if augmentation.random_crop else None
    blur = augmentation.blur * numbers() if augmentation.blur else None
    grey = numbers() < augmentation.grey if augmentation.grey else None
    return Views(flipped, affine, colour, hole, box, blur, grey)


def step_views(count: int, augmentation: Augmentation, generator: torch.Generator) -> Views:
    """One view of each image by a step's own CPU generator; the same state gives the same views."""
    return _draw_views(count, augmentation, lambda: torch.rand(count, generator=generator))


def fixed_views(augmentation: Augmentation, view: int, rows: Sequence[int] | NDArray[np.int64]) -> Views:
    """One of the views that each image has over and over: number ``view`` of ``augmentation.views``.

    It depends on ``augmentation.views_seed``, the image's row and the view's number alone. Where nothing random is set,
    view 0 is the image as it is; of mirroring alone, view 1 is its mirror image.

    Args:
        augmentation: With a number of views.
        view: From 0.
        rows: Row of each image in the training set.
    """
    if not augmentation.fixed_views:
        return Views(torch.full((len(rows),), view == 1))
    return _draw_views(len(rows), augmentation, _hashed(augmentation.views_seed, view, np.asarray(rows, np.uint64)))


def _hashed(seed: int, view: int, rows: NDArray[np.uint64]) -> _Numbers:
    """_Numbers that are a hash of seed, view, row and the count of calls: SplitMix64, with the 24 bits of a float32."""
    state = np.random.SeedSequence((seed, _FIXED, view)).generate_state(1, np.uint64)[0]
    own = _mixed(rows * np.uint64(_STEP) + state)
    calls = 0

    def numbers() -> Tensor:
        nonlocal calls
        calls += 1
        bits = _mixed(own + np.uint64(calls * _STEP % 2**64))
        return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24))

    return numbers


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64, modulo 2^64: Steele, Lea and Flood, OOPSLA 2014, figure 17."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _between(numbers: Tensor, low: float, high: float) -> Tensor:
    return numbers * (high - low) + low


def _affine(augmentation: Augmentation, numbers: _Numbers) -> Tensor:
    """Shift, scale and turn: the "mis-alignment" of CMP-NAS, section 4.2."""
    angle = _between(numbers(), -augmentation.rotate, augmentation.rotate) * (math.pi / 180)
    zoom = 1 + _between(numbers(), -augmentation.zoom, augmentation.zoom)
    moved_x, moved_y = (2 * _between(numbers(), -augmentation.shift, augmentation.shift) for _ in range(2))
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    return torch.stack((cos, -sin, moved_x, sin, cos, moved_y), 1).view(-1, 2, 3)


def _box(augmentation: Augmentation, numbers: _Numbers) -> Tensor:
    """A rectangle of random area, proportions and place, within the image.

    The area is uniform, and the proportion uniform in its logarithm; a side that would be longer than the image's is
    the image's.

    Source: Szegedy et al., Going Deeper with Convolutions, CVPR 2015, https://arxiv.org/abs/1409.4842, section 6.
    """
    area = _between(numbers(), 1 - augmentation.random_crop, 1.0)
    longest = math.log(augmentation.crop_ratio)
    ratio = _between(numbers(), -longest, longest).exp()
    sides = torch.stack(((area * ratio).sqrt(), (area / ratio).sqrt()), 1).clamp(max=1.0)
    starts = torch.stack([numbers() for _ in range(2)], 1) * (1 - sides)
    return torch.cat((starts, sides), 1)
