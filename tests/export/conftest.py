from __future__ import annotations

import gc
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import torch

from compat_export.profile_model import untrained_checkpoint
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.space_name import identity_of
from tests.export.embedders import FEW_LAYERS, onnx_of


def loaded(package: str) -> Any:
    """A converter, or a skipped test. What it brings is no garbage; coremltools looks for some at each conversion."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about themselves, as they are imported
        module = pytest.importorskip(package)
    gc.freeze()
    return module


@pytest.fixture(scope="session")
def coremltools() -> Any:
    """Loaded by the first test that uses it, and by no process that only lists tests."""
    return loaded("coremltools")


@pytest.fixture(scope="session")
def litert() -> Any:
    """See `coremltools`."""
    return [loaded(package) for package in ("litert_torch", "ai_edge_litert", "ai_edge_quantizer")]


@pytest.fixture(scope="session")
def executorch() -> Any:
    """See `coremltools`."""
    return loaded("executorch.runtime")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A tiny residual network whose batch norms have seen something, saved as a run."""
    made = untrained_checkpoint(FEW_LAYERS, size=28, dim=16)
    generator = torch.Generator().manual_seed(1)
    state = {
        name: value + 0.1 * torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in made.state.items()
    }
    run = tmp_path_factory.mktemp("runs") / "tiny"
    run.mkdir()
    identity = identity_of(
        state, arch=made.arch, dim=16, width=made.width, stem_stride=made.stem_stride, preprocessing=made.preprocessing
    )
    made = replace(made, path=run, state=state, space=identity.space, license="Apache-2.0")
    made.save()
    return made


@pytest.fixture(scope="session")
def graph(checkpoint: Checkpoint) -> bytes:
    return onnx_of(checkpoint)


@pytest.fixture(scope="session")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, 28, 28, 3), dtype=np.uint8)
