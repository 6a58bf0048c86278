"""The command line: arguments in, one library call, a few lines out.

Nothing imports this package, and it alone names Typer. It reaches the server side (`compat_train`, `compat_export`)
inside function bodies, so that ``--help`` stays light.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from compat_sdk.errors import MissingExtraError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command ``compat-sdk``; without Typer, say which extra brings it.

    Args:
        arguments: Command-line words after the program's name; those of the process if not given.

    Raises:
        SystemExit: Always; 0 done, 1 failed, 2 usage, 3 a check did not hold, 130 interrupted.
    """
    if find_spec("typer") is None:
        sys.stderr.write(f"error: {MissingExtraError('typer', 'cli')}\n")
        sys.exit(1)
    from compat_cli.app import main as run

    run(arguments)
