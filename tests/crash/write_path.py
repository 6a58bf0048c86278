"""A way to write, as the harness knows it: what it does in which order, and what an ordinary reader then finds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from compat_sdk.gallery import store


@dataclass(frozen=True)
class WritePath:
    """Operations that acknowledge by returning.

    Attributes:
        name: For people.
        prepare: Writes what is there before the first operation.
        steps: The operations, each of which is given the folder.
        look: Opens what is there with the ordinary readers, verifies all of it, and returns what it says in a form that
            can be compared with ``==``. What it raises is a fault.
        repeats: Whether an operation that was done may be done again.
    """

    name: str
    prepare: Callable[[Path], object]
    steps: tuple[Callable[[Path], object], ...]
    look: Callable[[Path], object]
    repeats: bool = False

    def states(self, folder: Path) -> list[object]:
        """What `look` finds before the first operation, and after each of them, where nothing goes wrong."""
        folder.mkdir()
        with quiet():
            self.prepare(folder)
            found = [self.look(folder)]
            for step in self.steps:
                step(folder)
                found.append(self.look(folder))
        return found

    def check(self, folder: Path, acknowledged: int, states: list[object]) -> tuple[int, str | None]:
        """Judge what a crash has left, and go on from there.

        Args:
            folder: As the crash left it.
            acknowledged: How many operations had returned.
            states: Of `states`.

        Returns:
            How many operations are done, and what is wrong, if anything.
        """
        last = len(self.steps)
        try:
            with quiet():
                found = self.look(folder)
                if found == states[acknowledged]:
                    done = acknowledged
                elif acknowledged < last and found == states[acknowledged + 1]:
                    done = acknowledged + 1
                else:
                    where = f"of state {states.index(found)}" if found in states else "half done"
                    return acknowledged, f"after {acknowledged} acknowledged operations what is there is {where}"
                for step in self.steps[min(acknowledged, last - 1) if self.repeats else done :]:
                    step(folder)
                if self.look(folder) != states[last]:
                    return done, "the operations that followed did not lead to the end"
        except BaseException as error:
            return acknowledged, f"{type(error).__name__}: {str(error).replace(str(folder), 'FOLDER')[:160]}"
        return done, None


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, warnings are not shown, and a writer that died in a commit is given up at once."""
    with warnings.catch_warnings(action="ignore"), mock.patch.object(store, "_DEAD_AFTER_S", 0.0):
        yield
