"""`compat-sdk nas global`: depth, width, operations and kernels of a network for a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat_cli import console, extras
from compat_cli.commands.train_options import EVERYWHERE, SCENARIO
from compat_cli.settings import Named, SettingsCommand, Shorthand, Told
from compat_sdk.errors import ConfigError
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_train.nas.global_nas.config import GlobalConfig
    from compat_train.nas.global_nas.result import GlobalResult

OUT = "Folder to write; an interrupted search in it is continued."


def _config() -> type[GlobalConfig]:
    from compat_train.nas.global_nas.config import GlobalConfig

    return GlobalConfig


def _preset(name: str) -> Mapping[str, Any]:
    """Bounds of the paper, or settings of a place to train, by setting."""
    from compat_train.config.presets import NAMES, preset
    from compat_train.config.settings import config_to_json
    from compat_train.nas.global_nas.config import PRESETS

    if name in NAMES:
        return preset("nas global", name)
    if name not in PRESETS:
        raise ConfigError(f"--preset is {name!r}; expected one of {', '.join((*PRESETS, *NAMES))}")
    return {f"bounds.{key}": value for key, value in config_to_json(PRESETS[name]).items()}


def _preset_text() -> str:
    from compat_train.nas.global_nas.config import PRESETS, TINY

    known = ", ".join(f"{name} ({each.kind}, to {each.max_width} channels)" for name, each in PRESETS.items())
    default = next(name for name, each in PRESETS.items() if each == TINY)
    return f"The paper's bounds: {known}; or settings for a laptop or a gpu. [default: {default}]"


def _search(told: Told, out: Path, as_json: bool) -> None:
    """Efficient Global NAS: grow the depth, prune the width, choose every layer's operation and kernel, train it."""
    extras.require("train")
    from compat_train.nas.global_nas.run import search_network

    config = told.config(_config(), like="gallery" if told.values.get("objective") == "r3" else "")
    with told.named(), console.working() as progress:
        result = search_network(config, out, progress)
    report(result, as_json=as_json)


COMMAND = SettingsCommand(
    words=("nas", "global"),
    config=_config,
    run=_search,
    inputs=("source.data", "source.root", "gallery", "milliseconds", "table"),
    shown=(
        *("objective", "mmacs", "preprocessing.size", "macro_epochs", "final_epochs"),
        *("random", "optimisation.batch", "optimisation.lr", *EVERYWHERE),
    ),
    named=(Named(name="--strikes-reset/--strikes-add-up", keys=("strikes_reset",)),),
    shorthands=(
        Shorthand(name="--preset", text=_preset_text, expand=_preset, metavar="NAME", yields=True),
        SCENARIO,
    ),
    out=OUT,
)


def report(result: GlobalResult, *, as_json: bool) -> None:
    """Prints what a search found."""
    console.report(
        result.to_json(),
        f"{result.table()}\n{escaped(str(result.network.run))}: {result.network.arch}",
        as_json=as_json,
    )
