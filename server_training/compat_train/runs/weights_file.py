"""Published weights in a file: tensors by name, from safetensors or from torch's format, and nothing but tensors."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened
from compat_train.runs.run_files import read_tensors

_LARGEST = 32 << 30  # bytes
_TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training scripts keep the weights in a larger dictionary; averaged ones first, as timm takes them."""
_PARALLEL = "module."
"""What torch's wrappers for several devices put before every name."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors that somebody published.

    Attributes:
        name: The file, for messages.
        sha256: Digest of the file, 64 hexadecimal digits.
        tensors: By their names in the file, on the CPU; every floating-point number is finite.
    """

    name: str
    sha256: str
    tensors: Mapping[str, Tensor]


def read_weights(path: str | Path) -> Weights:
    """Reads a ``.safetensors`` file, or one that ``torch.save`` wrote, without running anything in it.

    Of a training script's dictionary the weights are taken, averaged ones before others.

    Args:
        path: The file; its ending says what it is.

    Raises:
        DataError: There is no such file, or it holds something else than tensors.
        CorruptFileError: It is damaged, or a number in it is not finite.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", *_TORCH):
        raise DataError(
            f"weights is {path.name}; expected a file .safetensors, {', '.join(_TORCH[:-1])} or {_TORCH[-1]}"
        )
    try:
        data = read_plain(path, min(path.stat().st_size, _LARGEST))
    except OSError as error:
        raise_if_refused(path, error)
        raise DataError(f"cannot read weights {path}: {error.strerror or error}") from error
    tensors = read_tensors(data, str(path)) if path.suffix == ".safetensors" else _of_torch(data, str(path))
    if not tensors:
        raise DataError(f"{path} holds no tensors; expected the weights of a network")
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CorruptFileError(f"{path} has numbers in {shortened(name)} that are not finite; get the file again")
    return Weights(str(path), hashlib.sha256(data).hexdigest(), tensors)


def _of_torch(data: bytes, name: str) -> dict[str, Tensor]:
    """The state in a file of ``torch.save``."""
    _check_archive(data, name)
    try:
        found: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{name} holds more than tensors, which only running it would load; "
            f"save its state_dict alone, best as .safetensors"
        ) from error
    except Exception as error:  # what a damaged pickle makes its reader raise has no one type
        raise CorruptFileError(f"{name} cannot be read ({shortened(str(error), 120)}); get the file again") from error
    for place in _INSIDE:
        if isinstance(found, dict) and isinstance(found.get(place), dict):
            found = found[place]
            break
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items()
    ):
        raise DataError(f"{name} holds no dictionary of tensors by name; save the network's state_dict")
    plain = {key: value.detach() for key, value in found.items()}
    if any(value.layout != torch.strided or value.is_quantized for value in plain.values()):
        raise DataError(f"{name} holds sparse or quantised tensors; expected plain ones")
    if plain and all(key.startswith(_PARALLEL) for key in plain):
        return {key.removeprefix(_PARALLEL): value for key, value in plain.items()}
    return plain


def _check_archive(data: bytes, name: str) -> None:
    """Refuses what is not torch's archive: a zip of stored, undamaged entries that are no larger than the file.

    Raises:
        CorruptFileError: It is not.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if (
                any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries)
                or sum(entry.file_size for entry in entries) > len(data)
                or len({entry.filename for entry in entries}) != len(entries)
            ):
                raise CorruptFileError(f"{name} is no archive of torch: its entries are compressed; get the file again")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError) as error:
        raise CorruptFileError(
            f"{name} is no archive of torch, as 1.6 and newer write: {shortened(str(error), 80)}; "
            f"save it as .safetensors"
        ) from error
    if damaged is not None:
        raise CorruptFileError(f"{name} is damaged in {shortened(damaged)}; get the file again")
