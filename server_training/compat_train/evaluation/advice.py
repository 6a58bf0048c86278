"""What to try where the compatibility rule does not hold, from the figures of an evaluation alone."""

from __future__ import annotations

from compat_sdk.certificate import QUERY_RULE
from compat_train.evaluation.evaluate_upgrade import UpgradeEvaluation
from compat_train.evaluation.result import Evaluation

_NEAR_CHANCE = 0.1
"""Part of M(q,q) below which queries find next to nothing in the gallery."""
_MORE = (
    "learn the gallery model's vectors on more pictures than the labelled ones: `compat-sdk train query --method "
    "regression --mixed`, or a folder of pictures without labels as --data"
)


def advice(found: Evaluation) -> tuple[str, ...]:
    """Sentences for people, most useful first; none where the rule holds."""
    if found.compatible:
        return ()
    across, alone, paragon = (each.accuracy for each in (found.query_gallery, found.alone, found.gallery_gallery))
    if not found.declared:
        return (
            "the query model was not drawn into this gallery's space: train one with `compat-sdk train query --gallery "
            "RUN --method bct-regression`, or evaluate it against the gallery model that it was trained for",
        )
    said = []
    if found.rule[2] >= 0:
        said.append(f"the interval includes zero, so {found.queries:,} queries do not decide: evaluate on more of them")
    if paragon <= alone and found.rule_applied == QUERY_RULE:
        said.append(
            "the gallery model finds no more than the query model does alone: train a better gallery model first, "
            "longer, larger or at a larger --size"
        )
    elif across < _NEAR_CHANCE * alone:
        said.append("the query model finds next to nothing in this gallery: train it longer, or start by --start ridge")
    said.append(_MORE)
    said.append("until it holds, a search works, but the small model for both sides finds more")
    return tuple(said)


def upgrade_advice(found: UpgradeEvaluation) -> tuple[str, ...]:
    """The same for an upgraded gallery: M(new,h) is to exceed M(old,old)."""
    if found.worthwhile:
        return ()
    return (
        "train the transform longer or with --side-info, which adds what the old vectors lack",
        "or embed the gallery's pictures again with the new model, where they are still there",
    )
