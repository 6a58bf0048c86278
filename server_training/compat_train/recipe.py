"""Experiments as TOML files: which runs, in which order, on which data.

    description = "what it is, and what it should give"

    [source]                 the data of every run of the recipe
    data = "kanji-500"

    [gallery]                a GalleryConfig; its RUN folder is OUT/gallery
    arch = "resnet18"

    [query.bct]              a QueryConfig each; OUT/bct
    method = "bct"

    [model.old]              a GalleryConfig each, for upgrades; OUT/old
    arch = "resnet18"
    [model.old.source]       what differs from the recipe's source
    scenario = {classes = "0-499"}

    [side_info.simclr]       a SideInfoConfig each; OUT/simclr
    method = "simclr"

    [upgrade.fct]            an UpgradeConfig each; OUT/fct
    old = "old"
    new = "gallery"
    side_info = "simclr"

    [cmp]                    a CmpConfig; OUT/cmp
    mmacs = [100, 230, 330]

    [global]                 a GlobalConfig; OUT/global
    objective = "accuracy"

    extends = "other.toml"   a recipe beside this one, over which this one lies, setting by setting

Each table holds the fields of its configuration, nested as its dataclasses are. Query models and searches are trained
against the recipe's gallery model, unless a query table names another one of the recipe's models as its ``gallery``;
an upgrade names its models by their tables. ``through`` names upgrades, or new models of method dmu for the transform
that was trained beside them. A table with a part of its settings lies over what its owner has: a query
model's ``optimisation`` over a query model's, its ``classification`` and ``preprocessing`` over those of the model it
is trained against, and a run's ``source`` over the recipe's. A recipe has one search at most. It needs a gallery model,
unless it has a global search that is not after r3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_sdk.names import check_name
from compat_sdk.shown import shortened, shown_value
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Classification, Execution, Source
from compat_train.config.query import QueryConfig
from compat_train.config.settings import config_from_mapping
from compat_train.config.upgrade import SideInfoConfig, UpgradeConfig
from compat_train.nas.cmp.config import CmpConfig
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.recipe_file import read_tables
from compat_train.runs.layout import ADAPTATION

ConfigT = TypeVar("ConfigT", GalleryConfig, QueryConfig, SideInfoConfig, UpgradeConfig, CmpConfig, GlobalConfig)

_CHAINS = ("through", "side_through")  # settings of an upgrade that name several transforms
_NAMED = ("model", "query", "side_info", "upgrade")  # tables of tables, by the name of a run
_REFERENCES = ("gallery", "old", "new", "side_info", "embedded_by")  # settings that name another run of the recipe
_TABLES = ("description", "source", "execution", "gallery", "model", "query", "side_info", "upgrade", "cmp", "global")


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe.

    Attributes:
        description: What it is.
        gallery: The gallery model; None only beside a global search that needs none.
        models: Further gallery models by name, such as older generations.
        queries: Query models by name.
        sides: Side-information encoders by name.
        upgrades: Transforms by name.
        cmp: The search for query networks, if there is one.
        global_search: The global search, if there is one.
    """

    description: str
    gallery: GalleryConfig | None
    models: Mapping[str, GalleryConfig]
    queries: Mapping[str, QueryConfig]
    sides: Mapping[str, SideInfoConfig]
    upgrades: Mapping[str, UpgradeConfig]
    cmp: CmpConfig | None
    global_search: GlobalConfig | None

    @property
    def names(self) -> tuple[str, ...]:
        """Folder of each run but the search, in the order in which they are trained."""
        return (*["gallery"] * (self.gallery is not None), *self.models, *self.queries, *self.sides, *self.upgrades)


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
        ConfigError: The file is no TOML, a setting is unknown, missing or out of its range, a run sets what all runs
            share, two runs have one name, or an upgrade names a run that the recipe does not have.
    """
    found = read_tables(path)
    if unknown := sorted(set(found) - set(_TABLES)):
        raise ConfigError(f"{path} has {shortened(', '.join(unknown))}; expected only {', '.join(_TABLES)}")
    _check_tables(found)
    alone = "global" in found and found["global"].get("objective") != "r3"
    if "source" not in found or ("gallery" not in found and not alone):
        raise ConfigError(f"{path} needs the tables [source] and [gallery]; it has {', '.join(found) or 'none'}")
    if "cmp" in found and "global" in found:
        raise ConfigError(f"{path} has the searches [cmp] and [global]; expected one at most, so split it into two")
    source = config_from_mapping(Source, found["source"], "source.")
    execution = config_from_mapping(Execution, found.get("execution", {}), "execution.")
    shared = {
        "source": source if root is None else replace(source, root=root),
        "execution": replace(
            execution,
            seed=execution.seed if seed is None else seed,
            threads=execution.threads if threads is None else threads,
        ),
    }
    for table in ("gallery", "cmp", "global"):
        _check_shared(found.get(table, {}), f"{table}.", "source", "execution")
    folder = Path(out)
    search = found.get("cmp")
    if search is not None and seed is not None:
        search = search | {"search": search.get("search", {}) | {"seed": seed}}

    # Of each run so far, for those that are trained against it.
    losses: dict[str, Classification] = {}
    seen: dict[str, Preprocessing] = {}

    def configured(kind: type[ConfigT], name: str, values: Mapping[str, Any], at: str, against: str = "") -> ConfigT:
        told, laid = values.get("classification"), dict[str, Any](shared)
        if isinstance(told, Mapping) and against in losses:
            laid["classification"] = losses[against].under(told)
        if kind is QueryConfig and isinstance(values.get("preprocessing"), Mapping) and against in seen:
            laid["preprocessing"] = seen[against]
        config = config_from_mapping(kind, values, at, defaults=laid)
        if config.source is not None and config.source.pixels is None and not config.source.streamed:
            config = replace(config, source=replace(config.source, pixels=str(folder / "pixels")))
        if (own := getattr(config, "preprocessing", None) or seen.get(against)) is not None:
            seen[name] = own
        if (loss := config.classification or losses.get(against)) is not None:
            losses[name] = loss
        return config

    def tables(kind: str) -> Iterator[tuple[str, dict[str, Any], str]]:
        for name, values in found.get(kind, {}).items():
            _check_shared(values, f"{kind}.{name}.", "execution")
            yield name, values, f"{kind}.{name}."

    def query(name: str, values: dict[str, Any], at: str) -> QueryConfig:
        against = values.get("gallery", "gallery")
        placed = _runs(folder, found, at, gallery=against, **_told(values, "embedded_by"))
        if "through" in values:  # upgrades are trained after all new models
            queries = list(found["query"])
            earlier = {"query": {each: found["query"][each] for each in queries[: queries.index(name)]}}
            placed["through"] = _upgrades(folder, earlier, f"{at}through", values["through"])
        return configured(QueryConfig, name, values | placed, at, against)

    def upgrade(name: str, values: dict[str, Any], at: str) -> UpgradeConfig:
        named = _told(values, "old", "new", "side_info")
        chains = {chain: _upgrades(folder, found, at + chain, of) for chain, of in _told(values, *_CHAINS).items()}
        placed = values | _runs(folder, found, at, **named) | chains
        return configured(UpgradeConfig, name, placed, at, str(values.get("new")))

    def global_search(values: dict[str, Any]) -> GlobalConfig:
        against = "" if alone else values.get("gallery", "gallery")
        placed = {} if alone else _runs(folder, found, "global.", gallery=against)
        return configured(GlobalConfig, "global", values | placed, "global.", against)

    def cmp_search(values: dict[str, Any]) -> CmpConfig:
        return configured(CmpConfig, "cmp", values | {"gallery": str(folder / "gallery")}, "cmp.", "gallery")

    gallery = found.get("gallery")
    recipe = Recipe(
        description=str(found.get("description", "")),
        gallery=None if gallery is None else configured(GalleryConfig, "gallery", gallery, "gallery."),
        models={name: configured(GalleryConfig, name, values, at) for name, values, at in tables("model")},
        queries={name: query(name, values, at) for name, values, at in tables("query")},
        sides={name: configured(SideInfoConfig, name, values, at) for name, values, at in tables("side_info")},
        upgrades={name: upgrade(name, values, at) for name, values, at in tables("upgrade")},
        cmp=None if search is None else cmp_search(search),
        global_search=global_search(found["global"]) if "global" in found else None,
    )
    # Many systems do not tell a from A.
    names = [name.casefold() for name in (*recipe.names, "cmp", "global", "pixels")]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"{path} gives the name {', '.join(twice)} to two runs, which would share a folder; rename one"
        )
    return recipe


def _check_tables(found: Mapping[str, Any]) -> None:
    """Refuses what is no table where one is expected, and names of runs that could not be their folders."""
    for table, values in found.items():
        if table != "description" and not isinstance(values, dict):
            raise ConfigError(f"{table} is {shown_value(values)}; expected a table [{table}] of settings")
        if table in _NAMED:
            for name, settings in values.items():
                check_name(name, f"a run [{table}.NAME]")
                if not isinstance(settings, dict):
                    raise ConfigError(
                        f"{table}.{name} is {shown_value(settings)}; expected a table [{table}.NAME] of settings"
                    )
                for key in _REFERENCES:
                    if not isinstance(settings.get(key, ""), str):
                        raise ConfigError(f"{table}.{name}.{key} is {shown_value(settings[key])}; expected a name")


def _check_shared(values: Mapping[str, Any], where: str, *names: str) -> None:
    """Refuses, in a run's table, what the recipe sets for all its runs: it would be ignored."""
    for name in names:
        if name in values:
            raise ConfigError(f"{where}{name} is set, but all runs of a recipe share one; set it in [{name}] instead")


def _told(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _runs(folder: Path, found: Mapping[str, Any], where: str, **names: Any) -> dict[str, Any]:
    """RUN folder of each named run of the recipe."""
    known = [
        *["gallery"] * ("gallery" in found),
        *(name for kind in ("model", "query", "side_info") for name in found.get(kind, {})),
    ]
    for setting, name in names.items():
        if name not in known:
            raise ConfigError(
                f"{where}{setting} is {shown_value(name)}; expected a run of this recipe: {', '.join(known)}"
            )
    return {setting: str(folder / name) for setting, name in names.items()}


def _upgrades(folder: Path, found: Mapping[str, Any], where: str, names: Any) -> list[str]:
    """RUN folder of each named transform of the recipe: an upgrade, or what method dmu trains beside a new model."""
    beside = [name for name, values in found.get("query", {}).items() if values.get("method") == "dmu"]
    known = [*found.get("upgrade", {}), *beside]
    if not isinstance(names, list) or not set(map(str, names)) <= set(known):
        raise ConfigError(
            f"{where} is {shown_value(names)}; expected a list of transforms of this recipe: {', '.join(known)}"
        )
    return [str(folder / name / ADAPTATION if name in beside else folder / name) for name in names]
