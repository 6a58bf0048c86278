"""Architecture names of the global search's networks, read back."""

from __future__ import annotations

import re
import typing

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shortened
from compat_train.models.global_space import PREFIX, GlobalMember, Kind, Layer, Operation

_LETTERS: dict[str, Operation] = {"s": "separable", "c": "conv"}
_NAME = re.compile(
    r"global:(?P<kind>[a-z]+)(?:,stages=(?P<stages>[0-9]+))?:(?P<width>[1-9][0-9]*):(?P<layers>(?:[a-z][0-9])+)"
)


def is_global_name(arch: str) -> bool:
    """Whether an architecture name is meant to be that of a network of this space."""
    return arch.startswith(PREFIX)


def global_named(arch: str) -> GlobalMember:
    """The network that an architecture name means.

    Raises:
        ConfigError: The name is malformed, or no network has these numbers.
    """
    found = _NAME.fullmatch(arch)
    if found is None:
        raise ConfigError(
            f"{shortened(repr(arch))} is no network of a global search; expected global:KIND:WIDTH:LAYERS with "
            f"s (separable) or c (convolution) and the kernel for each layer, such as global:plain:54:s3s3c5, or "
            f"global:plain,stages=2:54:s3c5"
        )
    text = found["layers"]
    if unknown := sorted({letter for letter in text[::2] if letter not in _LETTERS}):
        raise ConfigError(
            f"{shortened(repr(arch))} has layers {shortened(', '.join(unknown))}; expected s (separable) or c "
            f"(convolution)"
        )
    return GlobalMember(
        kind=typing.cast(Kind, found["kind"]),  # checked on construction
        width=int(found["width"]),
        layers=tuple(
            Layer(_LETTERS[letter], int(kernel)) for letter, kernel in zip(text[::2], text[1::2], strict=True)
        ),
        stages=int(found["stages"] or 3),
    )
