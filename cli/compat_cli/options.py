"""Arguments and options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Option("--data", help="A folder with train/ query/ gallery/, a CSV manifest, or a name such as sample."),
]
OptionalData = Annotated[
    str | None,
    typer.Option("--data", help="A folder with train/ query/ gallery/, a CSV manifest, or a name such as sample."),
]
Root = Annotated[
    Path | None, typer.Option("--root", help="Folder that holds the files of a named dataset.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads; all of them if not given.", show_default=False),
]
Engine = Annotated[
    str, typer.Option("--engine", help="Inference engine: auto, onnxruntime, litert, coreml or executorch.")
]
