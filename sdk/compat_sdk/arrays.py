"""Stored arrays, read so that a damaged header is an error of one line and never a traceback."""

from __future__ import annotations

import math
import os
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.atomic import replacing
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.files.reserve import reserve
from compat_sdk.shown import shortened

MALFORMED = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
)
"""What numpy's reader of .npy headers raises for bytes that are none."""


def read_array(
    source: str | os.PathLike[str] | bytes,
    *,
    name: str = "",
    mapped: bool = False,
    advice: str = "restore it from its source",
    error: type[CorruptFileError] = CorruptFileError,
) -> NDArray[Any]:
    """Read an .npy file, or its content; nothing in it is ever unpickled.

    Args:
        source: The file, or what was read from it.
        name: What to call it in an error; by default its path.
        mapped: Map the file read-only instead of reading it.
        advice: What the error tells the user to do.
        error: Class of the error.

    Raises:
        CorruptFileError: It is missing, or no .npy file of plain numbers.
        SystemRefusedError: The system refused to read it.
    """
    shown = name or ("the array" if isinstance(source, bytes) else os.fspath(source))
    try:
        if isinstance(source, bytes):
            found = np.load(BytesIO(source), allow_pickle=False)
        else:
            with open_plain(source):
                found = np.load(Path(source), mmap_mode="r" if mapped else None, allow_pickle=False)
    except OSError as problem:
        if not isinstance(source, bytes):
            raise_if_refused(source, problem)
        raise error(f"cannot read {shown}: {problem.strerror or problem}; {advice}") from problem
    except CorruptFileError as problem:
        raise error(f"{problem}; {advice}") from problem
    except MALFORMED as problem:
        said = f"{type(problem).__name__}: {shortened(str(problem))}"
        raise error(f"{shown} is not a readable .npy file ({said}); {advice}") from problem
    if not isinstance(found, np.ndarray):
        raise error(f"{shown} holds several arrays, expected one; {advice}")
    array: NDArray[Any] = found.view(np.ndarray)
    return array


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file of plain numbers, whole or not at all, see `compat_sdk.files.atomic.write_atomic`.

    Raises:
        OSError: The folder does not exist, is not writable, or the disk is full.
    """
    with replacing(path) as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def array_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """The beginning of an .npy file whose rows follow piece by piece; ``descr`` is their type, such as ``"<f4"``."""
    header = BytesIO()
    description = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)  # type: ignore[no-untyped-call]
    return header.getvalue()


def new_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Make a new .npy file of float32 zeros, mapped for writing; its place on the disk is taken at once.

    Raises:
        OSError: It cannot be made, or the disk is full.
    """
    header = array_header("<f4", shape)
    reserve(path, len(header) + 4 * math.prod(shape))
    with path.open("rb+") as file:
        file.write(header)
    return np.memmap(path, np.float32, "r+", offset=len(header), shape=shape)
