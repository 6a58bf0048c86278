"""Arguments and options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from compat_sdk.bundle import Trust

Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="A folder of `data split`, or with train/ query/ gallery/; a CSV manifest; or a name such as sample.",
    ),
]
OptionalData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A folder of `data split`, or with train/ query/ gallery/; a CSV manifest; or a name such as sample.",
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        help="Folder that holds the files of a named dataset, or in which a manifest's paths begin.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, or one GPU such as cuda:1.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads; all of them if not given.", show_default=False),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        help="Inference engine: auto, onnxruntime, onnxruntime:cuda, onnxruntime:coreml, litert, coreml or executorch.",
    ),
]
PublicKey = Annotated[
    Path | None,
    typer.Option("--public-key", help="PEM file of the maker's public key: require its signature.", show_default=False),
]
TrustFile = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        envvar="COMPAT_SDK_TRUST",
        help="File that names makers: require the signature of one.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")]
AllowOlder = Annotated[bool, typer.Option("--allow-older", help="With --overwrite: also replace a newer release.")]


def trusted(public_key: Path | None, trust: Path | None) -> Trust | None:
    """Whose signature every model of a command must have; None for no matter whose.

    Raises:
        ConfigError: Both are given, or one cannot be used.
        MissingExtraError: One is given, and the extra `sign` is not installed.
    """
    from compat_sdk.bundle.trust import trust_of

    return trust_of(public_key, trust)


def require_overwrite(overwrite: bool, allow_older: bool) -> None:
    """Refuse ``--allow-older`` where nothing may be replaced at all.

    Raises:
        ConfigError: It is given alone.
    """
    if allow_older and not overwrite:
        raise ConfigError("--allow-older says what --overwrite may replace, and that is not given; give both or none")
