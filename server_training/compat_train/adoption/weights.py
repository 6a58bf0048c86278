"""Weights of networks from elsewhere: files that are read and never unpickled."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files import read_plain
from compat_sdk.shown import shortened
from compat_train.runs.run_files import read_tensors

_WRAPPERS = ("state_dict", "model", "model_state_dict")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a safetensors file, or of one that torch.save wrote, of which only tensors are read.

    Raises:
        ConfigError: There is no such file.
        CorruptFileError: It holds anything but tensors by name, or is damaged.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist or is no file; expected weights, .safetensors, .pt or .bin")
    if path.suffix == ".safetensors":
        return read_tensors(read_plain(path), str(path))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise CorruptFileError(
            f"{path} cannot be read as weights alone ({shortened(str(error), 100)}); save its state_dict as safetensors"
        ) from error
    for name in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CorruptFileError(f"{path} holds more than tensors by name; save the network's state_dict alone")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def load_weights(network: nn.Module, path: Path, name: str) -> None:
    """Puts the weights of a file into a network, all of them.

    Raises:
        ConfigError: There is no such file, or its weights are another network's.
        CorruptFileError: See `read_weights`.
    """
    weights, own = read_weights(path), network.state_dict()
    missing, more = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    other = [key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape]
    if missing or more or other:
        said = [
            f"{what} {len(names)}, such as {shortened(names[0])}"
            for what, names in (("lacks", missing), ("has besides", more), ("has in another shape", sorted(other)))
            if names
        ]
        raise ConfigError(f"{path} holds the weights of another network than {shortened(name)}: it {'; '.join(said)}")
    network.load_state_dict(weights)
