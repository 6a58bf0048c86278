"""`compat-sdk evaluate`: accuracy of a heterogeneous system and of its two homogeneous ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compat_sdk.cli import console, extras, options
from compat_sdk.errors import CheckFailedError


def evaluate(
    data: options.Data,
    query: Annotated[Path, typer.Option("--query", help="Query model: a RUN or a BUNDLE.")],
    gallery: Annotated[Path, typer.Option("--gallery", help="Gallery model: a RUN or a BUNDLE.")],
    require_compatible: Annotated[
        bool, typer.Option("--require-compatible", help="Exit code 3 unless M(q,g) is above M(q,q).")
    ] = False,
    root: options.Root = None,
    memory: Annotated[float, typer.Option("--memory", min=1, help="Memory for score blocks, in MiB.")] = 256.0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """CMC at 1, 5, 10 and mAP of M(q,q), M(q,g), M(g,g), and the compatibility rule M(q,g) > M(q,q)."""
    from compat_sdk.dataset import open_dataset

    extras.require("train")
    from compat_train.evaluate import evaluate as measure

    with console.working() as progress:
        found = measure(
            open_dataset(data, root),
            query,
            gallery,
            memory_mib=memory,
            device=device,
            threads=threads,
            progress=progress,
        )
    console.report(found.to_json(), found.table(), as_json=as_json)
    if require_compatible and not found.compatible:
        raise CheckFailedError(
            f"the compatibility rule does not hold: M(q,g) is {console.fraction(found.query_gallery.cmc[1])} % at "
            f"top-1, M(q,q) is {console.fraction(found.query_query.cmc[1])} %"
        )
