"""What a search maximises: the rewards of CMP-NAS, https://arxiv.org/abs/2105.06047, table 1."""

from __future__ import annotations

from compat_train.nas.cmp.config import Reward
from compat_train.nas.cmp.evaluations import Need, Score

NEEDS: dict[Reward, Need] = {"r1": "own", "r2": "across", "r3": "both"}
"""Which accuracies a reward needs. r2 needs no gallery pass of the candidate."""


def reward_of(score: Score, reward: Reward) -> float | None:
    """The reward of a candidate, or None when what it needs could not be measured.

    Source: Compatibility-aware Heterogeneous Visual Search, table 1: R1 = M(q,q), R2 = M(q,g), R3 = R1 * R2.

    Args:
        score: Validation accuracies in [0, 1].
        reward: Which of the three.
    """
    match reward:
        case "r1":
            return score.own
        case "r2":
            return score.across
        case "r3":
            return None if score.own is None or score.across is None else score.own * score.across
    raise AssertionError(reward)  # the configuration has refused any other
