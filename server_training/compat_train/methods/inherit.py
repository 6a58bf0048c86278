"""Where a query model's starting weights come from: the gallery model's, whole, narrowed or pruned."""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.errors import TrainingError
from compat_sdk.spread import spread
from compat_train.embed import input_tensor
from compat_train.models.resnet import BasicBlock, Bottleneck, ResNet
from compat_train.runs.checkpoint import Checkpoint

_IMAGES, _CHUNK, _POSITIONS = 256, 32, 32  # sampled images, images at a time, pixels per image and layer
_FIRST_PENALTY, _GROWTH, _ITERATIONS = 1e-3, 1.2, 100
_RIDGE = 1e-3  # relative to the mean variance of the inputs


def inherit(
    embedder: nn.Module,
    classifier: nn.Linear | None,
    gallery: Checkpoint,
    classes: tuple[str, ...],
    how: Literal["leading", "magnitude", "channel"],
    pixels: NDArray[np.uint8],
) -> None:
    """Starts a query model, in place, from the gallery model's weights.

    ``leading`` takes the first channels of every layer: all of them, when the networks are the same.
    ``magnitude`` and ``channel`` are for a ResNet with fewer filters inside its residual branches; every layer
    outside them is copied. ``magnitude`` keeps the filters with the largest L1 norms, each layer by itself.
    ``channel`` goes through the network from its input and keeps those that a LASSO finds best to predict the
    next layer's response, then fits the next layer's weights by least squares: inputs from the pruned network so
    far, targets from the whole one, so that later layers make up for the errors of earlier ones.

    Source: magnitude: Li et al., ICLR 2017, https://arxiv.org/abs/1608.08710, section 3.1 (independent layers).
    channel: He, Zhang and Sun, ICCV 2017, https://arxiv.org/abs/1707.06168, section 3. kappa_q from kappa_g, and
    the pruned query models: CMP-NAS, section 3.2.1 and table 4.

    Args:
        embedder: Freshly built query network; the work is done on its device.
        classifier: Query classifier, kappa_q, to be filled from the gallery's; None leaves it as it is.
        gallery: The gallery run. It has a classifier with all of ``classes`` if ``classifier`` is given.
        classes: Class name of each row of ``classifier``.
        how: Which weights are taken.
        pixels: uint8 ``[n, size, size, 3]`` training images; ``channel`` looks at a few hundred of them.

    Raises:
        TrainingError: The query network's layers are not the gallery network's, or no pruned form of them.
    """
    if how == "leading":
        _take_leading_channels(embedder, gallery)
    else:
        device = next(embedder.parameters()).device
        whole = gallery.build().to(device)
        if not isinstance(embedder, ResNet) or not isinstance(whole, ResNet) or not _is_pruned(embedder, whole):
            raise TrainingError(
                f"inherit {how!r} needs a query model that is the gallery model with fewer filters inside its residual "
                f"branches; the gallery model is {gallery.arch}, width {gallery.width:g}, stem stride "
                f"{gallery.stem_stride}: choose the same with '_pruned0.9' in the architecture's name if it is a "
                f"ResNet, or another inherit"
            )
        _copy_equal_layers(embedder, whole)
        if how == "magnitude":
            _prune_by_magnitude(embedder, whole)
        else:
            rows = spread(len(pixels), _IMAGES)
            sample = torch.from_numpy(np.array(pixels[rows]))
            images = [input_tensor(part.to(device), gallery.preprocessing) for part in torch.split(sample, _CHUNK)]
            _prune_by_channel(embedder, whole, images)
    if classifier is not None:
        assert gallery.classifier is not None
        position = {name: row for row, name in enumerate(gallery.classes)}
        with torch.no_grad():
            classifier.weight.copy_(gallery.classifier[[position[name] for name in classes]])


def _take_leading_channels(embedder: nn.Module, gallery: Checkpoint) -> None:
    state = embedder.state_dict()
    matches = state.keys() == gallery.state.keys() and all(
        value.dim() == gallery.state[name].dim()
        and all(mine <= theirs for mine, theirs in zip(value.shape, gallery.state[name].shape, strict=True))
        for name, value in state.items()
    )
    if not matches:
        raise TrainingError(
            f"inherit 'leading', with which method 'finetune' starts, takes the gallery model's weights, so it needs "
            f"its architecture ({gallery.arch}, width {gallery.width:g} or less); for another one use bct from fresh "
            f"weights"
        )
    embedder.load_state_dict(
        {name: gallery.state[name][tuple(slice(0, side) for side in value.shape)] for name, value in state.items()}
    )


