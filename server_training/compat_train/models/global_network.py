"""The network of one member of the global search's space."""

from __future__ import annotations

from torch import Tensor, nn

from compat_train.models.global_space import STEM_KERNEL, GlobalMember, Layer
from compat_train.models.layers import ConvBN, GlobalAveragePool, initialise
from compat_train.models.search_space import BlockShape


class _SeparableConvBN(nn.Sequential):
    """Depthwise convolution, which carries the stride, then a 1x1 with batch norm and, unless it is None, ReLU.

    Nothing stands between the two, as in the release that the space was read from. MobileNet has a batch norm and a
    ReLU there as well; the parameters of the published networks have no place for them.

    Args:
        channels_in: Input channels.
        channels_out: Output channels.
        kernel: Side of the depthwise kernel in pixels, odd.
        stride: 1 or 2.
        activation: Module class applied last, or None for a linear output.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int,
        activation: type[nn.ReLU] | None = nn.ReLU,
    ) -> None:
        depthwise = nn.Conv2d(
            channels_in, channels_in, kernel, stride=stride, padding=kernel // 2, groups=channels_in, bias=False
        )
        super().__init__(depthwise, ConvBN(channels_in, channels_out, activation=activation))


class ResidualPair(nn.Module):
    """Two layers of the space and a shortcut around them; the first carries the stride.

    A ResNet's basic block whose two convolutions are what the search chose.

    Args:
        layers: The two layers.
        shapes: Their channels and strides.
    """

    def __init__(self, layers: tuple[Layer, Layer], shapes: tuple[BlockShape, BlockShape]) -> None:
        super().__init__()
        first, second = shapes
        self.branch = nn.Sequential(build_layer(layers[0], first), build_layer(layers[1], second, activation=None))
        self.shortcut: nn.Module = nn.Identity()
        if first.stride == 2 or first.channels_in != second.channels_out:
            self.shortcut = ConvBN(first.channels_in, second.channels_out, stride=first.stride, activation=None)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, channels_in, h, w]`` to ``[n, channels_out, h / stride, w / stride]``."""
        output: Tensor = self.activation(self.branch(features) + self.shortcut(features))
        return output


def build_layer(layer: Layer, shape: BlockShape, *, activation: type[nn.ReLU] | None = nn.ReLU) -> nn.Module:
    """A layer with fresh weights: convolution or separable convolution, batch norm, and ReLU unless it is None."""
    kind = _SeparableConvBN if layer.operation == "separable" else ConvBN
    return kind(shape.channels_in, shape.channels_out, layer.kernel, stride=shape.stride, activation=activation)


class GlobalNetwork(nn.Module):
    """A network of the global search's space, from images to embeddings that are not normalised.

    Every convolution but those at the end of a residual branch is followed by batch norm and ReLU. The authors' release
    computes the same with the ReLU at the head of each layer, so that it has none before the pool: there its last 1x1,
    the pool and the classifier are one linear map. The paper names no order; the ReLU costs no parameter, and is here.

    Source: Global NAS, https://arxiv.org/abs/2502.03553, section 3.1;
    `compat_train.models.global_space` says what was read from the authors' logs.

    Args:
        member: Depth, width, operations and kernels.
        dim: Length of the embedding.
        stem_stride: Stride of the stem: 2 for 224 pixels, or 1 for 112 and less.
    """

    def __init__(self, member: GlobalMember, *, dim: int = 128, stem_stride: int = 1) -> None:
        super().__init__()
        self.stem = ConvBN(3, member.stem, STEM_KERNEL, stride=stem_stride)
        layers, shapes = member.layers, member.shapes
        self.layers = nn.Sequential()
        if member.kind == "residual":
            for at in range(0, member.depth, 2):
                self.layers.append(ResidualPair((layers[at], layers[at + 1]), (shapes[at], shapes[at + 1])))
        else:
            self.layers.extend(map(build_layer, layers, shapes))
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(member.widths[-1], dim)
        initialise(self)
        for block in self.layers:
            if isinstance(block, ResidualPair):
                # As in the gallery's ResNets: an untrained network is its shortcuts alone.
                *_, last = (layer for layer in block.branch.modules() if isinstance(layer, nn.BatchNorm2d))
                nn.init.zeros_(last.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.pool(self.layers(self.stem(images))))
        return embeddings
