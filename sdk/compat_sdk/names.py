"""Names that become files or folders: one rule for all of them, so that none leads out of its place."""

from __future__ import annotations

import re

from compat_sdk.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")
# What Windows takes for a device whatever the suffix, so that such a file cannot be made there.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def is_name(name: object) -> bool:
    """Whether ``name`` names one file in its folder, the same on every system.

    It has 1 to 120 letters, digits, dots, dashes and underscores of ASCII. It neither begins nor ends with a dot, and
    is no device on Windows.
    """
    return (
        isinstance(name, str)
        and _NAME.fullmatch(name) is not None
        and not name.endswith(".")
        and _DEVICE.fullmatch(name) is None
    )


def check_name(name: str, what: str) -> str:
    """Return ``name`` unchanged if it can name one file or folder, see `is_name`.

    Args:
        name: From a file or a command.
        what: What it names, for the error, such as ``"the run [model.NAME]"``.

    Raises:
        ConfigError: It cannot.
    """
    if not is_name(name):
        text = repr(name)
        raise ConfigError(
            f"{what} is named {text if len(text) <= 60 else text[:57] + '...'}, which becomes a file name; expected 1 "
            f"to 120 of the characters A-Z a-z 0-9 . _ - that neither begin nor end with a dot: rename it"
        )
    return name