def _is_pruned(small: ResNet, whole: ResNet) -> bool:
    """Whether ``small`` is ``whole`` but for filters that its branches lack."""
    mine, theirs = small.state_dict(), whole.state_dict()
    if mine.keys() != theirs.keys() or _layer(small.stem[0])[0].stride != _layer(whole.stem[0])[0].stride:
        return False
    if any(".branch." not in name and mine[name].shape != theirs[name].shape for name in mine):
        return False
    counts = [
        (own.num_features, other.num_features)
        for pruned, block in zip(_blocks(small), _blocks(whole), strict=True)
        for (_, own), (_, other) in zip(map(_layer, pruned.branch), map(_layer, block.branch), strict=True)
    ]
    return all(own <= other for own, other in counts) and any(own < other for own, other in counts)


def _copy_equal_layers(small: ResNet, whole: ResNet) -> None:
    theirs = whole.state_dict()
    mine = small.state_dict()
    small.load_state_dict(mine | {name: theirs[name] for name in mine if mine[name].shape == theirs[name].shape})


def _blocks(network: ResNet) -> list[BasicBlock | Bottleneck]:
    return [module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck)]


def _layer(module: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv, norm = module.get_submodule("0"), module.get_submodule("1")
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return conv, norm


@torch.no_grad()
def _copy_filters(target: nn.Module, source: nn.Module, filters: Tensor, inputs: Tensor | None = None) -> None:
    """Copies some filters of a layer with their batch-norm entries; ``inputs`` picks their input channels."""
    (conv, norm), (conv_whole, norm_whole) = _layer(target), _layer(source)
    weight = conv_whole.weight[filters]
    conv.weight.copy_(weight if inputs is None else weight[:, inputs])
    state = norm_whole.state_dict()
    norm.load_state_dict({name: value[filters] if value.dim() else value for name, value in state.items()})


def _largest(scores: Tensor, count: int) -> Tensor:
    # A stable sort, so that ties go to the leading channels on every device; in the network's own order.
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _prune_by_magnitude(small: ResNet, whole: ResNet) -> None:
    for pruned, block in zip(_blocks(small), _blocks(whole), strict=True):
        inputs = None
        for target, source in zip(pruned.branch, block.branch, strict=True):
            norms = _layer(source)[0].weight.detach().abs().sum((1, 2, 3))
            filters = _largest(norms, _layer(target)[0].out_channels)
            _copy_filters(target, source, filters, inputs)
            inputs = filters


@torch.no_grad()
def _prune_by_channel(small: ResNet, whole: ResNet, images: list[Tensor]) -> None:
    training = small.training
    small.eval()
    generator = torch.Generator().manual_seed(0)
    # Feature maps of the whole and of the pruned network, chunk by chunk; the stem is the same in both.
    maps = [(features, features) for features in map(whole.stem, images)]
    for pruned, block in zip(_blocks(small), _blocks(whole), strict=True):
        _prune_block(pruned, block, maps, generator)
        maps = [(block(own), pruned(theirs)) for own, theirs in maps]
    small.train(training)


def _prune_block(
    pruned: BasicBlock | Bottleneck,
    block: BasicBlock | Bottleneck,
    maps: list[tuple[Tensor, Tensor]],
    generator: torch.Generator,
) -> None:
    """Fills the branch of a pruned block; ``maps`` are the inputs of the whole and of the pruned block."""
    before, *following = block.branch
    *targets, last = pruned.branch
    inner = [(before(own), before(theirs)) for own, theirs in maps]
    for target, layer in zip(targets, following, strict=True):
        conv, norm = _layer(layer)
        samples = []
        for (own, theirs), (own_in, theirs_in) in zip(inner, maps, strict=True):
            wanted = norm(conv(own))
            if layer is following[-1]:
                # The branch makes up for what the pruned network's shortcut carries too much or too little.
                wanted = wanted + block.shortcut(own_in) - block.shortcut(theirs_in)
            samples.append(_sample(theirs, wanted, conv.kernel_size[0], generator))
        inputs, outputs = (torch.cat(parts) for parts in zip(*samples, strict=True))
        filters = _useful_channels(layer, inputs, outputs, _layer(target)[0].out_channels)
        _copy_filters(target, before, filters)
        before = _refitted(layer, filters, inputs, outputs)
        inner = [(layer(own), before(theirs[:, filters])) for own, theirs in inner]
    _copy_filters(last, before, torch.arange(_layer(last)[0].out_channels))


def _sample(features: Tensor, outputs: Tensor, kernel: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs ``[rows, channels * kernel**2]`` and outputs ``[rows, filters]`` of a stride-1 layer at random pixels."""
    height, width = features.shape[2:]
    pixels = torch.randperm(height * width, generator=generator)[:_POSITIONS].to(features.device)
    y, x = pixels // width, pixels % width
    windows = nn.functional.pad(features, (kernel // 2,) * 4).unfold(2, kernel, 1).unfold(3, kernel, 1)
    return (
        windows[:, :, y, x].transpose(1, 2).flatten(0, 1).flatten(1),
        outputs[:, :, y, x].transpose(1, 2).flatten(0, 1),
    )


def _folded(layer: nn.Module) -> Tensor:
    """Filters with the gain of their batch norm, float64 ``[filters, channels, kernel**2]``."""
    conv, norm = _layer(layer)
    assert norm.running_var is not None
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (conv.weight * gain[:, None, None, None]).flatten(2).double()


def _useful_channels(layer: nn.Module, inputs: Tensor, outputs: Tensor, count: int) -> Tensor:
    """The input channels that a LASSO over their contributions to the outputs leaves.

    Minimises ``|Y - sum_i b_i Z_i|^2 / 2 + penalty * |b|_1``, where Z_i is what channel i contributes through its
    weights, scaled to norm 1. Only inner products of the Z_i are formed, from those of the inputs.
    """
    weight = _folded(layer)
    size = weight.norm(dim=(0, 2))
    weight = weight / size.clamp_min(1e-30)[None, :, None]
    channels, area = weight.shape[1:]
    inputs, outputs = inputs - inputs.mean(0), outputs - outputs.mean(0)
    of_inputs = (inputs.T @ inputs).double()
    gram = (of_inputs * (weight.flatten(1).T @ weight.flatten(1))).view(channels, area, channels, area).sum((1, 3))
    cross = ((inputs.T @ outputs).double() * weight.flatten(1).T).view(channels, area, -1).sum((1, 2))
    step = 1 / torch.linalg.eigvalsh(gram)[-1].clamp_min(1e-30)
    penalty = _FIRST_PENALTY * cross.abs().max().clamp_min(1e-12)
    strength = previous = torch.where(gram.diagonal() > 0, size, 0.0)
    while int((strength != 0).sum()) > count:
        previous, penalty = strength, penalty * _GROWTH
        strength = _lasso(gram, cross, penalty, step, strength)
    # One rise of the penalty can silence several channels; the strongest of the last to go fill the places.
    return _largest(torch.where(strength != 0, strength.abs() + previous.abs().max(), previous.abs()), count)


def _lasso(gram: Tensor, cross: Tensor, penalty: Tensor, step: Tensor, start: Tensor) -> Tensor:
    # Beck and Teboulle, SIAM J. Imaging Sciences 2009, section 4 (FISTA).
    current, ahead, momentum = start, start, 1.0
    for _ in range(_ITERATIONS):
        moved = ahead - step * (gram @ ahead - cross)
        following = moved.sign() * (moved.abs() - step * penalty).clamp_min(0)
        faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / faster * (following - current)
        current, momentum = following, faster
    return current


def _refitted(layer: nn.Module, channels: Tensor, inputs: Tensor, outputs: Tensor) -> nn.Module:
    """A copy of a layer that computes the outputs, before any activation, from some of its input channels.

    Least squares with an offset, drawn slightly towards the weights the layer has: where the sample says nothing
    they stay. The batch norm gets the sample's own moments, so that training it goes on from the same function;
    the fit's variance is below its target's, and the old gain would scale its error up.
    """
    start = _folded(layer)[:, channels]
    inputs = inputs.view(len(inputs), -1, start.shape[2])[:, channels].flatten(1).double()
    centred, wanted = inputs - inputs.mean(0), (outputs - outputs.mean(0)).double()
    gram = centred.T @ centred
    ridge = (_RIDGE * gram.diagonal().mean()).clamp_min(1e-12)
    error = wanted - centred @ start.flatten(1).T
    change = torch.linalg.solve(gram + ridge * torch.eye(len(gram), device=gram.device), centred.T @ error)
    fitted = start + change.T.view_as(start)

    refitted = copy.deepcopy(layer)
    conv, norm = _layer(refitted)
    assert norm.running_mean is not None and norm.running_var is not None
    # A filter keeps its length, on which its learning rate depends; the batch norm's gain carries the rest.
    gain = fitted.norm(dim=(1, 2)) / conv.weight.flatten(1).norm(dim=1).double().clamp_min(1e-6)
    original = conv.weight[:, channels].flatten(2).double()
    weight = torch.where(gain[:, None, None] > 0, fitted / gain.clamp_min(1e-30)[:, None, None], original)
    response = inputs @ weight.flatten(1).T
    conv.weight = nn.Parameter(weight.view(-1, len(channels), *conv.kernel_size).to(conv.weight))
    conv.in_channels = len(channels)
    norm.running_mean.copy_(response.mean(0))
    norm.running_var.copy_(response.var(0, correction=0))
    norm.weight.copy_(gain * (norm.running_var + norm.eps).sqrt())
    norm.bias.copy_(outputs.mean(0))
    return refitted
