"""A transform learned from a few thousand stored vectors of an open set: as the paper trains it, and by the defaults.

    python -m benchmarks.accuracy.small_upgrade --root KANJI [--pairs 1000 3000] [--out FOLDER]

KANJI is what `compat-sdk data build kanji` made. Two descriptors stand in for an old and a new model, so that nothing
has to be trained before: the brightness of 8 x 8 cells (64 numbers), and how strong edges of 8 directions are in 4 x 4
cells (128 numbers). Six drawings of each character are taken, and whole characters are held out.

"As the paper" is FCT's own schedule: random weights, 2,048 hidden units, 80 epochs, the last weights. "By default" is
`compat-sdk train upgrade --old FILE --new FILE`. Both learn from the same pairs, and the same other pairs judge them.
The page is written beside this file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.machine import machine
from compat_train.config.parts import Augmentation, Execution
from compat_train.config.upgrade import OPTIMISATION, UpgradeConfig
from compat_train.data.batches import Batch, Batches
from compat_train.data.pairs import Pairs, Parts, read_pairs
from compat_train.evaluation.verdict import Verdict, judge, read_verdict
from compat_train.loop import fit
from compat_train.losses.forward import forward_transform_loss
from compat_train.methods.ridge import ridge_regression
from compat_train.methods.upgrade import train_upgrade
from compat_train.models.transform import ForwardTransform

PAGE = Path(__file__).with_suffix(".md")
DRAWINGS = 6
OLD, NEW = "cells-64-aaaaaaaaaaaa", "edges-128-bbbbbbbbbbbb"


def cells(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brightness of 8 x 8 cells, ``[n, 64]``."""
    found: NDArray[np.float32] = images.reshape(-1, 8, 4, 8, 4).mean((2, 4)).reshape(len(images), -1)
    return found


