"""Converters without what they say about themselves; warnings about the model still come through."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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


@contextmanager
def silent() -> Iterator[None]:
    """Drop warnings, log lines and whatever native code writes on standard error; exceptions come through."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sys.stderr.flush()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _nothing_written():
                yield
    finally:
        logging.disable(disabled)


@contextmanager
def _nothing_written() -> Iterator[None]:
    """The process's own standard error leads nowhere, for code that does not write through Python."""
    kept = nowhere = None
    with suppress(OSError):  # a process may have none
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
    try:
        yield
    finally:
        if kept is not None:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        if nowhere is not None:
            os.close(nowhere)
