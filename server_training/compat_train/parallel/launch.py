"""Which of how many processes this one is, by the variables that torchrun sets for each."""

from __future__ import annotations

import os
from dataclasses import dataclass

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of a process among those that were started together.

    Attributes:
        rank: From 0; the process of rank 0 leads.
        count: How many there are, on all machines.
        local: Its rank on this machine, which is the number of its GPU.
    """

    rank: int = 0
    count: int = 1
    local: int = 0


def launched() -> Launch:
    """What the environment says; a single process where it says nothing.

    Raises:
        ConfigError: A variable is missing or is no such number.
    """
    if "WORLD_SIZE" not in os.environ:
        return Launch()
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        return Launch()
    rank, local = _number("RANK", 0), _number("LOCAL_RANK", 0)
    if rank >= count or local > rank:
        raise ConfigError(
            f"RANK is {rank}, LOCAL_RANK is {local} and WORLD_SIZE is {count}; expected LOCAL_RANK <= RANK < "
            f"WORLD_SIZE, as torchrun sets them"
        )
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise ConfigError(f"WORLD_SIZE is {count}, but {name} is not set; start the processes by torchrun")
    return Launch(rank, count, local)


def forget_launch() -> None:
    """Makes this process, and those that it starts, a single one from now on."""
    for name in _VARIABLES:
        os.environ.pop(name, None)


def require_single(work: str) -> None:
    """Refuses what several processes would each do again.

    Args:
        work: What it is, such as ``nas global``.

    Raises:
        ConfigError: This process was started as one of several.
    """
    if (count := launched().count) > 1:
        raise ConfigError(f"{work} runs in one process, and {count} were started; start it without torchrun")


def _number(name: str, low: int) -> int:
    text = os.environ.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 8 and int(text) >= low):
        found = shown_value(text) if text else "not set"
        raise ConfigError(
            f"the environment's {name} is {found}; expected a whole number of at least {low}, as torchrun sets it"
        )
    return int(text)
