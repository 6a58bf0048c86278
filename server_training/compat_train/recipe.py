"""Experiments as TOML files: which runs, in which order, on which data.

    description = "what it is, and what it should give"

    [source]                 the data of every run of the recipe
    data = "kanji-500"

    [gallery]                a GalleryConfig; its RUN folder is OUT/gallery
    arch = "resnet18"

    [query.bct]              a QueryConfig each; OUT/bct
    method = "bct"

    [cmp]                    a CmpConfig; OUT/cmp
    mmacs = [100, 230, 330]

Each table holds the fields of its configuration, nested as its dataclasses are. Query models and searches are trained
against the recipe's gallery model.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compat_sdk.errors import ConfigError
from compat_train.config import Execution, GalleryConfig, QueryConfig, Source, config_from_mapping
from compat_train.loop import Progress
from compat_train.methods.gallery import train_gallery
from compat_train.methods.query import train_query
from compat_train.nas.cmp import search_query_models
from compat_train.nas.config import CmpConfig
from compat_train.nas.result import CmpResult

_TABLES = ("description", "source", "execution", "gallery", "query", "cmp")


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe.

    Attributes:
        description: What it is.
        gallery: The gallery model.
        queries: Query models by name.
        cmp: The search, if there is one.
    """

    description: str
    gallery: GalleryConfig
    queries: Mapping[str, QueryConfig]
    cmp: CmpConfig | None


def read_recipe(
    path: str | Path, out: str | Path, *, root: str | None = None, seed: int | None = None, threads: int | None = None
) -> Recipe:
    """Reads a recipe and places its runs.

    Args:
        path: TOML file.
        out: Folder of all its runs.
        root: Folder of a named dataset's files.
        seed: Replaces the recipe's seed, that of the search included.
        threads: Replaces the recipe's CPU threads.

    Raises:
        ConfigError: The file is no TOML, or a setting is unknown, missing or out of its range.
    """
    try:
        found = tomllib.loads(Path(path).read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    if unknown := sorted(set(found) - set(_TABLES)):
        raise ConfigError(f"{path} has {', '.join(unknown)}; expected only {', '.join(_TABLES)}")
    if "source" not in found or "gallery" not in found:
        raise ConfigError(f"{path} needs the tables [source] and [gallery]; it has {', '.join(found) or 'none'}")
    source = config_from_mapping(Source, found["source"], "source.")
    execution = config_from_mapping(Execution, found.get("execution", {}), "execution.")
    shared: dict[str, Any] = {
        "source": _values(source if root is None else replace(source, root=root)),
        "execution": _values(
            replace(
                execution,
                seed=execution.seed if seed is None else seed,
                threads=execution.threads if threads is None else threads,
            )
        ),
    }
    gallery = str(Path(out) / "gallery")
    against = shared | {"gallery": gallery}
    search = found.get("cmp")
    if search is not None and seed is not None:
        search = search | {"search": search.get("search", {}) | {"seed": seed}}
    return Recipe(
        description=str(found.get("description", "")),
        gallery=config_from_mapping(GalleryConfig, found["gallery"] | shared, "gallery."),
        queries={
            name: config_from_mapping(QueryConfig, values | against, f"query.{name}.")
            for name, values in found.get("query", {}).items()
        },
        cmp=None if search is None else config_from_mapping(CmpConfig, search | against, "cmp."),
    )


def run_recipe(recipe: Recipe, out: str | Path, progress: Progress | None = None) -> CmpResult | None:
    """Trains and searches everything in a recipe, in order; finished runs in ``out`` are kept.

    Args:
        recipe: Output of `read_recipe` for the same folder.
        out: Folder of all its runs.
        progress: Called by every run.

    Returns:
        The result of the search, or None when the recipe has none.
    """
    folder = Path(out)
    train_gallery(recipe.gallery, folder / "gallery", progress)
    for name, query in recipe.queries.items():
        train_query(query, folder / name, progress)
    return None if recipe.cmp is None else search_query_models(recipe.cmp, folder / "cmp", progress)


def _values(config: Source | Execution) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if value is not None}
