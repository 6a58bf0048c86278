"""One kind of thing that is wrong with a split, as people and JSON are told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_EXAMPLES = 5
"""Most ids or labels that are named."""


@dataclass(frozen=True)
class Problem:
    """One kind of thing that is wrong with one split.

    Attributes:
        kind: ``"missing-split"``, ``"empty-split"``, ``"corrupt-image"``, ``"duplicate-id"``,
            ``"conflicting-labels"``, ``"one-class"``, ``"one-image-class"``, ``"unlabelled"``, ``"unmatched-query"``,
            ``"val-overlap"``, ``"left-out"``, ``"linked-image"``, ``"conflicting-copies"``, ``"shared-image"``
            or ``"near-copy"``.
        split: Name of the split; empty for what lies beside them.
        severity: ``"error"`` when training or evaluation will refuse it, otherwise ``"warning"``.
        count: How many images or classes are concerned.
        message: What was found and what to do, for people.
        examples: Up to five ids or labels.
    """

    kind: str
    split: str
    severity: Literal["error", "warning"]
    count: int
    message: str
    examples: tuple[str, ...] = ()


def problem_of(
    kind: str, split: str, severity: Literal["error", "warning"], names: Sequence[str], message: str
) -> Problem:
    """A problem of these images or classes, with the first of them as examples."""
    return Problem(kind, split, severity, len(names), message, tuple(names[:_EXAMPLES]))
