"""What `compat-sdk upgrade` says of a transform that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compat_sdk.upgrade import Accuracy, Quality


def accuracy_lines(found: Accuracy | None) -> list[str]:
    """How near the new vectors are to those of the new model; nothing where that was not measured."""
    if found is None:
        return []
    return [
        f"against {found.rows} re-embedded images: mean cosine {found.mean_cosine:.4f}, lowest "
        f"{found.lowest_cosine:.4f}; to another image {found.other_cosine:.4f}",
        f"of the {found.neighbours} nearest by the new model {100 * found.overlap:.1f} % agree; of the old vectors' "
        f"{100 * found.old_overlap:.1f} %, by chance {100 * found.chance_overlap:.1f} %",
    ]


def quality_lines(found: Quality | None) -> list[str]:
    """What searches find before and after, with 95 % intervals, and the verdict."""
    if found is None:
        return ["nothing is known of what searches will find: there are neither new vectors nor labels"]
    what = "first hits of the right label" if found.judged_by == "labels" else "of the new model's nearest found"
    after = "M(new,h)" if found.queried_by == "new model" else "M(h,h)"
    shown = [
        f"{name} {100 * one.mean:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"
        for name, one in (("M(old,old)", found.old_old), (after, found.new_h), ("difference", found.difference))
    ]
    return [f"{', '.join(shown)}: {found.verdict} ({what}, {found.queries} queries, {found.rows} rows)"]
