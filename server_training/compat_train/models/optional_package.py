"""Packages that bring networks, where they are installed, and otherwise one error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from compat_sdk.errors import CompatError, MissingExtraError
from compat_sdk.shown import shortened


def import_optional(module: str, extra: str) -> Any:
    """A package of an extra, or one of its modules.

    Args:
        module: Dotted name, such as ``timm.models.swin_transformer``.
        extra: Of this project, which brings it.

    Raises:
        MissingExtraError: It is not installed.
        CompatError: It is installed and cannot be loaded, as beside a torchvision that was built for another torch.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module, extra) from error
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise CompatError(
            f"{module.partition('.')[0]} is installed but does not load ({shortened(str(error), 120)}); install the "
            f"newest, and the torchvision that was built for the torch that is here"
        ) from error


def import_timm(module: str = "timm") -> Any:
    """The package timm, or one of its modules; errors as `import_optional`."""
    return import_optional(module, "timm")
