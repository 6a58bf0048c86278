"""What every backbone is made of: channel rounding, convolution with batch norm, pooling, initialisation."""

from __future__ import annotations

import math
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval


class ConvBN(nn.Sequential):
    """Bias-free convolution with "same" padding, batch norm and, unless it is None, an activation.

    Args:
        channels_in: Input channels.
        channels_out: Output channels.
        kernel: Side of the kernel in pixels, odd.
        stride: 1 or 2; the output side is ``ceil(side / stride)``.
        groups: Number of channel groups; ``channels_in`` makes it depthwise.
        activation: Module class applied last, or None for a linear output.
        affine: Whether the batch norm has a scale and a shift and keeps running statistics. A network whose
            weights are shared by many has none of them.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.ReLU] | type[nn.ReLU6] | type[nn.Hardswish] | None = nn.ReLU,
        affine: bool = True,
    ) -> None:
        narrow = kernel == 1 and stride == 2 and groups == 1 and channels_in < 8
        conv = (_NarrowPointwise if narrow else nn.Conv2d)(
            channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        )
        norm = nn.BatchNorm2d(channels_out, affine=affine, track_running_stats=affine)
        layers: list[nn.Module] = [conv, norm]
        if activation is not None:
            layers.append(activation(inplace=True))
        super().__init__(*layers)
        self.channels_out = channels_out


class _NarrowPointwise(nn.Conv2d):
    """A 1x1 convolution of stride 2 and fewer than 8 input channels, which drops the unused pixels itself in training.

    The backward pass of torch 2.13 writes beyond its memory there (channels last, processors without AVX-512), and
    the process dies or computes nonsense. Fewer pixels and stride 1 are the same function by another kernel.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The same values as a convolution; in training by another kernel."""
        if not self.training:
            return super().forward(input)
        return F.conv2d(input[:, :, ::2, ::2], self.weight, self.bias)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution or linear layer before it, in place: the same function in fewer passes.

    Args:
        network: In evaluation mode. A batch norm is one with its layer where the two stand together in a Sequential.
    """
    for layers in network.modules():
        if not isinstance(layers, nn.Sequential):
            continue
        for number, (layer, norm) in enumerate(pairwise(list(layers))):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layers[number] = fuse_conv_bn_eval(layer, norm)
            elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                layers[number] = fuse_linear_bn_eval(layer, norm)
            else:
                continue
            layers[number + 1] = nn.Identity()
    return network


class GlobalAveragePool(nn.Module):
    """Mean over the pixels: ``[n, channels, h, w]`` to ``[n, channels]``."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean of each channel.

        A plain reduction: it exports as one operator and asks for no shape at run time.
        """
        return features.mean((2, 3))


class GeneralisedMeanPool(nn.Module):
    """Cube root of the mean of cubes over the pixels: ``[n, channels, h, w]`` to ``[n, channels]``.

    Between the mean and the maximum: the few pixels that show the object count more than its background. Negative
    features count as 0. Each channel is divided by its largest pixel before the cube and multiplied by it after the
    root, which changes nothing in exact arithmetic and keeps half precision from overflowing (41 cubed does).

    Source: Radenovic, Tolias and Chum, TPAMI 2018, https://arxiv.org/abs/1711.02512, Eq. 2, with the exponent 3 held
    fixed as in DMU, section 4.1.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return the generalised mean of each channel, at least its mean and at most its maximum."""
        features = features.clamp_min(0.0)
        # Bounds that half precision still represents; a channel of zeros gives 1e-5, and a gradient of zero.
        peak = features.amax((2, 3), keepdim=True).clamp_min(1e-3)
        share = features / peak
        mean = (share * share * share).mean((2, 3)).clamp_min(1e-6)
        return mean.pow(1 / 3) * peak.flatten(1)


def initialise(model: nn.Module) -> None:
    """Fill every layer with fresh weights, in place, from torch's global generator.

    Convolutions get He's normal distribution by fan-out, which keeps the size of the *gradient* from layer
    to layer; fan-out counts one group only, so depthwise kernels are not drawn too small. Batch norms start
    as the identity. Linear layers start with variance 1/fan-in and a zero bias, which keeps the size of an
    embedding near that of the pooled features.

    Source: He et al., ICCV 2015, https://arxiv.org/abs/1502.01852, equation 14.

    Args:
        model: Any module made of convolutions, batch norms and linear layers.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            kernel_area = module.kernel_size[0] * module.kernel_size[1]
            fan_out = kernel_area * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=math.sqrt(1.0 / module.in_features))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
