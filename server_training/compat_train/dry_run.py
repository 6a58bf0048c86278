"""A recipe before it runs: whether its data are there, what each run costs, and how long it takes on this device."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compat_sdk.errors import CompatError
from compat_sdk.shown import escaped
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.config.upgrade import SideInfoConfig
from compat_train.data.training_set import training_split
from compat_train.device import device_of, place, torch_threads
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.models.supernet import MemberNetwork
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.cmp.latency import costs_of
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.recipe import Recipe

_IMAGES = 8  # of a timed step; a step of more takes as much longer
_STEPS = 3
_GIB = 2.0**30


@dataclass(frozen=True)
class PlannedRun:
    """One training of a recipe.

    Attributes:
        name: Folder of the run, in the recipe's.
        arch: Architecture name; of a supernet the member that was timed.
        mmacs: Cost of one image, in millions of multiply-accumulates; None where only vectors are learnt from.
        images: Images of one pass, after the scenario; None where the data cannot be opened.
        classes: Classes among them; 0 without labels.
        steps: Steps of the whole training; None with ``images``.
        hours: Time of the network's own steps on this device; None where it was not timed. What a gallery model embeds
            meanwhile, decoding and evaluation come on top.
        gib: Decoded pixels, kept in memory or on the disk, in GiB.
    """

    name: str
    arch: str
    mmacs: float | None
    images: int | None
    classes: int
    steps: int | None
    hours: float | None
    gib: float | None


@dataclass(frozen=True)
class Plan:
    """What a recipe would do.

    Attributes:
        runs: Every training whose length is known, in order.
        notes: What else would run, one sentence each.
        problems: What would end it, one sentence each; empty when it can run.
        device: What was timed.
        gib_free: Room on the disk of the recipe's folder, in GiB.
    """

    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    device: str
    gib_free: float

    @property
    def hours(self) -> float | None:
        """Of all runs together; None where one is not known."""
        each = [run.hours for run in self.runs]
        return None if None in each else math.fsum(hours for hours in each if hours is not None)

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return asdict(self) | {"hours": self.hours}

    def table(self) -> str:
        """Plain text: a line for each run, what comes on top, and what is wrong."""
        lines = [f"{'run':18}{'network':28}{'MMACs':>9}{'images':>10}{'classes':>9}{'steps':>10}{'hours':>9}{'GiB':>8}"]
        for run in self.runs:
            numbers = (
                (run.mmacs, "9.4g"), (run.images, "10,"), (run.classes, "9,"), (run.steps, "10,"), (run.hours, "9.3g"),
                (run.gib, "8.3g"),
            )  # fmt: skip
            lines.append(
                f"{escaped(run.name)[:17]:18}{escaped(run.arch)[:27]:28}"
                + "".join(
                    f"{'?':>{form.rstrip(',g').split('.')[0]}}" if value is None else f"{value:{form}}"
                    for value, form in numbers
                )
            )
        if self.hours is not None:
            lines.append(f"together about {self.hours:.3g} hours of steps on {self.device}, without decoding")
        lines.append(f"disk: {self.gib_free:.3g} GiB free")
        lines += [escaped(note) for note in self.notes]
        lines += [f"problem: {escaped(problem)}" for problem in self.problems]
        return "\n".join(lines)


def plan_recipe(recipe: Recipe, out: str | Path, *, device: str | None = None) -> Plan:
    """Check a recipe's data and networks, and time a few steps of each network on made images. Nothing is written.

    Args:
        recipe: Output of `compat_train.recipe.read_recipe`.
        out: Folder that its runs would be in.
        device: Where to time; the recipe's device if not given.

    Raises:
        ConfigError: There is no such network, or no such device.
    """
    problems: dict[str, None] = {}
    told = [config for config in (recipe.gallery, *recipe.models.values()) if config is not None]
    asked = told[0].execution if told else recipe.global_search.execution if recipe.global_search else None
    where = device_of(device or (asked.device if asked is not None else "auto"))
    with torch_threads((asked.threads if asked is not None else 0) or None):
        runs = tuple(_runs(recipe, where, problems))
    notes = []
    if recipe.cmp is not None:
        notes.append(_search_note(recipe.cmp))
    if recipe.global_search is not None:
        notes.append(
            "global: a global search trains networks until it stops by itself; their number is not known before it ran"
        )
    folder = Path(out).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GIB
    needed = math.fsum(run.gib or 0.0 for run in runs)
    if needed > free:
        problems[f"decoded pixels of all runs take {needed:.3g} GiB, and {free:.3g} GiB are free at {folder}"] = None
    return Plan(runs, tuple(notes), tuple(problems), where.type, free)


def _runs(recipe: Recipe, device: torch.device, problems: dict[str, None]) -> Iterator[PlannedRun]:
    models: dict[str, GalleryConfig | QueryConfig | SideInfoConfig] = {}
    if recipe.gallery is not None:
        models["gallery"] = recipe.gallery
    models |= {**recipe.models, **recipe.queries, **recipe.sides}
    dims = {name: config.dim for name, config in models.items() if not isinstance(config, QueryConfig)}
    sizes = {name: config.preprocessing.size for name, config in models.items() if config.preprocessing is not None}
    for name, config in models.items():
        against = Path(config.gallery).name if isinstance(config, QueryConfig) else name
        dim, size = dims.get(against, 128), sizes.get(name, sizes.get(against, 112))
        network = build_model(config.arch, dim=dim, width=config.width, stem_stride=config.stem_stride)
        yield _planned(name, config.arch, network, size, config.source, config.optimisation, device, problems)
    for name, upgrade in recipe.upgrades.items():
        images, classes = (None, 0) if upgrade.source is None else _counted(upgrade.source, problems)
        optimisation = upgrade.schedule
        steps = None if images is None else _steps(images, optimisation)
        yield PlannedRun(name, f"transform ({upgrade.method})", None, images, classes, steps, None, None)
    if recipe.cmp is not None:
        yield from _of_search(recipe.cmp, sizes.get("gallery", 112), dims.get("gallery", 128), device, problems)


def _of_search(
    config: CmpConfig, size: int, dim: int, device: torch.device, problems: dict[str, None]
) -> Iterator[PlannedRun]:
    """The supernet, by a member in the middle of what it trains, and of each tier one retrained network."""
    try:
        costs = costs_of(config, size=size, dim=dim)
    except CompatError as error:
        problems[str(error)] = None
        return
    sampler, random = MemberSampler(costs), np.random.default_rng(0)
    middle = (costs.lowest + min(costs.highest, max(config.budgets))) / 2
    wanted = [("cmp/supernet", middle, config.supernet.optimisation)]
    wanted += [(f"cmp/tiers/{budget:g}{config.unit}/1", budget, config.retrain) for budget in config.budgets]
    for name, budget, optimisation in wanted:
        try:
            member = sampler.draw(random, 0.8 * budget, budget)
        except CompatError as error:
            problems[str(error)] = None
            continue
        network = MemberNetwork(member, dim=dim, stem_stride=config.stem_stride)
        yield _planned(name, member.name, network, size, config.source, optimisation, device, problems)


def _planned(
    name: str,
    arch: str,
    network: nn.Module,
    size: int,
    source: Source,
    optimisation: Optimisation,
    device: torch.device,
    problems: dict[str, None],
) -> PlannedRun:
    images, classes = _counted(source, problems)
    steps = None if images is None else _steps(images, optimisation)
    mmacs = count_cost(network, size).mmacs
    seconds = _seconds(network, size, min(_IMAGES, optimisation.batch), device)
    hours = None if steps is None else steps * optimisation.batch * seconds / 3600
    gib = None if images is None else 0.0 if source.streamed else images * 3 * size**2 / _GIB
    return PlannedRun(name, arch, mmacs, images, classes, steps, hours, gib)


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


def _seconds(network: nn.Module, size: int, images: int, device: torch.device) -> float:
    """Median time of a training step for one image, in seconds, after a first step that counts for nothing."""
    place(network, device)
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9)
    batch = torch.rand(images, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(_STEPS + 1):
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        network(batch).square().mean().backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[_STEPS // 2] / images


def _search_note(config: CmpConfig) -> str:
    candidates = len(config.budgets) * config.search.population * config.search.rounds
    return (
        f"cmp: each tier retrains {config.keep} networks, {len(config.static)} static ones come beside them, and at "
        f"most {candidates:,} candidates are measured on {config.validation.queries:,} queries and "
        f"{config.validation.gallery:,} gallery images each"
    )
