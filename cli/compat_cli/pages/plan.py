"""What a story trains and on what: the demo's own settings, or those that fit one's pictures into some minutes."""

from __future__ import annotations

import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat_sdk.errors import DataError

if TYPE_CHECKING:
    from compat_sdk.datasets import Dataset, Division, Shares

_LOSS = {"loss": "cosface", "margin": 0.2, "scale": 16.0}
_BATCH = 32
_GALLERY = {"arch": "resnet18", "width": 0.25, "batch": _BATCH, "lr": 0.05}
_QUERY = {"arch": "shufflenet_v2", "width": 0.5, "batch": _BATCH, "lr": 0.05}
_SIDES, _DIM = (64, 48, 32), 128
_EPOCHS, _FEW, _LEAST_FRACTION = 40, 6, 0.02
_DECODING, _TESTING, _TRAINING = 0.15, 0.1, 0.5
"""Parts of the time for decoding, for embedding the test pictures, and for training; the rest is for what follows."""
_FIXED_S, _SHORTEST_S = 40.0, 20.0
"""Seconds of exports and profiles, whatever is trained; and the shortest time that is planned for."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings of a story.

    Attributes:
        data: What ``--data`` is, by its path from the root, so that the folder of the story works from any folder.
        root: What ``--root`` is.
        size: Side of the images, in pixels.
        gallery: Network and schedule of the large model: arch, width, epochs, batch, lr.
        query: The same of the small one.
        loss: The classification loss.
        fraction: Part of the training pictures of each identity that is learnt from.
        before: Commands that made the data, for the page.
        easy: Whether the classes are few, and all known from training.
    """

    data: str
    size: int
    gallery: Mapping[str, Any]
    query: Mapping[str, Any]
    loss: Mapping[str, Any] = field(default_factory=lambda: dict(_LOSS))
    fraction: float = 1.0
    before: tuple[str, ...] = ()
    easy: bool = False
    root: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values, which `from_json` reads."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Plan:
        """What `to_json` made."""
        return Plan(**{**values, "before": tuple(values["before"])})


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine at a side of 64 pixels, for one image.

    Attributes:
        decode: To read and shrink a picture.
        gallery: One training step of the large model, by image.
        query: The same of the small model, with the large one running beside it.
        embed: Both models forward.
    """

    decode: float
    gallery: float
    query: float
    embed: float


def planned(data: str, train: int, speed: Speed, minutes: float, before: tuple[str, ...] = ()) -> Plan:
    """Epochs, side and part of the pictures that fit into the time, the first two as large as they can be.

    Args:
        data: What ``--data`` is.
        train: Training pictures.
        speed: Of this machine.
        minutes: For everything.
        before: Commands that made the data.
    """
    seconds = max(_SHORTEST_S, 60 * minutes - _FIXED_S)
    # Each of three trainings decodes for itself.
    fraction = min(1.0, _DECODING * seconds / (3 * train * speed.decode))
    for side in _SIDES:
        epoch = fraction * train * (speed.gallery + 2 * speed.query) * (side / _SIDES[0]) ** 2
        epochs = int(_TRAINING * seconds / epoch)
        if epochs >= _FEW:
            break
    if epochs < _FEW:
        fraction *= _TRAINING * seconds / epoch / _FEW
        epochs = _FEW
    schedule = {"epochs": min(epochs, _EPOCHS)}
    return Plan(
        data=data,
        size=side,
        gallery=_GALLERY | schedule,
        query=_QUERY | schedule,
        fraction=round(max(_LEAST_FRACTION, fraction), 3),
        before=before,
    )


def with_batches_of(plan: Plan, labels: Sequence[str]) -> Plan:
    """The plan with batches that the pictures fill which are learnt from.

    Args:
        plan: Of `planned`.
        labels: Of the training pictures.
    """
    from compat_train.config.scenario import Scenario
    from compat_train.data.scenario_rows import scenario_rows

    images = len(scenario_rows(Scenario(fraction=plan.fraction), labels))
    gallery, query = ({**model, "batch": min(model["batch"], max(2, images))} for model in (plan.gallery, plan.query))
    return replace(plan, gallery=gallery, query=query)


def first_division(photos: str, root: Path | None, seed: int) -> tuple[Division, Shares]:
    """One's pictures divided, before the speed of the machine is known; and how.

    By identity where there are enough of them, else by picture.

    Raises:
        DataError: They have no identities, or too few pictures either way.
    """
    from compat_sdk.datasets import Shares, divide

    shares = Shares(seed=seed)
    try:
        return divide(photos, shares, root=root), shares
    except DataError:
        shares = replace(shares, by="picture")
        return divide(photos, shares, root=root), shares


def divided(
    photos: str, root: Path | None, out: Path, first: tuple[Division, Shares], speed: Speed, minutes: float
) -> tuple[str, str]:
    """The division as a dataset in ``out``: the folder's path from the root, and the command that makes it.

    Of very many pictures fewer are tested.

    Args:
        photos: The pictures.
        root: What the paths of a CSV file are relative to.
        out: The folder to write.
        first: Of `first_division`.
        speed: Of this machine.
        minutes: For everything.
    """
    from compat_sdk.datasets import divide

    done, shares = first
    tested = len(done.splits["query"]) + len(done.splits["gallery"])
    most = _TESTING * 60 * minutes / (speed.decode + speed.embed)
    if tested > most:
        shares = replace(shares, test=round(max(0.005, shares.test * most / tested), 3))
        done = divide(photos, shares, root=root)
    done.write(out)
    words = ["compat-sdk", "data", "split", photos, *(() if root is None else ("--root", str(root)))]
    words += ["--by", shares.by] * (shares.by != "identity") + ["--test", f"{shares.test:g}"] * (shares.test != 0.3)
    return str(out.absolute()), shlex.join([*words, "--seed", str(shares.seed), "--out", "data"])


def measured(pictures: Dataset, threads: int | None) -> Speed:
    """The speed of this machine on some of these pictures, in a few seconds."""
    import torch

    from compat_sdk.images import Preprocessing, decode_many
    from compat_train.device import torch_threads
    from compat_train.models import build_model

    images = pictures.split("train").images
    some = [images[place] for place in range(0, len(images), max(1, len(images) // 8))][:8]
    began = time.perf_counter()
    decode_many(some, Preprocessing(size=_SIDES[0]), threads)
    decode = (time.perf_counter() - began) / len(some)

    batch = torch.zeros(_BATCH, 3, _SIDES[0], _SIDES[0]).contiguous(memory_format=torch.channels_last)

    def timed(arch: Mapping[str, Any], *, train: bool) -> float:
        network = build_model(arch["arch"], dim=_DIM, width=arch["width"])
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has it, its types not
        times = []
        for _ in range(4):
            began = time.perf_counter()
            with torch.set_grad_enabled(train):
                found = network(batch)
                if train:
                    found.square().mean().backward()
            times.append(time.perf_counter() - began)
        return statistics.median(times[1:]) / len(batch)

    with torch_threads(threads), torch.random.fork_rng(devices=[]):
        forward = timed(_GALLERY, train=False)
        small = timed(_QUERY, train=True)
        return Speed(decode, timed(_GALLERY, train=True), small + forward, forward + timed(_QUERY, train=False))
