"""The package timm, where it is installed, and otherwise one error that says what to install."""

from __future__ import annotations

from typing import Any

from compat_train.models.optional_package import import_package


def import_timm(module: str = "timm") -> Any:
    """The package timm, or one of its modules.

    Args:
        module: Dotted name, such as ``timm.models.swin_transformer``.

    Raises:
        MissingExtraError: It is not installed.
        CompatError: It is installed and cannot be loaded, as beside a torchvision that was built for another torch.
    """
    return import_package(module, "timm")
