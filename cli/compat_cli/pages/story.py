"""The quickstart's steps: train, evaluate, export, index, search, profile, each kept once it is finished."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat_cli.console import note
from compat_cli.pages.plan import Plan
from compat_sdk.errors import CompatError, CorruptFileError
from compat_sdk.progress import Progress
from compat_sdk.shown import as_unicode

if TYPE_CHECKING:
    from compat_sdk.datasets import Dataset
    from compat_sdk.gallery import Hit
    from compat_sdk.outputs import Layout

DATA, SIZE = "sample", 28
GALLERY = {"arch": "resnet18", "width": 0.5, "epochs": 10, "batch": 128, "lr": 0.1}
QUERY = {"arch": "shufflenet_v2", "width": 0.5, "epochs": 6, "batch": 64, "lr": 0.1}
_SHOWN = 12
"""Queries that the page shows, one of each class."""
_QUERY_THREADS = 1  # its layers are so small at 28 pixels that a second thread costs more than it brings
METHODS = {"query": "bct-regression", "vanilla": "vanilla"}
_LOSS = {"loss": "cosface", "margin": 0.2, "scale": 16.0}


def demo_plan() -> Plan:
    """What the demo trains, on the bundled images."""
    return Plan(data=DATA, size=SIZE, gallery=GALLERY, query=QUERY, loss=_LOSS, easy=True)


def commands(seed: int, plan: Plan | None = None) -> str:
    """The shell commands that do what a story does, one per line; the demo's if no plan is given."""
    plan = demo_plan() if plan is None else plan
    loss = f"--loss {plan.loss['loss']} --margin {plan.loss['margin']} --scale {plan.loss['scale']}"
    data = shlex.quote("data" if plan.before else plan.data)
    data += "" if plan.root is None else f" --root {shlex.quote(plan.root)}"
    part = "" if plan.fraction == 1 else f" --scenario fraction={plan.fraction:g}"

    def train(model: Mapping[str, Any], threads: str = "") -> str:
        return (
            f"--arch {model['arch']} --width {model['width']} --epochs {model['epochs']} --batch {model['batch']} "
            f"--lr {model['lr']} --flip --seed {seed}{threads}{part}"
        )

    threads = f" --threads {_QUERY_THREADS}" if plan.easy else ""
    return "\n".join(
        (
            *plan.before,
            f"compat-sdk train gallery --data {data} --size {plan.size} {loss} {train(plan.gallery)} --out gallery-run",
            f"compat-sdk train query --data {data} --gallery gallery-run --method {METHODS['query']} "
            f"{train(plan.query, threads)} --out query-run",
            f"compat-sdk evaluate --data {data} --query query-run --gallery gallery-run",
            "compat-sdk export gallery-run --target onnx --out gallery-bundle",
            "compat-sdk export query-run --target onnx --out query-bundle",
            f"compat-sdk index build --model gallery-bundle --data {data} --out gallery",
            "compat-sdk search gallery --model query-bundle IMAGE... -k 5",
            "compat-sdk profile gallery-bundle query-bundle",
        )
    )


def layout() -> Layout:
    """What the story leaves in its folder."""
    from compat_sdk.datasets.partition import DIVISION
    from compat_sdk.upgrade.manifest import WITH_UPGRADE
    from compat_train.runs.layout import QUERY_RUN

    graph: Layout = {r"model\.onnx": None}
    return {
        "steps": {r"\d-[a-z-]+\.json": None},
        "(gallery|query|vanilla)-run": QUERY_RUN,
        "(gallery|query)-bundle": {
            r"manifest\.json|MODEL_CARD\.md": None,
            "golden": {r"(images|inputs|embeddings)\.npy": None, "pictures": {r"\d\d\.(jpg|png)": None}},
            "onnx-fp32": graph,
        },
        "gallery": WITH_UPGRADE,
        "data": DIVISION,
        r"(plan|data)\.json": None,
        r"report\.html": None,
        r"results\.json": None,
    }


