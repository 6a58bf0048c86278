"""A recipe run: everything in it trained and searched, its folder its own, its query models certified."""

from __future__ import annotations

import re
from pathlib import Path

from compat_sdk.datasets import open_dataset
from compat_sdk.outputs import Layout, require_own
from compat_sdk.progress import Progress
from compat_train.evaluation.certify import certify, require_certifiable
from compat_train.evaluation.evaluate import evaluate
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.methods.side_info import train_side_info
from compat_train.methods.upgrade import train_upgrade
from compat_train.models.build import require_architecture
from compat_train.nas.cmp.result import CmpResult
from compat_train.nas.cmp.run import search_query_models
from compat_train.nas.global_nas.result import GlobalResult
from compat_train.nas.global_nas.run import search_network
from compat_train.parallel.group import leads
from compat_train.parallel.launch import require_single
from compat_train.recipe import Recipe
from compat_train.runs.layout import CMP, GLOBAL, PIXELS, QUERY_RUN, RUN, UPGRADE_RUN


def run_recipe(recipe: Recipe, out: str | Path, progress: Progress | None = None) -> CmpResult | GlobalResult | None:
    """Trains and searches everything in a recipe, in order; finished runs in ``out`` are kept.

    Args:
        recipe: Output of `read_recipe` for the same folder.
        out: Folder of all its runs.
        progress: Called by every run.

    Returns:
        The result of the search, or None when the recipe has none, and where another process leads the search.

    Raises:
        ConfigError: The folder, or that of one of its runs, holds something else, there is no such network, or several
            processes were started for a search that runs in one; checked before the first run.
        CompatError: As each of the runs.
    """
    folder = Path(out)
    if leads():
        require_own(folder, _layout(recipe), "this recipe")
    for config in (recipe.gallery, *recipe.models.values(), *recipe.queries.values(), *recipe.sides.values()):
        if config is not None:
            require_architecture(config.arch, width=config.width, stem_stride=config.stem_stride)
    if recipe.global_search is not None:
        require_single("a search of Global NAS")
    if recipe.gallery is not None:
        train_gallery(recipe.gallery, folder / "gallery", progress)
    for name, model in recipe.models.items():
        train_gallery(model, folder / name, progress)
    for name, query in recipe.queries.items():
        train_query(query, folder / name, progress)
    for name, side in recipe.sides.items():
        train_side_info(side, folder / name, progress)
    for name, upgrade in recipe.upgrades.items():
        train_upgrade(upgrade, folder / name, progress)
    if recipe.global_search is not None:
        return search_network(recipe.global_search, folder / "global", progress)
    return None if recipe.cmp is None else search_query_models(recipe.cmp, folder / "cmp", progress)


def certify_recipe(recipe: Recipe, out: str | Path, progress: Progress | None = None) -> tuple[Path, ...]:
    """Evaluates each query model that may search its gallery model's space, and keeps the figures in its RUN.

    Args:
        recipe: Output of `read_recipe` for the same folder, trained.
        out: Folder of all its runs.
        progress: Called by every evaluation.

    Returns:
        The certificates' files; none for methods that declare no gallery space, such as vanilla.

    Raises:
        ConfigError: A model is in an old space.
        DataError: The recipe's data has no query or no gallery split.
    """
    written = []
    for name, query in recipe.queries.items():
        if not query.compatible:
            continue
        run = Path(out) / name
        require_certifiable(run, query.gallery)
        source, execution = query.source, query.execution
        dataset = open_dataset(source.data, None if source.root is None else Path(source.root))
        found = evaluate(
            dataset, run, query.gallery, device=execution.device, threads=execution.threads or None, progress=progress
        )
        written.append(certify(found, dataset, run))
    return tuple(written)


def _layout(recipe: Recipe) -> Layout:
    """What all runs of a recipe leave in its folder."""
    runs: dict[str, Layout] = {"pixels": PIXELS}
    runs |= {re.escape(name): RUN for name in (*recipe.models, *recipe.sides)}
    runs |= {re.escape(name): QUERY_RUN for name in recipe.queries}
    runs |= {re.escape(name): UPGRADE_RUN for name in recipe.upgrades}
    if recipe.gallery is not None:
        runs["gallery"] = RUN
    if recipe.cmp is not None:
        runs["cmp"] = CMP
    if recipe.global_search is not None:
        runs["global"] = GLOBAL
    return runs
