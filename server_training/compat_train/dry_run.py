"""A recipe before it runs: whether its data are there, what each run costs, and how long it takes on this device."""

from __future__ import annotations

import functools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compat_sdk.errors import CompatError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Augmentation, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.upgrade import SideInfoConfig, UpgradeConfig
from compat_train.data.canvas import decoding
from compat_train.data.training_set import training_split
from compat_train.device import device_of, place, torch_threads
from compat_train.models.build import build_model
from compat_train.models.cost import LayerCost, per_layer
from compat_train.models.supernet import MemberNetwork
from compat_train.models.transform import ForwardAdaptation, ForwardTransform, transform_cost
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.cmp.latency import costs_of
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.projection import Machine, in_half
from compat_train.recipe import Recipe
from compat_train.recipe_plan import TRANSFORM, Plan, PlannedRun
from compat_train.runs.layout import ADAPTATION

_IMAGES = 8  # of a timed step; a step of more takes as much longer
_VECTORS = 256  # the same of a transform
_STEPS = 3
_GIB = 2.0**30


@dataclass(frozen=True)
class _Desk:
    """Where networks are timed and projected, what was found wrong meanwhile, and the pixels, all of them once.

    Attributes:
        device: Where networks are timed.
        machine: GPUs for which they are projected too; None for none.
        half: Whether arithmetic has 16 bits there.
        problems: What would end the recipe, as keys.
        gib: Decoded pixels that runs share, in GiB, by their images and how they are decoded.
    """

    device: torch.device
    machine: Machine | None
    half: bool
    problems: dict[str, None] = field(default_factory=dict)
    gib: dict[tuple[Source, Preprocessing], float] = field(default_factory=dict)


def plan_recipe(recipe: Recipe, out: str | Path, *, device: str | None = None, machine: str | None = None) -> Plan:
    """Check a recipe's data and networks, and time a few steps of each network on made inputs. Nothing is written.

    Args:
        recipe: Output of `compat_train.recipe.read_recipe`.
        out: Folder that its runs would be in.
        device: Where to time; the recipe's device if not given.
        machine: GPUs for which hours are projected too, such as ``v100:8``; see `compat_train.projection`.

    Raises:
        ConfigError: There is no such network, no such device, or no such machine.
    """
    asked = _execution(recipe)
    elsewhere = None if machine is None else Machine.named(machine)
    desk = _Desk(device_of(device or asked.device), elsewhere, in_half(asked.precision))
    with torch_threads(asked.threads or None):
        runs = tuple(_runs(recipe, desk))
    notes = []
    if recipe.cmp is not None:
        notes.append(_search_note(recipe.cmp))
    if recipe.global_search is not None:
        notes.append(
            "global: a global search trains networks until it stops by itself; their number is not known before it ran"
        )
        _count(recipe.global_search.source, "global", recipe.global_search.optimisation.batch, desk)
    folder = Path(out).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GIB
    needed = math.fsum(desk.gib.values())
    if needed > free:
        desk.problems[f"decoded pixels of all runs take {needed:.3g} GiB, and {free:.3g} GiB are free at {folder}"] = (
            None
        )
    return Plan(runs, tuple(notes), tuple(desk.problems), desk.device.type, free, machine)


def _execution(recipe: Recipe) -> Execution:
    """Where all runs of a recipe run: they share it."""
    for config in (recipe.gallery, *recipe.models.values(), recipe.global_search):
        if config is not None:
            return config.execution
    return Execution()


def _runs(recipe: Recipe, desk: _Desk) -> Iterator[PlannedRun]:
    models: dict[str, GalleryConfig | QueryConfig | SideInfoConfig] = {}
    if recipe.gallery is not None:
        models["gallery"] = recipe.gallery
    models |= {**recipe.models, **recipe.queries, **recipe.sides}
    dims: dict[str, int] = {}
    seen: dict[str, Preprocessing] = {}
    for name, config in models.items():
        against = Path(config.gallery).name if isinstance(config, QueryConfig) else name
        dims[name] = dims.get(against, 128) if isinstance(config, QueryConfig) else config.dim
        seen[name] = config.preprocessing or seen.get(against, Preprocessing(size=112))
        shape = (config.arch, dims[name], config.width, config.stem_stride)
        views = config.random_views if isinstance(config, SideInfoConfig) else config.augmentation
        training = _Training(name, config.arch, config.source, config.optimisation, views, seen[name])
        yield _planned(training, functools.partial(_built, *shape), _layers(*shape, seen[name].size), desk)
    for name, upgrade in recipe.upgrades.items():
        yield _of_transform(name, upgrade, dims, desk)
    if recipe.cmp is not None:
        as_seen = seen.get("gallery", Preprocessing(size=112))
        yield from _of_search(recipe.cmp, as_seen, dims.get("gallery", 128), desk)


@dataclass(frozen=True)
class _Training:
    """What a training of images does with one network."""

    name: str
    arch: str
    source: Source
    optimisation: Optimisation
    augmentation: Augmentation
    preprocessing: Preprocessing


def _of_search(config: CmpConfig, preprocessing: Preprocessing, dim: int, desk: _Desk) -> Iterator[PlannedRun]:
    """The supernet, by a member in the middle of what it trains, and of each tier one retrained network."""
    try:
        costs = costs_of(config, size=preprocessing.size, dim=dim)
    except CompatError as error:
        desk.problems[str(error)] = None
        return
    sampler, random = MemberSampler(costs), np.random.default_rng(0)
    middle = (costs.lowest + min(costs.highest, max(config.budgets))) / 2
    wanted = [("cmp/supernet", middle, config.supernet.optimisation)]
    wanted += [(f"cmp/tiers/{budget:g}{config.unit}/1", budget, config.retrain) for budget in config.budgets]
    for name, budget, optimisation in wanted:
        try:
            member = sampler.draw(random, 0.8 * budget, budget)
        except CompatError as error:
            desk.problems[str(error)] = None
            continue
        build = functools.partial(MemberNetwork, member, dim=dim, stem_stride=config.stem_stride)
        with torch.device("meta"):
            layers = per_layer(build(), preprocessing.size)
        training = _Training(name, member.name, config.source, optimisation, config.augmentation, preprocessing)
        yield _planned(training, build, layers, desk)


