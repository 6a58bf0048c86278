"""How an approximate index is built and searched: settings that few people set, since `--recall` chooses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from compat_sdk.errors import ConfigError
from compat_sdk.index.vectors import check_count
from compat_sdk.shown import shown_value

KINDS = ("usearch", "hnswlib", "faiss-hnsw", "faiss-ivfpq")
"""The approximate indexes that are stored: three graphs, and inverted lists of short codes."""

_MOST = 1 << 16  # what a file says is built again must not take the memory of the machine


@dataclass(frozen=True)
class GraphOptions:
    """Of a navigable small-world graph (Malkov and Yashunin, 2016, arXiv:1603.09320).

    Attributes:
        connectivity: Links per row (M), 2 or more; memory grows with it.
        expansion_add: Candidates kept while a row is linked (ef construction); the build slows down with it.
        expansion_search: Candidates kept while searching (ef); recall and time grow with it.
    """

    connectivity: int = 16
    expansion_add: int = 128
    expansion_search: int = 64

    def __post_init__(self) -> None:
        _check(self, connectivity=2, expansion_add=1, expansion_search=1)


@dataclass(frozen=True)
class ListOptions:
    """Of inverted lists of product-quantised residuals (Jegou, Douze and Schmid, 2011, IVFADC).

    Attributes:
        lists: Cells of the space; 0 takes four times the square root of the number of rows.
        code_bytes: Bytes that a row is shortened to, a divisor of the dimension; 0 takes the largest of at most a
            quarter of it.
        probes: Cells looked into for a query; recall and time grow with it.
        rerank: Rows per hit whose exact scores are read from the stored vectors.
    """

    lists: int = 0
    code_bytes: int = 0
    probes: int = 16
    rerank: int = 10

    def __post_init__(self) -> None:
        _check(self, lists=0, code_bytes=0, probes=1, rerank=1)


Options = GraphOptions | ListOptions


def check_kind(kind: object) -> str:
    """Return the name of a kind of approximate index.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"index kind is {shown_value(kind)}, expected one of {', '.join(KINDS)}")
    return str(kind)


def options_of(kind: str, told: Mapping[str, Any]) -> Options:
    """Return the options of a kind: those that are told, over its own.

    Raises:
        ConfigError: Unknown kind or option, or an option out of its range.
    """
    known = _type_of(check_kind(kind))
    names = [field.name for field in fields(known)]
    unknown = sorted(set(told) - set(names))
    if unknown:
        raise ConfigError(
            f"unknown options {', '.join(unknown)} of an index of kind {kind}; expected {', '.join(names)}"
        )
    return known(**told)


def readable_options(kind: str, told: Mapping[str, Any]) -> dict[str, int]:
    """What a file says of how its index was built, without what this release does not know or would not take."""
    if kind not in KINDS:
        return {}
    readable: dict[str, int] = {}
    for name, value in told.items():
        try:
            options_of(kind, {name: value})
        except ConfigError:
            continue
        readable[name] = value
    return readable


def effort_of(options: Options) -> str:
    """The option that a search may choose, by which recall and time grow."""
    return "expansion_search" if isinstance(options, GraphOptions) else "probes"


def as_numbers(options: Options) -> dict[str, int]:
    """Options by name."""
    return asdict(options)


def _type_of(kind: str) -> type[Options]:
    return ListOptions if kind == "faiss-ivfpq" else GraphOptions


def _check(options: Options, **least: int) -> None:
    for name, lowest in least.items():
        value = check_count(name, getattr(options, name), lowest)
        if value > _MOST:
            raise ConfigError(f"{name} is {value}, expected at most {_MOST}")
