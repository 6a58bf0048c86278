"""One network of a search space, and the network of them all that shares its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from compat_train.models.choice_block import build_block, start_from
from compat_train.models.layers import ConvBN, GlobalAveragePool, initialise
from compat_train.models.search_space import SCALES, BlockShape, Member, SearchSpace


class MemberNetwork(nn.Module):
    """One member of a search space, from images to embeddings that are not normalised.

    Args:
        member: Operation and scale of each block.
        dim: Length of the embedding.
        stem_stride: Stride of the first convolution: 2 for 224 pixels, or 1 for 112.
    """

    def __init__(self, member: Member, *, dim: int = 128, stem_stride: int = 1) -> None:
        super().__init__()
        space = member.space
        self.stem = ConvBN(3, space.stem, 3, stride=stem_stride)
        self.blocks = nn.Sequential(
            *(
                build_block(space.operations[operation], shape, space.hidden(shape, scale))
                for shape, operation, scale in zip(space.blocks, member.operations, member.scales, strict=True)
            )
        )
        self.last = ConvBN(space.widths[-1], space.last)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(space.last, dim)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[n, 3, s, s]`` to embeddings ``[n, dim]``, not normalised."""
        embeddings: Tensor = self.head(self.pool(self.last(self.blocks(self.stem(images)))))
        return embeddings


class Supernet(nn.Module):
    """Every operation of every block at its largest scale; a member runs with the leading channels.

    Batch norms have neither parameters nor running statistics: both would be a mixture over members. A member
    that is taken out gets statistics of its own (`compat_train.nas.cmp.candidate`).

    Source: Guo et al., ECCV 2020, https://arxiv.org/abs/1904.00420, section 3.

    Args:
        space: The search space.
        dim: Length of the embedding.
        stem_stride: Stride of the first convolution.
    """

    def __init__(self, space: SearchSpace, *, dim: int = 128, stem_stride: int = 1) -> None:
        super().__init__()
        self.space, self.dim, self.stem_stride = space, dim, stem_stride
        widest = len(SCALES) - 1
        self.stem = ConvBN(3, space.stem, 3, stride=stem_stride, affine=False)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                build_block(operation, shape, space.hidden(shape, widest), affine=False)
                for operation in space.operations
            )
            for shape in space.blocks
        )
        self.last = ConvBN(space.widths[-1], space.last, affine=False)
        self.pool = GlobalAveragePool()
        self.head = nn.Linear(space.last, dim)
        initialise(self)

    def forward(self, images: Tensor, member: Member) -> Tensor:
        """Map images ``[n, 3, s, s]`` to a member's embeddings ``[n, dim]``, not normalised.

        Only the chosen operations take part, so only they receive gradients; the others' stay None.
        """
        features = self.stem(images)
        for choices, shape, operation, scale in zip(
            self.blocks, self.space.blocks, member.operations, member.scales, strict=True
        ):
            assert isinstance(choices, nn.ModuleList)
            features = choices[operation](features, self.space.hidden(shape, scale))
        embeddings: Tensor = self.head(self.pool(self.last(features)))
        return embeddings

    def drawn_parts(self, member: Member) -> Iterator[tuple[nn.Parameter, tuple[slice, ...], None]]:
        """Weights of which a member uses leading channels alone, each with the part that it uses."""
        for choices, shape, operation, scale in zip(
            self.blocks, self.space.blocks, member.operations, member.scales, strict=True
        ):
            assert isinstance(choices, nn.ModuleList)
            own = _shapes(self.space.operations[operation], shape, self.space.hidden(shape, scale))
            for name, weight in choices[operation].named_parameters():
                if own[name] != weight.shape:
                    yield weight, tuple(slice(0, side) for side in own[name]), None

    def start_operations(self) -> None:
        """Starts every operation from the trained weights of the first one of its block, in place."""
        for choices in self.blocks:
            assert isinstance(choices, nn.ModuleList)
            for block in list(choices)[1:]:
                start_from(block, choices[0])


@cache
def _shapes(operation: str, shape: BlockShape, hidden: int) -> Mapping[str, torch.Size]:
    """Shapes of the weights of an operation at its own width."""
    with torch.device("meta"):
        block = build_block(operation, shape, hidden, affine=False)
    return {name: weight.shape for name, weight in block.named_parameters()}


def _member_state(supernet: Mapping[str, Tensor], network: MemberNetwork, member: Member) -> dict[str, Tensor]:
    """Weights of a member, cut out of a supernet's.

    Args:
        supernet: State of a `Supernet` of the member's space.
        network: A network of the member; its batch norms' entries are kept.
        member: Which operations it uses.

    Returns:
        A state that ``network`` loads: leading channels of every convolution, in fresh memory.
    """
    state = network.state_dict()
    for name, value in state.items():
        source = supernet.get(_name_in_supernet(name, member))
        if source is not None:
            state[name] = source[tuple(slice(0, side) for side in value.shape)].clone()
    return state


def _name_in_supernet(name: str, member: Member) -> str:
    """``blocks.3.branch...`` of a member is ``blocks.3.OPERATION.branch...`` of the supernet."""
    if not name.startswith("blocks."):
        return name
    _, block, rest = name.split(".", 2)
    return f"blocks.{block}.{member.operations[int(block)]}.{rest}"


def take_member(supernet: Mapping[str, Tensor], member: Member, *, dim: int, stem_stride: int) -> MemberNetwork:
    """A member's own network with the supernet's weights; its batch norms are fresh.

    Fresh weights are drawn and thrown away on the meta device, so torch's global generator is not touched.
    """
    with torch.device("meta"):
        network = MemberNetwork(member, dim=dim, stem_stride=stem_stride)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    network.load_state_dict(_member_state(supernet, network, member))
    return network
