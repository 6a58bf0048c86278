"""Efficient Global NAS from end to end: a search, the found network trained in full, and random ones beside it.

    OUT/candidates.jsonl     every network that the search came to, with its score and what became of it
    OUT/candidates/          RUN folder of the candidate in training, deleted once its score is in the log
    OUT/network              RUN folder of the found network, trained on all training images
    OUT/random/1 ...         RUN folders of random members, trained alike
    OUT/results.json         everything that is reported

Each part is kept once it is finished, so a run that was killed goes on where it stopped, with the same result.

Source: Siddiqui, Kyrkou and Theocharides, Efficient Global Neural Architecture Search, sections 3 and 4.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from compat_sdk.errors import ConfigError
from compat_sdk.files.documents import write_json_atomic
from compat_sdk.outputs import require_own
from compat_sdk.progress import Progress
from compat_train.config.settings import config_to_json
from compat_train.device import device_of
from compat_train.evaluation.evaluate import evaluate_each
from compat_train.evaluation.result import Evaluation
from compat_train.models.global_cost import parameters
from compat_train.models.global_names import global_named
from compat_train.models.global_space import GlobalMember
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.evaluate import CandidateTrainer, classification_accuracy, renamed, train_network
from compat_train.nas.global_nas.log import CandidateLog
from compat_train.nas.global_nas.prepare import Prepared, fitting, prepare
from compat_train.nas.global_nas.result import GlobalResult, TrainedNetwork
from compat_train.nas.global_nas.search import Found, Step, search
from compat_train.parallel.launch import require_single
from compat_train.readings import DivergedError
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.layout import GLOBAL
from compat_train.runs.run_files import alone

_LOG = "candidates.jsonl"
_AFTER_IT = ("network", "random", "results.json")


def search_network(config: GlobalConfig, out: str | Path, progress: Progress | None = None) -> GlobalResult:
    """Finds a network, trains it in full and measures it; resumes what an earlier call left unfinished.

    Args:
        config: The whole run.
        out: Folder for everything.
        progress: Called with a stage, how much of it is done, its total, and figures.

    Returns:
        The network, how it was found, and random members trained alike.

    Raises:
        DataError: The dataset cannot be used: one class, an unreadable image, no images to judge on or to test on.
        ConfigError: The folder holds something else, no member of the space is as cheap as the limit asks, or torchrun
            has started several processes.
        TrainingError: The gallery run cannot serve the method, the folder belongs to other settings, another process
            is searching in it, no candidate has a score, or the training of the found network diverges.
    """
    folder = Path(out)
    require_single("a search of Global NAS")
    require_own(folder, GLOBAL, "this search")
    _check_folder(folder)
    with alone(folder / "search.lock", f"searching in {folder}"):
        prepared = prepare(config, folder, progress)
        log = CandidateLog(folder / _LOG, prepared.settings)
        found = search_candidates(config, prepared, log, folder, progress)
        checkpoint = train_network(
            config,
            found.member.name,
            config.final_epochs,
            folder / "network",
            prepared.data,
            renamed(progress, "train network"),
        )
        random, diverged = _trained_random(config, prepared, folder / "random", progress)
        network, *others = _measured(config, prepared, [checkpoint, *random], progress)
        result = GlobalResult(
            objective=config.objective,
            bounds=config.bounds,
            found=found,
            network=network,
            random=tuple(others),
            diverged=diverged,
            judged_on=f"{len(prepared.images.queries) + len(prepared.images.gallery):,} "
            + ("training images that were held out" if prepared.images.held_out else "images of the split val"),
            device=device_of(config.execution.device).type,
            cpu_seconds=log.total("cpu_seconds"),
            wall_seconds=log.total("wall_seconds"),
            resumed=int(log.total("resumed")),
        )
        write_json_atomic(folder / "results.json", result.to_json() | {"settings": config_to_json(config)})
    return result


def _check_folder(folder: Path) -> None:
    """Refuses what only a search leaves that has begun its log, where there is none."""
    left = [name for name in _AFTER_IT if (folder / name).exists()]
    if left and not (folder / _LOG).is_file():
        raise ConfigError(
            f"{folder} has {', '.join(left)} of another run or search, and no {_LOG}; search into another folder, or "
            f"delete it"
        )


def search_candidates(
    config: GlobalConfig, prepared: Prepared, log: CandidateLog, folder: Path, progress: Progress | None = None
) -> Found:
    """Runs the algorithm with real trainings; what the log knows is not trained again.

    A candidate whose loss stops being finite scores 0, and the log says why. A line of the log is marked ``resumed``
    where an earlier process had begun the training: its seconds are those since it was resumed.

    Args:
        config: The whole run.
        prepared: Output of `prepare`.
        log: Of the run.
        folder: Of the run.
        progress: Called while candidates are trained and after each step of the search.
    """
    trainer = CandidateTrainer(config, prepared.images, folder / "candidates", progress)
    about: dict[str, object] = {}
    totals = {"depth": len(config.bounds.depths), "width": len(config.bounds.widths)}
    done: dict[str, int] = {}

    def evaluated(member: GlobalMember, epochs: int) -> float:
        about.clear()
        known = log.score(member, epochs)
        if known is not None:
            return known
        if trainer.begun(member, epochs):
            about["resumed"] = True
        start = (time.process_time(), time.perf_counter())
        try:
            score = trainer(member, epochs)
        except DivergedError as error:  # it is no candidate, and no reason to stop
            score, about["failure"] = 0.0, str(error)
        about["cpu_seconds"] = time.process_time() - start[0]
        about["wall_seconds"] = time.perf_counter() - start[1]
        return score

    def record(step: Step) -> None:
        member = step.member
        figures = about if step.score is not None else {}
        cost = prepared.cost(member)
        log.record(step, parameters=parameters(member, prepared.dim), mmacs=cost, **figures)
        trainer.discard(member, step.epochs)
        done[step.stage] = done.get(step.stage, 0) + 1
        if progress is not None and step.score is not None:
            values = {"layers": float(member.depth), "width": float(member.width), "score": step.score}
            total = 1 if step.stage == "baseline" else totals.get(step.stage, member.depth)
            progress(f"search {step.stage}", done[step.stage], total, values)

    return search(
        config,
        evaluated,
        dim=prepared.dim,
        fits=fitting(config, prepared.cost, prepared.milliseconds),
        record=record,
    )


def _trained_random(
    config: GlobalConfig, prepared: Prepared, folder: Path, progress: Progress | None
) -> tuple[list[Checkpoint], tuple[str, ...]]:
    """The random members trained as the found network is, and what was said of those whose training diverged."""
    trained, diverged = [], []
    for number, member in enumerate(prepared.random, 1):
        try:
            trained.append(
                train_network(
                    config,
                    member.name,
                    config.final_epochs,
                    folder / str(number),
                    prepared.data,
                    renamed(progress, "train random"),
                )
            )
        except DivergedError as error:
            diverged.append(str(error))
    return trained, tuple(diverged)


def _measured(
    config: GlobalConfig, prepared: Prepared, checkpoints: Sequence[Checkpoint], progress: Progress | None
) -> list[TrainedNetwork]:
    """Trained networks, measured on the test images."""
    measured: list[tuple[float, Evaluation | None]]
    if prepared.test is not None:
        measured = [(classification_accuracy(config, each, *prepared.test), None) for each in checkpoints]
    else:
        measured = [
            (one.query_query.accuracy * (one.query_gallery.accuracy if config.gallery is not None else 1), one)
            for one in _evaluations(config, prepared, [each.path for each in checkpoints], progress)
        ]
    members = [global_named(each.arch) for each in checkpoints]
    return [
        TrainedNetwork(
            run=each.path,
            arch=each.arch,
            score=score,
            parameters=parameters(member, prepared.dim),
            mmacs=prepared.cost(member),
            evaluation=evaluation,
            milliseconds=None if prepared.milliseconds is None else prepared.milliseconds(member),
        )
        for each, member, (score, evaluation) in zip(checkpoints, members, measured, strict=True)
    ]


def _evaluations(
    config: GlobalConfig, prepared: Prepared, runs: Sequence[Path], progress: Progress | None
) -> Iterator[Evaluation]:
    """Of each run against the gallery model, which embeds its images once, or, without one, against itself."""
    pairs = [([run], run) for run in runs] if config.gallery is None else [(list(runs), Path(config.gallery))]
    for queries, gallery in pairs:
        yield from evaluate_each(
            prepared.dataset,
            queries,
            gallery,
            device=config.execution.device,
            threads=config.execution.threads or None,
            progress=progress,
            metric=config.accuracy,
        )
