"""Efficient Global NAS from end to end: a search, the found network trained in full, and random ones beside it.

    OUT/candidates.jsonl     every network that the search came to, with its score and what became of it
    OUT/candidates/          RUN folder of the candidate in training, deleted once its score is in the log
    OUT/network              RUN folder of the found network, trained on all training images
    OUT/random/1 ...         RUN folders of random members, trained alike
    OUT/results.json         everything that is reported

Each part is kept once it is finished, so a run that was killed goes on where it stopped, with the same result.

Source: Siddiqui, Kyrkou and Theocharides, Efficient Global Neural Architecture Search (seed 002), sections 3 and 4.1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.dataset import Dataset, open_dataset
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.files import write_json_atomic
from compat_sdk.preprocess import Preprocessing
from compat_train.checkpoint import Checkpoint
from compat_train.config import GalleryConfig, QueryConfig, config_to_json
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.evaluate import Evaluation, evaluate_each, filled_split
from compat_train.loop import DivergedError, Progress
from compat_train.methods.objective import gallery_rows
from compat_train.models.global_space import GlobalMember, mmacs, parameters, random_member
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.evaluate import CandidateTrainer, classification_accuracy, renamed, train_network
from compat_train.nas.global_nas.images import SearchImages, search_images
from compat_train.nas.global_nas.log import CandidateLog
from compat_train.nas.global_nas.result import GlobalResult, TrainedNetwork
from compat_train.nas.global_nas.search import Found, Step, search
from compat_train.run_files import alone

_RANDOM_SEED = 13
_TRIES = 1_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """What every part of a run needs, read and checked once.

    Attributes:
        dataset: All splits.
        data: All training images.
        images: What candidates are trained and judged on.
        test: Decoded query split with its labels, for classification; None for the other objectives.
        preprocessing: Of every network.
        dim: Length of the embedding.
        random: Random members that fit the limit.
        settings: What decides the scores, as JSON values.
    """

    dataset: Dataset
    data: TrainingSet
    images: SearchImages
    test: tuple[NDArray[np.uint8], tuple[str, ...]] | None
    preprocessing: Preprocessing
    dim: int
    random: tuple[GlobalMember, ...]
    settings: dict[str, object]

    def cost(self, config: GlobalConfig, member: GlobalMember) -> float:
        """Multiply-adds of a member for one image, in millions."""
        return mmacs(member, self.preprocessing.size, self.dim, config.stem_stride)


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
        ConfigError: No member of the space is as cheap as the limit asks.
        TrainingError: The gallery run cannot serve the method, or the folder belongs to other settings.
    """
    folder = Path(out)
    prepared = prepare(config, folder, progress)
    log = CandidateLog(folder / "candidates.jsonl", prepared.settings)
    found = search_candidates(config, prepared, log, folder, progress)
    members = {folder / "network": found.member}
    members |= {folder / "random" / str(number): member for number, member in enumerate(prepared.random, 1)}
    network, *random = _trained(config, prepared, members, progress)
    result = GlobalResult(
        objective=config.objective,
        bounds=config.bounds,
        found=found,
        network=network,
        random=tuple(random),
        cpu_seconds=log.total("cpu_seconds"),
        wall_seconds=log.total("wall_seconds"),
    )
    write_json_atomic(folder / "results.json", result.to_json() | {"settings": config_to_json(config)})
    return result


def prepare(config: GlobalConfig, folder: Path, progress: Progress | None = None) -> Prepared:
    """Reads and checks everything that a run rests on, before any training starts.

    Raises:
        DataError, ConfigError, TrainingError: As `search_network`.
    """
    gallery = None if config.gallery is None else Checkpoint.load(config.gallery)
    training = config.training(config.bounds.member(config.bounds.min_depth, 1).name, 1)
    if isinstance(training, GalleryConfig):
        preprocessing, dim = training.preprocessing, training.dim
    elif gallery is not None:
        preprocessing, dim = gallery.preprocessing, gallery.dim
    else:
        raise AssertionError("r3 without a gallery run is refused by the configuration")

    def cost(member: GlobalMember) -> float:
        return mmacs(member, preprocessing.size, dim, config.stem_stride)

    smallest = config.bounds.member(config.bounds.min_depth, config.bounds.min_width)
    if config.mmacs is not None and config.mmacs < cost(smallest):
        raise ConfigError(
            f"a limit of {config.mmacs:g} MMACs is out of reach: {smallest.depth} layers of width {smallest.width} "
            f"take {cost(smallest):.4g} MMACs at {preprocessing.size} pixels with stem stride {config.stem_stride}; "
            f"lower min_depth or min_width, or raise the stem stride or the limit"
        )
    random = _random_members(config, cost)
    root = None if config.source.root is None else Path(config.source.root)
    dataset = open_dataset(config.source.data, root)
    for name in ("query",) if config.objective == "accuracy" else ("query", "gallery"):
        filled_split(dataset, name)
    data = load_training_set(config.source, preprocessing, cache=folder / "pixels", progress=progress)
    if isinstance(training, QueryConfig) and gallery is not None:
        gallery_rows(training, gallery, data)
    test = _test_images(config, dataset, data, preprocessing, folder) if config.objective == "accuracy" else None
    images = search_images(config, dataset, data, preprocessing, gallery, folder / "pixels")
    settings = {name: value for name, value in config_to_json(config).items() if name not in ("final_epochs", "random")}
    settings |= {"gallery_space": None if gallery is None else gallery.space, "images": images.digest}
    return Prepared(dataset, data, images, test, preprocessing, dim, random, settings)


