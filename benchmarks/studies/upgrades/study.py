"""The rows of one dataset and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.upgrades.backfill import curves
from benchmarks.studies.upgrades.plans import COMPATIBLE, KINDS
from benchmarks.studies.upgrades.runs import Runs
from benchmarks.studies.upgrades.scores import Scores
from compat_sdk.gallery.compact import from_float16, from_int8, to_float16, to_int8
from compat_train.evaluation.cka import linear_cka
from compat_train.evaluation.embedding_model import open_model
from compat_train.runs.layout import ADAPTATION

Vectors = NDArray[np.float32]


class Study:
    """All rows of one dataset and seed."""

    def __init__(self, name: str, seed: int, root: str | None, runs: Path) -> None:
        """Trains nothing yet."""
        self.runs = Runs(name, seed, root, runs)
        self.scores = Scores(self.runs)
        self.folder = self.runs.folder

    def jobs(self) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """Every row by name, with what computes it; most telling rows first."""
        yield "models", self._models
        for name in COMPATIBLE:
            yield name, partial(self._compatible, name)
        for kind in (*KINDS, "simclr-32"):
            yield f"fct-{kind}", partial(self._fct, kind)
        for kind in ("simclr", "simclr-32"):
            yield f"fp16-{kind}", partial(self._quantised, kind, to_float16, from_float16)
            yield f"int8-{kind}", partial(self._quantised, kind, to_int8, from_int8)
        yield "two-hops", partial(self._two_hops, "simclr")
        yield "two-hops-through", partial(self._two_hops_through, "simclr")
        yield "direct", partial(self._direct, "simclr")
        yield "two-hops-none", partial(self._two_hops, None)
        yield "direct-none", partial(self._direct, None)
        for name in ("new", *(name for name in COMPATIBLE if not name.startswith("dmu"))):
            yield f"psi-{name}", partial(self._psi, f"psi-{name}", name)
        for name in ("new", "bct"):
            job = f"psi-{name}-regression"
            yield job, partial(self._psi, job, name, arc=0.0, regression=1.0)
        yield "psi-new-both", partial(self._psi, "psi-new-both", "new", regression=1.0)
        yield "fct-bct", self._fct_on_bct
        for name in ("bct", "sbc-entropy", "sbc-sharp"):
            yield f"sequence-{name}", partial(self._sequence, name)
        yield "sequence-remedies-sbc-sharp", partial(self._sequence_remedies, "sbc-sharp")
        for kind in ("none", "simclr"):
            yield f"backfill-{kind}", partial(self._backfill, kind)
        yield "ridge-none", partial(self._ridge, None)
        yield "ridge-simclr", partial(self._ridge, "simclr")
        plan = self.runs.plan
        if plan.more is not None:
            yield "fct-more-images", partial(self._fct_with, "fct-more-images", "simclr", data=plan.more, epochs=12)
        for kind in ("none", "simclr", "simclr-new"):
            yield f"fct-arc-{kind}", partial(self._fct_with, f"fct-arc-{kind}", kind, l2=0.0, arc=1.0, regression=20.0)
        yield "fct-views", partial(self._fct_with, "fct-views", "simclr", augmentation=plan.augmentation, epochs=8)

    def _models(self) -> dict[str, Any]:
        old, new, first = (self.scores.embedded(self.runs.model(name)) for name in ("old", "new", "v1"))
        pairs = {"old_old": (old, old), "new_new": (new, new), "new_old": (new, old), "v1_v1": (first, first)}
        return {name: self.scores.score(query[0], gallery[1]) for name, (query, gallery) in pairs.items()} | {
            "cka_old_new": linear_cka(old[1], new[1])
        }

    def _compatible(self, name: str) -> dict[str, Any]:
        run, old = self.runs.compatible(name), self.runs.model("old")
        new, of_old = self.scores.embedded(run), self.scores.embedded(old)
        found = {"new_old": self.scores.score(new[0], of_old[1]), "new_new": self.scores.score(new[0], new[1])}
        if (run / ADAPTATION).is_dir():
            found["new_transformed"] = self.scores.score(new[0], self.scores.upgraded(run / ADAPTATION, old, None)[1])
        return found

    def _fct(self, kind: str) -> dict[str, Any]:
        run, side = self.runs.fct(kind)
        return self.scores.row(self.scores.upgraded(run, self.runs.model("old"), side), self.runs.model("new"), side)

    def _quantised(self, kind: str, to: Callable[..., Any], back: Callable[..., Any]) -> dict[str, Any]:
        run, side = self.runs.fct(kind)
        assert side is not None
        stored = [to(vectors) for vectors in self.scores.embedded(side)]
        found = self.scores.row(
            self.scores.upgraded(run, self.runs.model("old"), tuple(map(back, stored))), self.runs.model("new")
        )
        return found | {"bytes": stored[1].nbytes / len(stored[1])}

    def _two_hops(self, kind: str | None) -> dict[str, Any]:
        first, old, new = (self.runs.model(name) for name in ("v1", "old", "new"))
        if kind is None:
            hop = self.runs.transform("fct-v1-old-none", first, old, to="old")
            vectors = self.scores.upgraded(self.runs.fct("none")[0], self.scores.upgraded(hop, first, None), None)
            return self.scores.row(vectors, new)
        before, after = self.runs.side(f"{kind}-v1"), self.runs.side(kind)
        hop, carry = self.runs.first_hop(before, after)
        vectors, side = (self.scores.upgraded(run, first, before) for run in (hop, carry))
        return self.scores.row(self.scores.upgraded(self.runs.fct(kind)[0], vectors, side), new) | {
            "images_anew": self.scores.row(self.scores.upgraded(self.runs.fct(kind)[0], vectors, after), new)
        }

    def _two_hops_through(self, kind: str) -> dict[str, Any]:
        """The second transform is trained on what the first one gives."""
        first, new = self.runs.model("v1"), self.runs.model("new")
        before = self.runs.side(f"{kind}-v1")
        hop, carry = self.runs.first_hop(before, self.runs.side(kind))
        earlier: dict[str, Any] = {"through": (str(hop),), "side_through": (str(carry),)}
        run = self.runs.transform("fct-v1-old-new", first, new, before, **earlier)
        vectors, side = (self.scores.upgraded(one, first, before) for one in (hop, carry))
        return self.scores.row(self.scores.upgraded(run, vectors, side), new)

    def _direct(self, kind: str | None) -> dict[str, Any]:
        side = None if kind is None else self.runs.side(f"{kind}-v1")
        name = "fct-v1-new" + "-none" * (kind is None)
        run = self.runs.transform(name, self.runs.model("v1"), self.runs.model("new"), side)
        return self.scores.row(self.scores.upgraded(run, self.runs.model("v1"), side), self.runs.model("new"))

    def _psi(self, name: str, new: str, **settings: Any) -> dict[str, Any]:
        old, target = self.runs.model("old"), self.runs.model(new) if new == "new" else self.runs.compatible(new)
        return self.scores.row(self.scores.upgraded(self.runs.psi(name, old, target, **settings), old, None), target)

    def _sequence(self, name: str) -> dict[str, Any]:
        """Two upgrades in a row, each model compatible with the one before it: DMU, table 6."""
        first, second, third = self.runs.chain(name)
        one = self.runs.psi(f"psi-{second.name}", first, second, "old")
        two = self.runs.psi(f"psi-{third.name}", second, third)
        queries = {run: self.scores.embedded(run)[0] for run in (first, second, third)}
        galleries = {run: self.scores.embedded(run)[1] for run in (first, second, third)}
        after_one = self.scores.upgraded(one, first, None)
        return {
            "second_second": self.scores.score(queries[second], galleries[second]),
            "second_first": self.scores.score(queries[second], galleries[first]),
            "second_psi": self.scores.score(queries[second], after_one[1]),
            "third_third": self.scores.score(queries[third], galleries[third]),
            "third_second": self.scores.score(queries[third], galleries[second]),
            "third_psi": self.scores.score(queries[third], self.scores.upgraded(two, second, None)[1]),
            "third_two_psi": self.scores.score(queries[third], self.scores.upgraded(two, after_one, None)[1]),
        }

    def _sequence_remedies(self, name: str) -> dict[str, Any]:
        """In place of psi after psi: a second one trained on what the first gives, and one straight from model 1."""
        first, second, third = self.runs.chain(name)
        one = self.runs.psi(f"psi-{second.name}", first, second, "old")
        through = self.runs.psi(f"psi-{third.name}-through", first, third, through=(str(one),))
        direct = self.runs.psi(f"psi-{third.name}-direct", first, third)
        queries = self.scores.embedded(third)[0]
        return {
            "third_through": self.scores.score(
                queries, self.scores.upgraded(through, self.scores.upgraded(one, first, None), None)[1]
            ),
            "third_direct": self.scores.score(queries, self.scores.upgraded(direct, first, None)[1]),
        }

    def _backfill(self, kind: str) -> dict[str, Any]:
        run, side = self.runs.fct(kind)
        return curves(self.runs.dataset, self.runs.model("old"), self.runs.model("new"), run, side)

    def _ridge(self, kind: str | None) -> dict[str, Any]:
        """The best linear transform, by ridge regression, in place of h."""
        runs = [self.runs.model("old"), *([] if kind is None else [self.runs.side(kind)])]
        new = self.runs.model("new")
        pixels = self.runs.training(self.runs.plan.generations["new"]).pixels
        inputs = np.concatenate([open_model(run).embed(pixels) for run in runs], 1)
        gram = inputs.T @ inputs + 1e-3 * len(inputs) / inputs.shape[1] * np.eye(inputs.shape[1])
        weights = np.linalg.solve(gram, inputs.T @ open_model(new).embed(pixels))
        outputs = [np.concatenate(parts, 1) @ weights for parts in zip(*map(self.scores.embedded, runs), strict=True)]
        vectors = tuple((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32) for rows in outputs)
        return self.scores.row(vectors, new)

    def _fct_on_bct(self) -> dict[str, Any]:
        side, target = self.runs.side("simclr"), self.runs.compatible("bct")
        run = self.runs.transform("fct-bct", self.runs.model("old"), target, side)
        return self.scores.row(self.scores.upgraded(run, self.runs.model("old"), side), target)

    def _fct_with(self, name: str, kind: str, *, epochs: int | None = None, **settings: Any) -> dict[str, Any]:
        """FCT's transform with other settings or data."""
        side, new = None if kind == "none" else self.runs.side(kind), self.runs.model("new")
        if epochs is not None:
            settings["optimisation"] = replace(
                self.runs.plan.transform, epochs=min(epochs, self.runs.plan.transform.epochs)
            )
        run = self.runs.transform(name, self.runs.model("old"), new, side, **settings)
        return self.scores.row(self.scores.upgraded(run, self.runs.model("old"), side), new)
