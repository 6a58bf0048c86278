"""`compat-sdk train`: gallery models, query models that are compatible with them, and what upgrades a gallery."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from compat_cli import console, extras
from compat_cli.commands import train_upgrade
from compat_cli.commands.train_options import EVERYWHERE, SCENARIO, preset_of
from compat_cli.settings import SettingsCommand, Told, group_of
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_train.config.gallery import GalleryConfig
    from compat_train.config.query import QueryConfig
    from compat_train.evaluation.held_out import HeldOut
    from compat_train.runs.checkpoint import Checkpoint


def _gallery_config() -> type[GalleryConfig]:
    from compat_train.config.gallery import GalleryConfig

    return GalleryConfig


def _query_config() -> type[QueryConfig]:
    from compat_train.config.query import QueryConfig

    return QueryConfig


def _train_gallery(told: Told, out: Path, as_json: bool) -> None:
    """Train the large model that embeds the gallery."""
    extras.require("train")
    from compat_train.evaluation.held_out import held_out_once
    from compat_train.methods.gallery import train_gallery
    from compat_train.parallel.group import leads

    config = told.config(_gallery_config())
    began = time.monotonic()
    with told.named(), console.working() as progress:
        done = train_gallery(config, out, progress)
        seconds = time.monotonic() - began
        found = held_out_once(done, config) if leads() else None
    _say(done, seconds, as_json, "no val split, so no image was held out" if found is None else str(found), found)


def _train_query(told: Told, out: Path, as_json: bool) -> None:
    """Train a model whose queries may search the gallery model's embeddings.

    A small one for a large gallery model, or with --method dmu and --role gallery a new one for an old gallery.
    """
    extras.require("train")
    from compat_train.methods.query import train_query

    config = told.config(_query_config(), like="gallery", defaults=_method_for(told))
    began = time.monotonic()
    with told.named(), console.working() as progress:
        done = train_query(config, out, progress)
    _say(done, time.monotonic() - began, as_json)


def _method_for(told: Told) -> dict[str, str]:
    """The method where none is told: auto for a gallery model that brings no classifier, else the setting's default."""
    gallery = told.values.get("gallery")
    if "method" in told.values or not isinstance(gallery, str):
        return {}
    from compat_train.adoption.opening import open_gallery_model

    return {"method": "auto"} if open_gallery_model(gallery).classifier is None else {}


_SCHEDULE = ("optimisation.epochs", "optimisation.batch", "optimisation.lr")
COMMANDS = (
    SettingsCommand(
        words=("train", "gallery"),
        config=_gallery_config,
        run=_train_gallery,
        inputs=("source.data", "source.root"),
        shown=("arch", "weights", "dim", "preprocessing.size", "classification.loss", *_SCHEDULE, *EVERYWHERE),
        shorthands=(preset_of("train gallery"), SCENARIO),
    ),
    SettingsCommand(
        words=("train", "query"),
        config=_query_config,
        run=_train_query,
        inputs=("source.data", "source.root", "gallery"),
        shown=("method", "arch", "weights", "width", "role", "start", *_SCHEDULE, *EVERYWHERE),
        shorthands=(preset_of("train query"), SCENARIO),
    ),
    *train_upgrade.COMMANDS,
)

app = typer.Typer(help="Train a model.", no_args_is_help=True, rich_markup_mode=None, cls=group_of(COMMANDS))


def _say(done: Checkpoint, seconds: float, as_json: bool, held_out: str = "", found: HeldOut | None = None) -> None:
    from compat_train.pace import duration
    from compat_train.runs.choices import read_choices
    from compat_train.runs.layout import ADAPTATION
    from compat_train.runs.log import read_looks
    from compat_train.watch import summary

    facts: dict[str, object] = {
        "seconds": round(seconds, 1),
        "run": str(done.path),
        "role": done.role,
        "method": done.method,
        "arch": done.arch,
        "dim": done.dim,
        "space": done.space,
        "searches": list(done.searches),
        "classes": len(done.classes),
    }
    may = f"; may search {', '.join(done.searches)}" if done.searches else ""
    line = f"{escaped(str(done.path))}: {done.role} model {done.arch} ({done.method}), space {done.space}{may}"
    for choice in read_choices(done.path):
        facts.setdefault("choices", []).append(asdict(choice))  # type: ignore[attr-defined]
        line += f"\ntook {choice}"
    if looks := read_looks(done.path):
        facts["held_out"] = looks[-1]
        line += "\n" + summary(looks)
    if held_out:
        facts["held_out"] = None if found is None else asdict(found)
        line += f"\n{held_out}"
    line += f"\n{duration(seconds)} of work"
    if (adaptation := done.path / ADAPTATION).is_dir():
        facts["adaptation"] = str(adaptation)
        line += f"\n{escaped(str(adaptation))}: transform of the old embeddings into that space"
    console.report(facts, line, as_json=as_json)
