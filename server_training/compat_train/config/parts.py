"""The tables that every training has: images, augmentation, loss, optimisation, and where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from compat_sdk.errors import ConfigError
from compat_train.config.checks import check_choices, check_device, check_range
from compat_train.config.fields import about, setting
from compat_train.config.scenario import Scenario

_CROP_RATIO = 1.33


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random views of the training images; all zero means the images as they are."""

    shift: float = setting(0.0, "largest move", unit="fraction of the side")
    zoom: float = setting(0.0, "largest relative change of scale")
    rotate: float = setting(0.0, "largest turn", unit="degrees")
    flip: bool = setting(False, "mirror half of the images")
    colour: float = setting(0.0, "largest relative change of brightness, contrast and saturation")
    cutout: float = setting(0.0, "side of a blanked square", unit="fraction of the side", added=True)
    random_crop: float = setting(
        0.0, "largest part of the picture that a random crop cuts off", unit="fraction of the area", added=True
    )
    crop_ratio: float = setting(_CROP_RATIO, "most that the sides of a random crop differ by, a factor", added=True)
    canvas: int = setting(
        0,
        "side of the decoded picture that crops are taken from; 0: the largest that a model sees",
        unit="pixels",
        added=True,
    )
    grey: float = setting(0.0, "share of the images that lose their colours", unit="fraction", added=True)
    blur: float = setting(0.0, "largest standard deviation of a Gaussian blur", unit="fraction of the side", added=True)
    fixed_views: int = setting(
        0,
        "views that each image has, one an epoch, over and over, so that a fixed model runs once on each; 0: endless",
        unit="views",
        added=True,
    )
    views_seed: int = setting(0, "seed of the fixed views, which trainings with other seeds share", added=True)

    def __post_init__(self) -> None:
        check_range("shift", self.shift, 0, 0.5)
        check_range("zoom", self.zoom, 0, 0.9)
        check_range("rotate", self.rotate, 0, 180)
        check_range("colour", self.colour, 0, 0.99)
        check_range("cutout", self.cutout, 0, 1)
        check_range("random_crop", self.random_crop, 0, 0.99)
        check_range("crop_ratio", self.crop_ratio, 1, 4)
        check_range("canvas", self.canvas, 0, 4096)
        check_range("grey", self.grey, 0, 1)
        check_range("blur", self.blur, 0, 0.2)
        check_range("fixed_views", self.fixed_views, 0, 10_000)
        check_range("views_seed", self.views_seed, 0)
        if self.canvas and not self.random_crop:
            raise ConfigError(
                f"canvas is {self.canvas}, but crops alone are taken from it; set random_crop, or leave canvas out",
                setting="canvas",
            )
        if self.crop_ratio != _CROP_RATIO and not self.random_crop:
            raise ConfigError(
                f"crop_ratio is {self.crop_ratio:g}, but nothing is cropped; set random_crop, or leave it out",
                setting="crop_ratio",
            )
        if self.fixed_views and not self._endless:
            raise ConfigError(
                f"fixed_views is {self.fixed_views}, but an image has {self._few} view(s) with this augmentation; "
                f"leave it out, or set shift, zoom, rotate, colour, cutout, random_crop, grey or blur",
                setting="fixed_views",
            )
        if self.views_seed and not self.fixed_views:
            raise ConfigError(
                f"views_seed is {self.views_seed}, but views are not fixed; set fixed_views, or leave it out",
                setting="views_seed",
            )

    def refuse_canvas(self, what: str) -> None:
        """Refuses, with a ConfigError, a canvas for what crops images as its models decode them, such as a search."""
        if self.canvas:
            raise ConfigError(
                f"canvas is {self.canvas}, but {what} takes crops from images as its models decode them; leave it out",
                setting="canvas",
            ).within("augmentation.")

    @property
    def views(self) -> int | None:
        """How many different views an image has: 1, 2 (flip only), as many as are fixed, or None: endless."""
        if self._endless:
            return self.fixed_views or None
        return self._few

    @property
    def _endless(self) -> bool:
        moved = self.shift or self.zoom or self.rotate or self.random_crop
        return bool(moved or self.colour or self.cutout or self.grey or self.blur)

    @property
    def _few(self) -> int:
        return 2 if self.flip else 1


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """SGD with momentum or Adam, warm-up, and cosine or stepwise decay."""

    epochs: int = setting(16, "passes over the training split", unit="epochs")
    batch: int = setting(320, "images per step", unit="images")
    lr: float = setting(0.1, "highest learning rate")
    momentum: float = setting(0.9, "SGD momentum, or Adam's first beta; its second is always 0.999")
    weight_decay: float = setting(
        5e-4, "weight decay, on weights with more than one axis; biases and batch norms have none"
    )
    schedule: Literal["cosine", "step"] = setting("cosine", "decay of the rate after the warm-up")
    milestones: tuple[int, ...] = setting(
        (), "epochs after which schedule 'step' divides the rate by ten", unit="epochs"
    )
    warmup_epochs: float = setting(1.0, "epochs of linear growth of the rate from nothing", unit="epochs")
    optimiser: Literal["sgd", "adam"] = setting("sgd", "optimiser; Adam decays weights in its gradient", added=True)
    gradient_norm: float = setting(0.0, "gradients that are longer are shortened to it; 0: none are", added=True)

    def __post_init__(self) -> None:
        check_choices(self)
        check_range("epochs", self.epochs, 1)
        check_range("batch", self.batch, 2)
        check_range("lr", self.lr, 0, open_low=True)
        check_range("momentum", self.momentum, 0, 0.9999)
        check_range("weight_decay", self.weight_decay, 0)
        check_range("warmup_epochs", self.warmup_epochs, 0, self.epochs)
        check_range("gradient_norm", self.gradient_norm, 0)
        if self.schedule == "cosine" and self.milestones:
            raise ConfigError(
                f"milestones is {list(self.milestones)}, but the schedule is 'cosine', which has none; choose 'step'",
                setting="milestones",
            )
        if self.schedule == "step" and not self.milestones:
            raise ConfigError(
                "schedule is 'step', which needs milestones, the epochs after which lr is divided", setting="schedule"
            )


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The classification loss L1 of CMP-NAS, Eq. 1.

    DMU takes arcface, with margin 0.3 and scale 30 on landmarks, 0.5 and 64 on faces. Efficient Global NAS takes
    adaface for faces; what has no embeddings of images, such as a transform, then has CosFace's margin.
    """

    loss: Literal["cosface", "arcface", "norm-softmax", "adaface"] = setting("cosface", "classification loss")
    margin: float = setting(
        0.4, "margin of cosface, a cosine, or of arcface, an angle; norm-softmax has none", unit="cosine or radians"
    )
    scale: float = setting(64.0, "factor on the cosines; the inverse of a temperature")
    concentration: float = setting(
        0.333, "adaface: quality of an image whose embedding is longer than the mean by one deviation", added=True
    )
    norm_momentum: float = setting(
        0.01, "adaface: share of a batch in the mean and deviation of lengths", unit="fraction", added=True
    )

    def __post_init__(self) -> None:
        check_choices(self)
        check_range("margin", self.margin, 0, 1)
        check_range("scale", self.scale, 0, open_low=True)
        check_range("concentration", self.concentration, 0)
        check_range("norm_momentum", self.norm_momentum, 0, 1)

    def refuse_ignored(self, told: Mapping[str, Any]) -> None:
        """Refuses, with a ConfigError, a margin that was told to a loss without one, and what adaface alone has."""
        for name in ("concentration", "norm_momentum"):
            if self.loss != "adaface" and name in told and getattr(self, name) != getattr(Classification, name):
                raise ConfigError(
                    f"{name} is {getattr(self, name):g}, which the loss {self.loss} does not have; leave it out, or "
                    f"choose the loss adaface",
                    setting=name,
                )
        if self.loss == "norm-softmax" and told.get("margin"):
            raise ConfigError(
                f"margin is {self.margin:g}, but the loss norm-softmax has none; leave it out, or choose the loss "
                f"cosface or arcface",
                setting="margin",
            )

    def under(self, told: Mapping[str, Any]) -> Classification:
        """The loss of another run as what a partial table lies over: without a margin under a loss that has none."""
        chosen = told.get("loss", self.loss)
        return replace(self, margin=0.0) if chosen == "norm-softmax" else self


def class_sampling() -> float | None:
    """The field of a training's share of classes; see `compat_train.losses.partial`."""
    return setting(
        None,
        "share of the classes that the softmax of one step runs over, Partial FC's sampling rate",
        otherwise="1; with more than a million classes 0.1",
        added=True,
    )


