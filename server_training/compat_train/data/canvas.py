"""How images are decoded before views are taken from them: as a model does, or larger where the views are crops."""

from __future__ import annotations

from dataclasses import replace

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Augmentation


def decoding(preprocessing: Preprocessing) -> Preprocessing:
    """What decides the pixels: everything but what is done to them afterwards."""
    plain = Preprocessing(size=preprocessing.size)
    return replace(preprocessing, mean=plain.mean, std=plain.std, channels=plain.channels)


def canvas_of(augmentation: Augmentation, model: Preprocessing, *others: Preprocessing) -> Preprocessing:
    """What images are decoded by for the views that a model is trained on.

    Without crops that is the model's own. A crop is taken from a picture of ``augmentation.canvas`` pixels, or of the
    largest size that a model sees; what part of the image file that shows, the trained model's preprocessing says.

    Args:
        augmentation: Of the training.
        model: Of the model that is trained.
        others: Of fixed models that are shown the same views.

    Raises:
        ConfigError: The canvas is smaller than what a model sees.
    """
    if not augmentation.random_crop:
        return decoding(model)
    largest = max(each.size for each in (model, *others))
    if augmentation.canvas and augmentation.canvas < largest:
        raise ConfigError(
            f"canvas is {augmentation.canvas}, and a model sees {largest} pixels; expected {largest} or more, or 0",
            setting="canvas",
        ).within("augmentation.")
    return replace(decoding(model), size=augmentation.canvas or largest)
