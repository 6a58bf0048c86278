"""The header of a safetensors file, checked before a native parser sees a byte of it.

Eight bytes are the header's size, little-endian; the header is a JSON object of tensors by name, each with its dtype,
shape and the two ends of its bytes; their bytes follow, without gap or overlap.

Source: the format's description in the safetensors repository, README.md, section Format.
"""

from __future__ import annotations

import math
from typing import Any

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.documents import parse_json
from compat_sdk.shown import shown_value

_LARGEST = 100_000_000  # bytes of a header, the format's own limit
_DTYPES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
"""Bytes of a number of each dtype."""


def check_header(data: bytes, name: str) -> None:
    """Refuses bytes that are no safetensors file, or whose header does not describe what follows it.

    Args:
        data: The whole file.
        name: What to call it in an error.

    Raises:
        CorruptFileError: The header is cut off, too large, no JSON, or names a tensor whose dtype, shape or place
            cannot be; or the tensors leave a gap, overlap, or do not end where the file does.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(_LARGEST, len(data) - 8):
        raise CorruptFileError(
            f"{name} is not a safetensors file: a header of {size} bytes in {len(data)}; restore it from a copy"
        )
    header = parse_json(data[8 : 8 + size], f"the header of {name}")
    places = []
    for tensor, value in header.items():
        if tensor != "__metadata__":
            places.append(_place(value, f"{name} describes tensor {shown_value(tensor)}"))
    at = 0
    for begin, end in sorted(places):
        if begin != at:
            raise CorruptFileError(
                f"{name} has a gap or an overlap of tensors at byte {at} of its data; restore it from a copy"
            )
        at = end
    if at != len(data) - 8 - size:
        raise CorruptFileError(
            f"{name} holds {len(data) - 8 - size} bytes of tensors, its header describes {at}; restore it from a copy"
        )


def _place(value: Any, what: str) -> tuple[int, int]:
    """The two ends of a tensor's bytes, as its shape and dtype make them."""
    fields: dict[str, Any] = value if isinstance(value, dict) else {}
    dtype: Any
    shape: Any
    ends: Any
    dtype, shape, ends = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    well = isinstance(dtype, str) and dtype in _DTYPES and _are_counts(shape) and _are_counts(ends) and len(ends) == 2
    if not well or ends[1] - ends[0] != math.prod(shape) * _DTYPES[dtype]:
        raise CorruptFileError(
            f"{what} with dtype {shown_value(dtype)}, shape {shown_value(shape)} and ends {shown_value(ends)}, which "
            f"cannot be; restore it from a copy"
        )
    return int(ends[0]), int(ends[1])


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
