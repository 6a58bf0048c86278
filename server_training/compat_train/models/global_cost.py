"""What a network of the global search costs: parameters and multiply-adds, by formulas; and its width at a budget."""

from __future__ import annotations

from dataclasses import replace

from compat_train.models.global_space import STEM_KERNEL, GlobalMember
from compat_train.models.search_space import BlockShape


def parameters(member: GlobalMember, dim: int) -> int:
    """Parameters of the built network: weights, batch norms, and the last layer with its bias.

    Args:
        member: The network.
        dim: Length of the embedding.
    """
    normed = member.stem + sum(shape.channels_out * (2 if projects(member, shape) else 1) for shape in member.shapes)
    return _stem_weights(member) + sum(_weights(member)) + 2 * normed + (member.widths[-1] + 1) * dim


def mmacs(member: GlobalMember, size: int, dim: int, stem_stride: int = 1) -> float:
    """Multiply-adds for one image, in millions, equal to those of `compat_train.models.cost.count_cost`.

    Args:
        member: The network.
        size: Side of the input in pixels.
        dim: Length of the embedding.
        stem_stride: Stride of the stem.
    """
    side = -(-size // stem_stride)
    total = _stem_weights(member) * side**2 + member.widths[-1] * dim
    for shape, weights in zip(member.shapes, _weights(member), strict=True):
        side = -(-side // shape.stride)
        total += weights * side**2
    return total / 1e6


def held(member: GlobalMember, baseline: int, dim: int) -> GlobalMember:
    """The network with the same layers, no wider than ``member``, whose parameters are nearest to a baseline's.

    Section 3.3: with a costlier operation or kernel, channels are lowered until the parameters are approximately those
    of the baseline again. The width falls in steps of 1 here, as finely as it can; of two equally near ones the wider
    is taken.

    Args:
        member: The network that may be too large.
        baseline: Parameters to come near to.
        dim: Length of the embedding.
    """
    narrower = (replace(member, width=width) for width in range(member.width, 0, -1))
    return min(narrower, key=lambda found: abs(parameters(found, dim) - baseline))


def _stem_weights(member: GlobalMember) -> int:
    return 3 * STEM_KERNEL**2 * member.stem


def _weights(member: GlobalMember) -> list[int]:
    """Weights of the convolutions of each layer; a projection counts with the layer it runs beside."""
    found = []
    for layer, shape in zip(member.layers, member.shapes, strict=True):
        area, pointwise = layer.kernel**2, shape.channels_in * shape.channels_out
        weights = area * shape.channels_in + pointwise if layer.operation == "separable" else area * pointwise
        found.append(weights + pointwise if projects(member, shape) else weights)
    return found


def projects(member: GlobalMember, shape: BlockShape) -> bool:
    """Whether a layer opens a residual block whose shortcut changes the shape."""
    return member.kind == "residual" and shape.stride == 2
