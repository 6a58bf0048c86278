"""`compat-sdk train side-info` and `train upgrade`: what a gallery needs to follow its model without its images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat_cli import console, extras
from compat_cli.commands.train_options import EVERYWHERE, SCENARIO, preset_of
from compat_cli.settings import SettingsCommand, Told
from compat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from compat_train.config.upgrade import SideInfoConfig, UpgradeConfig


def _side_info_config() -> type[SideInfoConfig]:
    from compat_train.config.upgrade import SideInfoConfig

    return SideInfoConfig


def _upgrade_config() -> type[UpgradeConfig]:
    from compat_train.config.upgrade import UpgradeConfig

    return UpgradeConfig


def _train_side_info(told: Told, out: Path, as_json: bool) -> None:
    """Train the small encoder whose embeddings are stored beside the old model's."""
    if told.values.get("method") == "none":
        raise ConfigError(
            f"{told.written['method']} is 'none', which stands for no side-information, so there is nothing to train; "
            f"leave --side-info out of `compat-sdk train upgrade`"
        )
    extras.require("train")
    from compat_train.methods.side_info import train_side_info

    config = told.config(_side_info_config())
    began = time.monotonic()
    with told.named(), console.working() as progress:
        done = train_side_info(config, out, progress)
    facts = {
        "run": str(done.path),
        "role": done.role,
        "method": done.method,
        "arch": done.arch,
        "dim": done.dim,
        "space": done.space,
    }
    line = f"{done.path}: side-information encoder {done.arch} ({done.method}), space {done.space}"
    _say(facts, line, time.monotonic() - began, as_json)


def _train_upgrade(told: Told, out: Path, as_json: bool) -> None:
    """Train the transform of an old model's embeddings into a new model's space.

    With a side-information encoder as --new it is FCT's g, which carries side-information on to the next version.
    Without --data, --old and --new are the vectors that the models wrote, in files or galleries: their ids match.
    """
    extras.require("train")
    from compat_train.evaluation.verdict import read_verdict
    from compat_train.methods.upgrade import train_upgrade

    config = told.config(_upgrade_config(), like="new")
    began = time.monotonic()
    with told.named(), console.working() as progress:
        done = train_upgrade(config, out, progress)
    facts = {
        "run": str(done.path),
        "role": "transform",
        "method": done.method,
        **asdict(done.spaces),
    }
    verdict = read_verdict(done.path)
    if verdict is not None:
        facts["verdict"] = verdict.to_json()
    line = f"{done.path}: transform ({done.method}) {done.spaces}"
    _say(facts, line, time.monotonic() - began, as_json, () if verdict is None else verdict.lines())


def _say(facts: dict[str, Any], line: str, seconds: float, as_json: bool, then: Sequence[str] = ()) -> None:
    from compat_train.pace import duration

    text = console.lines([line, f"{duration(seconds)} of work", *then])
    console.report(facts | {"seconds": round(seconds, 1)}, text, as_json=as_json)


_SCHEDULE = ("optimisation.epochs", "optimisation.batch", "optimisation.lr")
COMMANDS = (
    SettingsCommand(
        words=("train", "side-info"),
        config=_side_info_config,
        run=_train_side_info,
        inputs=("source.data", "source.root"),
        shown=("method", "arch", "dim", "preprocessing.size", *_SCHEDULE, *EVERYWHERE),
        shorthands=(preset_of("train side-info"), SCENARIO),
    ),
    SettingsCommand(
        words=("train", "upgrade"),
        config=_upgrade_config,
        run=_train_upgrade,
        inputs=("source.data", "source.root", "old", "new", "side_info", "side", "through", "side_through"),
        shown=("method", "old_space", "new_space", "side_space", "hidden", "regression", *_SCHEDULE, *EVERYWHERE),
        shorthands=(preset_of("train upgrade"), SCENARIO),
    ),
)
