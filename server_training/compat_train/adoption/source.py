"""What a gallery model from elsewhere is called on the command line: a kind, and what it needs to be found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from compat_sdk.errors import ConfigError
from compat_sdk.kinds import is_bundle
from compat_sdk.shown import shortened

Kind = Literal["timm", "open_clip", "huggingface", "module", "onnx", "vectors", "bundle"]

_FORMS = (
    "timm:NAME, open_clip:NAME:FILE, huggingface:FOLDER, module:PACKAGE.MODULE:CALLABLE, onnx:FILE, vectors:FILE, "
    "or a bundle"
)
"""Every form of a source, for messages."""


@dataclass(frozen=True)
class AdoptSource:
    """A gallery model from elsewhere.

    Attributes:
        kind: What it is.
        name: Name of the network, or the callable as ``package.module:callable``; empty where a file says all.
        file: Its file or folder; None where there is none, or where ``--weights`` names it.
    """

    kind: Kind
    name: str
    file: Path | None


def is_source(text: str) -> bool:
    """Whether a text is one of `_FORMS` other than a bundle: it begins with a kind and a colon."""
    kind, colon, _ = text.partition(":")
    return bool(colon) and kind in get_args(Kind) and kind != "bundle"


def parse_source(text: str) -> AdoptSource:
    """The source that a text names.

    Raises:
        ConfigError: It is of none of the `_FORMS`.
    """
    kind, colon, rest = text.partition(":")
    match kind:
        case "timm" if rest:
            return AdoptSource("timm", rest, None)
        case "open_clip" if rest:
            name, _, file = rest.partition(":")
            if not file:
                raise ConfigError(
                    f"found {shortened(text)!r}; expected open_clip:NAME:FILE, such as open_clip:ViT-B-32:weights.pt"
                )
            return AdoptSource("open_clip", name, Path(file))
        case "module" if rest:
            module, _, name = rest.partition(":")
            if not all(part.isidentifier() for part in (*module.split("."), name)):
                raise ConfigError(
                    f"found {shortened(text)!r}; expected module:PACKAGE.MODULE:CALLABLE, a function without "
                    f"arguments that returns the network"
                )
            return AdoptSource("module", f"{module}:{name}", None)
        case "huggingface" | "onnx" | "vectors" if rest:
            return AdoptSource(kind, "", Path(rest))
    if not colon or Path(text).exists():
        path = Path(text)
        if is_bundle(path):
            return AdoptSource("bundle", "", path)
        if (path / "model.json").is_file():
            raise ConfigError(f"{text} is a RUN already; every command takes it as it is, leave `adopt` out")
    raise ConfigError(f"found no model {shortened(text)!r}; expected {_FORMS}")
