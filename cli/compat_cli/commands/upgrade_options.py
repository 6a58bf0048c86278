"""What the commands of `compat-sdk upgrade` have in common: their options, and the transform that they open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import options, pictures
from compat_sdk.errors import ConfigError
from compat_sdk.kinds import is_address

if TYPE_CHECKING:
    from compat_sdk.bundle import Trust
    from compat_sdk.missing_side import MissingSide as MissingSideName
    from compat_sdk.upgrade import BundleTransform

Gallery = Annotated[Path, typer.Argument(metavar="GALLERY", help="Gallery folder, or qdrant://HOST:PORT/COLLECTION.")]
Transform = Annotated[Path, typer.Option("--transform", help="BUNDLE of the transform (train upgrade, export).")]
Side = Annotated[
    Path | None,
    typer.Option(
        "--side",
        help="Gallery with the side-information of the same ids; of SIDE itself, the gallery.",
        show_default=False,
    ),
]
MissingSide = Annotated[
    str, typer.Option("--missing-side", help="Rows without side-information: refuse them, or give them zeros.")
]
HeldOut = Annotated[
    Path | None,
    typer.Option("--held-out", help="Gallery by the new model, with some of the same ids.", show_default=False),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Worker processes; one per core if not given.", show_default=False),
]
ShardRows = Annotated[
    int | None,
    typer.Option("--shard-rows", min=1, help="Rows per shard, fixed by the first run; 262144 if not given."),
]
_ImageFolder = Annotated[
    Path | None, typer.Option("--images", help="A folder of images, in place of --data.", show_default=False)
]
_Split = Annotated[str, typer.Option("--split", help="Which split of DATA.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads of each worker.")]
Precision = Annotated[
    str | None, typer.Option("--precision", help="Which graph of the bundle; its first if not given.")
]


@dataclass(frozen=True, kw_only=True)
class How:
    """How a transform is opened and run, and whose signature it must have."""

    engine: options.Engine = "auto"
    precision: Precision = None
    threads: Threads = 1
    public_key: options.PublicKey = None
    trust: options.TrustFile = None

    def trusted(self) -> Trust | None:
        """Whose signature every model of the command must have; see `compat_cli.options.trusted`."""
        return options.trusted(self.public_key, self.trust)


@dataclass(frozen=True, kw_only=True)
class Images:
    """Which images of the gallery are embedded with the new model."""

    data: options.OptionalData = None
    images: _ImageFolder = None
    split: _Split = "gallery"
    root: options.Root = None

    def pictures(self) -> pictures.Pictures:
        """The images, see `compat_cli.pictures.chosen`."""
        return pictures.chosen(self.data, self.images, self.root, self.split)


def opener(transform: Path, how: How) -> BundleTransform:
    """Open the transform's bundle, whose signature is required if a trust says so."""
    from compat_sdk.upgrade import BundleTransform

    return BundleTransform.at(
        transform, engine=how.engine, precision=how.precision, threads=how.threads, trust=how.trusted()
    )


def missing(value: str) -> MissingSideName:
    """What --missing-side says.

    Raises:
        ConfigError: Neither refuse nor zeros.
    """
    if value == "refuse":
        return "refuse"
    if value == "zeros":
        return "zeros"
    raise ConfigError(f"--missing-side is {value}, expected refuse or zeros")


def require_folder(path: Path, command: str) -> None:
    """Refuse a collection's address where a command reads what lies in a gallery's folder.

    Raises:
        ConfigError: The gallery is a collection.
    """
    if is_address(path):
        raise ConfigError(f"found an address, but upgrade {command} reads the folder of a gallery; name a folder")
