from __future__ import annotations

import logging
from importlib.machinery import ModuleSpec

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from compat_export.convert import to_onnx
from compat_export.convert.to_onnx import OPSET
from compat_export.convert.unit import UnitEmbedder
from compat_sdk.errors import MissingExtraError
from compat_train.runs.checkpoint import Checkpoint
from tests.export.embedders import onnx_of


def test_the_graph_agrees_with_pytorch_at_every_batch_size(checkpoint: Checkpoint, graph: bytes) -> None:
    session = onnxruntime.InferenceSession(graph)
    model = UnitEmbedder(checkpoint.build())
    for batch in (1, 2, 5, 7):
        images = torch.randn(batch, 3, 28, 28, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = model(images).numpy()
        (found,) = session.run(None, {"image": images.numpy()})
        assert found.shape == (batch, 16)
        assert np.abs(found - expected).max() < 2e-6


def test_input_output_and_opset_are_as_stated(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model)
    (given,), (made,) = model.graph.input, model.graph.output
    assert (given.name, made.name) == ("image", "embedding")
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [0, 3, 28, 28]
    assert given.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert model.ir_version == 8, "what this opset needs, and engines since ONNX Runtime 1.14 read"


def test_weights_are_inline_and_batch_norms_are_folded(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    assert all(not tensor.external_data for tensor in model.graph.initializer)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_embeddings_have_unit_norm_and_a_zero_embedding_stays_finite(graph: bytes) -> None:
    (found,) = onnxruntime.InferenceSession(graph).run(None, {"image": np.ones((3, 3, 28, 28), np.float32)})
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    zero = UnitEmbedder(torch.nn.Flatten())(torch.zeros(2, 3, 1, 1))
    assert torch.equal(zero, torch.zeros(2, 3))


def test_normalisation_is_that_of_torch() -> None:
    values = torch.randn(9, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.normalize(values.flatten(1), dim=1)
    assert torch.equal(UnitEmbedder(torch.nn.Flatten())(values), expected)


def test_nothing_in_the_graph_names_this_machine_or_its_source_files(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    del model.graph.initializer[:]  # weights are any bytes
    found = model.SerializeToString()
    for trace in (b".py", b"site-packages", b"stack_trace", b"fx_node", str(torch.__version__).encode()):
        assert trace not in found


def test_a_second_export_has_equal_bytes_is_silent_and_restores_the_converters_logger(
    checkpoint: Checkpoint, graph: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    assert onnx_of(checkpoint) == graph
    assert capfd.readouterr() == ("", "")
    assert logger.level == before


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_converter_names_its_extra(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == package else ModuleSpec(name, None)

    monkeypatch.setattr(to_onnx, "find_spec", find)
    with pytest.raises(MissingExtraError, match=r"\[export-onnx\]") as caught:
        onnx_of(checkpoint)
    assert caught.value.package == package
