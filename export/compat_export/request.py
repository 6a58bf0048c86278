"""What is asked of an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from compat_export.convert.conversion import Options, Precision
from compat_export.convert.graphs import TARGETS
from compat_sdk.bundle.publish import require_free
from compat_sdk.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Request:
    """A bundle to make: where, of which graphs, and what it says beyond what its model knows.

    Attributes:
        out: The bundle to make: a folder, or a file that ends with ``.zip``.
        targets: Some of ``TARGETS``, each once.
        precisions: Names such as ``"fp16"``, or `Options`, each precision once; each is converted to each target.
        tier: Cost class recorded in the bundle; by default ``"gallery"`` for a gallery model, ``"side-info"`` for a
            side-information encoder, ``"transform"`` for a transform, otherwise the smallest of 100, 230 and 330
            that holds the model's millions of multiply-accumulates, or ``"other"``.
        license: Licence of the weights; the run's own by default.
        min_cosine: Smallest cosine allowed to PyTorch; by default that of each precision.
        overwrite: Replace an existing bundle.
        allow_older: Also replace a newer release of the same model.
        release: Counts the published versions of one name, from 1.
        expires: Last day on which the bundle is meant to be used, ``YYYY-MM-DD`` in UTC; None for no such day.

    Raises:
        ConfigError: ``allow_older`` without ``overwrite``, an unknown target, one or a precision twice, none at all,
            graphs that differ in whether they take pixels, or something is at ``out`` that may not be overwritten.
    """

    out: Path
    targets: Sequence[str] = ("onnx",)
    precisions: Sequence[Precision | Options] = ("fp32",)
    tier: str | None = None
    license: str | None = None
    min_cosine: float | None = None
    overwrite: bool = False
    allow_older: bool = False
    release: int = 1
    expires: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.targets, str) or isinstance(self.precisions, str | Options):
            raise ConfigError(
                f"found targets {self.targets!r} and precisions {self.precisions!r}; expected a list of each, "
                f'such as ["onnx"] and ["fp32"]'
            )
        if unknown := [target for target in self.targets if target not in TARGETS]:
            raise ConfigError(f"found target {unknown[0]!r}; expected some of {', '.join(TARGETS)}")
        names = [option.precision for option in self.options]
        each_once = len(set(self.targets)) == len(self.targets) and len(set(names)) == len(names)
        if not self.targets or not names or not each_once:
            raise ConfigError(
                f"found targets {list(self.targets)} and precisions {names}; expected at least one of each, each once"
            )
        if len({option.pixels is None for option in self.options}) > 1:
            raise ConfigError(
                "some precisions take pixels and others prepared images; expected one kind: a bundle has one "
                "preprocessing, which must be right for all of its graphs"
            )
        if self.allow_older and not self.overwrite:
            raise ConfigError("allow_older says what overwrite may replace, and that is not asked for; ask for both")
        require_free(self.out.absolute(), self.overwrite)

    @property
    def options(self) -> tuple[Options, ...]:
        """How each precision is converted."""
        return tuple(found if isinstance(found, Options) else Options(found) for found in self.precisions)

    @property
    def graphs(self) -> tuple[tuple[str, Options], ...]:
        """Target and options of each graph, in the bundle's order."""
        return tuple((target, option) for target in self.targets for option in self.options)


class Asked(TypedDict, total=False):
    """The fields of `Request` but ``out``, as keywords."""

    targets: Sequence[str]
    precisions: Sequence[Precision | Options]
    tier: str | None
    license: str | None
    min_cosine: float | None
    overwrite: bool
    allow_older: bool
    release: int
    expires: str | None
