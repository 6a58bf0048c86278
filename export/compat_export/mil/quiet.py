"""coremltools without what it says about itself: versions it was not tested with, macOS parts that Linux lacks."""

from __future__ import annotations

import functools
import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from compat_export.quiet import quiet_torch, silent
from compat_sdk.errors import MissingExtraError

EXTRA = "export-coreml"

_OF_GPUS = ("torchao", "torch.utils._pytree")
"""Loggers of kernels for GPUs that are not here, and of torchao's own use of torch."""
_ABOUT_ITSELF = (
    "has not been tested with coremltools",
    "Failed to load _ML",
    "Disabling scikit-learn conversion API",
)


@contextmanager
def quiet_coremltools() -> Iterator[Any]:
    """Import coremltools and keep it quiet: a context manager that gives the module.

    Only its remarks about its own installation and its progress bars are dropped; what it logs about a model
    still comes through.

    Raises:
        MissingExtraError: coremltools is not installed.
    """
    if find_spec("coremltools") is None:
        raise MissingExtraError("coremltools", EXTRA)
    bars = importlib.import_module("tqdm").tqdm
    logger, start = logging.getLogger("coremltools"), bars.__init__
    logger.addFilter(_is_about_a_model)
    # coremltools has no switch for its bars; the default of `disable` is all that changes.
    bars.__init__ = functools.partialmethod(start, disable=True)
    try:
        with silent():  # it imports whatever frameworks are installed; what these say as they load is about themselves
            coremltools = importlib.import_module("coremltools")
        with quiet_torch(*_OF_GPUS):
            # The converter's own registry, asked by itself in a way that it has given up.
            warnings.filterwarnings("ignore", "Function _TORCH_OPS_REGISTRY", DeprecationWarning)
            # The converter's own folder for weights, which it leaves to Python to remove.
            warnings.filterwarnings("ignore", "Implicitly cleaning up <TemporaryDirectory", ResourceWarning)
            yield coremltools
    finally:
        bars.__init__ = start
        logger.removeFilter(_is_about_a_model)


def model_message() -> Any:
    """An empty protobuf message of the type that a ``.mlmodel`` file holds.

    Raises:
        MissingExtraError: coremltools is not installed.
    """
    with quiet_coremltools():
        return importlib.import_module("coremltools.proto.Model_pb2").Model()


def _is_about_a_model(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(part in message for part in _ABOUT_ITSELF)
