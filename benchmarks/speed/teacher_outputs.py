"""Images per second of training a query model: gallery model in every step, against its outputs computed once.

Both train the same MobileNetV2 at 96 pixels by regression on random crops. The gallery model is a ResNet-101 at 112
with a stem of stride 1, which costs what the usual one does at 224 (fresh weights: they change no cost). In the loop,
views are endless and the gallery model runs on each batch. Computed once, an image has a few views
(``Augmentation.fixed_views``), whose outputs were written before the first step, and a step looks them up. The two take
turns, step by step, so that a shared machine disturbs both alike: read the ratio.

    python -m benchmarks.speed.teacher_outputs                    # 3 to 6 minutes on one core
    python -m benchmarks.speed.teacher_outputs --teacher resnet18 --clock wall --steps 20

JSON goes to stdout. ``pays_from_epoch`` is the epoch from which the whole training is faster, what was computed before
it included.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import nn

from benchmarks.machine import machine
from compat_export.profile_model import untrained_checkpoint
from compat_sdk.images import Preprocessing
from compat_train import Checkpoint
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.scenario import Scenario
from compat_train.data.training_set import load_training_set
from compat_train.methods.objective import compatibility_objective, gallery_rows
from compat_train.methods.shown import shown_images
from compat_train.models.build import build_model

CLOCKS: dict[str, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}
CROPS = Augmentation(flip=True, random_crop=0.8, colour=0.3)
VIEWS = 2


def training_steps(
    gallery: Checkpoint, config: QueryConfig, folder: Path, clock: Callable[[], float]
) -> tuple[Callable[[int], float], float, int]:
    """A function that takes one step and returns its seconds; what was computed before in seconds; and the images."""
    data = load_training_set(config.source, gallery.preprocessing, cache=folder)
    shown = shown_images(config, gallery, data, cache=folder, kept=folder)
    device = torch.device("cpu")
    torch.manual_seed(0)
    embedder = build_model(config.arch, dim=gallery.dim, width=config.width, stem_stride=config.stem_stride)
    embedder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    batches = shown.seen.batches(
        config.optimisation, config.execution, config.augmentation, shown.preprocessing, device
    )
    before = clock()
    objective = compatibility_objective(
        config,
        gallery,
        data,
        lambda inputs, _: embedder(inputs),
        nn.Linear(gallery.dim, len(data.classes), bias=False),
        gallery_rows(config, gallery, data),
        device,
        shown=shown,
    )
    once = clock() - before
    optimiser = torch.optim.SGD(embedder.parameters(), lr=0.01, momentum=0.9)

    def step(number: int) -> float:
        start = clock()
        loss = torch.stack(list(objective(batches.at(number)).values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return clock() - start

    return step, once, len(data.labels)


def measured(options: argparse.Namespace) -> dict[str, object]:
    """The figures of one run."""
    torch.set_num_threads(options.threads)
    clock = CLOCKS[options.clock]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fresh = untrained_checkpoint(options.teacher, size=112)
        gallery = replace(fresh, preprocessing=Preprocessing(size=112), space="untrained-0-0123456789ab")
        endless = QueryConfig(
            source=Source(data="sample", scenario=Scenario(fraction=options.images / 6000)),
            gallery="untrained",
            method="regression",
            arch="mobilenet_v2",
            preprocessing=Preprocessing(size=96),
            stem_stride=2,
            augmentation=CROPS,
            optimisation=Optimisation(epochs=1, batch=options.batch, warmup_epochs=0.0),
            execution=Execution(device="cpu"),
        )
        fixed = replace(endless, augmentation=replace(CROPS, fixed_views=VIEWS))
        in_loop, _, _ = training_steps(gallery, endless, folder, clock)
        looked_up, once, images = training_steps(gallery, fixed, folder, clock)
        seconds: dict[str, list[float]] = {"in_loop": [], "computed_once": []}
        for number in range(options.steps + 1):  # the first step warms up
            for kind, step in (("in_loop", in_loop), ("computed_once", looked_up)):
                seconds[kind].append(step(number))
    rates = {kind: options.batch / median(times[1:]) for kind, times in seconds.items()}
    saved = images / rates["in_loop"] - images / rates["computed_once"]  # seconds an epoch
    return {
        "machine": machine(),
        "torch": torch.__version__,
        "clock": options.clock,
        "threads": options.threads,
        "teacher": f"{options.teacher} at 112, stem stride 1",
        "student": "mobilenet_v2 at 96, stem stride 2",
        "images_per_second": {kind: round(rate, 2) for kind, rate in rates.items()},
        "ratio": round(rates["computed_once"] / rates["in_loop"], 2),
        "views_per_second_computed_once": round(VIEWS * images / once, 2),
        "pays_from_epoch": round(once / saved, 1),
    }


def main() -> None:
    """Measures, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="resnet101", help="architecture of the gallery model")
    parser.add_argument("--images", type=int, default=64, help="training images, about")
    parser.add_argument("--batch", type=int, default=16, help="images per step")
    parser.add_argument("--steps", type=int, default=6, help="steps of each kind that count")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="cpu", help="cpu: this process's own time")
    json.dump(measured(parser.parse_args()), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