class Story:
    """The steps over one folder. What a step found is kept in ``steps/``, so that a second run repeats nothing."""

    def __init__(
        self, out: Path, dataset: Dataset, seed: int, threads: int | None, progress: Progress, plan: Plan | None = None
    ) -> None:
        self.out, self.dataset, self.seed, self.threads, self.progress = out, dataset, seed, threads, progress
        self.plan = demo_plan() if plan is None else plan

    def tell(self) -> tuple[dict[str, Any], dict[str, float]]:
        """Runs what is still to be done: what each step found, and the seconds each took when it ran."""
        steps: dict[str, Callable[[], Any]] = {
            "train the large gallery model": self._train_gallery,
            "train a small, compatible query model": lambda: self._train_query("query"),
            "train the same small model alone": lambda: self._train_query("vanilla"),
            "evaluate": lambda: {name: self._evaluate(name) for name in ("query", "vanilla")},
            "export to ONNX": lambda: {role: self._export(role) for role in ("gallery", "query")},
            "index the gallery": self._index,
            "search": self._search,
            "profile": lambda: {role: self._profile(role) for role in ("gallery", "query")},
        }
        found, seconds = {}, {}
        for number, (name, step) in enumerate(steps.items(), start=1):
            note(f"[{number}/{len(steps)}] {name}")
            found[name], seconds[name] = self._once(number, name, step)
        return found, seconds

    def _once(self, number: int, name: str, step: Callable[[], Any]) -> tuple[Any, float]:
        from compat_sdk.files.atomic import make_folder, write_atomic
        from compat_sdk.files.documents import read_json
        from compat_sdk.files.seal import sealed_json, unsealed

        path = self.out / "steps" / f"{number}-{re.sub('[^a-z]+', '-', name.lower())}.json"
        settings = json.loads(json.dumps(self._settings_of_steps()))
        if os.path.lexists(path):
            stored: dict[str, Any] = unsealed(read_json(path), str(path), required=False)
            if stored.keys() != {"settings", "seconds", "result"} or type(stored["seconds"]) not in (int, float):
                raise CorruptFileError(f"{path} is no step of a quickstart; delete it, and the step is done again")
            if stored["settings"] != settings:
                raise CompatError(
                    f"{self.out} holds a quickstart with other settings; choose another --out or delete it"
                )
            return stored["result"], stored["seconds"]
        started = time.perf_counter()
        result = step()
        seconds = time.perf_counter() - started
        make_folder(path.parent)
        write_atomic(path, sealed_json({"settings": settings, "seconds": seconds, "result": result}))
        return result, seconds

    def _settings_of_steps(self) -> list[Any]:
        plan = self.plan
        found = [self.seed, dict(plan.gallery), dict(plan.query), METHODS, dict(plan.loss)]
        found += [] if plan.easy else [plan.data, plan.size, plan.fraction]
        return found if plan.root is None else [*found, plan.root]

    def _train_gallery(self) -> dict[str, Any]:
        from compat_train.config.gallery import GalleryConfig
        from compat_train.config.settings import config_from_mapping
        from compat_train.methods.gallery import train_gallery

        settings = {
            **self._settings(self.plan.gallery, self.threads or 0),
            "preprocessing": {"size": self.plan.size},
            "classification": self.plan.loss,
        }
        config = config_from_mapping(GalleryConfig, settings)
        done = train_gallery(config, self.out / "gallery-run", self.progress)
        return {"space": done.space, **_curve(done.path)}

    def _train_query(self, name: str) -> dict[str, Any]:
        from compat_train.config.query import QueryConfig
        from compat_train.config.settings import config_from_mapping
        from compat_train.methods.query import train_query

        gallery, threads = str(self.out / "gallery-run"), _QUERY_THREADS if self.plan.easy else self.threads or 0
        settings = {**self._settings(self.plan.query, threads), "gallery": gallery, "method": METHODS[name]}
        done = train_query(config_from_mapping(QueryConfig, settings), self.out / f"{name}-run", self.progress)
        return {"space": done.space, **_curve(done.path)}

    def _settings(self, model: Mapping[str, Any], threads: int) -> dict[str, Any]:
        part = self.plan.fraction
        return {
            "source": {"data": self.plan.data, "root": self.plan.root}
            | ({} if part == 1 else {"scenario": {"fraction": part}}),
            "arch": model["arch"],
            "width": model["width"],
            "optimisation": {name: model[name] for name in ("epochs", "batch", "lr")},
            "augmentation": {"flip": True},
            "execution": {"seed": self.seed, "device": "cpu", "threads": threads},
            "license": "Apache-2.0" if self.plan.easy else "unspecified",
        }

    def _evaluate(self, name: str) -> dict[str, Any]:
        from compat_train.evaluation.advice import advice
        from compat_train.evaluation.certify import certify
        from compat_train.evaluation.evaluate import evaluate

        run = self.out / f"{name}-run"
        found = evaluate(
            self.dataset, run, self.out / "gallery-run", device="cpu", threads=self.threads, progress=self.progress
        )
        if found.declared:
            certify(found, self.dataset, run)
        return found.to_json() | {"advice": list(advice(found))}

    def _export(self, role: str) -> dict[str, Any]:
        from compat_export import export

        return export(self.out / f"{role}-run", self.out / f"{role}-bundle", overwrite=True).to_json()

    def _index(self) -> dict[str, Any]:
        from compat_cli.filling import fill
        from compat_cli.pictures import Pictures, open_model
        from compat_sdk.gallery import Gallery

        model = open_model(self.out / "gallery-bundle", threads=self.threads)
        path = self.out / "gallery"
        if path.exists():
            gallery = Gallery.open(path)
        else:
            gallery = Gallery.create(path, space=model.space, dim=model.dim, model={"name": model.name})
        split = self.dataset.splits["gallery"]
        fill(gallery, model, Pictures(list(split.images), split.ids, split.labels), self.progress)
        return {"rows": len(gallery), "space": gallery.space}

    def _search(self) -> dict[str, Any]:
        from compat_cli.pictures import open_model
        from compat_sdk.errors import IncompatibleSpaceError
        from compat_sdk.gallery import Gallery
        from compat_sdk.space import Embeddings

        gallery = Gallery.open(self.out / "gallery")
        query = self.dataset.splits["query"]
        embeddings = open_model(self.out / "query-bundle", threads=self.threads).embed(list(query.images))
        stranger = open_model(self.out / "vanilla-run", threads=self.threads, device="cpu").embed(list(query.images))
        try:
            gallery.search(stranger, 5)
        except IncompatibleSpaceError as error:
            refused = f"IncompatibleSpaceError: {error}"
        else:
            raise CompatError("a model that was trained alone was let into the gallery; expected it to be refused")
        # Only to show what the refusal prevents: the same vectors under a false name.
        disguised = Embeddings(stranger.vectors, gallery.space)
        hits, strayed = gallery.search(embeddings, 5), gallery.search(disguised, 5)
        first = [query.labels.index(label) for label in query.classes][:_SHOWN]
        rows = [
            {
                "id": as_unicode(query.ids[row]),
                "label": query.labels[row],
                "hits": _plain(hits[row]),
                "unchecked": _plain(strayed[row]),
            }
            for row in first
        ]
        right = sum(found[0].label == label for found, label in zip(hits, query.labels, strict=True))
        return {"hits": rows, "refused": refused, "top1": right / len(hits)}

    def _profile(self, role: str) -> dict[str, object]:
        from compat_sdk.profile import profile_bundle

        return profile_bundle(self.out / f"{role}-bundle", threads=1).to_json()


def _plain(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [{"id": as_unicode(hit.id), "label": hit.label, "score": round(float(hit.score), 4)} for hit in hits]


def _curve(run: Path, points_per_epoch: int = 10) -> dict[str, list[float]]:
    """The loss under the model's own classifier, averaged over each tenth of an epoch."""
    from compat_train.runs.log import read_log

    rows = read_log(run)
    epochs = max(row["epoch"] for row in rows)
    per_epoch = len(rows) / epochs
    parts: dict[int, list[float]] = {}
    for row in rows:
        parts.setdefault(int((row["step"] - 1) / per_epoch * points_per_epoch), []).append(row["own"])
    return {
        "epoch": [round((part + 0.5) / points_per_epoch, 3) for part in parts],
        "loss": [round(sum(losses) / len(losses), 4) for losses in parts.values()],
    }
