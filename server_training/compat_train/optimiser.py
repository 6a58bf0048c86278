"""The optimiser of a training: its parameters, one step of it, and what a resume point keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from compat_train.config.parts import Optimisation

Part = tuple[nn.Parameter, tuple[slice, ...]]
"""A parameter, and the part of it that a step may move."""


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


def step_parts(optimiser: torch.optim.Optimizer, parts: Iterable[Part], step: Callable[[], object]) -> None:
    """One step that leaves the rest of partly used parameters as it is, in value and in momentum.

    The rest has a gradient of zero, not none: weight decay and momentum would move it all the same.

    Args:
        optimiser: Whose step it is.
        parts: Parameters that are partly used; others move whole.
        step: Takes the step.
    """
    held = [(weight, part, weight.detach().clone(), _moments(optimiser, weight, clone=True)) for weight, part in parts]
    step()
    with torch.no_grad():
        for weight, part, before, moments in held:
            _restore(weight, part, before)
            for name, moment in _moments(optimiser, weight).items():
                _restore(moment, part, moments.get(name, torch.zeros_like(moment)))


def _moments(optimiser: torch.optim.Optimizer, weight: nn.Parameter, *, clone: bool = False) -> dict[str, Tensor]:
    """What an optimiser remembers of each number of a weight."""
    known = optimiser.state.get(weight, {})
    found = {name: value for name, value in known.items() if isinstance(value, Tensor) and value.shape == weight.shape}
    return {name: value.clone() for name, value in found.items()} if clone else found


def _restore(tensor: Tensor, part: tuple[slice, ...], before: Tensor) -> None:
    """Gives a tensor its earlier values outside of a part."""
    inside = tensor[part].clone()
    tensor.copy_(before)
    tensor[part] = inside


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
