"""The `compat-sdk` command: where the command groups meet and where errors become exit codes.

Exit codes: 0 done, 1 failed, 2 usage or a setting at fault, 3 a check did not hold, 130 interrupted, 143 and 129 ended
by SIGTERM and SIGHUP.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from compat_cli import console, several
from compat_cli.commands import (
    adopt,
    archs,
    bundle,
    data,
    doctor,
    evaluate,
    export,
    gallery,
    index,
    nas,
    profile,
    quickstart,
    search,
    serve,
    settings,
    train,
    upgrade,
)
from compat_cli.commands import app as applications
from compat_cli.groups import Group
from compat_cli.termination import EXIT_CODES, leaving_when_told
from compat_sdk import __version__
from compat_sdk.errors import CompatError
from compat_sdk.shown import shortened

_LONGEST = 600
"""Characters of an error: of one that names a path of any length, the middle is left out."""

app = typer.Typer(
    name="compat-sdk",
    help="Heterogeneous visual search: a large model embeds the gallery, a small one searches it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    cls=Group,
    pretty_exceptions_enable=False,
)
app.command("quickstart")(quickstart.quickstart)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.command("archs")(archs.archs)
app.command("adopt")(adopt.adopt)
app.add_typer(train.app, name="train")
app.add_typer(nas.app, name="nas")
app.command("run")(nas.run)
app.command("settings")(settings.settings)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.add_typer(bundle.app, name="bundle")
app.add_typer(index.app, name="index")
app.add_typer(gallery.app, name="gallery")
app.command("search")(search.search)
app.add_typer(applications.app, name="app")
app.command("serve")(serve.serve)
app.add_typer(upgrade.app, name="upgrade")
app.command("profile")(profile.profile)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print_text(f"compat-sdk {__version__}")
        raise typer.Exit


@app.callback()
def compat_sdk(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Heterogeneous visual search: a large model embeds the gallery, a small one searches it."""
    several.check_launch(context.invoked_subcommand)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Args:
        arguments: Command-line words after the program's name; those of the process if not given.

    Raises:
        SystemExit: Always; 0 done, 1 failed, 2 usage or a setting at fault, 3 a check did not hold, 130 interrupted,
            143 and 129 ended by SIGTERM and SIGHUP.
    """
    # Threads that spin at OpenMP's barriers starve each other when another process wants the cores: a training
    # step was measured 60 times slower. It counts only if set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    console.show_warnings()
    try:
        with leaving_when_told():
            app(args=None if arguments is None else list(arguments), prog_name="compat-sdk")
    except CompatError as error:
        _tell(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        _tell(f"cannot use {error.filename}: {error.strerror}" if named else str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as leaving:
        if leaving.code == 130 or leaving.code in EXIT_CODES:
            console.note("interrupted; the same command continues where this one stopped")
        raise


def _tell(error: str) -> None:
    console.note(f"error: {shortened(error, _LONGEST)}")


if __name__ == "__main__":
    main()
