"""CMP-NAS from end to end: one supernet, a search per tier, the best retrained, all of it measured.

    OUT/supernet/            shared weights
    OUT/validation/          what candidates are judged on
    OUT/scores.jsonl         every candidate that was evaluated
    OUT/tiers/100/1 ...      RUN folders of the retrained networks, best reward first; 2ms/1 of a budget in time
    OUT/static/NAME          RUN folders of the static networks
    OUT/results.json         everything that is reported

Each part is kept once it is finished, so a run that was killed goes on where it stopped.

Source: Compatibility-aware Heterogeneous Visual Search, https://arxiv.org/abs/2105.06047, sections 3.2.2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compat_sdk.datasets import Dataset, open_dataset
from compat_sdk.errors import ConfigError, TrainingError
from compat_sdk.files.documents import write_json_atomic
from compat_sdk.outputs import require_own
from compat_sdk.progress import Progress
from compat_train.adoption.opening import open_gallery_model
from compat_train.config.query import QueryConfig
from compat_train.config.settings import changed_settings, config_to_json
from compat_train.data.origin import Origin
from compat_train.data.training_set import TrainingSet, load_training_set
from compat_train.device import device_of
from compat_train.evaluation.evaluate import evaluate_each
from compat_train.methods.choose import choose
from compat_train.methods.objective import gallery_rows
from compat_train.methods.query import train_query
from compat_train.models.build import require_architecture
from compat_train.nas.cmp.candidate import CandidateEvaluator
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.cmp.cost import CostTable
from compat_train.nas.cmp.evaluations import Evaluations
from compat_train.nas.cmp.evolve import Ranked, search
from compat_train.nas.cmp.latency import costs_of
from compat_train.nas.cmp.result import CmpResult, Network
from compat_train.nas.cmp.reward import NEEDS, reward_of
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.nas.cmp.train_supernet import train_supernet
from compat_train.nas.cmp.validation import DIGEST, Validation, prepare_validation
from compat_train.nas.held_out import check_held_out
from compat_train.parallel.group import leader_first, leads, leave, together
from compat_train.readings import DivergedError
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.data_record import require_same_data, write_data_record
from compat_train.runs.layout import CMP
from compat_train.runs.run_files import alone


@dataclass(frozen=True, eq=False)
class Prepared:
    """What every part of a run needs, read and checked once.

    Attributes:
        dataset: All splits.
        gallery: The gallery model.
        data: Decoded training images.
        costs: Cost of every choice of the search space.
    """

    dataset: Dataset
    gallery: Checkpoint
    data: TrainingSet
    costs: CostTable


def search_query_models(config: CmpConfig, out: str | Path, progress: Progress | None = None) -> CmpResult | None:
    """Finds, trains and measures query networks for each tier; resumes what an earlier call left unfinished.

    Args:
        config: The whole run.
        out: Folder for everything.
        progress: Called with a stage, how much of it is done, its total, and figures.

    Returns:
        The retrained networks of every tier and the static networks, all evaluated on the query and gallery splits. One
        whose training diverged is left out and told. Of several processes all train the supernet; that of rank 0 alone
        does the rest, and the others get None.

    Raises:
        DataError: The dataset has no usable validation split, or shares its identities with training.
        TrainingError: The gallery run cannot serve the method, a folder belongs to other settings, or every training
            diverged.
        ConfigError: The folder holds something else, or no member of the space is as cheap as a tier asks.
    """
    folder = Path(out)
    if leads():
        require_own(folder, CMP, "this search")
    for arch in config.static:
        require_architecture(arch, width=config.static_width)
    prepared, weights = _with_supernet(config, folder, progress)
    leave()
    if not leads():
        return None
    tiers = search_tiers(config, prepared, weights, folder, progress)
    wanted: list[tuple[QueryConfig, Path, float | None, int | None, Ranked | None]] = []
    for budget, ranked in tiers.items():
        for place, found in enumerate(ranked[: config.keep], 1):
            run = folder / "tiers" / f"{budget:g}{config.unit}" / str(place)
            wanted.append((config.training(found.member.name), run, budget, place, found))
    for arch in config.static:
        training = config.training(arch, width=config.static_width)
        wanted.append((training, folder / "static" / arch, None, None, None))
    networks: list[tuple[Path, float | None, int | None, Ranked | None]] = []
    diverged: list[str] = []
    for training, run, tier, at, ranked_as in wanted:
        try:
            train_query(training, run, progress, data=prepared.data)
            networks.append((run, tier, at, ranked_as))
        except DivergedError as error:  # the others are reported all the same
            diverged.append(str(error))
    if not networks:
        raise DivergedError(f"every retrained network diverged, so that there is nothing to report: {diverged[0]}")
    result = replace(measure(config, prepared, networks, progress), diverged=tuple(diverged))
    write_json_atomic(folder / "results.json", result.to_json() | {"settings": config_to_json(config)})
    return result


@together
def _with_supernet(config: CmpConfig, folder: Path, progress: Progress | None) -> tuple[Prepared, Path]:
    prepared = prepare(config, folder, progress)
    return prepared, train_supernet(config, prepared.gallery, prepared.data, folder / "supernet", progress)


def prepare(config: CmpConfig, folder: Path, progress: Progress | None = None) -> Prepared:
    """Reads and checks everything that a run rests on, before any training starts.

    Raises:
        DataError, TrainingError, ConfigError: As `search_query_models`.
    """
    gallery = open_gallery_model(config.gallery)
    root = None if config.source.root is None else Path(config.source.root)
    dataset = open_dataset(config.source.data, root)
    split = check_held_out(dataset, gallery)
    costs = costs_of(config, size=gallery.preprocessing.size, dim=gallery.dim)
    for budget in config.budgets:
        if budget < costs.lowest:
            raise ConfigError(
                f"a tier of {budget:g} {costs.unit} is out of reach: members of {costs.space.name} take "
                f"{costs.lowest:.4g} to {costs.highest:.4g} {costs.unit} at {costs.size} pixels with stem stride "
                f"{config.stem_stride}; a smaller stem or last convolution (space {costs.space.kind},last=128) or "
                f"fewer channels lower the minimum"
            )
    data = load_training_set(config.source, gallery.preprocessing, cache=folder / "pixels", progress=progress)
    query, _ = choose(config.training("shufflenet_v2"), gallery, data, None)
    gallery_rows(query, gallery, data)
    validation, judging = folder / "validation", Origin(split.images, split.labels, split.ids)
    settings = {"data": config.source.data, "gallery_space": gallery.space} | config_to_json(config.validation)
    with leader_first(validation):
        if not (validation / DIGEST).is_file():
            images = prepare_validation(split, data, gallery, config.validation, device=config.execution.device)
            write_data_record(validation, judging)
            images.save(validation, settings)
        elif changes := changed_settings(Validation.settings(validation), settings):
            raise TrainingError(
                f"{validation} was prepared with other settings: {changes}; search into another folder, or delete it "
                f"together with scores.jsonl beside it"
            )
        else:
            require_same_data(validation, judging)
    return Prepared(dataset, gallery, data, costs)


def search_tiers(
    config: CmpConfig, prepared: Prepared, weights: Path, folder: Path, progress: Progress | None = None
) -> dict[float, list[Ranked]]:
    """The members of each tier, best reward first; every member is measured once, whatever tiers it belongs to.

    Args:
        config: The whole run.
        prepared: Output of `prepare`.
        weights: The finished supernet.
        folder: Of the run; scores are kept in its ``scores.jsonl``.
        progress: Called after each round of each tier.

    Raises:
        TrainingError: Another process is searching in the folder, or workers cannot be started.
    """
    sampler = MemberSampler(prepared.costs)
    need = NEEDS[config.reward]
    tiers: dict[float, list[Ranked]] = {}
    lock = alone(folder / "search.lock", f"searching in {folder}")
    with lock, open_evaluations(config, prepared, weights, folder) as evaluations:
        for budget in config.budgets:

            def report(done: int, total: int, values: Mapping[str, float], budget: float = budget) -> None:
                if progress is not None:
                    progress(f"search {budget:g} {prepared.costs.unit}", done, total, values)

            tiers[budget] = search(
                prepared.costs,
                sampler,
                lambda members: [reward_of(score, config.reward) for score in evaluations.scores(members, need)],
                config.search,
                budget=budget,
                progress=report,
            )
    return tiers


def open_evaluations(config: CmpConfig, prepared: Prepared, weights: Path, folder: Path) -> Evaluations:
    """The memory of a run's scores, with the workers that fill it."""
    evaluator = CandidateEvaluator(
        weights=weights,
        validation=folder / "validation",
        preprocessing=prepared.gallery.preprocessing,
        dim=prepared.gallery.dim,
        stem_stride=config.stem_stride,
        metric=config.validation.accuracy,
        batch=config.validation.batch,
        device=str(device_of(config.execution.device)),
    )
    return Evaluations(folder / "scores.jsonl", evaluator.decides(), evaluator, workers=config.workers)


def measure(
    config: CmpConfig,
    prepared: Prepared,
    networks: Sequence[tuple[Path, float | None, int | None, Ranked | None]],
    progress: Progress | None = None,
) -> CmpResult:
    """Evaluates trained networks, each given as RUN folder, tier, place in it, and what the search said of it."""
    evaluations = evaluate_each(
        prepared.dataset,
        [run for run, *_ in networks],
        config.gallery,
        device=config.execution.device,
        threads=config.execution.threads or None,
        progress=progress,
        metric=config.validation.accuracy,
    )
    return CmpResult(
        tuple(
            Network(
                run=run,
                arch=Checkpoint.load(run).arch,
                tier=tier,
                place=place,
                found=found,
                evaluation=evaluation,
                unit=config.unit,
            )
            for (run, tier, place, found), evaluation in zip(networks, evaluations, strict=True)
        )
    )
