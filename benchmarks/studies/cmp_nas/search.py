"""The searches of one seed: their settings, their supernets, and what each of them finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from compat_train.config.parts import Execution, Optimisation, Source
from compat_train.nas.cmp.config import CmpConfig, SearchConfig, SupernetConfig, ValidationConfig
from compat_train.nas.cmp.run import prepare, search_tiers
from compat_train.nas.cmp.train_supernet import train_supernet

SPACE = "shuffle,stem=4,channels=12-32-64-128,repeats=2-2-4-2,last=128"
TIERS = {23: 1.45, 35: 0.95, 80: 0.42}  # gallery MMACs over query MMACs: MMACs
MAIN = 0.95  # the tier at which rewards and static networks are compared
SCHEDULE = Optimisation(epochs=2, batch=64, lr=0.3, weight_decay=1e-4, warmup_epochs=0.5)
SEARCH = SearchConfig(population=20, parents=6, crossovers=8, mutations=8, rounds=6)


def search_config(root: str, runs: Path, seed: int, *, reward: str = "r3", vanilla: bool = False) -> CmpConfig:
    """The search of one seed; only what differs between variants is an argument."""
    return CmpConfig(
        source=Source(data="kanji-500", root=root),
        gallery=str(runs / "kanji" / f"gallery-{seed}"),
        mmacs=tuple(TIERS.values()) if reward == "r3" and not vanilla else (MAIN,),
        reward=reward,  # type: ignore[arg-type]  # checked on construction
        space=SPACE,
        stem_stride=2,
        supernet=SupernetConfig(
            optimisation=replace(SCHEDULE, epochs=4, lr=0.4),
            method="vanilla" if vanilla else None,
            operation_warmup=0.15,
            channel_warmup=0.5,
        ),
        search=replace(SEARCH, seed=seed),
        validation=ValidationConfig(queries=1000, gallery=1500, calibration=1024),
        retrain=SCHEDULE,
        static=(),
        execution=Execution(seed=seed, device="cpu", precision="fp32", threads=1),
    )


def folder_of(runs: Path, seed: int, vanilla: bool) -> Path:
    """Where one supernet, its validation arrays and its scores are."""
    return runs / "cmp" / f"{'vanilla' if vanilla else 'bct'}-{seed}"


def supernet_of(root: str, runs: Path, seed: int, vanilla: bool) -> None:
    """Trains one supernet, with the widest budget so that all searches of its kind can use it."""
    config = replace(search_config(root, runs, seed, vanilla=vanilla), mmacs=tuple(TIERS.values()))
    folder = folder_of(runs, seed, vanilla)
    prepared = prepare(config, folder)
    train_supernet(config, prepared.gallery, prepared.data, folder / "supernet")


def search_of(root: str, runs: Path, seed: int) -> list[dict[str, Any]]:
    """All searches of one seed: what each found, best first. Scores are remembered, so a repetition is quick."""
    found = []
    for vanilla, reward, strategy in (
        (False, "r3", "evolution"),
        (False, "r2", "evolution"),
        (False, "r1", "evolution"),
        (True, "r1", "evolution"),
        (False, "r3", "random"),
    ):
        folder = folder_of(runs, seed, vanilla)
        config = replace(search_config(root, runs, seed, reward=reward, vanilla=vanilla), mmacs=tuple(TIERS.values()))
        prepared = prepare(config, folder)
        weights = train_supernet(config, prepared.gallery, prepared.data, folder / "supernet")
        wide = reward == "r3" and strategy == "evolution"
        config = replace(
            config,
            mmacs=tuple(TIERS.values()) if wide else (MAIN,),
            search=replace(config.search, strategy=strategy),  # type: ignore[arg-type]
        )
        tiers = search_tiers(config, prepared, weights, folder)
        for budget, ranked in tiers.items():
            found.append(
                {
                    "variant": "vanilla-nas" if vanilla else reward if strategy == "evolution" else "random",
                    "seed": seed,
                    "budget": budget,
                    "best": [
                        {"arch": entry.member.name, "reward": entry.reward, "mmacs": entry.cost} for entry in ranked[:5]
                    ],
                }
            )
    return found
