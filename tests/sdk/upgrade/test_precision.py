"""A graph of fewer bits is chosen by asking, and proves itself on this machine before it transforms anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat_sdk.bundle import Graph
from compat_sdk.errors import CheckFailedError
from compat_sdk.upgrade import BundleTransform
from tests.sdk import transforms
from tests.sdk.transforms import make_transform, onnx_transform


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fewer_bits_are_tested_here_first(tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = onnx_transform()
    monkeypatch.setattr(transforms, "OF_OLD", -transforms.OF_OLD)  # as a processor that rounds wrongly would have it
    wrong = onnx_transform()
    monkeypatch.undo()
    graphs = tuple(
        Graph(target="onnx", precision=each, file=f"{each}.onnx", inputs=("old", "side"))
        for each in ("fp32", precision)
    )
    for name, other in (("right", right), ("wrong", wrong)):
        files = {"fp32.onnx": right, f"{precision}.onnx": other}
        made = make_transform(tmp_path / name, graphs=graphs, graph_files=files)
        assert BundleTransform.at(made.path).precision == "fp32"  # unless asked otherwise
        BundleTransform.at(made.path)()
        opener = BundleTransform.at(made.path, precision=precision)
        assert opener.identity["precision"] == precision
        if name == "right":
            opener()
        else:
            with pytest.raises(CheckFailedError, match="turns golden row"):
                opener()
