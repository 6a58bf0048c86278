"""Operations that move, select and count elements without computing with them.

Parameter names and defaults are those of Apple's MIL operation set; an operation given a parameter that is not
in its signature is refused by `compat_export.mil.program`. Integers come as tensors of 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from compat_export.mil.values import Value
from compat_sdk.errors import BundleError, CheckFailedError

_CAST_TYPES = {
    "fp16": torch.float32,  # float16 is held in float32; program.run rounds it
    "fp32": torch.float32,
    "int32": torch.int64,
    "int16": torch.int64,
    "uint16": torch.int64,
    "bool": torch.bool,
}


def integers(value: Tensor | None, default: Sequence[int] = ()) -> list[int]:
    """A vector or scalar of integers as a list; ``default`` where the parameter is absent."""
    return list(default) if value is None else [int(item) for item in value.reshape(-1)]


def tensors(values: Value) -> list[Tensor]:
    """The inputs of an operation that takes several."""
    found = values if isinstance(values, tuple) else (values,)
    if not all(isinstance(item, Tensor) for item in found):
        raise BundleError("the inputs are not all tensors")
    return [item for item in found if isinstance(item, Tensor)]


def cast(x: Tensor, dtype: str) -> Tensor:
    """Another element type; floats lose their fraction towards zero."""
    if dtype not in _CAST_TYPES:
        raise CheckFailedError(f"cast to {dtype} is not computed here; known are {', '.join(_CAST_TYPES)}")
    return x.to(_CAST_TYPES[dtype])


def concat(values: Value, axis: Tensor, interleave: Tensor | None = None) -> Tensor:
    """Inputs one after another along an axis or, interleaved, one entry of each in turn (a channel shuffle)."""
    parts, along = tensors(values), int(axis)
    if interleave is None or not bool(interleave):
        return torch.cat([part.reshape(1) if part.dim() == 0 else part for part in parts], along)
    along %= parts[0].dim()
    return torch.stack(parts, along + 1).flatten(along, along + 1)


def stack(values: Value, axis: Tensor) -> Tensor:
    """Inputs of one shape along a new axis."""
    return torch.stack(tensors(values), int(axis))


def split(
    x: Tensor, axis: Tensor, num_splits: Tensor | None = None, split_sizes: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Parts along an axis: of the given sizes, or so many of equal size."""
    along = int(axis)
    if split_sizes is not None:
        return torch.split(x, integers(split_sizes), along)
    if num_splits is None or int(num_splits) < 1 or x.shape[along] % int(num_splits):
        raise BundleError(f"axis {along} of {list(x.shape)} has no {num_splits} equal parts")
    return torch.split(x, x.shape[along] // int(num_splits), along)


def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    """New axes of length 1, counted in the result."""
    wanted = integers(axes)
    rank = x.dim() + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without these axes of length 1; without all such axes by default."""
    return x.squeeze() if axes is None else x.squeeze(tuple(integers(axes)))


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    """The same elements in order; -1 takes what is left, 0 keeps the axis in this place."""
    wanted = integers(shape)
    if 0 in wanted and len(wanted) != x.dim():
        raise CheckFailedError(f"reshape of {list(x.shape)} to {wanted} is not computed here: 0 needs equal ranks")
    return x.reshape([x.shape[i] if length == 0 else length for i, length in enumerate(wanted)])


def transpose(x: Tensor, perm: Tensor) -> Tensor:
    """Axes in another order."""
    return x.permute(integers(perm))


def tile(x: Tensor, reps: Tensor) -> Tensor:
    """Copies along every axis."""
    return x.tile(integers(reps))


def fill(shape: Tensor, value: Tensor | None = None) -> Tensor:
    """One value in every place, 0 by default."""
    given = torch.zeros(()) if value is None else value
    return given.reshape(()).expand(integers(shape)).clone()


def pad(x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | None = None) -> Tensor:
    """Places before and after each of the last axes, two numbers an axis, the first axis first.

    Raises:
        CheckFailedError: They are filled with something else than one value.
    """
    if mode != "constant":
        raise CheckFailedError(f"pad by {mode} is not computed here; known is constant")
    sides = integers(pad)
    last_first = [side for place in range(len(sides) - 2, -1, -2) for side in sides[place : place + 2]]
    return functional.pad(x, last_first, value=0.0 if constant_val is None else float(constant_val))


def shape_of(x: Tensor) -> Tensor:
    """Lengths of the axes."""
    return torch.tensor(x.shape)


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``a`` where the condition holds, otherwise ``b``."""
    return torch.where(cond, a, b)


def gather(
    x: Tensor,
    indices: Tensor,
    axis: Tensor | None = None,
    batch_dims: Tensor | None = None,
    validate_indices: Tensor | None = None,
) -> Tensor:
    """Entries of one axis; negative indices count from its end, others out of range are an error."""
    if batch_dims is not None and int(batch_dims):
        raise CheckFailedError("gather with batch_dims is not computed here")
    del validate_indices  # they always are
    along = (0 if axis is None else int(axis)) % x.dim()
    length = x.shape[along]
    if indices.numel() and not -length <= int(indices.min()) <= int(indices.max()) < length:
        raise BundleError(f"gather takes indices outside axis {along} of {list(x.shape)}")
    found = x.index_select(along, indices.reshape(-1) % length)
    return found.reshape((*x.shape[:along], *indices.shape, *x.shape[along + 1 :]))


def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """Python's ``x[begin:end:stride]`` along every axis.

    Args:
        x: Any tensor.
        begin: First entry per axis.
        end: Entry after the last per axis.
        stride: Step per axis, above 0; 1 by default.
        begin_mask: Axes that start at their first entry.
        end_mask: Axes that end at their last.
        squeeze_mask: Axes of which the one entry ``begin`` is taken, and which vanish.
    """
    rank = x.dim()
    no = [0] * rank
    steps, firsts, lasts = integers(stride, [1] * rank), integers(begin_mask, no), integers(end_mask, no)
    gone, starts, ends = integers(squeeze_mask, no), integers(begin), integers(end)
    if not rank == len(steps) == len(firsts) == len(lasts) == len(gone) == len(starts) == len(ends):
        raise BundleError(f"slice_by_index: parameters do not have one entry for each axis of {list(x.shape)}")
    if min(steps, default=1) < 1:
        raise CheckFailedError("slice_by_index with a step below 1 is not computed here")
    parts: list[int | slice] = [
        starts[i] if gone[i] else slice(None if firsts[i] else starts[i], None if lasts[i] else ends[i], steps[i])
        for i in range(rank)
    ]
    return x[tuple(parts)]
