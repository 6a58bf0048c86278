"""Do short trainings rank networks as full ones do? Static and dynamic learning rankings.

Source: Efficient Global Neural Architecture Search, section 3.2. On 240 networks trained for 50 epochs on
CIFAR-10 the paper finds Spearman correlations with the final accuracy of 0.65 for one epoch each (static), 0.85 for an
epoch more per network in the order of their parameters (dynamic), and 0.49 for the parameters themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compat_sdk.errors import ConfigError
from compat_sdk.metrics import rank_correlation
from compat_train.models.global_cost import parameters
from compat_train.models.global_space import GlobalMember
from compat_train.nas.global_nas.search import Evaluate


@dataclass(frozen=True)
class Rankings:
    """Scores of the same networks after trainings of different length, in the order of their parameters.

    Attributes:
        members: The networks, the one with the fewest parameters first.
        parameters: Of each.
        static: Score of each after equally many epochs, in [0, 1].
        dynamic: Score of each after epochs by its place.
        full: Score of each after a full training.
        epochs: What was spent on ``static``, ``dynamic`` and ``full``.
    """

    members: tuple[GlobalMember, ...]
    parameters: tuple[int, ...]
    static: tuple[float, ...]
    dynamic: tuple[float, ...]
    full: tuple[float, ...]
    epochs: tuple[int, int, int]

    def correlations(self) -> dict[str, float | None]:
        """Spearman correlation with the full training of static and dynamic scores and of parameters, in [-1, 1].

        None where all values of one side are equal.
        """
        return {
            "static": rank_correlation(self.static, self.full),
            "dynamic": rank_correlation(self.dynamic, self.full),
            "parameters": rank_correlation(self.parameters, self.full),
        }

    def to_json(self) -> dict[str, object]:
        """Correlations, epochs and one entry per network, as JSON values."""
        return {
            "correlations": self.correlations(),
            "epochs": dict(zip(("static", "dynamic", "full"), self.epochs, strict=True)),
            "networks": [
                {"arch": member.name, "parameters": size, "static": short, "dynamic": longer, "full": full}
                for member, size, short, longer, full in zip(
                    self.members, self.parameters, self.static, self.dynamic, self.full, strict=True
                )
            ],
        }


def rank(
    members: Sequence[GlobalMember], evaluate: Evaluate, *, dim: int, static: int, step: int, full: int
) -> Rankings:
    """Trains every network three times: as static ranking does, as dynamic ranking does, and in full.

    Each training has a learning-rate schedule of its own length, as candidates of a search have; the paper reads
    static and dynamic accuracies off the epochs of the full training.

    Args:
        members: At least 3.
        evaluate: Accuracy of a network after so many epochs, such as a `CandidateTrainer`.
        dim: Length of the embedding, which counts among the parameters.
        static: Epochs of each network for static ranking.
        step: Epochs by which a network is trained longer than the next smaller one, and epochs of the smallest.
        full: Epochs of the full training.

    Raises:
        ConfigError: Fewer than 3 networks, or a number of epochs is below 1.
    """
    if len(members) < 3 or min(static, step, full) < 1:
        raise ConfigError(
            f"{len(members)} networks, static {static}, step {step} and full {full} epochs; expected at least 3 "
            f"networks and at least 1 epoch of each"
        )
    ordered = sorted(members, key=lambda member: (parameters(member, dim), member.name))
    dynamic = [step * place for place in range(1, len(ordered) + 1)]
    return Rankings(
        members=tuple(ordered),
        parameters=tuple(parameters(member, dim) for member in ordered),
        static=tuple(evaluate(member, static) for member in ordered),
        dynamic=tuple(evaluate(member, epochs) for member, epochs in zip(ordered, dynamic, strict=True)),
        full=tuple(evaluate(member, full) for member in ordered),
        epochs=(static * len(ordered), sum(dynamic), full * len(ordered)),
    )
