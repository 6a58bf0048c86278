"""Algorithm 1 of Efficient Global NAS: grow the depth, prune the width, then operations and kernels layer by layer.

A macro network with more layers is trained for an epoch more per layer than the one before it, a narrower one for two
epochs more, and micro networks, whose parameters are held about equal, for equally many. So a network that has more to
learn, or less to learn it with, is not ranked below the others for want of training. The epochs are Algorithm 1's E,
which one candidate hands on to the next, adopted or not: the first pruned network has two more than the deepest one
that was tried.

Source: Siddiqui, Kyrkou and Theocharides, Efficient Global Neural Architecture Search, sections 3.2, 3.3
and Algorithm 1, https://github.com/siddikui/Efficient-Macro-Micro-NAS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from compat_sdk.errors import ConfigError, TrainingError
from compat_train.models.global_cost import held, parameters
from compat_train.models.global_space import GlobalMember, Layer
from compat_train.nas.global_nas.config import GlobalConfig

Stage = Literal["depth", "width", "baseline", "operation", "kernel"]
Decision = Literal["adopted", "passed over", "strike", "rejected", "does not fit"]

Evaluate = Callable[[GlobalMember, int], float]
"""Accuracy, in [0, 1], of a network trained for so many epochs; higher is better."""


@dataclass(frozen=True)
class Step:
    """One network that the search came to, and what became of it.

    Attributes:
        stage: What the search was looking for.
        member: The network.
        epochs: Epochs that it was trained for.
        score: Its accuracy, in [0, 1]; None: nothing of this depth, or with this layer, fits the limits.
        decision: ``adopted`` by the search; ``passed over``, a deeper network neither better nor worse by enough;
            ``strike``; ``rejected``, an operation or kernel that does not improve; or ``does not fit``, not trained.
    """

    stage: Stage
    member: GlobalMember
    epochs: int
    score: float | None
    decision: Decision


@dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes:
        macro: The network of the macro search: depth and width, all layers as they were at the start.
        member: The network of the whole search, at the width of ``config.final_width``.
        steps: Everything it came to, in order.
    """

    macro: GlobalMember
    member: GlobalMember
    steps: tuple[Step, ...]

    def trained(self, *stages: Stage) -> int:
        """Networks that were trained in these stages; D' is that of ``depth``, W' that of ``width``."""
        return sum(step.stage in stages and step.score is not None for step in self.steps)

    @property
    def planned(self) -> int:
        """2 * D + D' + W', the paper's count; D' + W' without a micro search.

        It leaves out the baseline of the micro search, one network more, and takes every layer's change to fit.
        """
        micro = 2 * self.macro.depth if self.trained("baseline") else 0
        return micro + self.trained("depth") + self.trained("width")


def search(
    config: GlobalConfig,
    evaluate: Evaluate,
    *,
    dim: int,
    fits: Callable[[GlobalMember], bool] = lambda member: True,
    record: Callable[[Step], None] = lambda step: None,
) -> Found:
    """Runs the whole search.

    What is evaluated next depends on the scores before it and nothing else, so a search that is started again with
    remembered scores repeats itself. An adopted network clears the strikes, unless ``config.strikes_reset`` is false.
    As in the authors' code, the depth search also ends where no accuracy could be ``config.gain`` better than the best.

    The paper has no limit on the cost. Within one a deeper network may have to be narrower; where it has fewer
    parameters than the one before it, it is trained as a pruned one would be: for an epoch more than a deeper one.

    Args:
        config: Bounds, epochs, thresholds and ranking.
        evaluate: The accuracy of a network after a training.
        dim: Length of the embedding, which counts among the parameters that the micro search holds.
        fits: Whether a network is cheap enough. Where a wider network does not fit, the widest that does is taken.
        record: Called with every step once it is decided.

    Raises:
        ConfigError: Nothing of the smallest depth fits.
        TrainingError: The first networks, as many as there are strikes or depths, have an accuracy of 0.
    """
    walk = _Walk(config, evaluate, dim, fits, record)
    macro = walk.prune(walk.grow()).member
    member = walk.refine(macro) if config.micro else macro
    if config.final_width == "macro":
        for width in range(macro.width, member.width, -1):
            if fits(wider := replace(member, width=width)):
                member = wider
                break
    return Found(macro, member, tuple(walk.steps))


@dataclass(frozen=True)
class _Best:
    member: GlobalMember
    score: float


