"""Commands that torchrun starts several times: those that train do it as one, and the process of rank 0 speaks."""

from __future__ import annotations

import os

from compat_cli import console

_SHARED = ("train", "nas", "run")


def check_launch(command: str | None) -> None:
    """Silences all processes of a launch but the first; nothing to do for one that was started alone.

    Args:
        command: First word of the command; None where only an option such as ``--version`` is given.

    Raises:
        ConfigError: Each process would do the command again, beside the others; or torchrun's variables are spoilt.
    """
    if "WORLD_SIZE" not in os.environ or command is None:
        return
    from compat_train.parallel.launch import launched, require_single

    if command not in _SHARED:
        require_single(f"compat-sdk {command}")
    if launched().rank > 0:
        console.be_quiet()
