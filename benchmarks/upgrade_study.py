"""The models and transforms of one dataset and seed of upgrades.py, and the rows that they give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from backfill import curves
from numpy.typing import NDArray
from report_page import packed
from upgrade_plans import COMPATIBLE, KINDS, PLANS

from compat_sdk.datasets import Dataset, open_dataset
from compat_sdk.gallery.compact import from_float16, from_int8, to_float16, to_int8
from compat_sdk.images import Preprocessing
from compat_sdk.metrics import score_queries
from compat_train.config.training import Classification, Execution, GalleryConfig, QueryConfig, Scenario, Source
from compat_train.config.upgrade import VIEWS, SideInfoConfig, UpgradeConfig
from compat_train.data.pixels import decode_split
from compat_train.data.scenario_rows import scenario_rows
from compat_train.data.training_set import TrainingSet
from compat_train.evaluation.cka import linear_cka
from compat_train.evaluation.embedding_model import open_model
from compat_train.evaluation.transform_model import open_transform
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import ADAPTATION, train_query
from compat_train.methods.side_info import train_side_info
from compat_train.methods.upgrade import train_upgrade

Vectors = NDArray[np.float32]


class Study:
    """All runs and rows of one dataset and seed."""

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
        values = {"hidden": self.plan.hidden, "optimisation": self.plan.transform} | settings
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

    def embedded(self, run: Path) -> tuple[Vectors, Vectors]:
        """Embeddings of the queries and of the gallery by one model, computed once."""
        found = []
        for split in ("query", "gallery"):
            path = run / f"upgrades-{split}.npy"
            if not path.is_file():
                partial = path.with_suffix(".partial.npy")
                np.save(partial, open_model(run).embed(self.pixels(split)))
                partial.replace(path)
            found.append(np.load(path))
        return found[0], found[1]

    def score(self, query: Vectors, gallery: Vectors) -> dict[str, Any]:
        """Top-1, mAP and hits of one pair of models."""
        labels = [self.dataset.splits[split].labels for split in ("query", "gallery")]
        scored = score_queries(query, labels[0], gallery, labels[1])
        hits = scored.hits(1)
        mean = float(np.mean(scored.average_precision))
        return {"top1": float(hits.mean()), "map": mean, "queries": len(hits), "hits": packed(hits > 0)}

    def upgraded(self, run: Path, old: Path | tuple[Vectors, ...], side: Path | tuple[Vectors, ...] | None) -> Any:
        """Transformed embeddings of the queries and of the gallery."""
        of_old = self.embedded(old) if isinstance(old, Path) else old
        of_side = (None, None) if side is None else self.embedded(side) if isinstance(side, Path) else side
        apply = open_transform(run).apply
        return tuple(apply(*pair) for pair in zip(of_old, of_side, strict=True))

    def row(self, vectors: tuple[Vectors, ...], new: Path, side: Path | None = None) -> dict[str, Any]:
        """Everything that is kept of one upgraded gallery."""
        of_new, transformed = self.embedded(new), vectors[1]
        found: dict[str, Any] = {
            "new_transformed": self.score(of_new[0], transformed),
            "transformed_transformed": self.score(*vectors),
            "cosine": float(np.einsum("ij,ij->i", transformed, of_new[1]).mean()),
            "cka_new": linear_cka(transformed, of_new[1]),
        }
        if side is not None:
            found["cka_side_old"] = linear_cka(self.embedded(side)[1], self.embedded(self.model("old"))[1])
        return found

    def fct(self, kind: str) -> tuple[Path, Path | None]:
        """FCT's transform from the old to the new model with one kind of side-information, and its encoder."""
        side = None if kind == "none" else self.side(kind)
        return self.transform(f"fct-{kind}", self.model("old"), self.model("new"), side), side

    def jobs(self) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """Every row by name, with what computes it; most telling rows first."""
        yield "models", self._models
        for name in COMPATIBLE:
            yield name, lambda name=name: self._compatible(name)
        for kind in (*KINDS, "simclr-32"):
            yield f"fct-{kind}", lambda kind=kind: self._fct(kind)
        for kind in ("simclr", "simclr-32"):
            for name, to, back in (("fp16", to_float16, from_float16), ("int8", to_int8, from_int8)):
                yield f"{name}-{kind}", lambda kind=kind, to=to, back=back: self._quantised(kind, to, back)
        yield "two-hops", lambda: self._two_hops("simclr")
        yield "two-hops-through", lambda: self._two_hops_through("simclr")
        yield "direct", lambda: self._direct("simclr")
        yield "two-hops-none", lambda: self._two_hops(None)
        yield "direct-none", lambda: self._direct(None)
        regression = {"arc": 0.0, "regression": 1.0}
        for name in ("new", *(name for name in COMPATIBLE if not name.startswith("dmu"))):
            yield f"psi-{name}", lambda name=name: self._psi(f"psi-{name}", name)
        for name in ("new", "bct"):
            yield f"psi-{name}-regression", lambda name=name: self._psi(f"psi-{name}-regression", name, **regression)
        yield "psi-new-both", lambda: self._psi("psi-new-both", "new", regression=1.0)
        yield "fct-bct", self._fct_on_bct
        for name in ("bct", "sbc-entropy", "sbc-sharp"):
            yield f"sequence-{name}", lambda name=name: self._sequence(name)
        yield "sequence-remedies-sbc-sharp", lambda: self._sequence_remedies("sbc-sharp")
        for kind in ("none", "simclr"):
            yield f"backfill-{kind}", lambda kind=kind: self._backfill(kind)
        yield "ridge-none", lambda: self._ridge(None)
        yield "ridge-simclr", lambda: self._ridge("simclr")
        if self.plan.more is not None:
            yield "fct-more-images", lambda: self._fct_with("fct-more-images", "simclr", data=self.plan.more, epochs=12)
        both = {"l2": 0.0, "arc": 1.0, "regression": 20.0}
        for kind in ("none", "simclr", "simclr-new"):
            yield f"fct-arc-{kind}", lambda kind=kind: self._fct_with(f"fct-arc-{kind}", kind, **both)
        yield "fct-views", lambda: self._fct_with("fct-views", "simclr", augmentation=self.plan.augmentation, epochs=8)

    def _models(self) -> dict[str, Any]:
        old, new, first = (self.embedded(self.model(name)) for name in ("old", "new", "v1"))
        pairs = {"old_old": (old, old), "new_new": (new, new), "new_old": (new, old), "v1_v1": (first, first)}
        return {name: self.score(query[0], gallery[1]) for name, (query, gallery) in pairs.items()} | {
            "cka_old_new": linear_cka(old[1], new[1])
        }

    def _compatible(self, name: str) -> dict[str, Any]:
        run, old = self.compatible(name), self.model("old")
        new, of_old = self.embedded(run), self.embedded(old)
        found = {"new_old": self.score(new[0], of_old[1]), "new_new": self.score(new[0], new[1])}
        if (run / ADAPTATION).is_dir():
            found["new_transformed"] = self.score(new[0], self.upgraded(run / ADAPTATION, old, None)[1])
        return found

    def _fct(self, kind: str) -> dict[str, Any]:
        run, side = self.fct(kind)
        return self.row(self.upgraded(run, self.model("old"), side), self.model("new"), side)

    def _quantised(self, kind: str, to: Callable[..., Any], back: Callable[..., Any]) -> dict[str, Any]:
        run, side = self.fct(kind)
        assert side is not None
        stored = [to(vectors) for vectors in self.embedded(side)]
        found = self.row(self.upgraded(run, self.model("old"), tuple(map(back, stored))), self.model("new"))
        return found | {"bytes": stored[1].nbytes / len(stored[1])}

    def _two_hops(self, kind: str | None) -> dict[str, Any]:
        first, old, new = (self.model(name) for name in ("v1", "old", "new"))
        if kind is None:
            hop = self.transform("fct-v1-old-none", first, old, to="old")
            vectors = self.upgraded(self.fct("none")[0], self.upgraded(hop, first, None), None)
            return self.row(vectors, new)
        before, after = self.side(f"{kind}-v1"), self.side(kind)
        hop, carry = self._first_hop(before, after)
        vectors, side = (self.upgraded(run, first, before) for run in (hop, carry))
        return self.row(self.upgraded(self.fct(kind)[0], vectors, side), new) | {
            "images_anew": self.row(self.upgraded(self.fct(kind)[0], vectors, after), new)
        }

    def _first_hop(self, before: Path, after: Path) -> tuple[Path, Path]:
        """H and g from v1 to old, given both generations' side-information."""
        first, old = self.model("v1"), self.model("old")
        hop = self.transform("fct-v1-old", first, old, before, to="old")
        return hop, self.transform("fct-v1-old-side", first, after, before, to="old")

    def _two_hops_through(self, kind: str) -> dict[str, Any]:
        """The second transform is trained on what the first one gives."""
        first, new = self.model("v1"), self.model("new")
        before = self.side(f"{kind}-v1")
        hop, carry = self._first_hop(before, self.side(kind))
        earlier = {"through": (str(hop),), "side_through": (str(carry),)}
        run = self.transform("fct-v1-old-new", first, new, before, **earlier)
        vectors, side = (self.upgraded(one, first, before) for one in (hop, carry))
        return self.row(self.upgraded(run, vectors, side), new)

    def _direct(self, kind: str | None) -> dict[str, Any]:
        side = None if kind is None else self.side(f"{kind}-v1")
        name = "fct-v1-new" + "-none" * (kind is None)
        run = self.transform(name, self.model("v1"), self.model("new"), side)
        return self.row(self.upgraded(run, self.model("v1"), side), self.model("new"))

    def psi(self, name: str, old: Path, new: Path, to: str = "new", **settings: Any) -> Path:
        """DMU's forward adaptation of an old model's embeddings to a new model's."""
        schedule = replace(self.plan.transform, optimiser="sgd", lr=0.1, weight_decay=1e-4)
        return self.transform(name, old, new, to=to, method="dmu", optimisation=schedule, **settings)

    def _psi(self, name: str, new: str, **settings: Any) -> dict[str, Any]:
        old, target = self.model("old"), self.model(new) if new == "new" else self.compatible(new)
        return self.row(self.upgraded(self.psi(name, old, target, **settings), old, None), target)

    def _sequence(self, name: str) -> dict[str, Any]:
        """Two upgrades in a row, each model compatible with the one before it: seed 003, table 6."""
        first, second, third = self._chain(name)
        one = self.psi(f"psi-{second.name}", first, second, "old")
        two = self.psi(f"psi-{third.name}", second, third)
        queries = {run: self.embedded(run)[0] for run in (first, second, third)}
        galleries = {run: self.embedded(run)[1] for run in (first, second, third)}
        after_one = self.upgraded(one, first, None)
        return {
            "second_second": self.score(queries[second], galleries[second]),
            "second_first": self.score(queries[second], galleries[first]),
            "second_psi": self.score(queries[second], after_one[1]),
            "third_third": self.score(queries[third], galleries[third]),
            "third_second": self.score(queries[third], galleries[second]),
            "third_psi": self.score(queries[third], self.upgraded(two, second, None)[1]),
            "third_two_psi": self.score(queries[third], self.upgraded(two, after_one, None)[1]),
        }

    def _sequence_remedies(self, name: str) -> dict[str, Any]:
        """In place of psi after psi: a second one trained on what the first gives, and one straight from model 1."""
        first, second, third = self._chain(name)
        one = self.psi(f"psi-{second.name}", first, second, "old")
        through = self.psi(f"psi-{third.name}-through", first, third, through=(str(one),))
        direct = self.psi(f"psi-{third.name}-direct", first, third)
        queries = self.embedded(third)[0]
        return {
            "third_through": self.score(queries, self.upgraded(through, self.upgraded(one, first, None), None)[1]),
            "third_direct": self.score(queries, self.upgraded(direct, first, None)[1]),
        }

    def _chain(self, name: str) -> tuple[Path, Path, Path]:
        first = self.model("v1")
        second = self.compatible(name, "old", first)
        return first, second, self.compatible(name, "new", second)

    def _backfill(self, kind: str) -> dict[str, Any]:
        run, side = self.fct(kind)
        return curves(self.dataset, self.model("old"), self.model("new"), run, side)

    def _ridge(self, kind: str | None) -> dict[str, Any]:
        """The best linear transform, by ridge regression, in place of h."""
        runs = [self.model("old"), *([] if kind is None else [self.side(kind)])]
        new = self.model("new")
        pixels = self.training(self.plan.generations["new"]).pixels
        inputs = np.concatenate([open_model(run).embed(pixels) for run in runs], 1)
        gram = inputs.T @ inputs + 1e-3 * len(inputs) / inputs.shape[1] * np.eye(inputs.shape[1])
        weights = np.linalg.solve(gram, inputs.T @ open_model(new).embed(pixels))
        outputs = [np.concatenate(parts, 1) @ weights for parts in zip(*map(self.embedded, runs), strict=True)]
        vectors = tuple((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32) for rows in outputs)
        return self.row(vectors, new)

    def _fct_on_bct(self) -> dict[str, Any]:
        side, target = self.side("simclr"), self.compatible("bct")
        run = self.transform("fct-bct", self.model("old"), target, side)
        return self.row(self.upgraded(run, self.model("old"), side), target)

    def _fct_with(self, name: str, kind: str, *, epochs: int | None = None, **settings: Any) -> dict[str, Any]:
        """FCT's transform with other settings or data."""
        side, new = None if kind == "none" else self.side(kind), self.model("new")
        if epochs is not None:
            settings["optimisation"] = replace(self.plan.transform, epochs=min(epochs, self.plan.transform.epochs))
        run = self.transform(name, self.model("old"), new, side, **settings)
        return self.row(self.upgraded(run, self.model("old"), side), new)


def _trained(run: Path, train: Callable[[], object]) -> Path:
    if not (run / "model.json").is_file():
        before = time.process_time()
        train()
        print(f"{run}: {time.process_time() - before:.0f} s", flush=True)
    return run
