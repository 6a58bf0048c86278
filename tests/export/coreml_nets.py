"""What the Core ML tests have in common."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator, nn

from compat_export.convert.conversion import Options, Port
from compat_export.convert.to_coreml import convert


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


def digests() -> list[str]:
    """Precision, name and SHA-256 of every file that a small network becomes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 64, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 8))
    network, port = nn.Sequential(*layers).eval(), Port("image", (3, 12, 12))
    return [
        f"{options.precision} {name} {hashlib.sha256(data).hexdigest()}"
        for options in (Options(), Options("palette4"))
        for name, data in sorted(convert(network, [port], options).items())
    ]