def edges(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Strength of edges of 8 directions in 4 x 4 cells, ``[n, 128]``."""
    down, right = np.gradient(images, axis=(1, 2))
    strength, direction = np.hypot(down, right), np.arctan2(down, right) % (2 * np.pi)
    bins = np.minimum((direction / (2 * np.pi) * 8).astype(int), 7)
    each = (strength[..., None] * (bins[..., None] == np.arange(8))).reshape(-1, 4, 8, 4, 8, 8)
    found: NDArray[np.float32] = each.sum((2, 4)).reshape(len(images), -1).astype(np.float32)
    return found


def store(root: Path, pairs: int, folder: Path) -> Path:
    """Write the vectors of some characters as two files."""
    rows = np.load(root / "rows.npy")
    rng = np.random.default_rng(0)
    chosen: list[int] = []
    for character in rng.permutation(np.unique(rows[:, 0]))[: pairs // DRAWINGS]:
        chosen += rng.choice(np.flatnonzero(rows[:, 0] == character), DRAWINGS, replace=False).tolist()
    images = np.load(root / "images.npy", mmap_mode="r")[np.sort(chosen)].astype(np.float32) / 255
    ids = np.array([str(row) for row in np.sort(chosen)])
    labels = np.array([f"c{character}" for character in rows[np.sort(chosen), 0]])
    for name, vectors, space in (("old", cells(images), OLD), ("new", edges(images), NEW)):
        centred = vectors - vectors.mean(0)
        np.savez(folder / f"{name}.npz", ids=ids, vectors=centred, labels=labels, space=np.array(space))
    return folder


def as_the_paper(pairs: Pairs, parts: Parts, run: Path) -> Verdict:
    """Train h by the paper's schedule, with no held-out part that ends it."""
    paper = OPTIMISATION["fct"]
    schedule = replace(paper, batch=min(paper.batch, len(parts.learn)))
    torch.manual_seed(0)
    transform = ForwardTransform(old=64, side=None, new=128, hidden=2048)
    old, new = (torch.from_numpy(table) for table in (pairs.old, pairs.new))
    rows = torch.from_numpy(parts.learn)
    blank = np.broadcast_to(np.zeros(1, np.uint8), (len(rows), 1, 1, 3))
    device = torch.device("cpu")
    batches = Batches(
        blank,
        np.zeros(len(rows), np.int64),
        batch=schedule.batch,
        seed=0,
        augmentation=Augmentation(),
        device=device,
    )
    steps = batches.steps_per_epoch * schedule.epochs

    def objective(batch: Batch) -> dict[str, torch.Tensor]:
        transform.train(batch.step < steps // 2)
        picked = rows[batch.index]
        return {"l2": forward_transform_loss(transform(old[picked]), new[picked])}

    fit(transform, objective, batches, schedule, Execution(device="cpu"), run=run, settings={})
    ridge = ridge_regression(old[rows], new[rows])
    with torch.no_grad():
        judged = old[torch.from_numpy(parts.judge)]
        given = F.normalize(transform.eval()(judged)).numpy()
        by_ridge = F.normalize(judged.double() @ ridge.weight.T + ridge.bias).float().numpy()
    labels = [pairs.labels[row] for row in parts.judge]
    return judge(pairs.old[parts.judge], pairs.new[parts.judge], given, by_ridge, labels)


def main() -> None:
    """Train, judge, write the page and the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1000, 3000])
    options = parser.parse_args()
    rows = []
    for count in options.pairs:
        with tempfile.TemporaryDirectory() as temporary:
            folder = store(options.root, count, Path(temporary))
            config = UpgradeConfig(
                old=str(folder / "old.npz"), new=str(folder / "new.npz"), execution=Execution(device="cpu")
            )
            pairs = read_pairs(config.old, config.new)
            parts = pairs.parts(config.part_held_out, 0)
            for how in ("by default", "as the paper"):
                start = time.process_time()
                if how == "as the paper":
                    found = as_the_paper(pairs, parts, folder / "paper")
                else:
                    train_upgrade(config, folder / "h")
                    kept = read_verdict(folder / "h")
                    assert kept is not None
                    found = kept
                seconds = round(time.process_time() - start, 1)
                rows.append({"pairs": len(pairs), "how": how, "seconds": seconds, **found.to_json()})
                print(len(pairs), how, *found.lines(), sep="\n  ", flush=True)
                PAGE.with_suffix(".json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
                PAGE.write_text(page(rows))


def page(rows: list[dict[str, object]]) -> str:
    """The page of these rows."""

    def points(row: dict[str, object], *names: str) -> str:
        return ", ".join(f"{100 * float(str(row[name])):+.1f}" for name in names)

    own = [row for row in rows if row["how"] == "by default"]
    told = "; ".join(f"{row['pairs']:,} pairs: {row['word']}, {points(row, 'difference')} points" for row in own)
    lines = [
        "# A transform of a few thousand vectors",
        "",
        f"**What `train upgrade` says of its own transform beside not upgrading. {told}.**",
        "",
        "| pairs | trained | verdict | M(new,h) - M(old,old) | M(old,old) | M(new,h) | M(new,ridge) | M(new,new) | "
        "cosine |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = " | ".join(
            f"{100 * float(str(row[name])):.1f}" for name in ("old_old", "new_h", "new_ridge", "new_new")
        )
        change = f"{points(row, 'difference')} [{points(row, 'low', 'high')}]"
        lines.append(
            f"| {row['pairs']:,} | {row['how']} | {row['word']} | {change} | {figures} | {row['cosine']:.3f} |"
        )
    note = (
        "Top-1 in percent on held-out characters, and what an upgrade changes with its 95 % interval. The two models "
        "are hand-made descriptors of drawings.\n\n"
        "`python -m benchmarks.accuracy.small_upgrade --root KANJI` writes this page; its docstring says what is "
        "compared."
    )
    return "\n".join([*lines, "", note, ""])


if __name__ == "__main__":
    main()
