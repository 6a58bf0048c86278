"""What a global search rests on, read and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Dataset, Split, open_dataset
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.files.digests import sha256_file
from compat_sdk.images import Preprocessing
from compat_sdk.profile.block_table import load_block_table
from compat_sdk.progress import Progress
from compat_train.adoption.opening import open_gallery_model
from compat_train.config.gallery import GalleryConfig
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_to_json
from compat_train.data.pixels import decode_split
from compat_train.data.training_set import TrainingSet, load_training_set, pixels_folder, split_rows
from compat_train.evaluation.splits import filled_split
from compat_train.methods.choose import choose
from compat_train.methods.objective import gallery_rows
from compat_train.models.global_cost import mmacs
from compat_train.models.global_space import GlobalMember, random_member
from compat_train.nas.global_nas.config import GlobalConfig, Objective
from compat_train.nas.global_nas.images import SearchImages, search_images
from compat_train.nas.global_nas.latency import milliseconds, settings_of

_SPLITS: Mapping[Objective, tuple[str, ...]] = {
    "accuracy": ("query",),
    "retrieval": ("query", "gallery"),
    "r3": ("query", "gallery"),
}
"""Splits that the found network is measured on."""

_AFTER = ("final_width", "final_epochs", "random", "license")  # settings that decide no candidate's score
_RANDOM_SEED = 13
_TRIES = 1_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """What every part of a run needs, read and checked once.

    Attributes:
        dataset: All splits.
        data: All training images.
        images: What candidates are trained and judged on.
        test: Decoded query split with its labels, for classification, of the classes that a scenario left; None for
            the other objectives.
        preprocessing: Of every network.
        dim: Length of the embedding.
        random: Random members that fit the limit.
        cost: Multiply-adds of a member for one image, in millions.
        milliseconds: What a member takes by the table of a device; None without one.
        settings: What decides the scores, as JSON values.
    """

    dataset: Dataset
    data: TrainingSet
    images: SearchImages
    test: tuple[NDArray[np.uint8], tuple[str, ...]] | None
    preprocessing: Preprocessing
    dim: int
    random: tuple[GlobalMember, ...]
    cost: Callable[[GlobalMember], float]
    settings: dict[str, object]
    milliseconds: Callable[[GlobalMember], float] | None = None


def prepare(config: GlobalConfig, folder: Path, progress: Progress | None = None) -> Prepared:
    """Reads and checks everything that a run rests on, before any training starts.

    Raises:
        DataError, ConfigError, TrainingError: As `search_network`.
    """
    gallery = None if config.gallery is None else open_gallery_model(config.gallery)
    training = config.training(config.bounds.member(config.bounds.min_depth, 1).name, config.final_epochs)
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
            f"lower min_depth or min_width, or raise {'the stem stride or ' * (config.stem_stride == 1)}the limit"
        )
    time = _milliseconds(config, preprocessing.size, dim)
    if time is not None and config.milliseconds is not None and config.milliseconds < time(smallest):
        raise ConfigError(
            f"a limit of {config.milliseconds:g} ms is out of reach: {smallest.depth} layers of width "
            f"{smallest.width} take {time(smallest):.4g} ms by {config.table}; lower min_depth or min_width, or raise "
            f"the limit"
        )
    random = _random_members(config, fitting(config, cost, time))
    root = None if config.source.root is None else Path(config.source.root)
    dataset = open_dataset(config.source.data, root)
    splits = [filled_split(dataset, name) for name in _SPLITS[config.objective]]
    if len(splits) == 2 and not set(splits[0].labels) & set(splits[1].labels):
        raise DataError(
            f"no query of {dataset.name} has an image of its label in the split 'gallery', so the found network could "
            f"not be measured; expected identities that have images in both splits"
        )
    data = load_training_set(config.source, preprocessing, cache=folder / "pixels", progress=progress)
    if isinstance(training, QueryConfig) and gallery is not None:
        gallery_rows(choose(training, gallery, data, None)[0], gallery, data)
    if config.objective == "accuracy":
        if config.source.scenario.of_classes:
            splits[0] = _of_classes(splits[0], data)
        _check_classes(splits[0], data)
    cache = pixels_folder(config.source, folder / "pixels")
    # All are read now, so that a damaged one is named before the search and not at its end.
    pixels = [decode_split(split, preprocessing, cache=cache).images for split in splits]
    test = (pixels[0], splits[0].labels) if config.objective == "accuracy" else None
    images = search_images(config, dataset, data, preprocessing, gallery, folder / "pixels")
    if config.optimisation.batch > len(images.data.labels):
        raise ConfigError(
            f"batch is {config.optimisation.batch}, but candidates have {len(images.data.labels)} training images"
            + (f" ({len(data.labels)} less those held out to judge them)" if images.held_out else "")
            + "; choose a smaller batch"
        )
    settings = {name: value for name, value in config_to_json(config).items() if name not in _AFTER}
    settings |= {"gallery_space": None if gallery is None else gallery.space, "images_sha256": images.digest}
    if config.table is not None:
        settings["table"] = sha256_file(config.table)  # not where it lies
    return Prepared(dataset, data, images, test, preprocessing, dim, random, cost, settings, time)


def fitting(
    config: GlobalConfig,
    cost: Callable[[GlobalMember], float],
    time: Callable[[GlobalMember], float] | None,
) -> Callable[[GlobalMember], bool]:
    """Whether a member keeps within the limits of a search: multiply-adds, milliseconds, both or neither.

    Args:
        config: The whole run's.
        cost: Multiply-adds of a member, in millions.
        time: Milliseconds of a member; None without a table.
    """

    def fits(member: GlobalMember) -> bool:
        if config.mmacs is not None and cost(member) > config.mmacs:
            return False
        return time is None or config.milliseconds is None or time(member) <= config.milliseconds

    return fits


def _milliseconds(config: GlobalConfig, size: int, dim: int) -> Callable[[GlobalMember], float] | None:
    """What a member takes by the table of a run; None where it has none."""
    if config.table is None:
        return None
    bounds, stem_stride = config.bounds, config.stem_stride
    table = load_block_table(config.table)
    table.require(settings_of(bounds, size, dim, stem_stride))
    return lambda member: milliseconds(member, table, bounds, size=size, dim=dim, stem_stride=stem_stride)


def _of_classes(queries: Split, data: TrainingSet) -> Split:
    """The query images of the classes that a scenario left, or all where that would be none."""
    rows = np.flatnonzero(np.isin(queries.labels, data.classes))
    return split_rows(queries, rows) if len(rows) else queries


def _check_classes(queries: Split, data: TrainingSet) -> None:
    """Refuses a query split with classes that no network can name."""
    if unknown := sorted(set(queries.labels) - set(data.classes)):
        raise DataError(
            f"{len(unknown)} of the {len(queries.classes)} classes of the query split are not trained on (such as "
            f"{unknown[0]!r}), so classification accuracy means nothing there; choose objective 'retrieval' for "
            f"identities that training does not know"
        )


def _random_members(config: GlobalConfig, fits: Callable[[GlobalMember], bool]) -> tuple[GlobalMember, ...]:
    """Random members within the limits, by the seed; fewer of them are the first of more."""
    generator = np.random.default_rng((config.execution.seed, _RANDOM_SEED))
    found: list[GlobalMember] = []
    for _ in range(_TRIES * config.random):
        if len(found) == config.random:
            break
        member = random_member(config.bounds, generator)
        if fits(member):
            found.append(member)
    if len(found) < config.random:
        told = ((config.mmacs, "MMACs"), (config.milliseconds, "ms"))
        limits = [f"{most:g} {unit}" for most, unit in told if most is not None]
        raise ConfigError(
            f"{len(found)} of {_TRIES * config.random} random members keep within the limits "
            f"({', '.join(limits)}), and {config.random} are wanted; raise the limit, lower the bounds, or ask "
            f"for fewer"
        )
    return tuple(found)