class _Walk:
    """The stages, each from the best network of the one before it."""

    def __init__(
        self,
        config: GlobalConfig,
        evaluate: Evaluate,
        dim: int,
        fits: Callable[[GlobalMember], bool],
        record: Callable[[Step], None],
    ) -> None:
        self.steps: list[Step] = []
        self._config, self._evaluate, self._dim, self._fits, self._record = config, evaluate, dim, fits, record
        self._epochs = config.macro_epochs

    def grow(self) -> _Best:
        """The depth search; each depth at the greatest width that fits."""
        config, bounds = self._config, self._config.bounds
        best: _Best | None = None
        before: GlobalMember | None = None
        strikes = 0
        for depth in bounds.depths:
            members = (bounds.member(depth, width) for width in bounds.widths)
            member = next((member for member in members if self._fits(member)), None)
            if member is None:
                self._decide("depth", bounds.member(depth, bounds.widths[-1]), self._epochs, None, "does not fit")
                break
            if before is not None:
                self._longer(depth - before.depth + (self._parameters(member) < self._parameters(before)))
            before = member
            score = self._evaluate(member, self._epochs)
            if best is None or _points(score, best.score) >= config.gain:
                self._decide("depth", member, self._epochs, score, "adopted")
                best = _Best(member, score)
                strikes = 0 if config.strikes_reset else strikes
            elif _points(best.score, score) > config.drop:
                self._decide("depth", member, self._epochs, score, "strike")
                strikes += 1
            else:
                self._decide("depth", member, self._epochs, score, "passed over")
            hopeless = best.score == 0 and len(self.steps) == config.strikes
            if hopeless or strikes == config.strikes or _points(1.0, best.score) < config.gain:
                break
        if best is None:
            raise ConfigError(
                f"no network of {bounds.min_depth} layers is within the limit, not even at width {bounds.widths[-1]}; "
                f"raise the limit, or lower min_depth or min_width"
            )
        if best.score == 0:
            raise TrainingError(
                f"no network of the depth search has a score above 0, up to {self.steps[-1].member.depth} layers; the "
                f"log says if their training failed: lower the learning rate, or train for more epochs"
            )
        return best

    def prune(self, best: _Best) -> _Best:
        """The width search, from the network that the depth search adopted and from where its epochs ended."""
        config, bounds = self._config, self._config.bounds
        strikes = 0
        for width in range(best.member.width - bounds.width_step, bounds.min_width - 1, -bounds.width_step):
            member = replace(best.member, width=width)
            self._longer(2)
            score = self._evaluate(member, self._epochs)
            if score >= best.score:
                self._decide("width", member, self._epochs, score, "adopted")
                best = _Best(member, score)
                strikes = 0 if config.strikes_reset else strikes
            else:
                self._decide("width", member, self._epochs, score, "strike")
                strikes += 1
            if strikes == config.strikes:
                break
        return best

    def refine(self, macro: GlobalMember) -> GlobalMember:
        """The micro search: for each layer the other operation, then for each layer a kernel of 5, at equal parameters.

        Where the search started from kernels of 5, the other one is 3.
        """
        epochs = self._config.micro_epochs
        baseline = self._parameters(macro)
        best, score = macro, self._evaluate(macro, epochs)
        self._decide("baseline", macro, epochs, score, "adopted")
        for stage, place in self._places(macro.depth):
            layer = best.layers[place]
            changed = _other_operation(layer) if stage == "operation" else _other_kernel(layer)
            wide = replace(best, layers=(*best.layers[:place], changed, *best.layers[place + 1 :]))
            member = self._narrowed(wide, baseline)
            if member is None:
                self._decide(stage, replace(wide, width=1), epochs, None, "does not fit")
                continue
            new = self._evaluate(member, epochs)
            self._decide(stage, member, epochs, new, "adopted" if new > score else "rejected")
            if new > score:
                best, score = member, new
        return best

    def _places(self, depth: int) -> Iterator[tuple[Stage, int]]:
        stages: tuple[Stage, ...] = ("operation", "kernel")
        for stage in stages if self._config.operations else stages[1:]:
            for place in range(depth):
                yield stage, place

    def _narrowed(self, member: GlobalMember, baseline: int) -> GlobalMember | None:
        """The network with these layers and about the baseline's parameters; a narrower one where that is too dear."""
        for width in range(held(member, baseline, self._dim).width, 0, -1):
            if self._fits(narrower := replace(member, width=width)):
                return narrower
        return None

    def _parameters(self, member: GlobalMember) -> int:
        return parameters(member, self._dim)

    def _longer(self, epochs: int) -> None:
        """Lengthens the training of every later macro network, where ranking is dynamic."""
        self._epochs += epochs if self._config.ranking == "dynamic" else 0

    def _decide(self, stage: Stage, member: GlobalMember, epochs: int, score: float | None, decision: Decision) -> None:
        step = Step(stage, member, epochs, score, decision)
        self.steps.append(step)
        self._record(step)


def operations_and_kernels(layers: tuple[Layer, ...]) -> tuple[str, str]:
    """O and K in the paper's words: a letter (s or c) and a digit (3, 5 or 7) per layer."""
    return "".join(layer.operation[0] for layer in layers), "".join(str(layer.kernel) for layer in layers)


def _other_operation(layer: Layer) -> Layer:
    return replace(layer, operation="conv" if layer.operation == "separable" else "separable")


def _other_kernel(layer: Layer) -> Layer:
    return replace(layer, kernel=3 if layer.kernel == 5 else 5)


def _points(score: float, other: float) -> float:
    """By how many percentage points a score exceeds another, free of the last digits of binary fractions."""
    return round(100 * (score - other), 9)
