"""The package timm, where it is installed, and otherwise one error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from compat_sdk.errors import CompatError, MissingExtraError
from compat_sdk.shown import shortened


def import_timm(module: str = "timm") -> Any:
    """The package timm, or one of its modules.

    Args:
        module: Dotted name, such as ``timm.models.swin_transformer``.

    Raises:
        MissingExtraError: It is not installed.
        CompatError: It is installed and cannot be loaded, as beside a torchvision that was built for another torch.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "timm", "timm") from error
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise CompatError(
            f"timm is installed but does not load ({shortened(str(error), 120)}); "
            f"install timm 1.0 or newer, and the torchvision that was built for the torch that is here"
        ) from error
