from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compat_export import pack
from compat_export.convert.graphs import Converted
from compat_export.profile_model import profile_architecture, profile_run, untrained_checkpoint
from compat_sdk.bundle import Graph
from compat_sdk.errors import ConfigError
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.runs.checkpoint import Checkpoint
from tests.export.embedders import FEW_LAYERS


def test_an_architecture_is_profiled_through_the_engine() -> None:
    profile = profile_architecture(FEW_LAYERS, size=28, dim=16, runs=3)
    found = profile.to_json()
    cost = count_cost(build_model(FEW_LAYERS, dim=16).eval(), 28)
    assert (found["name"], found["size"], found["engine"]) == (FEW_LAYERS, 28, "onnxruntime")
    assert (found["mmacs"], found["mmacs_paper"], found["params_m"]) == (
        cost.mmacs,
        cost.mmacs_paper,
        cost.params_m,
    )


def test_a_run_is_profiled_under_its_own_name_and_left_alone(
    checkpoint: Checkpoint, graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Converted(Graph("onnx", "fp32", "onnx-fp32/model.onnx"), {"onnx-fp32/model.onnx": graph})
    monkeypatch.setattr(pack, "convert", lambda *_: made)
    before = sorted(path.name for path in checkpoint.path.iterdir())
    assert profile_run(checkpoint.path, runs=3).name == checkpoint.path.name
    assert sorted(path.name for path in checkpoint.path.iterdir()) == before


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="resnet101"):
        profile_architecture("resnet1001")


def test_untrained_weights_are_the_same_every_time_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a = untrained_checkpoint("resnet18", size=28, dim=4, width=0.125)
    assert torch.equal(torch.rand(1), expected)
    b = untrained_checkpoint("resnet18", size=28, dim=4, width=0.125)
    assert all(torch.equal(a.state[name], b.state[name]) for name in a.state)
    assert a.path == Path("resnet18")


def test_no_branch_of_an_untrained_network_is_switched_off() -> None:
    state = untrained_checkpoint("resnet18", size=28, dim=16, width=0.125).state
    scales = [value for name, value in state.items() if name.endswith("weight") and value.ndim == 1]
    assert scales and all(bool(scale.any()) for scale in scales)
