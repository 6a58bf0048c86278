"""How fast a training goes and how long it will take, from the steps that it has done since it began or resumed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

from compat_sdk.progress import Progress

_STEPS, _SECONDS, _SLOW_S = 8, 2.0, 10.0
_LONG_S = 3600.0


class Pace:
    """Counts steps from the second on: the first one loads, allocates and compiles."""

    def __init__(self, steps: int, batch: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count.

        Args:
            steps: Length of the training.
            batch: Images per step.
            clock: Seconds that go on.
        """
        self._steps, self._batch, self._clock = steps, batch, clock
        self._began: tuple[int, float] | None = None
        self._told = False
        self.values: dict[str, float] = {}
        """``images/s`` and ``seconds left`` as of the last step; empty before the second."""

    def step(self, done: int) -> None:
        """Note that a step is done.

        Args:
            done: Steps done in all, those before a resume point too.
        """
        now = self._clock()
        if self._began is None:
            self._began = (done, now)
            return
        since, seconds = done - self._began[0], max(now - self._began[1], 1e-6)
        rate = since / seconds
        self.values = {"images/s": rate * self._batch, "seconds left": (self._steps - done) / rate}

    def announce(self, stage: str, done: int, progress: Progress, *, on_cpu: bool) -> None:
        """Say once, after the first steps, how long the training will take; warn of hours on a CPU, and what to set."""
        if self._told or self._began is None or not self.values:
            return
        since, seconds = done - self._began[0], self._clock() - self._began[1]
        if done == self._steps or not (seconds >= _SLOW_S or (since >= _STEPS and seconds >= _SECONDS)):
            return
        self._told = True
        left = self.values["seconds left"]
        progress(
            f"{stage}: about {duration(left)} for {self._steps - done:,} more steps of {self._batch} images, "
            f"{self.values['images/s']:.3g} images a second.",
            1,
            1,
            {},
        )
        if on_cpu and left > _LONG_S:
            warnings.warn(
                f"{stage} will take about {duration(left)} on this CPU; --preset laptop sets what suits one, or lower "
                f"--size, --width or --epochs, or choose a smaller --arch (`compat-sdk archs`). Stopped now, the same "
                f"command continues; with other settings it needs another --out",
                stacklevel=3,
            )


def duration(seconds: float) -> str:
    """A time in words: ``40 seconds``, ``12 minutes``, ``3.5 hours``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} second{'s' * (round(seconds) > 1)}"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
