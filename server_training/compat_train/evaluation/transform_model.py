"""A transform to evaluate, whether it is still a RUN of PyTorch weights or already an exported BUNDLE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compat_sdk.bundle import Trust
from compat_sdk.bundle.trust import refuse_run
from compat_sdk.errors import ConfigError, IncompatibleSpaceError
from compat_sdk.kinds import is_bundle
from compat_sdk.space import Embeddings, TransformSpaces
from compat_sdk.transform import Transform
from compat_sdk.unit import check_rows
from compat_train.device import device_of
from compat_train.runs.transform_run import TransformRun

_BLOCK = 8192

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TransformModel:
    """A transform of stored embeddings.

    Attributes:
        name: Name of its folder.
        spaces: From where to where it leads.
        apply: From float32 ``[n, old_dim]`` and ``[n, side_dim]`` (or None), rows of unit norm, to float32
            ``[n, dim]``, rows of unit norm.
    """

    name: str
    spaces: TransformSpaces
    apply: Callable[[Vectors, Vectors | None], Vectors]

    def of(self, old: Embeddings, side: Embeddings | None = None) -> Embeddings:
        """Transformed embeddings, rows in the order of ``old``.

        Raises:
            IncompatibleSpaceError: An input is in another space than the transform was trained for.
            ConfigError: Side-information is missing, or given to a transform that takes none.
            VectorError: An output has no direction.
        """
        spaces = self.spaces
        if (side is None) != (spaces.side_space is None):
            expected = (
                "no side-information" if spaces.side_space is None else f"side-information in {spaces.side_space}"
            )
            found = "none" if side is None else side.space
            raise ConfigError(f"transform {self.name} takes {expected}, found {found}; pass what it was trained with")
        for what, embeddings, space in (
            ("embeddings", old, spaces.old_space),
            ("side-information", side, spaces.side_space),
        ):
            if embeddings is not None and embeddings.space != space:
                raise IncompatibleSpaceError(
                    embeddings.space,
                    (),
                    str(space),
                    f"transform {self.name} takes {what} in space {space}, found {embeddings.space}; pass the model "
                    f"that it was trained with",
                )
        return Embeddings(self.apply(old.vectors, None if side is None else side.vectors), spaces.space)


def open_transform(
    path: str | Path, *, device: str = "cpu", threads: int | None = None, trust: Trust | None = None
) -> TransformModel:
    """A RUN or BUNDLE of a transform, ready to use.

    Args:
        path: Folder with ``model.json`` (a RUN), or a BUNDLE.
        device: Where a RUN's network runs: auto, cpu or cuda. A BUNDLE runs on its engine.
        threads: CPU threads of a BUNDLE's engine; None leaves it to the engine.
        trust: Whose signature it must have; None for no matter whose.

    Raises:
        ConfigError: A RUN where a signature is asked for.
        BundleError: A bundle without the signature.
        TrainingError: The RUN has not finished, or holds no transform.
        CorruptFileError: A file differs from its digest.
    """
    path = Path(path)
    if is_bundle(path):
        bundled = Transform.load(path, threads=threads, trust=trust)
        return TransformModel(path.name, bundled.spaces, bundled.apply)
    refuse_run(path, trust)
    run = TransformRun.load(path)
    where = device_of(device)
    network = run.build().to(where)

    def apply(old: Vectors, side: Vectors | None) -> Vectors:
        return _apply(network, (old,) if side is None else (old, side), where)

    return TransformModel(run.name, run.spaces, apply)


@torch.inference_mode()
def _apply(network: nn.Module, inputs: tuple[Vectors, ...], device: torch.device) -> Vectors:
    blocks: list[Vectors] = []
    for start in range(0, max(1, len(inputs[0])), _BLOCK):
        rows = network(*(torch.from_numpy(part[start : start + _BLOCK].copy()).to(device) for part in inputs)).float()
        blocks.append((rows / rows.norm(dim=1, keepdim=True)).cpu().numpy())
    vectors = np.ascontiguousarray(np.concatenate(blocks), np.float32)
    advice = "the transform's weights are damaged or its training diverged: train it again"
    check_rows(vectors, "rows have no transformed vector", advice)
    return vectors
