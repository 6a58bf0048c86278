"""A package that an extra installs, where it is here and loads, and otherwise one error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from compat_sdk.errors import CompatError, MissingExtraError
from compat_sdk.shown import shortened


def import_package(module: str, extra: str) -> Any:
    """Return a package of an extra, or one of its modules.

    Args:
        module: Dotted name, such as ``timm.models.swin_transformer``.
        extra: Which extra installs it.

    Raises:
        MissingExtraError: It, or a package that it needs, is not installed.
        CompatError: It is installed and cannot be loaded, as beside a torchvision that was built for another torch.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or package, extra) from error
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise CompatError(
            f"{package} is installed but does not load ({shortened(str(error), 120)}); install a newer {package}, and "
            f"the torchvision that was built for the torch that is here"
        ) from error


def import_timm(module: str = "timm") -> Any:
    """The package timm, or one of its modules; errors as `import_package`."""
    return import_package(module, "timm")
