from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import torch

from compat_export.profile_model import untrained_checkpoint
from compat_train.runs.checkpoint import Checkpoint, identity_of
from tests.export.embedders import onnx_of


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A tiny ResNet-18 whose batch norms have seen something, saved as a run."""
    made = untrained_checkpoint("resnet18", size=28, dim=16, width=0.125)
    generator = torch.Generator().manual_seed(1)
    state = {
        name: value + 0.1 * torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in made.state.items()
    }
    run = tmp_path_factory.mktemp("runs") / "tiny"
    run.mkdir()
    identity = identity_of(state, arch="resnet18", dim=16, width=0.125, stem_stride=1, preprocessing=made.preprocessing)
    made = replace(made, path=run, state=state, space=identity.space, license="Apache-2.0")
    made.save()
    return made


@pytest.fixture(scope="session")
def graph(checkpoint: Checkpoint) -> bytes:
    return onnx_of(checkpoint)


@pytest.fixture(scope="session")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, 28, 28, 3), dtype=np.uint8)
