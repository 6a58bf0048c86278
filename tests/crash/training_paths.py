"""What trainings, searches and the quickstart write, on toy tensors: the functions that write, no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from compat_cli.origins import Origins
from compat_cli.pages.story import Story, layout
from compat_sdk.bundle import Bundle, Graph
from compat_sdk.datasets import Dataset
from compat_sdk.outputs import require_own
from compat_train.data.mapped_file import write_mapped, writing_images
from compat_train.data.origin import Origin
from compat_train.evaluation import held_out
from compat_train.models.global_space import GlobalMember, Layer
from compat_train.nas.cmp.evaluations import Evaluations, Measure, Score, _open
from compat_train.nas.cmp.validation import DIGEST, Validation
from compat_train.nas.global_nas.log import CandidateLog
from compat_train.nas.global_nas.search import Step
from compat_train.runs.certificates import read_certificates, write_certificate
from compat_train.runs.choices import Choice, read_choices, write_choices
from compat_train.runs.data_record import require_same_data, write_data_record
from compat_train.runs.layout import RUN
from compat_train.runs.log import TrainingLog, read_log
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import RECORD, alone, read_run, write_run
from tests.crash.write_path import WritePath
from tests.sdk.bundles import make_bundle
from tests.sdk.certificates import certificate
from tests.train.nas.toy import MEMBERS, SETTINGS

_SPACE, _OTHERS = "tiny-8-aaaaaaaaaaaa", ("big-8-bbbbbbbbbbbb", "big-8-cccccccccccc")


def training_paths() -> Iterator[WritePath]:
    """All of them."""
    training = (_begin, *map(_train, (1, 2, 3, 4)), _finish)
    yield WritePath("RUN: record of the data, log, resume points, model", _nothing, training, _run)
    yield WritePath("RUN: certificates", _nothing, tuple(map(_certify, _OTHERS)), _certified, True)
    noted = (_choose, _measure_held_out)
    yield WritePath("RUN: choices, held-out accuracy", _nothing, noted, _known, True)
    yield WritePath("search: scores.jsonl", _nothing, tuple(map(_measure, (2, 3, 5))), _scores, True)
    yield WritePath("search: candidates.jsonl", _nothing, tuple(map(_candidates, (1, 2, 3))), _steps, True)
    yield WritePath("search: validation images", _nothing, (_validation,), _validated, True)
    yield WritePath("images decoded once", _nothing, (_pixels(1), _pixels(2)), _decoded, True)
    yield WritePath("index: origins.jsonl", _one_picture, tuple(map(_origin, "abc")), _origins, True)
    story = (_story(1), _export("query"), _story(2), _export("gallery"))
    yield WritePath("quickstart: steps and bundles", _nothing, story, _told, True)


def _nothing(folder: Path) -> None:
    """Leave the folder empty."""


def _choose(folder: Path) -> None:
    write_choices(folder / "run", [Choice("method", "infonce", "there are many classes")])


def _measure_held_out(folder: Path) -> None:
    done = SimpleNamespace(path=folder / "run", space=_SPACE)
    with mock.patch.object(held_out, "held_out_accuracy", lambda *_: held_out.HeldOut(0.75, 0.125, 8, 15)):
        held_out.held_out_once(done, None)  # type: ignore[arg-type]


def _known(folder: Path) -> object:
    return read_choices(folder / "run"), held_out._kept(folder / "run" / "held_out.json", _SPACE)


def _begin(folder: Path) -> None:
    run = folder / "runs" / "run"
    with alone(run / "state" / "lock", "training"):
        write_data_record(run, _DATA)


_DATA = Origin(np.zeros((2, 1, 1, 3), np.uint8), ["x", "y"], ["a", "b"])


def _train(epoch: int) -> Callable[[Path], None]:
    """Three steps of a training, as the loop takes them."""

    def step(folder: Path) -> None:
        run = folder / "runs" / "run"
        newest = ResumePoints(run).newest()
        start = 0 if newest is None else newest[0]
        if start >= 3 * epoch:
            return
        with alone(run / "state" / "lock", "training"), TrainingLog(run, start) as log:
            for number in range(start + 1, 3 * epoch + 1):
                log.write(number, epoch, 0.1, {"loss": 1 / number})
            log.flush()
            ResumePoints(run).save(3 * epoch, _tensors(epoch), {"settings": {"seed": 1}})

    return step


def _tensors(epoch: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((40,), float(epoch))}


def _finish(folder: Path) -> None:
    run = folder / "runs" / "run"
    write_run(run, {"role": "gallery", "space": _SPACE}, _tensors(9))
    ResumePoints(run).clear()


def _run(folder: Path) -> object:
    run = folder / "runs" / "run"
    require_own(run, RUN, "a training")
    if (run / RECORD).exists():
        model, tensors = read_run(run, ("gallery",))
        return model, tensors["weight"].tolist(), len(read_log(run))
    if not (run / "data.json").exists():
        return None
    require_same_data(run, _DATA)
    newest = ResumePoints(run).newest()
    if newest is None:
        return 0
    step, tensors, facts, damaged = newest
    logged = [row["step"] for row in read_log(run)]
    if logged[:step] != list(range(1, step + 1)):
        raise ValueError(f"step {step} can be resumed, and logged are {logged}")
    return step, tensors["weight"].tolist(), facts, damaged


def _certify(space: str) -> Callable[[Path], object]:
    def step(folder: Path) -> None:
        write_certificate(folder, certificate(_SPACE, space))

    return step


def _certified(folder: Path) -> object:
    return read_certificates(folder, _SPACE)


def _measure(count: int) -> Callable[[Path], None]:
    def make() -> Measure:
        return lambda member, need: Score(0.5, 0.25)

    def step(folder: Path) -> None:
        with Evaluations(folder / "s" / "scores.jsonl", SETTINGS, make) as found:
            found.scores(MEMBERS[count - 1 : count], "both")

    return step


def _scores(folder: Path) -> object:
    path = folder / "s" / "scores.jsonl"
    return _open(path, SETTINGS) if path.exists() else {}


def _candidates(count: int) -> Callable[[Path], None]:
    def step(folder: Path) -> None:
        log = CandidateLog(folder / "s" / "candidates.jsonl", SETTINGS)
        for depth in range(3, 3 + count):
            network = GlobalMember(width=8, layers=(Layer(),) * depth)
            log.record(Step("depth", network, 1, 0.25, "adopted"), mmacs=1.5)

    return step


def _steps(folder: Path) -> object:
    path = folder / "s" / "candidates.jsonl"
    return CandidateLog(path, SETTINGS).rows if path.exists() else []


def _validation(folder: Path) -> None:
    pixels, labels = np.arange(900, dtype=np.uint8), np.arange(2, dtype=np.int64)
    sides = Validation(pixels, labels, pixels, labels, np.eye(2, dtype=np.float32), pixels)
    sides.save(folder / "s" / "validation", {"queries": 2})


def _validated(folder: Path) -> object:
    place = folder / "s" / "validation"
    return Validation.settings(place) if (place / DIGEST).exists() else None


def _pixels(value: int) -> Callable[[Path], None]:
    def fill(mapped: NDArray[np.uint8]) -> None:
        mapped[:] = value

    def step(folder: Path) -> None:
        with writing_images(folder / "p"):
            write_mapped(folder / "p" / "train.pixels", (3, 700), fill)

    return step


def _decoded(folder: Path) -> object:
    path = folder / "p" / "train.pixels"
    return path.read_bytes() if path.exists() else None


def _one_picture(folder: Path) -> None:
    (folder / "picture.png").write_bytes(b"picture")


def _origin(name: str) -> Callable[[Path], None]:
    return lambda folder: Origins(folder).record([name], [folder / "picture.png"])


def _origins(folder: Path) -> object:
    return {id: (size, digest) for id, (size, _, digest) in Origins(folder)._known.items()}


def _tell(folder: Path) -> Story:
    require_own(folder / "q", layout(), "the quickstart")
    return Story(folder / "q", Dataset("none", {}), 0, 1, lambda *_: None)


def _story(number: int) -> Callable[[Path], None]:
    def step(folder: Path) -> None:
        _tell(folder)._once(number, f"step {'ab'[number - 1]}", lambda: {"found": number})

    return step


def _export(role: str) -> Callable[[Path], None]:
    def step(folder: Path) -> None:
        _tell(folder)
        graph = Graph(target="onnx", precision="fp32", file="onnx-fp32/model.onnx")
        files = {graph.file: b"\x08\x08 a graph"}
        make_bundle(folder / "q" / f"{role}-bundle", graphs=(graph,), graph_files=files, overwrite=True)

    return step


def _told(folder: Path) -> object:
    story = _tell(folder)
    kept = {number: folder / "q" / "steps" / f"{number}-step-{'ab'[number - 1]}.json" for number in (1, 2)}
    found = [story._once(number, f"step {'ab'[number - 1]}", dict) for number, path in kept.items() if path.exists()]
    bundles = [folder / "q" / f"{role}-bundle" for role in ("query", "gallery")]
    return [result for result, _ in found], [Bundle.open(path).digest if path.exists() else None for path in bundles]
