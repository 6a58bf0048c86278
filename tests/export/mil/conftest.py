from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from compat_export.convert.conversion import Options, Port
from compat_export.convert.to_coreml import convert
from compat_export.convert.unit import UnitEmbedder
from compat_train.models import build_model
from tests.export.coreml_nets import settled
from tests.export.embedders import FEW_LAYERS


@pytest.fixture(scope="session")
def embedder() -> torch.nn.Module:
    torch.manual_seed(0)
    return settled(UnitEmbedder(build_model(FEW_LAYERS, dim=16)))


@pytest.fixture(scope="session")
def files(coremltools: Any, embedder: torch.nn.Module) -> dict[str, bytes]:
    return convert(embedder, [Port("image", (3, 28, 28))], Options())


@pytest.fixture(scope="session")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((5, 3, 28, 28)).astype(np.float32)


@pytest.fixture(scope="session")
def reference(embedder: torch.nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return embedder(torch.from_numpy(images)).numpy()
