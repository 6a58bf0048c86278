from __future__ import annotations

import numpy as np
import pytest
import torch

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing, to_input
from compat_train.config.parts import Augmentation
from compat_train.data.augment import augment, cut_and_paste, cut_out, distort_colour
from compat_train.data.batches import Batch, Batches, normalise, unit_range

CPU = torch.device("cpu")


def batches(augmentation: Augmentation | None = None, seed: int = 1, count: int = 23) -> Batches:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), np.uint8)
    return Batches(
        pixels,
        np.arange(count),
        batch=5,
        seed=seed,
        augmentation=augmentation or Augmentation(),
        device=CPU,
    )


def equal(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.index, other.index)


def test_a_batch_depends_on_the_step_alone() -> None:
    strong = Augmentation(shift=0.2, zoom=0.2, rotate=20, flip=True, colour=0.3)
    forwards = [batch for _, batch in batches(strong).between(0, 9)]
    for step in (8, 3, 0, 5):
        assert equal(batches(strong).at(step), forwards[step])
    assert not equal(batches(strong, seed=2).at(0), forwards[0])


def test_each_epoch_is_a_new_permutation_without_repeats() -> None:
    found = [batch.index.tolist() for _, batch in batches().between(0, 8)]
    first, second = [row for rows in found[:4] for row in rows], [row for rows in found[4:] for row in rows]
    assert len(set(first)) == len(first) == 20
    assert len(set(second)) == 20 and first != second


def test_without_augmentation_the_images_are_the_pixels() -> None:
    source = batches()
    batch = source.at(0)
    assert torch.equal(batch.labels, batch.index)
    expected = source._pixels[batch.index.numpy()].transpose(0, 3, 1, 2) / np.float32(255)
    assert np.array_equal(batch.images.numpy(), expected)


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 3"):
        batches(count=3)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_training_and_device_normalise_alike(channels: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)
    preprocessing = Preprocessing(size=8, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channels=channels)  # type: ignore[arg-type]
    found = normalise(unit_range(torch.from_numpy(pixels)), preprocessing)
    assert np.array_equal(found.numpy(), to_input(pixels, preprocessing))


def test_flipping_mirrors_the_images_it_says_it_mirrors() -> None:
    images = torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    views, flipped = augment(images, Augmentation(flip=True), torch.Generator().manual_seed(1))
    assert 5 < int(flipped.sum()) < 35
    assert torch.equal(views[flipped], images[flipped].flip(3))
    assert torch.equal(views[~flipped], images[~flipped])


def test_a_shift_of_a_constant_image_changes_nothing() -> None:
    images = torch.full((4, 3, 8, 8), 0.25)
    views, _ = augment(images, Augmentation(shift=0.3, zoom=0.3, rotate=45), torch.Generator().manual_seed(1))
    assert torch.allclose(views, images)


def test_colour_distortion_stays_in_range_and_changes_images() -> None:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    views = distort_colour(images, 0.5 + torch.rand(3, 4, generator=torch.Generator().manual_seed(1)))
    assert views.min() >= 0 and views.max() <= 1 and not torch.equal(views, images)


def test_cut_and_paste_takes_every_pixel_from_one_of_two_images() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 16, 16)
    mixed = cut_and_paste(images, torch.Generator().manual_seed(3))
    for number, image in enumerate(mixed):
        values = set(image.unique().tolist())
        assert len(values) <= 2 and number in values
        share = (image != number).float().mean().item()
        assert share == 0 or 0.25**2 - 1e-6 <= share <= 0.75**2 + 1e-6


def test_cutout_blanks_one_square_that_the_border_cuts_off() -> None:
    images = torch.ones(400, 3, 8, 8)
    places = torch.rand(2, 400, generator=torch.Generator().manual_seed(4))
    blank = cut_out(images, 0.5, (0.0, 0.0, 0.0), places)[:, 0] == 0
    centres = set()
    for square in blank:
        rows, columns = (square.any(axis).nonzero().flatten() for axis in (1, 0))
        assert square.sum() == len(rows) * len(columns), "not a rectangle"
        for side in (rows, columns):
            assert side.max() - side.min() == len(side) - 1
            assert len(side) == 4 or side.min() == 0 or side.max() == 7
        centres.add((int(rows.max()), len(rows)))
    assert len(centres) == 8, "a centre in every row: 8 places of a square of 4 in 8 pixels"
    assert {int(square.sum()) for square in blank} == {4, 6, 8, 9, 12, 16}


def test_every_channel_of_a_cut_out_pixel_is_zero_after_normalisation() -> None:
    preprocessing = Preprocessing(size=16, mean=(0.485, 0.456, 0.406), std=(0.2, 0.3, 0.4), channels="bgr")
    pixels = np.random.default_rng(5).integers(0, 256, (6, 16, 16, 3), np.uint8)
    source = Batches(
        pixels,
        np.arange(6),
        batch=6,
        seed=0,
        augmentation=Augmentation(flip=True, shift=0.1, colour=0.2, cutout=0.25),
        device=CPU,
        mean=preprocessing.mean,
    )
    inputs = normalise(source.at(0).images, preprocessing)
    cut = (inputs == 0).all(1).sum((1, 2))
    assert cut.min() >= 4 and cut.max() <= 16
    assert equal(source.at(0), source.at(0))


def test_cutout_leaves_the_other_random_numbers_of_a_view_as_they_were() -> None:
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, _ = augment(images, Augmentation(flip=True, shift=0.2), torch.Generator().manual_seed(1))
    cut, _ = augment(
        images, Augmentation(flip=True, shift=0.2, cutout=0.5), torch.Generator().manual_seed(1), mean=(2.0, 2.0, 2.0)
    )
    assert torch.equal(cut[cut != 2], plain[cut != 2]) and (cut == 2).any((1, 2, 3)).all()


def test_cutout_without_the_mean_pixel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cutout is 0\.5, but no mean pixel"):
        batches(Augmentation(cutout=0.5)).at(0)


def test_the_number_of_views_says_whether_outputs_can_be_cached() -> None:
    assert Augmentation().views == 1
    assert Augmentation(flip=True).views == 2
    assert Augmentation(flip=True, shift=0.1).views is None
    assert Augmentation(cutout=0.5).views is None
