"""Pictures that are decoded when a step asks for them, for sets that neither memory nor disk can hold decoded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets import Split
from compat_sdk.errors import DataError, ImageError
from compat_sdk.images import Preprocessing, to_pixels
from compat_sdk.workers import usable_cores


class StreamedImages:
    """The pictures of a split, indexed by rows as the array of them would be.

    Attributes:
        shape: ``(n, size, size, 3)``.
        dtype: uint8.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, split: Split, preprocessing: Preprocessing, *, threads: int | None = None) -> None:
        """Reads nothing yet.

        Args:
            split: Files, or an array.
            preprocessing: Size, crop and resize kernel.
            threads: Threads that decode, at least 1; None for one per usable core.
        """
        self.shape = (len(split), preprocessing.size, preprocessing.size, 3)
        self._split, self._preprocessing, self._rows = split, preprocessing, np.arange(len(split))
        self._pool = ThreadPoolExecutor(threads or usable_cores(), "decode")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decoded pictures of some rows, uint8 ``[m, size, size, 3]``; of one row ``[size, size, 3]``.

        Raises:
            DataError: A picture cannot be read; the message names it.
            IndexError: There is no such row.
        """
        wanted = self._rows[rows]
        if wanted.ndim == 0:
            return self._decoded(int(wanted))
        if not wanted.size:
            return np.empty((0, *self.shape[1:]), np.uint8)
        return np.stack(list(self._pool.map(self._decoded, wanted.tolist())))

    def as_array(self) -> NDArray[np.uint8]:
        """This object under the type of the array that it stands for: who indexes by rows need not know."""
        return cast("NDArray[np.uint8]", self)

    def _decoded(self, row: int) -> NDArray[np.uint8]:
        try:
            return to_pixels(self._split.images[row], self._preprocessing)
        except ImageError as error:
            raise DataError(
                f"the training picture {self._split.ids[row]} cannot be read ({error.reason}), and streamed pictures "
                f"cannot be left out; repair it or take it out of the set, and train into another folder"
            ) from error
