"""The operations a choice block has, each as one module that works at its full width and at any smaller one.

A member of a search space is made of blocks at their own width. The supernet is made of the same blocks at the
largest width, and runs them with the leading channels only: ``hidden`` in ``forward``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_train.models.layers import ConvBN
from compat_train.models.search_space import BlockShape
from compat_train.models.shufflenet_v2 import interleave_channels


def _run_leading(layer: ConvBN, features: Tensor, channels_out: int) -> Tensor:
    """A convolution, batch norm and activation with the leading channels of its weights.

    Args:
        layer: Its batch norm has no parameters and no running statistics; the batch's own are used.
        features: ``[n, channels, h, w]`` with at most as many channels as the layer takes.
        channels_out: Leading output channels to compute; all channels of a depthwise layer's input.
    """
    conv = layer[0]
    assert isinstance(conv, nn.Conv2d)
    depthwise = conv.groups > 1
    weight = conv.weight[:channels_out] if depthwise else conv.weight[:channels_out, : features.shape[1]]
    groups = channels_out if depthwise else 1
    output = F.conv2d(features, weight, None, conv.stride, conv.padding, conv.dilation, groups)
    output = F.batch_norm(output, None, None, training=True)
    return F.relu_(output) if len(layer) == 3 else output


class _Block(nn.Module):
    """A branch of layers, some of which end in the hidden channels that a scale chooses."""

    branch: nn.Sequential
    hidden_layers: int  # how many leading layers of the branch, after `before_hidden`, put out hidden channels
    before_hidden: int

    def _run_branch(self, features: Tensor, hidden: int | None) -> Tensor:
        if hidden is None:
            output: Tensor = self.branch(features)
            return output
        for position, layer in enumerate(self.branch):
            assert isinstance(layer, ConvBN)
            inside = self.before_hidden <= position < self.before_hidden + self.hidden_layers
            features = _run_leading(layer, features, hidden if inside else layer.channels_out)
        return features


class _ShuffleBlock(_Block):
    """ShuffleNetV2-like block: one part of the channels passes, the other is filtered, both are shuffled.

    With stride 2 both parts see all input channels and the passing one is downsampled too. The published network
    shuffles at the beginning of the next block; here it is the end of this one, in the form that converters know.

    Source: SPOS, figure 1 and its public model; Ma et al., ECCV 2018, https://arxiv.org/abs/1807.11164.

    Args:
        shape: Channels and stride.
        kernel: 3, 5 or 7; 0 for the Xception variant, three depthwise 3x3 convolutions.
        hidden: Channels inside.
        affine: Whether batch norms have a scale and a shift and keep running statistics.
    """

    def __init__(self, shape: BlockShape, kernel: int, hidden: int, *, affine: bool = True) -> None:
        super().__init__()
        entering = shape.channels_in if shape.stride == 2 else shape.channels_in // 2
        leaving = shape.channels_out - entering
        side_kernel = kernel or 3
        self.shortcut: nn.Module = nn.Identity()
        self.split = shape.stride == 1
        if shape.stride == 2:
            self.shortcut = nn.Sequential(
                ConvBN(entering, entering, side_kernel, stride=2, groups=entering, activation=None, affine=affine),
                ConvBN(entering, entering, affine=affine),
            )
        if kernel:
            self.branch = nn.Sequential(
                ConvBN(entering, hidden, affine=affine),
                ConvBN(hidden, hidden, kernel, stride=shape.stride, groups=hidden, activation=None, affine=affine),
                ConvBN(hidden, leaving, affine=affine),
            )
            self.before_hidden, self.hidden_layers = 0, 2
        else:
            self.branch = nn.Sequential(
                ConvBN(entering, entering, 3, stride=shape.stride, groups=entering, activation=None, affine=affine),
                ConvBN(entering, hidden, affine=affine),
                ConvBN(hidden, hidden, 3, groups=hidden, activation=None, affine=affine),
                ConvBN(hidden, hidden, affine=affine),
                ConvBN(hidden, hidden, 3, groups=hidden, activation=None, affine=affine),
                ConvBN(hidden, leaving, affine=affine),
            )
            self.before_hidden, self.hidden_layers = 1, 4

    def forward(self, features: Tensor, hidden: int | None = None) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, h / stride, w / stride]``.

        Args:
            features: Input.
            hidden: Leading hidden channels to use; None uses all.
        """
        if self.split:
            kept, changed = features.chunk(2, 1)
            return interleave_channels(kept, self._run_branch(changed, hidden))
        both = torch.cat((self.shortcut(features), self._run_branch(features, hidden)), 1)
        first, second = both.chunk(2, 1)
        return interleave_channels(first, second)


