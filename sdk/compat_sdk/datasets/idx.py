"""Reads and writes IDX files, the format of MNIST: a few big-endian integers, then bytes.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section "The IDX file format".
"""

from __future__ import annotations

import errno
import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.atomic import write_atomic
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_PACKED = 1032  # to how many times its size deflate unpacks at most


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Returns the array of an IDX file of unsigned bytes, gzip-compressed or not.

    Args:
        path: The file.
        dimensions: How many dimensions to expect: 3 for images, 1 for labels.

    Raises:
        DataError: The file is missing, truncated, longer than its header says, or of another kind.
    """
    try:
        with open_plain(path) as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else raw as file:
                header = file.read(4 + 4 * dimensions)
                if header[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]) or len(header) != 4 + 4 * dimensions:
                    raise DataError(
                        f"{path} begins with {header[:4].hex() or 'nothing'}; expected an IDX file of unsigned "
                        f"bytes with {dimensions} dimensions; download it again"
                    )
                shape = struct.unpack(f">{dimensions}I", header[4:])
                expected = math.prod(shape)
                largest = os.fstat(raw.fileno()).st_size * (_MOST_PACKED if packed else 1)
                # What a file of this size cannot hold is not asked for: memory would be set aside for it.
                body = file.read(min(expected, largest) + 1)
    except (OSError, EOFError, zlib.error, OverflowError, MemoryError, CorruptFileError) as error:
        if isinstance(error, OSError):
            raise_if_refused(path, error)
        if isinstance(error, MemoryError):
            raise_if_refused(path, OSError(errno.ENOMEM, "there is not enough memory"))
        raise DataError(f"cannot read {path}: {error}; check the path or download the file again") from error
    if len(body) != expected:
        found = f"{len(body)} bytes" if len(body) < expected else "more bytes"
        raise DataError(f"{path} has {found} after its header, expected {expected}; download it again")
    return np.frombuffer(body, np.uint8).reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Writes an array as a gzip-compressed IDX file, the same bytes for the same array."""
    header = bytes([0, 0, _UNSIGNED_BYTE, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    write_atomic(path, gzip.compress(header + np.ascontiguousarray(array).tobytes(), 9, mtime=0))
