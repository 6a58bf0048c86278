"""Models, side-information and transforms of one dataset and seed, each trained when it is first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.upgrades.plans import COMPATIBLE, PLANS
from compat_sdk.datasets import Dataset, open_dataset
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Classification, Execution, Source
from compat_train.config.query import QueryConfig
from compat_train.config.scenario import Scenario
from compat_train.config.upgrade import VIEWS, SideInfoConfig, UpgradeConfig
from compat_train.data.pixels import decode_split
from compat_train.data.scenario_rows import scenario_rows
from compat_train.data.training_set import TrainingSet
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.methods.side_info import train_side_info
from compat_train.methods.upgrade import train_upgrade

Vectors = NDArray[np.float32]


class Runs:
    """RUN folders of one dataset and seed; finished ones are kept."""

    def __init__(self, name: str, seed: int, root: str | None, runs: Path) -> None:
        """Trains nothing yet."""
        self.name, self.seed, self.plan, self.runs = name, seed, PLANS[name], runs
        self.root = root if name.startswith("kanji") else None
        self.folder = runs / "upgrades" / f"{name}-{seed}"

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset, opened once."""
        return open_dataset(self.plan.data, None if self.root is None else Path(self.root))

    def source(self, scenario: Scenario, data: str | None = None) -> Source:
        """Part of the training split."""
        return Source(data=data or self.plan.data, root=self.root, scenario=scenario)

    def execution(self, shift: int, precision: str = "fp32") -> Execution:
        """Another seed for every generation, so that they share nothing."""
        seed = self.seed + 100 * shift
        return Execution(seed=seed, device="cpu", precision=precision, threads=1)  # type: ignore[arg-type]

    def pixels(self, split: str, data: str | None = None) -> NDArray[np.uint8]:
        """A split decoded once, as an array that every process maps into memory."""
        data = data or self.plan.data
        path = self.runs / "upgrades" / "pixels" / f"{data}-{split}-{self.plan.size}.npy"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = open_dataset(data, None if self.root is None else Path(self.root))
            partial = path.with_suffix(f".{self.name}-{self.seed}.npy")
            np.save(partial, decode_split(opened.splits[split], Preprocessing(size=self.plan.size)).images)
            partial.replace(path)
        found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        return found

    def training(self, scenario: Scenario, data: str | None = None) -> TrainingSet:
        """What a run with this source learns from."""
        dataset = self.dataset if data is None else open_dataset(data, Path(str(self.root)))
        labels = dataset.splits["train"].labels
        pixels = self.pixels("train", data)
        if not scenario.everything:
            rows = scenario_rows(scenario, labels)
            labels, pixels = tuple(labels[row] for row in rows.tolist()), pixels[rows]
        classes = tuple(sorted(set(labels)))
        numbers = {name: number for number, name in enumerate(classes)}
        return TrainingSet(pixels, np.fromiter((numbers[name] for name in labels), np.int64, len(labels)), classes)

    def model(self, generation: str) -> Path:
        """The model of a generation, trained independently of the others."""
        plan, run = self.plan, self.folder / generation
        scenario = plan.generations[generation]
        config = GalleryConfig(
            source=self.source(scenario),
            **(plan.model if generation == "new" else plan.older),
            dim=plan.dim,
            preprocessing=Preprocessing(size=plan.size),
            classification=Classification(margin=0.3, scale=30.0),
            optimisation=plan.optimisation,
            augmentation=plan.augmentation,
            execution=self.execution({"new": 0, "old": 1, "v1": 2}[generation], "bf16"),
        )
        return _trained(run, lambda: train_gallery(config, run, data=self.training(scenario)))

    def compatible(self, name: str, generation: str = "new", old: Path | None = None) -> Path:
        """A model that was trained to search an older one's gallery, in one of the ways of COMPATIBLE.

        It is trained on the data of ``generation``; the older model is the independent old one if there is no other.
        """
        plan, scenario = self.plan, self.plan.generations[generation]
        run = self.folder / (name if old is None else f"{name}-after-{old.name}")
        config = QueryConfig(
            source=self.source(scenario),
            gallery=str(self.model("old") if old is None else old),
            role="gallery",
            **COMPATIBLE[name],
            **(plan.model if generation == "new" else plan.older),
            optimisation=plan.optimisation,
            augmentation=plan.augmentation,
            execution=self.execution(0, "bf16"),
        )
        return _trained(run, lambda: train_query(config, run, data=self.training(scenario)))

    def chain(self, name: str) -> tuple[Path, Path, Path]:
        """Three generations, each but the first compatible with the one before it."""
        first = self.model("v1")
        second = self.compatible(name, "old", first)
        return first, second, self.compatible(name, "new", second)

    def side(self, kind: str) -> Path:
        """A side-information encoder: one of KINDS, ``simclr-32`` (32 numbers) or ``simclr-v1`` (on v1's data)."""
        plan, run = self.plan, self.folder / f"side-{kind}"
        method, _, rest = kind.partition("-")
        generation = rest if rest in plan.generations else "old"
        scenario = plan.generations[generation]
        config = SideInfoConfig(
            source=self.source(scenario),
            method=method,  # type: ignore[arg-type]
            **plan.encoder,
            dim=32 if rest == "32" else plan.dim,
            preprocessing=Preprocessing(size=plan.size),
            classification=Classification(margin=0.3, scale=30.0),
            optimisation=plan.side,
            augmentation=replace(VIEWS, flip=plan.augmentation.flip) if method == "simclr" else plan.augmentation,
            channels=32,
            execution=self.execution({"old": 3, "v1": 4, "new": 5}[generation], "bf16"),
        )
        return _trained(run, lambda: train_side_info(config, run, data=self.training(scenario)))

    def transform(
        self, name: str, old: Path, new: Path, side: Path | None = None, *, to: str = "new", **settings: Any
    ) -> Path:
        """A transform, trained on the data of generation ``to`` unless ``data`` says otherwise."""
        run, data = self.folder / name, settings.pop("data", None)
        scenario = Scenario() if data else self.plan.generations[to]
        values: dict[str, Any] = {"hidden": self.plan.hidden, "optimisation": self.plan.transform} | settings
        config = UpgradeConfig(
            source=self.source(scenario, data),
            old=str(old),
            new=str(new),
            side_info=None if side is None else str(side),
            execution=self.execution(6, "bf16"),
            **values,
        )
        kept = self.folder / f"embeddings-{data or to}"
        return _trained(run, lambda: train_upgrade(config, run, data=self.training(scenario, data), embeddings=kept))

    def psi(self, name: str, old: Path, new: Path, to: str = "new", **settings: Any) -> Path:
        """DMU's forward adaptation of an old model's embeddings to a new model's."""
        schedule = replace(self.plan.transform, optimiser="sgd", lr=0.1, weight_decay=1e-4)
        return self.transform(name, old, new, to=to, method="dmu", optimisation=schedule, **settings)

    def fct(self, kind: str) -> tuple[Path, Path | None]:
        """FCT's transform from the old to the new model with one kind of side-information, and its encoder."""
        side = None if kind == "none" else self.side(kind)
        return self.transform(f"fct-{kind}", self.model("old"), self.model("new"), side), side

    def first_hop(self, before: Path, after: Path) -> tuple[Path, Path]:
        """H and g from v1 to old, given both generations' side-information."""
        first, old = self.model("v1"), self.model("old")
        hop = self.transform("fct-v1-old", first, old, before, to="old")
        return hop, self.transform("fct-v1-old-side", first, after, before, to="old")


def _trained(run: Path, train: Callable[[], object]) -> Path:
    if not (run / "model.json").is_file():
        before = time.process_time()
        train()
        print(f"{run}: {time.process_time() - before:.0f} s", flush=True)
    return run
