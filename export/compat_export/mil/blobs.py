"""Tensors out of ``weight.bin``.

The file starts with 64 bytes (number of blobs, version 2). Each blob is a record of 64 bytes (marker, element
type, size in bytes, offset of the data, unused bits at the end) and the data right behind it; the next record starts
at the next multiple of 64. Elements are little-endian; those of less than 8 bits are packed from the lowest bit
up, without regard to byte borders.

Bytes that nothing reads: the number of blobs, reserved words, and the filling up to the next multiple of 64.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import BundleError

_MARKER = 0xDEADBEEF
_VERSION = 2
_ALIGNMENT = 64
_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQQ")

FLOAT16, FLOAT32 = "FLOAT16", "FLOAT32"
DTYPES: dict[str, np.dtype[np.generic]] = {
    FLOAT16: np.dtype("<f2"),
    FLOAT32: np.dtype("<f4"),
    "INT8": np.dtype("i1"),
    "UINT8": np.dtype("u1"),
    "INT16": np.dtype("<i2"),
    "UINT16": np.dtype("<u2"),
    "INT32": np.dtype("<i4"),
    "UINT32": np.dtype("<u4"),
}
"""Element types of whole bytes, by their name in the format."""

_PACKED_BITS = {"INT4": 4, "UINT1": 1, "UINT2": 2, "UINT3": 3, "UINT4": 4, "UINT6": 6}
"""Bits per element of the packed types."""

_TYPE_IN_FILE = {
    1: FLOAT16,
    2: FLOAT32,
    3: "UINT8",
    4: "INT8",
    6: "INT16",
    7: "UINT16",
    8: "INT4",
    9: "UINT1",
    10: "UINT2",
    11: "UINT4",
    12: "UINT3",
    13: "UINT6",
    14: "INT32",
    15: "UINT32",
}


def read_blob(data: bytes, offset: int, dtype: str, count: int, where: str) -> NDArray[np.generic]:
    """The elements of one blob.

    Args:
        data: Content of the whole file.
        offset: Of the blob's record, in bytes.
        dtype: Element type that the program declares, such as ``"FLOAT16"``.
        count: Number of elements that it declares.
        where: Which constant is read, for messages.

    Returns:
        A vector of ``count`` elements; packed types come as int8 or uint8.

    Raises:
        BundleError: The record or the data lies outside the file, or disagrees with the declaration.
    """
    if len(data) < _ALIGNMENT or _HEADER.unpack_from(data)[1] != _VERSION:
        raise BundleError(f"{where}: the weight file has no header of version {_VERSION}; export the model again")
    if offset % _ALIGNMENT or not _ALIGNMENT <= offset <= len(data) - _ALIGNMENT:
        raise BundleError(f"{where}: offset {offset} is no record of a file of {len(data)} bytes; export it again")
    marker, kind, size, start, unused_bits = _RECORD.unpack_from(data, offset)
    if marker != _MARKER:
        raise BundleError(f"{where}: the record at {offset} starts with {marker:#x}; expected {_MARKER:#x}")
    if _TYPE_IN_FILE.get(kind) != dtype:
        found = _TYPE_IN_FILE.get(kind, f"type {kind}")
        raise BundleError(f"{where}: the weight file holds {found}, the program declares {dtype}; export it again")
    bits = element_bits(dtype, where) * count
    if size != -(-bits // 8) or unused_bits != size * 8 - bits:
        raise BundleError(
            f"{where}: the weight file holds {size} bytes of which {unused_bits} bits are unused; "
            f"{count} elements of {dtype} take {bits} bits; export the model again"
        )
    if start != offset + _ALIGNMENT or start + size > len(data):
        raise BundleError(
            f"{where}: its data is bytes {start} to {start + size} of a weight file of {len(data)} bytes; expected it "
            f"inside the file and right behind its record at {offset}; restore the file or export the model again"
        )
    return decode_elements(data[start : start + size], dtype, count)


def element_bits(dtype: str, where: str) -> int:
    """Bits of one element of this type.

    Raises:
        BundleError: No type that constants have.
    """
    if dtype in _PACKED_BITS:
        return _PACKED_BITS[dtype]
    if dtype not in DTYPES:
        raise BundleError(f"{where}: constants of type {dtype} are not known; expected one of {', '.join(DTYPES)}")
    return DTYPES[dtype].itemsize * 8


def decode_elements(data: bytes, dtype: str, count: int) -> NDArray[np.generic]:
    """The first ``count`` elements in ``data``, which is long enough for them."""
    if dtype in DTYPES:
        return np.frombuffer(data, DTYPES[dtype], count)
    values = unpack_bits(np.frombuffer(data, np.uint8), _PACKED_BITS[dtype], count)
    if dtype == "INT4":  # two's complement
        signed = values.astype(np.int8)
        return np.where(signed > 7, signed - 16, signed).astype(np.int8)
    return values


def unpack_bits(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Unsigned numbers of ``bits`` bits each, 1 to 8, packed from the lowest bit up.

    Args:
        packed: uint8 ``[m]``, m at least ``count * bits / 8``.
        bits: Bits per number.
        count: How many to take.

    Returns:
        uint8 ``[count]``.
    """
    single = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(single, axis=1, bitorder="little").reshape(count)