def search_candidates(
    config: GlobalConfig, prepared: Prepared, log: CandidateLog, folder: Path, progress: Progress | None = None
) -> Found:
    """Runs the algorithm with real trainings; what the log knows is not trained again.

    A candidate whose loss stops being finite scores 0, and the log says why.

    Args:
        config: The whole run.
        prepared: Output of `prepare`.
        log: Of the run.
        folder: Of the run.
        progress: Called while candidates are trained and after each step of the search.

    Raises:
        TrainingError: Another process is searching in the folder.
    """
    trainer = CandidateTrainer(config, prepared.images, folder / "candidates", progress)
    spent = (0.0, 0.0)
    failure: str | None = None
    totals = {"depth": len(config.bounds.depths), "width": len(config.bounds.widths)}
    done: dict[str, int] = {}

    def evaluated(member: GlobalMember, epochs: int) -> float:
        nonlocal spent, failure
        spent, failure = (0.0, 0.0), None
        known = log.score(member, epochs)
        if known is not None:
            return known
        start = (time.process_time(), time.perf_counter())
        try:
            score = trainer(member, epochs)
        except DivergedError as error:  # it is no candidate, and no reason to stop
            score, failure = 0.0, str(error)
        spent = (time.process_time() - start[0], time.perf_counter() - start[1])
        return score

    def record(step: Step) -> None:
        member = step.member
        log.record(
            step,
            parameters=parameters(member, prepared.dim),
            mmacs=prepared.cost(config, member),
            cpu_seconds=0.0 if step.score is None else spent[0],
            wall_seconds=0.0 if step.score is None else spent[1],
            **({} if failure is None else {"failure": failure}),
        )
        trainer.discard(member, step.epochs)
        done[step.stage] = done.get(step.stage, 0) + 1
        if progress is not None and step.score is not None:
            values = {"layers": float(member.depth), "width": float(member.width), "score": step.score}
            total = 1 if step.stage == "baseline" else totals.get(step.stage, member.depth)
            progress(f"search {step.stage}", done[step.stage], total, values)

    limit = config.mmacs
    with alone(folder / "search.lock", f"searching in {folder}"):
        return search(
            config,
            evaluated,
            dim=prepared.dim,
            fits=lambda member: limit is None or prepared.cost(config, member) <= limit,
            record=record,
        )


def _trained(
    config: GlobalConfig, prepared: Prepared, members: Mapping[Path, GlobalMember], progress: Progress | None
) -> list[TrainedNetwork]:
    """Networks trained in full, each in its RUN folder, and measured on the test images."""
    checkpoints = [
        train_network(
            config,
            member.name,
            config.final_epochs,
            run,
            prepared.data,
            renamed(progress, "train network" if run.name == "network" else "train random"),
        )
        for run, member in members.items()
    ]
    measured: list[tuple[float, Evaluation | None]]
    if prepared.test is not None:
        measured = [(classification_accuracy(config, each, *prepared.test), None) for each in checkpoints]
    else:
        measured = [
            (one.query_query.cmc[1] * (one.query_gallery.cmc[1] if config.gallery is not None else 1), one)
            for one in _evaluations(config, prepared, list(members), progress)
        ]
    return [
        TrainedNetwork(
            run=run,
            arch=member.name,
            score=score,
            parameters=parameters(member, prepared.dim),
            mmacs=prepared.cost(config, member),
            evaluation=evaluation,
        )
        for (run, member), (score, evaluation) in zip(members.items(), measured, strict=True)
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
        )


def _test_images(
    config: GlobalConfig, dataset: Dataset, data: TrainingSet, preprocessing: Preprocessing, folder: Path
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The query split, decoded, once it is sure that its classes are known."""
    split = dataset.splits["query"]
    if unknown := sorted(set(split.labels) - set(data.classes)):
        raise DataError(
            f"{len(unknown)} of the {len(split.classes)} classes of the query split are not trained on (such as "
            f"{unknown[0]!r}), so classification accuracy means nothing there; choose objective 'retrieval' for "
            f"identities that training does not know"
        )
    return decode_split(split, preprocessing, cache=folder / "pixels").images, split.labels


def _random_members(config: GlobalConfig, cost: Callable[[GlobalMember], float]) -> tuple[GlobalMember, ...]:
    """Random members within the limit, by the seed; fewer of them are the first of more."""
    generator = np.random.default_rng((config.execution.seed, _RANDOM_SEED))
    found: list[GlobalMember] = []
    for _ in range(_TRIES * config.random):
        if len(found) == config.random:
            break
        member = random_member(config.bounds, generator)
        if config.mmacs is None or cost(member) <= config.mmacs:
            found.append(member)
    if len(found) < config.random:
        raise ConfigError(
            f"{len(found)} of {_TRIES * config.random} random members take {config.mmacs:g} MMACs or less, and "
            f"{config.random} are wanted; raise the limit, lower the bounds, or ask for fewer"
        )
    return tuple(found)
