"""Windowed attention has six axes, and Core ML five."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compat_export.convert import to_coreml
from compat_export.convert.conversion import Options, Port
from compat_export.convert.low_rank import LARGEST_RANK, merge_axes
from compat_export.convert.unit import UnitEmbedder


class Windows(nn.Module):
    """Cuts an image into windows of 4 x 4, mixes each, and puts the image together again."""

    def __init__(self, *, permuted: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lift, self.mix, self.permuted = nn.Conv2d(3, 8, 1), nn.Linear(8, 8), permuted

    def _exchanged(self, tokens: Tensor) -> Tensor:
        return tokens.permute(0, 1, 3, 2, 4, 5) if self.permuted else tokens.transpose(2, 3)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.lift(image).permute(0, 2, 3, 1)
        count, height, width, channels = tokens.shape
        windows = self._exchanged(tokens.view(count, height // 4, 4, width // 4, 4, channels)).reshape(-1, 16, channels)
        mixed = self.mix(windows).softmax(1).view(count, height // 4, width // 4, 4, 4, channels)
        back = self._exchanged(mixed).reshape(count, height, width, channels)
        return (back * torch.linspace(0, 1, width)[:, None]).mean((1, 2))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch copies its own exports so
@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("free", [False, True])
def test_the_same_numbers_move_with_five_axes_at_most(permuted: bool, free: bool) -> None:
    module = Windows(permuted=permuted).eval()
    shapes = ({0: torch.export.Dim("batch")},) if free else None
    with torch.no_grad():
        exported = torch.export.export(module, (torch.zeros(2, 3, 8, 12),), dynamic_shapes=shapes)
        program = merge_axes(exported.run_decompositions({}))
        images = torch.randn(2, 3, 8, 12)
        assert torch.equal(program.module()(images), module(images))
    ranks = [node.meta["val"].dim() for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    assert max(ranks) <= LARGEST_RANK


def test_windows_become_a_core_ml_package_that_agrees() -> None:
    pytest.importorskip("coremltools")
    from compat_export.mil import CoreMLTwin, Package

    module = UnitEmbedder(Windows()).eval()
    files = to_coreml.convert(module, [Port("image", (3, 8, 12))], Options())
    images = torch.randn(3, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    found = CoreMLTwin(Package.from_files(files), inputs=["image"]).run(images.numpy())
    with torch.no_grad():
        assert abs(found - module(images).numpy()).max() < 1e-5