def _built(arch: str, dim: int, width: float, stem_stride: int) -> nn.Module:
    return build_model(arch, dim=dim, width=width, stem_stride=stem_stride)


@functools.cache
def _layers(arch: str, dim: int, width: float, stem_stride: int, size: int) -> tuple[LayerCost, ...]:
    """What each layer of a network costs, counted without memory or arithmetic: recipes have one network often."""
    with torch.device("meta"):
        return per_layer(_built(arch, dim, width, stem_stride), size)


def _planned(
    training: _Training, build: Callable[[], nn.Module], layers: Sequence[LayerCost], desk: _Desk
) -> PlannedRun:
    optimisation, size = training.optimisation, training.preprocessing.size
    images, classes = _count(training.source, training.name, optimisation.batch, desk)
    steps = None if images is None else _steps(images, optimisation)
    mmacs = math.fsum(layer.mmacs for layer in layers)
    found = PlannedRun(training.name, training.arch, mmacs, images, classes, steps, None, None)
    if images is None or steps is None:
        return found
    shown = min(_IMAGES, optimisation.batch)
    seconds = _seconds(build, [(3, size, size)], shown, desk.device)
    gib = 0.0
    if not training.source.streamed:
        decoded = replace(decoding(training.preprocessing), size=max(size, training.augmentation.canvas))
        gib = desk.gib[training.source, decoded] = images * 3 * decoded.size**2 / _GIB
    there = None if desk.machine is None else desk.machine.seconds(layers, half=desk.half)
    shown_in_all = steps * optimisation.batch
    return replace(
        found,
        hours=shown_in_all * seconds / 3600,
        gib=gib,
        projected_hours=None if there is None else shown_in_all * there / 3600,
    )


def _of_transform(name: str, config: UpgradeConfig, dims: dict[str, int], desk: _Desk) -> PlannedRun:
    """Its inputs are what the last of its earlier transforms leaves, where it has some; ``dims`` gains its output."""
    old, new = dims[_run_of([config.old, *config.through][-1])], dims[Path(config.new).name]
    side = None if config.side_info is None else dims[_run_of([config.side_info, *config.side_through][-1])]
    dims[name] = new
    build: Callable[[], nn.Module] = functools.partial(ForwardAdaptation, old=old, new=new, hidden=config.width)
    if config.method == "fct":
        build = functools.partial(ForwardTransform, old=old, side=side, new=new, hidden=config.width)
    images, classes = _count(config.images, name, config.schedule.batch, desk)
    steps = None if images is None else _steps(images, config.schedule)
    with torch.device("meta"):
        mmacs = transform_cost(build()).mmacs
    hours = None
    if steps is not None:
        taken = [(old,)] if side is None or config.method == "dmu" else [(old,), (side,)]
        seconds = _seconds(build, taken, min(_VECTORS, config.schedule.batch), desk.device)
        hours = steps * config.schedule.batch * seconds / 3600
    return PlannedRun(name, f"{TRANSFORM} ({config.method})", mmacs, images, classes, steps, hours, None)


def _run_of(path: str) -> str:
    """The run of a recipe that a folder is of: its own, or that of a new model with the transform beside it."""
    folder = Path(path)
    return folder.parent.name if folder.name == ADAPTATION else folder.name


def _count(source: Source, name: str, batch: int, desk: _Desk) -> tuple[int | None, int]:
    """Images and classes of a training split, after a look at whether a batch of them can be drawn."""
    images, classes = _counted(source, desk.problems)
    if images is not None and images < batch:
        found = f"{name}: a step takes {batch:,} images, and there are {images:,} to train on"
        desk.problems[f"{found}; set a batch of {images:,} or less"] = None
    return images, classes


def _counted(source: Source, problems: dict[str, None]) -> tuple[int | None, int]:
    """Images and classes of a training split, or what keeps it from being opened."""
    try:
        split = training_split(source)
    except CompatError as error:
        problems[str(error)] = None
        return None, 0
    return len(split), len(split.classes) if split.labelled else 0


def _steps(images: int, optimisation: Optimisation) -> int:
    return max(1, images // optimisation.batch) * optimisation.epochs


def _seconds(
    build: Callable[[], nn.Module], shapes: Sequence[tuple[int, ...]], count: int, device: torch.device
) -> float:
    """Median time of a training step for one row of each input, in seconds, after a first step that does not count."""
    network = place(build(), device)
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9)
    inputs = [torch.rand(count, *shape, device=device) for shape in shapes]
    inputs = [each.contiguous(memory_format=torch.channels_last) if each.ndim == 4 else each for each in inputs]
    times = []
    for _ in range(_STEPS + 1):
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        network(*inputs).square().mean().backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[_STEPS // 2] / count


def _search_note(config: CmpConfig) -> str:
    candidates = len(config.budgets) * config.search.population * config.search.rounds
    return (
        f"cmp: each tier retrains {config.keep} networks, {len(config.static)} static ones come beside them, and at "
        f"most {candidates:,} candidates are measured on {config.validation.queries:,} queries and "
        f"{config.validation.gallery:,} gallery images each"
    )
