"""Types and constants of a program, from its protobuf messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from compat_export.mil.blobs import DTYPES, FLOAT16, decode_elements, element_bits, read_blob
from compat_export.mil.package import Package
from compat_sdk.errors import BundleError, CheckFailedError

Value: TypeAlias = Tensor | str | tuple["Value", ...]
"""A tensor (floats always as float32), a string, or several of these (a list, or an operation's many inputs)."""

_LARGEST = 1 << 31  # elements; a damaged shape must not ask for all memory


@dataclass(frozen=True)
class TensorType:
    """Declared type of a tensor.

    Attributes:
        dtype: Such as ``"FLOAT16"``, ``"INT32"``, ``"BOOL"`` or ``"STRING"``.
        shape: Length of each axis; None where it is free at run time.
    """

    dtype: str
    shape: tuple[int | None, ...]

    def fits(self, shape: Sequence[int]) -> bool:
        """Say whether a tensor of this shape is of this type."""
        return len(shape) == len(self.shape) and all(
            b is None or a == b for a, b in zip(shape, self.shape, strict=True)
        )


def read_type(message: Any, where: str) -> TensorType | None:
    """A ``ValueType`` message; None for a list, tuple or dictionary.

    Raises:
        BundleError: The rank and the dimensions disagree.
    """
    if message.WhichOneof("type") != "tensorType":
        return None
    tensor = message.tensorType
    if tensor.rank != len(tensor.dimensions):
        raise BundleError(f"{where}: rank {tensor.rank} with {len(tensor.dimensions)} dimensions; export it again")
    known = tensor.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number
    dtype = known[tensor.dataType].name if tensor.dataType in known else f"type {tensor.dataType}"
    shape = [d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in tensor.dimensions]
    return TensorType(dtype, tuple(shape))


def read_value(message: Any, package: Package, where: str) -> Value:
    """A ``Value`` message: a constant, stated in place or kept in the weight file.

    Args:
        message: The message.
        package: Holds the weight file.
        where: Which constant is read, for messages.

    Raises:
        BundleError: It is damaged: sizes disagree, or the weight file does not hold it.
        CheckFailedError: A kind of constant that is not read here.
    """
    kind = message.WhichOneof("value")
    held = message.immediateValue.WhichOneof("value") if kind == "immediateValue" else None
    if held in ("list", "tuple"):
        return tuple(read_value(item, package, where) for item in getattr(message.immediateValue, held).values)
    declared = read_type(message.type, where)
    if declared is None or kind is None or (kind == "immediateValue" and held != "tensor"):
        raise CheckFailedError(f"{where}: a constant of kind {held or kind} is not known here")
    lengths = [length for length in declared.shape if length is not None]
    count = math.prod(lengths)
    if len(lengths) != len(declared.shape) or count >= _LARGEST:
        raise BundleError(f"{where}: a constant of shape {list(declared.shape)}; expected fixed lengths below 2^31")
    if kind == "immediateValue":
        return _immediate(message.immediateValue.tensor, declared.dtype, lengths, where)
    blob = message.blobFileValue
    found = read_blob(package.blob_file(blob.fileName), blob.offset, declared.dtype, count, where)
    return _as_tensor(found, lengths)


def _as_tensor(array: Any, shape: Sequence[int]) -> Tensor:
    """A constant as a tensor of its own: float32, bool, or 64-bit integers."""
    kind = array.dtype.kind
    wide = {"f": np.float32, "b": np.bool_}.get(kind, np.int64)
    return torch.from_numpy(array.astype(wide, copy=True).reshape(tuple(shape)))


def _immediate(tensor: Any, dtype: str, shape: list[int], where: str) -> Value:
    count, held = math.prod(shape), tensor.WhichOneof("value")
    if held is None and count == 0:
        return torch.zeros(shape)
    if held == "bytes":
        data = tensor.bytes.values
        expected = -(-element_bits(dtype, where) * count // 8)
        if len(data) != expected:
            raise BundleError(f"{where}: {len(data)} bytes for {count} elements of {dtype}; expected {expected}")
        return _as_tensor(decode_elements(data, dtype, count), shape)
    numbers = list(getattr(tensor, held).values) if held is not None else []
    if len(numbers) != count:
        raise BundleError(f"{where}: {len(numbers)} elements in a constant of shape {shape}; expected {count}")
    if held == "strings":
        return str(numbers[0]) if not shape else tuple(str(item) for item in numbers)
    expected_dtype = {"BOOL": np.dtype(bool), "FLOAT64": np.dtype(float), "INT64": np.dtype(int)}.get(dtype)
    exact = expected_dtype or DTYPES.get(dtype)
    if exact is None or dtype == FLOAT16:
        raise CheckFailedError(f"{where}: a constant of type {dtype} as {held} is not known here")
    return _as_tensor(np.array(numbers).astype(exact), shape)
