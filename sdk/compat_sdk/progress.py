"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with the stage, how much of it is done, how much there is (0: unknown), and figures worth showing."""