def check_sampling(rate: float | None) -> None:
    """Refuses, with a ConfigError, a share of the classes outside of (0, 1]."""
    if rate is not None:
        check_range("sampling_rate", rate, 0, 1, open_low=True)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how precisely a run computes."""

    seed: int = setting(0, "source of all randomness")
    device: str = setting(
        "auto", "where it runs: auto, cpu, cuda, or one GPU by number, such as cuda:1; auto: cuda when there is one"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto",
        "precision of the arithmetic; auto: fp32 on the CPU, on cuda bf16 autocast, or fp16 where the GPU has no bf16",
    )
    threads: int = setting(0, "CPU threads; 0: as many as torch chooses", unit="threads")
    checkpoint_steps: int = setting(0, "steps between resume points; 0: every epoch and every minute", unit="steps")
    process_timeout: int = setting(
        600,
        "how long each of several processes waits for another in a step before it ends the training",
        unit="seconds",
        added=True,
        decides=False,
    )

    def __post_init__(self) -> None:
        check_choices(self)
        check_device("device", self.device)
        check_range("seed", self.seed, 0)
        check_range("threads", self.threads, 0)
        check_range("checkpoint_steps", self.checkpoint_steps, 0)
        check_range("process_timeout", self.process_timeout, 1, 86_400)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The images a run learns from."""

    data: str = field(
        metadata=about(
            "a folder with train/ query/ gallery/, a CSV manifest, a name such as sample; or pictures without labels: "
            "their folder, a .txt list, or .tar files"
        )
    )
    root: str | None = setting(
        None, "folder that holds the files of a named dataset, or in which a manifest's paths begin"
    )
    unreadable: int = setting(0, "corrupt images that are left out with a warning before it becomes an error")
    scenario: Scenario = setting(Scenario(), "which part of the training split", added=True)
    pixels: str | None = setting(
        None,
        "folder that keeps decoded pictures, for every training that decodes the same ones alike",
        otherwise="RUN/pixels; in a recipe OUT/pixels",
        added=True,
        decides=False,
    )
    streamed: bool = setting(
        False,
        "decode pictures in every step in place of once before the first, for sets that the disk cannot hold decoded",
        added=True,
        decides=False,
    )

    def __post_init__(self) -> None:
        check_range("unreadable", self.unreadable, 0)
        if self.streamed and self.unreadable:
            raise ConfigError(
                f"unreadable is {self.unreadable}, but streamed pictures are not read before the first step, so that "
                f"none can be left out; leave one of them out",
                setting="streamed",
            )
        if self.streamed and self.pixels is not None:
            raise ConfigError(
                "pixels names a folder, and streamed pictures are not kept; leave one out", setting="pixels"
            )
