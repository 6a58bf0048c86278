"""What the service says: each class is one JSON object, and one schema of the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compat_cli.serving.desk import Limits
from compat_sdk.gallery import Hit


@dataclass(frozen=True)
class Milliseconds:
    """Where the time of one answer went, in milliseconds; ``search`` is null where nothing was searched."""

    decode: float
    embed: float
    search: float | None = None


@dataclass(frozen=True)
class Found:
    """Hits of one picture, best first; ``generation`` counts the changes of the gallery that was searched."""

    hits: list[Hit]
    generation: int
    milliseconds: Milliseconds


@dataclass(frozen=True)
class Embedded:
    """One picture as a unit vector, the space that it is written in, and the spaces that it may search besides."""

    vector: list[float]
    space: str
    searches: list[str]
    milliseconds: Milliseconds


@dataclass(frozen=True)
class Refusal:
    """Why there is no answer: the error's name, as in `compat_sdk.errors`, and its text."""

    error: str
    message: str


@dataclass(frozen=True)
class Health:
    """Whether pictures are answered, and from what.

    ``refused`` says why a gallery that was changed on the disk is not taken, null where none was.
    """

    ready: bool
    space: str
    rows: int
    generation: int
    refused: str | None


@dataclass(frozen=True)
class Info:
    """The model, the gallery and the limits of this service; ``certified`` as `compat-sdk search` tells it."""

    version: str
    model: str
    engine: str
    space: str
    searches: list[str]
    dim: int
    size: int
    certified: bool
    gallery: dict[str, Any]
    limits: Limits
    most_hits: int
