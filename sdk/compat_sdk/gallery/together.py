"""What the parts of one gallery must have in common, and what is said of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from compat_sdk.errors import ConfigError, IncompatibleSpaceError
from compat_sdk.gallery.gallery import Gallery
from compat_sdk.gallery.remote import RemoteGallery
from compat_sdk.shown import shown_value


def check_together(parts: Sequence[Gallery]) -> None:
    """Refuse parts whose vectors cannot be compared with each other.

    Raises:
        IncompatibleSpaceError: Two parts are in different spaces.
        ConfigError: A part compares by inner products, whose scores no cosine may stand beside.
    """
    first = parts[0]
    for part in parts:
        if isinstance(part, RemoteGallery) and part.distance != "cosine":
            raise ConfigError(
                f"{part.path} compares by inner products; expected cosine of each part of a gallery: export it into a "
                f"collection that does"
            )
        if (part.space, part.dim) != (first.space, first.dim):
            raise IncompatibleSpaceError(
                part.space,
                (),
                first.space,
                f"{part.path} is in space {part.space} ({part.dim} numbers) and {first.path} in {first.space} "
                f"({first.dim}); expected one space of all parts: cut each over with `compat-sdk upgrade cutover`",
            )


def shared_ids(parts: Sequence[Gallery]) -> list[str]:
    """Say which parts share ids, one sentence for each part that has ids of those before it."""
    found, seen = list[str](), dict[str, int]()
    for place, part in enumerate(parts):
        ids = part.ids
        shared = [id for id in ids if id in seen]
        if shared:
            found.append(
                f"{len(shared)} ids of {part.path} are in parts before it, such as {shown_value(shared[0])} in "
                f"{parts[seen[shared[0]]].path}"
            )
        seen.update(dict.fromkeys(ids, place))
    return found


def facts_of(parts: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Put the facts of parts together, but for ``path``, ``labels`` and ``model``, which none of them tells of all.

    Args:
        parts: What `Gallery.info` says of each, at least one. Numbers are summed up; ``index`` is that of all parts,
            where each has one of the same kind.
    """

    def common(key: str, otherwise: object) -> object:
        return parts[0][key] if all(facts[key] == parts[0][key] for facts in parts) else otherwise

    def joined(key: str) -> str:
        return ", ".join(dict.fromkeys(str(facts[key]) for facts in parts))

    return {
        "space": parts[0]["space"],
        "space_covers": common("space_covers", "weights"),
        "dim": parts[0]["dim"],
        "dtype": joined("dtype"),
        **{key: sum(int(str(facts[key])) for facts in parts) for key in ("rows", "segments", "bytes", "generation")},
        "index": _common_index([facts["index"] for facts in parts]),
        "foreign_index": any(facts["foreign_index"] for facts in parts),
        "search": joined("search"),
        "signed": all(facts["signed"] for facts in parts),
        "signed_by": common("signed_by", None),
    }


def _common_index(indexes: Sequence[object]) -> dict[str, object] | None:
    """The index of all parts, if each has one of the same kind; with the options that are the same in all."""
    records = [index for index in indexes if isinstance(index, dict)]
    kinds = Counter(record["kind"] for record in records)
    if len(records) != len(indexes) or len(kinds) != 1:
        return None
    shared = {name: value for name, value in records[0].items() if all(one.get(name) == value for one in records)}
    return {
        **shared,
        "fresh": all(record["fresh"] for record in records),
        "bytes": sum(record["bytes"] for record in records),
    }
