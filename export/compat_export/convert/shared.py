"""What graphs of one module have in common, made once: a trace takes seconds, and a number format little of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from torch import nn

from compat_export.convert.conversion import Options, Port

MadeT = TypeVar("MadeT")


class Shared:
    """Float32 graphs that several precisions start from, kept for as long as their maker needs them.

    A module is told apart by itself, so that its weights must stay as they are meanwhile.
    """

    def __init__(self) -> None:
        """Nothing is made yet."""
        self._made: dict[Hashable, Any] = {}

    def once(
        self, target: str, module: nn.Module, ports: Sequence[Port], options: Options, make: Callable[[], MadeT]
    ) -> MadeT:
        """What was made of a module for a target with these options, whatever their precision.

        Args:
            target: Format of the graph, or a step on the way to it.
            module: What is converted.
            ports: Its inputs.
            options: Batch, layout and pixels count; the number format, and what it alone needs, do not.
            make: Makes it when it is first asked for; nobody may change what comes back.
        """
        key = (target, module, tuple(ports), options.batch, options.layout, options.pixels)
        if key not in self._made:
            self._made[key] = make()
        made: MadeT = self._made[key]
        return made
