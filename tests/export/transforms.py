"""Small transforms in memory, with batch norms that do something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compat_sdk.space import TransformSpaces
from compat_train.models.transform import ForwardAdaptation, ForwardTransform
from compat_train.runs.transform_run import TransformRun
from tests.export.coreml_nets import settled

OLD, SIDE, NEW, HIDDEN = 16, 8, 24, 64
KINDS = ("with side-information", "without", "adaptation")


def a_transform(path: Path, kind: str = KINDS[0]) -> TransformRun:
    """A run of one of ``KINDS``, saved in ``path``."""
    torch.manual_seed(0)
    side = SIDE if kind == KINDS[0] else None
    network: nn.Module = ForwardTransform(old=OLD, side=side, new=NEW, hidden=HIDDEN)
    if kind == "adaptation":
        network = ForwardAdaptation(old=OLD, new=NEW, hidden=HIDDEN)
    path.mkdir(parents=True, exist_ok=True)
    run = TransformRun(
        path=path,
        method="dmu" if kind == "adaptation" else "fct",
        kind="forward-adaptation" if kind == "adaptation" else "forward-transform",
        spaces=TransformSpaces(
            old_space="old-16-aaaaaaaaaaaa",
            old_dim=OLD,
            side_space=None if side is None else "side-8-bbbbbbbbbbbb",
            side_dim=side,
            space="new-24-cccccccccccc",
            dim=NEW,
        ),
        hidden=HIDDEN,
        license="Apache-2.0",
        config={},
        state=settled(network).state_dict(),
    )
    run.save()
    return run


def unit_rows(rows: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def inputs_of(run: TransformRun, rows: int) -> list[NDArray[np.float32]]:
    """Unit rows that the transform takes."""
    old, side = run.spaces.old_dim, run.spaces.side_dim
    return [unit_rows(rows, old, 5)] + ([] if side is None else [unit_rows(rows, side, 6)])


def by_pytorch(run: TransformRun, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What the trained network makes of them, with unit rows."""
    with torch.no_grad():
        found = run.build()(*map(torch.from_numpy, inputs))
    return np.asarray(nn.functional.normalize(found).numpy(), np.float32)
