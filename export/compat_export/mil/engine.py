"""A Core ML package as an engine of this SDK, for comparison with PyTorch on any machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compat_export.mil.package import Package
from compat_export.mil.program import Program
from compat_sdk.errors import BundleError


class CoreMLTwin:
    """Computes what a Core ML package says, without Core ML.

    Several threads may call `run` at once.

    Args:
        package: An opened package.
        inputs: Names of its inputs, in the order in which ``run`` takes them.
        output: Name of the output that ``run`` returns.

    Raises:
        BundleError: The package is damaged, or has other inputs or no such output.
        CheckFailedError: It holds an operation that is not computed here.
    """

    name = "coreml-twin"

    def __init__(self, package: Package, *, inputs: Sequence[str] = ("image",), output: str = "embedding") -> None:
        self._program = Program(package)
        found = self._program.inputs
        if set(found) != set(inputs) or output not in self._program.outputs:
            raise BundleError(
                f"the package has the inputs {sorted(found)} and the outputs {list(self._program.outputs)}; "
                f"expected inputs {sorted(inputs)} and an output {output}"
            )
        self._inputs, self._output = tuple(inputs), output
        batches = [found[name].lengths[0] if found[name].lengths else (1, 1) for name in self._inputs]
        self._smallest = max(low for low, _ in batches)
        self._largest = min(high for _, high in batches)

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, float32 ``[n, dim]``.

        A batch that the package does not take at once is run in blocks; the last is filled up by repeating its
        last row, and cut afterwards.

        Args:
            *inputs: One float32 array ``[n, *shape]`` per input, n at least 1 and the same for all. An image
                input takes RGB values in [0, 255], ``[n, 3, h, w]``.

        Raises:
            BundleError: Another number of inputs, or a shape that the package does not take.
        """
        rows = {len(array) if array.ndim else 0 for array in inputs}
        if len(inputs) != len(self._inputs) or len(rows) != 1 or 0 in rows:
            raise BundleError(
                f"found inputs of shapes {[list(array.shape) for array in inputs]}; expected {len(self._inputs)} "
                f"arrays with the same number of rows, at least 1"
            )
        blocks = []
        for start in range(0, rows.pop(), self._largest):
            block = [array[start : start + self._largest] for array in inputs]
            blocks.append(self._run_block(block))
        return np.concatenate(blocks)

    def _run_block(self, block: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        rows = len(block[0])
        missing = max(0, self._smallest - rows)
        filled = [np.concatenate([array, np.repeat(array[-1:], missing, 0)]) for array in block] if missing else block
        return self._program.run(**dict(zip(self._inputs, filled, strict=True)))[self._output][:rows]
