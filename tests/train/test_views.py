"""Random views: drawn as numbers, rendered at any size; crops and blurs against naive ones; views that come again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Augmentation
from compat_train.config.settings import config_from_mapping, config_to_json
from compat_train.data import views as views_module
from compat_train.data.augment import render
from compat_train.data.batches import Batches
from compat_train.data.canvas import canvas_of, decoding
from compat_train.data.views import Views, fixed_views, step_views

CPU = torch.device("cpu")
STRONG = Augmentation(shift=0.1, rotate=10, flip=True, colour=0.3, random_crop=0.8, blur=0.05, fixed_views=3)


def noise(count: int, side: int) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def views_of_0_7(images: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """What release 0.7 and the trainings that it began make of images."""

    def uniform(count: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    count = len(images)
    flipped = torch.rand(count, generator=generator) < 0.5
    images = torch.where(flipped[:, None, None, None], images.flip(3), images)
    angle = uniform(count, -augmentation.rotate, augmentation.rotate) * (math.pi / 180)
    zoom = 1 + uniform(count, -augmentation.zoom, augmentation.zoom)
    moved_x, moved_y = (2 * uniform(count, -augmentation.shift, augmentation.shift) for _ in range(2))
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack((cos, -sin, moved_x, sin, cos, moved_y), 1).view(count, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    factors = (1 + uniform(3 * count, -augmentation.colour, augmentation.colour)).view(3, -1, 1, 1, 1)
    images = images * factors[0]
    images = images.mean((1, 2, 3), keepdim=True).lerp(images, factors[1])
    return images.mean(1, keepdim=True).lerp(images, factors[2]).clamp(0, 1)


@pytest.mark.parametrize("count", [5, 40])
def test_the_views_of_a_run_that_0_7_began_are_the_same_bits(count: int) -> None:
    augmentation = Augmentation(shift=0.1, zoom=0.2, rotate=15, flip=True, colour=0.4)
    images = noise(count, 12)
    drawn = step_views(count, augmentation, torch.Generator().manual_seed(7))
    expected = views_of_0_7(images, augmentation, torch.Generator().manual_seed(7))
    assert torch.equal(render(images, drawn, augmentation), expected)


def test_settings_that_came_later_leave_the_digest_of_older_runs_alone() -> None:
    assert list(config_to_json(Augmentation(flip=True))) == ["shift", "zoom", "rotate", "flip", "colour"]


def test_new_kinds_of_change_leave_the_numbers_of_the_older_ones_as_they_were() -> None:
    older = {"flip": True, "shift": 0.2, "colour": 0.3, "cutout": 0.2}
    one = step_views(20, Augmentation(**older), torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    other = step_views(20, Augmentation(**older, random_crop=0.5, blur=0.1), torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    for name in ("flipped", "affine", "colour", "hole"):
        assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(("side", "size"), [(60, 20), (24, 24), (16, 40)])
def test_a_crop_is_pillows_bilinear_resize_of_the_same_box(side: int, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
    drawn = step_views(4, Augmentation(random_crop=0.9), torch.Generator().manual_seed(1))
    assert drawn.box is not None
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    found = render(images, drawn, Augmentation(random_crop=0.9), size=size) * 255
    for image, (left, top, width, height), crop in zip(pixels, (drawn.box * side).tolist(), found, strict=True):
        box = (left, top, left + width, top + height)
        expected = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box)
        assert np.abs(crop.permute(1, 2, 0).numpy() - np.asarray(expected, np.float32)).max() < 1.6


def test_boxes_have_the_areas_and_proportions_that_are_asked_for_and_stay_inside() -> None:
    augmentation = Augmentation(random_crop=0.75, crop_ratio=2.0)
    box = step_views(4000, augmentation, torch.Generator().manual_seed(2)).box
    assert box is not None
    left, top, width, height = box.T
    assert min(left.min(), top.min()) >= 0 and max((left + width).max(), (top + height).max()) <= 1 + 1e-6
    inside = (width < 1) & (height < 1)
    area, ratio = (width * height)[inside], (width / height)[inside]
    assert 0.25 <= area.min() < 0.27 and area.max() <= 1
    assert 0.5 - 1e-4 <= ratio.min() < 0.53 and 1.9 < ratio.max() <= 2 + 1e-4
    square = step_views(50, Augmentation(random_crop=0.5, crop_ratio=1.0), torch.Generator().manual_seed(2)).box
    assert square is not None and torch.allclose(square[:, 2], square[:, 3])


def test_a_grey_view_has_the_luminance_in_every_channel_and_takes_its_numbers_last() -> None:
    images, grey = noise(2, 5), torch.tensor([False, True])
    found = render(images, Views(torch.zeros(2, dtype=torch.bool), grey=grey), Augmentation(grey=0.5))
    assert torch.equal(found[0], images[0])
    luminance = 0.299 * images[1, 0] + 0.587 * images[1, 1] + 0.114 * images[1, 2]
    assert all(torch.allclose(channel, luminance) for channel in found[1])
    plain, greyed = (
        step_views(
            400, Augmentation(colour=0.3, random_crop=0.5, blur=0.1, grey=share), torch.Generator().manual_seed(3)
        )
        for share in (0.0, 0.2)
    )
    assert plain.grey is None and greyed.grey is not None and 40 < int(greyed.grey.sum()) < 120
    for name in ("colour", "box", "blur"):
        assert torch.equal(getattr(plain, name), getattr(greyed, name))


def test_a_blur_is_the_mean_under_a_gaussian_of_each_images_own_width() -> None:
    images, blur = noise(3, 9), torch.tensor([0.0, 0.05, 0.2])
    found = render(images, Views(torch.zeros(3, dtype=torch.bool), blur=blur), Augmentation(blur=0.2))
    assert torch.allclose(found[0], images[0])
    for image, width, blurred in zip(images[1:], (blur[1:] * 9).tolist(), found[1:], strict=True):
        for y, x in ((0, 0), (4, 4), (8, 2)):
            total, weights = torch.zeros(3), 0.0
            for j in range(9):
                for i in range(9):
                    weight = math.exp(-((j - y) ** 2 + (i - x) ** 2) / (2 * width**2))
                    total, weights = total + weight * image[:, j, i], weights + weight
            assert torch.allclose(blurred[:, y, x], total / weights, atol=1e-5)


def test_one_view_is_the_same_picture_at_two_sizes() -> None:
    smooth = F.interpolate(noise(6, 12), size=96, mode="bicubic").clamp(0, 1)
    drawn = fixed_views(STRONG, 1, range(6))
    large, small = (render(smooth, drawn, STRONG, size=size) for size in (48, 16))
    assert (F.avg_pool2d(large, 3) - small).abs().mean() < 0.03
    other = render(smooth, fixed_views(STRONG, 2, range(6)), STRONG, size=16)
    assert (F.avg_pool2d(large, 3) - other).abs().mean() > 0.09, "another view would pass too"


def test_a_fixed_view_depends_on_seed_row_and_number_alone() -> None:
    def numbers(view: int, rows: list[int], **changed: Any) -> torch.Tensor:
        drawn = fixed_views(Augmentation(**{**config_to_json(STRONG), **changed}), view, rows)
        assert drawn.affine is not None and drawn.box is not None and drawn.blur is not None
        return torch.cat((drawn.affine.flatten(1), drawn.box, drawn.blur[:, None]), 1)

    whole = numbers(1, list(range(30)))
    assert torch.equal(numbers(1, [7, 29, 0]), whole[[7, 29, 0]])
    assert not torch.isclose(numbers(2, [7]), whole[[7]]).any()
    assert not torch.isclose(numbers(1, [7], views_seed=1), whole[[7]]).any()
    assert torch.equal(numbers(1, [7], fixed_views=9), whole[[7]])
    assert len(torch.unique(whole[:, 0])) == 30


def test_the_numbers_of_fixed_views_are_splitmix64s() -> None:
    first = views_module._mixed(np.array([views_module._STEP], np.uint64))
    assert int(first[0]) == 0xE220A8397B1DCDAF, "the first number of the published generator with seed 0"
    numbers = views_module._hashed(0, 0, np.arange(20_000, dtype=np.uint64))
    one, two = numbers(), numbers()
    assert one.dtype == torch.float32 and 0 <= one.min() and one.max() < 1
    assert abs(one.mean() - 0.5) < 0.01 and abs(one.var() - 1 / 12) < 0.005
    assert abs(torch.corrcoef(torch.stack((one, two)))[0, 1]) < 0.03
    assert abs(torch.corrcoef(torch.stack((one[1:], one[:-1])))[0, 1]) < 0.03


def test_each_epoch_shows_the_next_view_and_then_the_first_again() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)

    def batches(seed: int) -> Batches:
        return Batches(pixels, np.arange(6), batch=6, seed=seed, augmentation=STRONG, device=CPU, size=8)

    seen = []
    for step in range(6):  # an epoch each
        batch = batches(seed=5).at(step)
        assert batch.number.tolist() == [step % 3] * 6
        seen.append(batch.images[batch.index.argsort()])
    assert all(torch.equal(one, again) for one, again in zip(seen[:3], seen[3:], strict=True))
    assert not torch.allclose(seen[0], seen[1])
    other = batches(seed=6).at(0)
    assert torch.equal(other.images[other.index.argsort()], seen[0]), "the order is another seed's, the views are not"


def test_images_in_mirrored_views_are_counted_as_their_second_view() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
    few = Batches(pixels, np.arange(40), batch=40, seed=0, augmentation=Augmentation(flip=True), device=CPU).at(0)
    assert torch.equal(few.number, few.views.flipped.long()) and 5 < few.number.sum() < 35
    assert torch.equal(fixed_views(Augmentation(flip=True), 1, range(3)).flipped, torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"fixed_views": 3}, r"fixed_views is 3, but an image has 1 view\(s\)"),
        ({"fixed_views": 3, "flip": True}, r"fixed_views is 3, but an image has 2 view\(s\)"),
        ({"canvas": 64, "shift": 0.1}, "canvas is 64, but crops alone"),
        ({"views_seed": 1, "blur": 0.1}, "views_seed is 1, but views are not fixed"),
        ({"crop_ratio": 1.2}, "crop_ratio is 1.2, but nothing is cropped"),
        ({"random_crop": 1.0}, "random_crop is 1"),
        ({"blur": -0.1}, "blur is -0.1"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        config_from_mapping(Augmentation, settings)


def test_endless_views_are_counted_once_they_are_fixed() -> None:
    assert Augmentation(random_crop=0.5).views is None and Augmentation(blur=0.1).views is None
    assert Augmentation(blur=0.1, fixed_views=4).views == 4


def test_crops_are_taken_from_a_canvas_that_no_model_finds_too_small() -> None:
    model, other = Preprocessing(size=16, mean=(0.1, 0.2, 0.3), fit="stretch"), Preprocessing(size=24)
    assert canvas_of(Augmentation(shift=0.1), model, other) == decoding(model) == Preprocessing(size=16, fit="stretch")
    crops = Augmentation(random_crop=0.5)
    assert canvas_of(crops, model, other) == Preprocessing(size=24, fit="stretch")
    assert canvas_of(Augmentation(random_crop=0.5, canvas=40), model, other).size == 40
    with pytest.raises(ConfigError, match="canvas is 20, and a model sees 24 pixels; expected 24 or more"):
        canvas_of(Augmentation(random_crop=0.5, canvas=20), model, other)
    with pytest.raises(ConfigError, match="canvas is 40, but a search takes crops"):
        Augmentation(random_crop=0.5, canvas=40).refuse_canvas("a search")
    crops.refuse_canvas("a search")
