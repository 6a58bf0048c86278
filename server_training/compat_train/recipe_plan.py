"""What a dry run says of a recipe: each training with its images, steps, cost and hours, and what would end it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from compat_sdk.shown import escaped

TRANSFORM = "transform"
"""How the network of a run is called that learns from vectors."""


@dataclass(frozen=True)
class PlannedRun:
    """One training of a recipe.

    Attributes:
        name: Folder of the run, in the recipe's.
        arch: Architecture name; of a supernet the member that was timed.
        mmacs: Cost of one image, or of one vector of a transform, in millions of multiply-accumulates.
        images: Images of one pass, after the scenario; None where the data cannot be opened.
        classes: Classes among them; 0 without labels.
        steps: Steps of the whole training; None with ``images``.
        hours: Time of the network's own steps on this device; None where it was not timed. What a gallery model embeds
            meanwhile, decoding and evaluation come on top.
        gib: Decoded pixels, kept on the disk, in GiB, which runs share that decode the same images alike; None with
            ``images``, and for a transform, which reads those of its models.
        projected_hours: The least time of the same steps on `Plan.machine`; None with ``images``, without a machine,
            and for a transform.
    """

    name: str
    arch: str
    mmacs: float
    images: int | None
    classes: int
    steps: int | None
    hours: float | None
    gib: float | None
    projected_hours: float | None = None


@dataclass(frozen=True)
class Plan:
    """What a recipe would do.

    Attributes:
        runs: Every training whose length is known, in order.
        notes: What else would run, one sentence each.
        problems: What would end it, one sentence each; empty when it can run.
        device: What was timed.
        gib_free: Room on the disk of the recipe's folder, in GiB.
        machine: GPUs that are not here, for which hours are projected; None for none.
    """

    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    device: str
    gib_free: float
    machine: str | None = None

    @property
    def hours(self) -> float | None:
        """Of all runs together; None where one is not known."""
        return _sum(run.hours for run in self.runs)

    @property
    def projected_hours(self) -> float | None:
        """The least time of all runs but the transforms on the machine; None where one is not known."""
        return _sum(run.projected_hours for run in self.runs if not run.arch.startswith(TRANSFORM))

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return asdict(self) | {"hours": self.hours, "projected_hours": self.projected_hours}

    def table(self) -> str:
        """Plain text: a line for each run, what comes on top, and what is wrong."""
        lines = [f"{'run':18}{'network':28}{'MMACs':>9}{'images':>10}{'classes':>9}{'steps':>10}{'hours':>9}{'GiB':>8}"]
        if self.machine is not None:
            lines[0] += f"{self.machine:>12}"
        for run in self.runs:
            numbers = (
                (run.mmacs, "9.4g"), (run.images, "10,"), (run.classes, "9,"), (run.steps, "10,"), (run.hours, "9.3g"),
                (run.gib, "8.3g"), *[(run.projected_hours, "12.3g")] * (self.machine is not None),
            )  # fmt: skip
            lines.append(
                f"{escaped(run.name)[:17]:18}{escaped(run.arch)[:27]:28}"
                + "".join(
                    f"{'?':>{form.rstrip(',g').split('.')[0]}}" if value is None else f"{value:{form}}"
                    for value, form in numbers
                )
            )
        if self.hours is not None:
            lines.append(f"together about {self.hours:.3g} hours of steps on {self.device}, without decoding")
        if self.projected_hours is not None and self.machine is not None:
            lines.append(
                f"at least {self.projected_hours:.3g} hours on {self.machine} by its peaks; published trainings take "
                f"two to three times as long"
            )
        lines.append(f"disk: {self.gib_free:.3g} GiB free")
        lines += [escaped(note) for note in self.notes]
        lines += [f"problem: {escaped(problem)}" for problem in self.problems]
        return "\n".join(lines)


def _sum(hours: Iterable[float | None]) -> float | None:
    each = list(hours)
    known = [one for one in each if one is not None]
    return math.fsum(known) if each and len(known) == len(each) else None
