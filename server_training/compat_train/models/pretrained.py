"""Published weights beside a network: what belongs where, and what a file is that does not fit."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from compat_sdk.errors import CompatError, DataError, TrainingError
from compat_sdk.shown import shortened
from compat_train.models.build import ARCHITECTURES, build_model
from compat_train.models.last_layer import last_linear
from compat_train.models.timm_network import TimmNetwork, classifier_keys, hub_features, timm_relatives

_RUN = "embedder."
"""Before the name of every weight of an embedding network in a RUN."""
_COUNTER = ".num_batches_tracked"


def matched_state(network: nn.Module, arch: str, tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The state of a network with published weights in it; what they do not have stays as it is in the network.

    Only three things may be missing or left over: the classifier of a network of timm, whose place the layer to the
    embedding has; that layer of another network, as a whole; and the step counters of batch norms. A file in its
    authors' own names, which timm can translate, is translated. Of a RUN, in which weights are called ``embedder.``,
    the whole embedding network is taken.

    Args:
        network: Freshly built; it is left as it was.
        arch: Its architecture's name.
        tensors: Published weights by name.
        name: What to call them in an error.

    Raises:
        DataError: They are not those of this network: one is missing, left over, of another shape or another kind.
    """
    of_run = {key.removeprefix(_RUN): value for key, value in tensors.items() if key.startswith(_RUN)}
    if of_run or not isinstance(network, TimmNetwork):
        state, found = network.state_dict(), of_run or dict(tensors)
        last = frozenset() if of_run else _absent_last_layer(network, found)
        wanted = {key: value for key, value in state.items() if key not in last}
        return state | _exactly(wanted, found, arch, name)
    state, left = network.features.state_dict(), classifier_keys(arch)
    found = {key: value for key, value in tensors.items() if key not in left}
    if state.keys() != found.keys():
        translated = _translated(network.features, tensors)
        found = {key: value for key, value in translated.items() if key not in left}
    inner = _exactly(state, found, arch, name)
    return network.state_dict() | {f"features.{key}": value for key, value in inner.items()}


def hub_state(arch: str) -> tuple[dict[str, Tensor], str]:
    """Weights of a network of timm from its hub, without classifier, and the SHA-256 of them as safetensors.

    Args:
        arch: ``timm:NAME`` or ``timm:NAME.tag``.

    Raises:
        ConfigError: There is no such network.
        CompatError: The hub cannot be reached, or has no weights of it.
    """
    state = {key: value.detach().contiguous() for key, value in hub_features(arch).state_dict().items()}
    return state, hashlib.sha256(save_tensors(state)).hexdigest()


def _translated(features: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights under timm's names, by the function with which timm takes over what the authors published."""
    translate: Any = getattr(sys.modules[type(features).__module__], "checkpoint_filter_fn", None)
    if translate is None:
        return tensors
    try:
        found = translate(dict(tensors), features)
    except Exception:  # it is written for one kind of file, and others may make it raise anything
        return tensors
    return found if isinstance(found, dict) else tensors


def _absent_last_layer(network: nn.Module, found: Iterable[str]) -> frozenset[str]:
    """Names of the weights of the layer to the embedding, where none of them was found: nobody published it."""
    try:
        layer = last_linear(network)
    except TrainingError:
        return frozenset()
    (place,) = (name for name, module in network.named_modules() if module is layer)
    names = frozenset(f"{place}.{key}" for key in layer.state_dict())
    return names if names.isdisjoint(found) else frozenset()


def _exactly(state: Mapping[str, Tensor], found: Mapping[str, Tensor], arch: str, name: str) -> dict[str, Tensor]:
    """What was found, if it is all of a state and nothing else; numbers in the state's own format."""
    missing = [key for key in state if key not in found and not key.endswith(_COUNTER)]
    unexpected = [key for key in found if key not in state]
    wrong = [key for key in state if key in found and not _alike(state[key], found[key])]
    if not (missing or unexpected or wrong):
        return {key: value.to(state[key].dtype) for key, value in found.items()}
    said = [f"{word} {_few(keys)}" for word, keys in (("lacks", missing), ("has besides", unexpected)) if keys]
    if wrong:
        here, there = (list(side[wrong[0]].shape) for side in (found, state))
        said.append(f"has {shortened(wrong[0], 40)} of {here} for {there}")
    like = _looks_like(found, arch)
    raise DataError(
        f"{shortened(name, 60)} does not fit {shortened(arch, 50)}: it {'; '.join(said)}; "
        + (f"it looks like {like}" if like else "give the weights of that architecture")
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def _few(keys: list[str]) -> str:
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{shortened(keys[0], 40)}{more}"


def _looks_like(found: Mapping[str, Tensor], arch: str) -> str | None:
    """Name of an architecture that has all of these weights, its classifier aside, or None."""
    shapes = {key: value.shape for key, value in found.items() if not key.endswith(_COUNTER)}
    for name, network in _candidates(arch):
        inner = network.features if isinstance(network, TimmNetwork) else network
        state = {key: value.shape for key, value in inner.state_dict().items() if not key.endswith(_COUNTER)}
        rest = shapes.keys() - state.keys()
        if isinstance(network, TimmNetwork):
            fits = all(shapes.get(key) == shape for key, shape in state.items())
            if fits and (not rest or rest <= classifier_keys(name)):
                return name
        elif shapes.keys() == state.keys() - _absent_last_layer(network, shapes):  # of some width and dimension
            return name
    return None


def _candidates(arch: str) -> Iterator[tuple[str, nn.Module]]:
    """Architectures that a file may be of, without memory for their weights."""
    for name in (*ARCHITECTURES, *timm_relatives(arch)):
        try:
            with torch.device("meta"):
                network = build_model(name)
        except (CompatError, RuntimeError, NotImplementedError):  # it draws numbers as it is built
            continue
        yield name, network
