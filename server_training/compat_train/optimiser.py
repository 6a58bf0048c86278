"""The optimiser of a training: its parameters, one step of it, and what a resume point keeps of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compat_train.config.parts import Optimisation

Part = tuple[nn.Parameter, tuple[slice | Tensor, ...], Tensor | None]
"""A parameter, the part of it that a step may move, and the gradient of that part; None: that of the parameter."""


def make_optimiser(trained: nn.Module, optimisation: Optimisation) -> torch.optim.Optimizer:
    """SGD or Adam over what requires a gradient; weights with more than one axis decay."""
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": optimisation.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if optimisation.optimiser == "adam":
        return torch.optim.Adam(groups, lr=optimisation.lr, betas=(optimisation.momentum, 0.999))
    return torch.optim.SGD(groups, lr=optimisation.lr, momentum=optimisation.momentum)


@contextmanager
def parts_alone(optimiser: torch.optim.Optimizer, parts: Iterable[Part]) -> Iterator[None]:
    """Lets parameters be one part of themselves, so that a step leaves the rest as it is, in value and in momentum.

    A gradient of zero would not do that: weight decay and momentum move such a weight all the same. Gradients of
    these parameters are gone afterwards.

    Args:
        optimiser: Whose step is taken meanwhile.
        parts: Of parameters that are partly used, between backward pass and step; others move whole.
    """
    held = []
    for weight, part, gradient in parts:
        if gradient is None and weight.grad is not None:
            gradient = weight.grad[part].clone()
        whole, moments = weight.data, _moments(optimiser, weight)
        weight.grad = None
        weight.data = whole[part].clone()
        weight.grad = gradient
        state = optimiser.state.get(weight, {})
        state.update({name: moment[part].clone() for name, moment in moments.items()})
        held.append((weight, part, whole, moments))
    try:
        yield
    finally:
        for weight, part, whole, moments in held:
            state = optimiser.state.get(weight, {})
            for name, moment in _moments(optimiser, weight).items():
                state[name] = moments.get(name, torch.zeros_like(whole))
                state[name][part] = moment
            weight.grad = None
            whole[part] = weight.data
            weight.data = whole


def _moments(optimiser: torch.optim.Optimizer, weight: nn.Parameter) -> dict[str, Tensor]:
    """What an optimiser remembers of each number of a weight."""
    known = optimiser.state.get(weight, {})
    return {name: value for name, value in known.items() if isinstance(value, Tensor) and value.shape == weight.shape}


# What an optimiser keeps for each parameter, and its name in a resume point.
_KEPT = {"momentum_buffer": "momentum", "exp_avg": "mean", "exp_avg_sq": "square", "step": "steps"}
# What a scaler of losses keeps, and how it is stored.
_SCALER = {"scale": ("scaler.scale", torch.float64), "_growth_tracker": ("scaler.steps", torch.int64)}


def kept_tensors(
    trained: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> dict[str, Tensor]:
    """All that a resume point holds; `restore_tensors` takes it back. An idle scaler adds nothing."""
    tensors = {f"model.{name}": value for name, value in trained.state_dict().items()}
    for name, parameter in trained.named_parameters():
        kept = optimiser.state[parameter] if parameter in optimiser.state else {}
        for key, prefix in _KEPT.items():
            if kept.get(key) is not None:
                tensors[f"{prefix}.{name}"] = kept[key]
    if scaler.is_enabled():
        state = scaler.state_dict()
        tensors |= {name: torch.tensor(state[key], dtype=kind) for key, (name, kind) in _SCALER.items()}
    return tensors


def restore_tensors(
    tensors: Mapping[str, Tensor],
    trained: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Puts back, in place, what `kept_tensors` took."""
    trained.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    )
    for name, parameter in trained.named_parameters():
        for key, prefix in _KEPT.items():
            if (value := tensors.get(f"{prefix}.{name}")) is None:
                continue
            if value.shape == parameter.shape and key != "step":
                # Laid out like the parameter: a different memory format would change the rounding of nothing,
                # but the speed of every later step.
                value = torch.empty_like(parameter.detach()).copy_(value)
            optimiser.state[parameter][key] = value
    if scaler.is_enabled() and all(name in tensors for name, _ in _SCALER.values()):
        found = {key: tensors[name].item() for key, (name, _) in _SCALER.items()}
        scaler.load_state_dict(scaler.state_dict() | found)
