"""Converters without what they say about themselves; warnings about the model still come through."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_torch(*loggers: str) -> Iterator[None]:
    """Drops what torch says of its own pytree while it copies its own graphs, and all but errors of some loggers.

    Warning filters that are added inside hold until the end of the block.

    Args:
        loggers: Names of loggers that speak about an installation, not about the model.
    """
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec.*is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)
