"""numpy's arrays as a pickle tells them: a type, a shape and bytes, put together without any call that it names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_LARGEST = 1 << 31
_KINDS = "buif"


@dataclass
class ArrayType:
    """The type of an array, whose order of bytes follows.

    Attributes:
        kind: numpy's name, such as ``f4``.
        order: ``<``, ``>`` or ``|``.
    """

    kind: str
    order: str = "|"

    def dtype(self) -> np.dtype[Any]:
        """The type for numpy.

        Raises:
            ValueError: Not of whole numbers, truth values or floats.
        """
        found = np.dtype(self.kind if self.kind == "b1" else f"{self.order}{self.kind}")
        if found.kind not in _KINDS:
            raise ValueError(f"an array of {found}")
        return found


@dataclass
class UnfilledArray:
    """An array, whose content follows; None until then."""

    content: Any = None


def array_of(shape: object, kind: object, content: bytes) -> Any:
    """An array of plain numbers, read-only, over these bytes.

    Raises:
        TypeError: The shape is no tuple of whole numbers, or the kind no `ArrayType`.
        ValueError: A side is negative, there are other than the shape's bytes, or more than 2 GiB.
    """
    dtype = of_kind(ArrayType, kind).dtype()
    sides = [of_kind(int, side) for side in of_kind(tuple, shape)]
    wanted = math.prod(sides) * dtype.itemsize
    if min(sides, default=0) < 0 or wanted > _LARGEST:
        raise ValueError(f"an array of shape {sides}")
    if len(content) != wanted:
        raise ValueError(f"an array of {len(content)} bytes instead of {wanted}")
    return np.frombuffer(content, dtype).reshape(sides)


def of_kind(kind: Any, value: Any) -> Any:
    """A value that must be of this kind, or of one of these.

    Raises:
        TypeError: It is of another.
    """
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__.strip('_')} in the place of another kind")
    return value
