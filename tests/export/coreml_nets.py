"""What the Core ML tests have in common."""

from __future__ import annotations

from torch import Generator, nn


def settled(module: nn.Module) -> nn.Module:
    """In evaluation mode, with batch norms that do something: fresh ones may be the identity, or zero a branch."""
    generator = Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1, generator=generator)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(layer.bias, -0.1, 0.1, generator=generator)
    return module.eval()
