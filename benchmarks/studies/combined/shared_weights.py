"""Shared weights for the global search: every depth and width of its space within the largest network.

A network of fewer layers has the first layers of each stage, and one of less width has the leading channels. So a
candidate costs a pass over the validation images instead of a training, and the search's moves stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_train.models.global_network import GlobalNetwork
from compat_train.models.global_space import Bounds, GlobalMember
from compat_train.optimiser import Part

_MEMBERS = 5
_OPEN = 0.4  # share of the steps in which depths and widths open, from the largest down


class SharedWeights(nn.Module):
    """The deepest network at the greatest width, which runs any other of separable 3x3 layers with a part of itself.

    Batch norms have neither parameters nor running statistics: a network that is taken out gets its own.

    Args:
        bounds: Of the search; plain networks.
        dim: Length of the embedding.
        stem_stride: Stride of the stem.
    """

    def __init__(self, bounds: Bounds, *, dim: int, stem_stride: int) -> None:
        super().__init__()
        self.member = bounds.member(bounds.max_depth, bounds.max_width)
        self.whole = GlobalNetwork(self.member, dim=dim, stem_stride=stem_stride)
        for module in self.whole.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)

    def forward(self, images: Tensor, member: GlobalMember) -> Tensor:
        """Map images ``[n, 3, s, s]`` to a member's embeddings ``[n, dim]``, not normalised."""
        features = images
        for weights, stride in self._convolutions(member):
            for place, weight in enumerate(weights):
                depthwise = len(weights) == 2 and place == 0
                groups = len(weight) if depthwise else 1
                features = F.conv2d(
                    features,
                    weight,
                    stride=stride if place == 0 else 1,
                    padding=weight.shape[2] // 2,
                    groups=groups,
                )
            features = F.relu_(F.batch_norm(features, None, None, training=True))
        pooled = features.mean((2, 3))
        return F.linear(pooled, self.whole.head.weight[:, : pooled.shape[1]], self.whole.head.bias)

    def drawn_parts(self, member: GlobalMember) -> Iterator[Part]:
        """Weights of which a member uses leading channels alone, each with the part that it uses."""
        parameters = dict(self.whole.named_parameters())
        for source, shape in self.sources(member).values():
            weight = parameters.get(source)
            if weight is not None and weight.requires_grad and weight.shape != shape:
                yield weight, tuple(slice(0, side) for side in shape), None

    def sources(self, member: GlobalMember) -> dict[str, tuple[str, torch.Size]]:
        """By the name of each weight of a member: its name here, and the shape of the part that is used."""
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in GlobalNetwork(member).state_dict().items()}
        places = _places(member, self.member)
        found = {}
        for name, shape in shapes.items():
            if name.startswith("layers."):
                _, layer, rest = name.split(".", 2)
                found[name] = (f"layers.{places[int(layer)]}.{rest}", shape)
            else:
                found[name] = (name, shape)
        dim = self.whole.head.out_features
        found["head.weight"] = ("head.weight", torch.Size((dim, member.widths[-1])))
        found["head.bias"] = ("head.bias", torch.Size((dim,)))
        return found

    def _convolutions(self, member: GlobalMember) -> Iterator[tuple[list[Tensor], int]]:
        """Weights of the stem and of every layer, cut to the member's channels, and their stride."""
        stem = self.whole.stem[0]
        assert isinstance(stem, nn.Conv2d)
        yield [stem.weight[: member.stem]], stem.stride[0]
        for place, shape in zip(_places(member, self.member), member.shapes, strict=True):
            depthwise, pointwise = (self.whole.get_parameter(f"layers.{place}.{name}.weight") for name in ("0", "1.0"))
            cut = pointwise[: shape.channels_out, : shape.channels_in]
            yield [depthwise[: shape.channels_in], cut], shape.stride


def take(shared: SharedWeights, member: GlobalMember, *, stem_stride: int) -> GlobalNetwork:
    """A member's own network with the shared weights; its batch norms are fresh."""
    network = GlobalNetwork(member, dim=shared.whole.head.out_features, stem_stride=stem_stride)
    state, whole = network.state_dict(), shared.whole.state_dict()
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, (source, shape) in shared.sources(member).items():
        if name.rpartition(".")[0] not in norms:
            state[name] = whole[source][tuple(slice(0, side) for side in shape)].clone()
    network.load_state_dict(state)
    return network


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which member each step trains: a function of the step's number and the seed alone.

    The largest come first. Depths and widths open from there, since small networks that learn beside large ones from
    the first step pull their weights apart.

    Attributes:
        widths: By depth, the widths within the limit, from the greatest down.
        steps: Of the whole training.
        seed: Source of all randomness.
    """

    widths: Mapping[int, Sequence[int]]
    steps: int
    seed: int
    member_of: Callable[[int, int], GlobalMember]

    def member(self, step: int) -> GlobalMember:
        """The member that a step trains."""
        generator = np.random.default_rng((self.seed, _MEMBERS, step))
        share = min(1.0, step / max(1.0, _OPEN * self.steps))
        depths = sorted(self.widths, reverse=True)
        depth = depths[int(generator.integers(1 + int(share * (len(depths) - 1))))]
        widths = self.widths[depth]
        return self.member_of(depth, widths[int(generator.integers(1 + int(share * (len(widths) - 1))))])


def _places(member: GlobalMember, largest: GlobalMember) -> list[int]:
    """For each layer of a member, the layer of the largest network that it is: the same place in the same stage."""
    starts = np.cumsum([0, *_sizes(largest)])
    return [int(starts[stage]) + place for stage, size in enumerate(_sizes(member)) for place in range(size)]


def _sizes(member: GlobalMember) -> list[int]:
    """Layers of each stage."""
    return [len(list(layers)) for _, layers in groupby(member.widths)]
