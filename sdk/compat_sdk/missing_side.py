"""What becomes of a row that has no side-information, though its transform takes some."""

from __future__ import annotations

from typing import Literal, get_args

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value

MissingSide = Literal["refuse", "zeros"]
"""What becomes of a row without side-information: an error that names it, or zeros in its place."""


def require_missing_side(side_space: str | None, missing_side: str) -> None:
    """Refuse what says nothing of rows without side-information, or says it of a transform that takes none.

    Raises:
        ConfigError: It is neither ``"refuse"`` nor ``"zeros"``, or zeros for a transform without side-information.
    """
    if missing_side not in get_args(MissingSide):
        raise ConfigError(f"missing_side is {shown_value(missing_side)}, expected refuse or zeros")
    if missing_side == "zeros" and side_space is None:
        raise ConfigError("missing_side is zeros, but this transform takes no side-information; leave it out")