class _InvertedBlock(_Block):
    """Inverted residual with plain ReLU: expand, filter depthwise, project; a shortcut where the shape allows.

    The fused form replaces the expansion and the depthwise convolution by one dense 3x3 convolution, which phones'
    matrix units run faster than its multiply-adds say.

    Source: Sandler et al., CVPR 2018, https://arxiv.org/abs/1801.04381, with ReLU for ReLU6; fused: Gupta and
    Tan, 2019, EfficientNet-EdgeTPU.

    Args:
        shape: Channels and stride.
        kernel: 3, 5 or 7 depthwise; 0 for the fused form.
        hidden: Channels inside.
        affine: Whether batch norms have a scale and a shift and keep running statistics.
    """

    def __init__(self, shape: BlockShape, kernel: int, hidden: int, *, affine: bool = True) -> None:
        super().__init__()
        if kernel:
            layers = [
                ConvBN(shape.channels_in, hidden, affine=affine),
                ConvBN(hidden, hidden, kernel, stride=shape.stride, groups=hidden, affine=affine),
            ]
        else:
            layers = [ConvBN(shape.channels_in, hidden, 3, stride=shape.stride, affine=affine)]
        self.before_hidden, self.hidden_layers = 0, len(layers)
        self.branch = nn.Sequential(*layers, ConvBN(hidden, shape.channels_out, activation=None, affine=affine))
        self.residual = shape.stride == 1 and shape.channels_in == shape.channels_out

    def forward(self, features: Tensor, hidden: int | None = None) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, h / stride, w / stride]``; see `_ShuffleBlock`."""
        output = self._run_branch(features, hidden)
        return features + output if self.residual else output


def build_block(operation: str, shape: BlockShape, hidden: int, *, affine: bool = True) -> nn.Module:
    """The module of an operation, one of `compat_train.models.search_space.OPERATIONS`."""
    kernel = {"3": 3, "5": 5, "7": 7}.get(operation[-1], 0)
    match operation:
        case "shuffle3" | "shuffle5" | "shuffle7" | "xception":
            return _ShuffleBlock(shape, kernel, hidden, affine=affine)
        case "inverted3" | "inverted5" | "inverted7":
            return _InvertedBlock(shape, kernel, hidden, affine=affine)
        case "fused3":
            return _InvertedBlock(shape, 0, hidden, affine=affine)
    raise AssertionError(operation)  # OPERATIONS names no other


@torch.no_grad()
def start_from(block: nn.Module, first: nn.Module) -> None:
    """Starts an operation from the trained weights of the first one, in place.

    A larger kernel gets the smaller one in its centre, which is the same function. The Xception variant passes its
    input on where it has a layer more, and the fused form gets the product of the two layers it replaces: nearly
    the same function, up to the batch norms and activations in between.

    Args:
        block: Operation of the same block shape, width and kind as ``first``.
        first: The operation at position 0.
    """
    assert isinstance(block, _ShuffleBlock | _InvertedBlock) and isinstance(first, _ShuffleBlock | _InvertedBlock)
    sources = [_weight(layer) for layer in first.branch]
    targets = [_weight(layer) for layer in block.branch]
    if len(targets) == 6:  # xception
        entry, middle = torch.zeros_like(targets[0]), torch.zeros_like(targets[3])
        entry[:, :, 1, 1] = 1
        middle[:, :, 0, 0] = torch.eye(len(middle))
        leave = torch.zeros_like(targets[4])
        leave[:, :, 1, 1] = 1
        sources = [entry, sources[0], sources[1], middle, leave, sources[2]]
    elif len(targets) == 2:  # fused
        sources = [sources[0] * sources[1], sources[2]]
    if isinstance(block, _ShuffleBlock) and isinstance(block.shortcut, nn.Sequential):
        assert isinstance(first.shortcut, nn.Sequential)
        targets += [_weight(layer) for layer in block.shortcut]
        sources += [_weight(layer) for layer in first.shortcut]
    for target, source in zip(targets, sources, strict=True):
        margin = (target.shape[2] - source.shape[2]) // 2
        target.copy_(F.pad(source, [margin] * 4))


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer, ConvBN) and isinstance(layer[0], nn.Conv2d)
    return layer[0].weight
