"""What is asked of every export, and what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compat_export.check.measure import GraphReport
from compat_export.convert.conversion import Options
from compat_export.convert.graphs import TARGETS
from compat_sdk.bundle import Bundle
from compat_sdk.bundle.publish import require_free
from compat_sdk.errors import ConfigError


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        bundle: The published bundle.
        graphs: One report per graph, in the bundle's order.
        seconds: Conversion, comparison and writing.
    """

    bundle: Bundle
    graphs: tuple[GraphReport, ...]
    seconds: float

    def to_json(self) -> dict[str, object]:
        """The report as a JSON object."""
        manifest = self.bundle.manifest
        return {
            "bundle": str(self.bundle.path),
            "name": manifest.name,
            "role": manifest.role,
            "space": manifest.space,
            "searches": list(manifest.searches),
            "source": None if manifest.source is None else asdict(manifest.source),
            "tier": manifest.tier,
            "mmacs": manifest.mmacs,
            "graphs": [graph.to_json() for graph in self.graphs],
            "seconds": self.seconds,
        }


def graph_plan(
    targets: Sequence[str], options: Sequence[Options], out: Path, overwrite: bool
) -> list[tuple[str, Options]]:
    """Target and options of each graph that an export makes, if the request makes sense.

    Raises:
        ConfigError: An unknown target, one or a precision twice, none at all, or ``out`` exists.
    """
    if unknown := [target for target in targets if target not in TARGETS]:
        raise ConfigError(f"found target {unknown[0]!r}; expected some of {', '.join(TARGETS)}")
    precisions = [option.precision for option in options]
    if not targets or not options or len(set(targets)) < len(targets) or len(set(precisions)) < len(precisions):
        raise ConfigError(
            f"found targets {list(targets)} and precisions {precisions}; expected at least one of each, each once"
        )
    require_free(out.absolute(), overwrite)
    return [(target, option) for target in targets for option in options]
