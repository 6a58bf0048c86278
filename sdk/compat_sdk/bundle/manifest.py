"""What a bundle says about its model: one frozen object, one JSON form, checked in both directions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from compat_sdk.bundle.consistency import require_consistent
from compat_sdk.bundle.graph import Graph, check_word
from compat_sdk.bundle.last_day import is_day
from compat_sdk.bundle.names import MANIFEST, PICTURES, check_file_names
from compat_sdk.bundle.records import FileRecord
from compat_sdk.certificate import Certificate
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.files.seal import sealed
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import TransformSpaces, check_dim, check_source, check_space, covers_all
from compat_sdk.transform_identity import TransformIdentity

FORMAT = "compat-sdk-bundle"
VERSION = 3
_SINCE_3 = {"identity", "certificates", "release", "expires"}

Role = Literal["query", "gallery", "side-info", "transform"]


@dataclass(frozen=True)
class TransformSource:
    """What a transform takes, as manifest.json says it; `Manifest.spaces` says where it leads as well.

    Attributes:
        old_space: Embedding space of the vectors that it transforms.
        old_dim: Numbers per old vector.
        side_space: Embedding space of the side-information beside them; None where it takes none.
        side_dim: Numbers of side-information per row; None where it takes none.

    Raises:
        ConfigError: A value is out of its range, or one of ``side_space`` and ``side_dim`` is missing.
    """

    old_space: str
    old_dim: int
    side_space: str | None = None
    side_dim: int | None = None

    def __post_init__(self) -> None:
        check_source(self.old_space, self.old_dim, self.side_space, self.side_dim)

    def to(self, space: str, dim: int) -> TransformSpaces:
        """Where the transform leads as well: the new model's space, and numbers per vector in it."""
        return TransformSpaces(self.old_space, self.old_dim, self.side_space, self.side_dim, space, dim)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs of every graph of this transform, in order."""
        return ("old",) if self.side_space is None else ("old", "side")


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about its model.

    Without graphs and files it is what can be said of a model before it has any; `require_complete` tells.

    Attributes:
        name: Name of the model for people, 1 to 120 printable characters.
        role: ``"query"`` or ``"gallery"``, the side of a search it was made for; ``"side-info"`` for an encoder of
            images whose vectors help a transform; ``"transform"`` for a model of vectors, not of images.
        space: Embedding space that it writes in.
        searches: Gallery spaces that its vectors may search, besides their own. Query and gallery models only.
        dim: Numbers per embedding.
        preprocessing: What a client does to an image before any graph of the bundle sees it: mean 0, deviation 1/255
            and channels rgb where the graphs take pixels (bundles of 0.7 and before kept the model's own there). None
            for a transform, and only there.
        tier: ``"100"``, ``"230"``, ``"330"`` (millions of multiply-accumulates), ``"gallery"``, ``"side-info"``,
            ``"transform"``, ``"other"``.
        mmacs: Millions of convolution and linear multiply-accumulates per image or vector.
        mmacs_paper: The same plus 2 per batch-norm element.
        params_m: Millions of parameters.
        license: Licence of the weights, as an SPDX identifier or in words; empty if nobody stated one.
        arch: Architecture name.
        graphs: Exported forms; at least one in a bundle.
        created_by: Program and version that wrote the bundle.
        files: Every file of the bundle except the manifest and a signature, by its name inside the bundle.
        source: What a transform takes; None for every other role, and only there.
        identity: Everything that decides a vector. Of a model of images ``space`` is its digest; None for an *old
            space*: of a bundle of 0.7 and before, or of a run of that time. Of a transform, whose space is the new
            model's, it has a name of its own; None in a bundle of 0.7 and before.
        certificates: Evaluations that show what the model may search, each of its own space and one of ``searches``.
        release: Counts the published versions of one name, from 1; whoever has seen one refuses a lower one.
        expires: Last day on which the bundle is meant to be used, ``YYYY-MM-DD`` in UTC; None for no such day.

    Raises:
        ConfigError: A value is out of its range, does not go with the role, or contradicts the identity.
    """

    name: str
    role: Role
    space: str
    searches: tuple[str, ...]
    dim: int
    preprocessing: Preprocessing | None
    tier: str
    mmacs: float
    mmacs_paper: float
    params_m: float
    license: str
    arch: str
    graphs: tuple[Graph, ...] = ()
    created_by: str = "compat-sdk"
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    source: TransformSource | None = None
    identity: Identity | TransformIdentity | None = None
    certificates: tuple[Certificate, ...] = ()
    release: int = 1
    expires: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name) <= 120 or not self.name.isprintable():
            raise ConfigError(f"name is {shown_value(self.name)}; expected 1 to 120 printable characters")
        check_word("tier", self.tier)
        if self.role not in get_args(Role):
            raise ConfigError(f"role is {shown_value(self.role)}; expected one of {', '.join(get_args(Role))}")
        for space in (self.space, *self.searches):
            check_space(space)
        check_dim("dim", self.dim)
        for label in ("mmacs", "mmacs_paper", "params_m"):
            value = getattr(self, label)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ConfigError(f"{label} is {shown_value(value)}; expected a finite number of at least 0")
        for label in ("license", "arch", "created_by"):
            if not isinstance(getattr(self, label), str):
                raise ConfigError(f"{label} is {shown_value(getattr(self, label))}; expected text")
        if type(self.release) is not int or not 1 <= self.release < 2**31:
            raise ConfigError(f"release is {shown_value(self.release)}; expected an integer of at least 1")
        if self.expires is not None and not is_day(self.expires):
            raise ConfigError(f"expires is {shown_value(self.expires)}; expected a day such as 2027-12-31, or none")
        require_consistent(self)
        check_file_names(self.files)

    def require_complete(self, *, promised: bool = True) -> None:
        """Return only if this describes a whole bundle.

        Args:
            promised: Whether it must have what bundles since version 3 promise: golden pictures, without which a
                self-test sees neither colour nor shape, or a transform's identity.

        Raises:
            ConfigError: There is no graph, a graph's file is not in ``files``, or what is promised is missing.
        """
        if not self.graphs:
            raise ConfigError("there is no graph; expected at least one exported form of the model")
        missing = [graph.file for graph in self.graphs if not any(map(graph.is_made_of, self.files))]
        if missing:
            raise ConfigError(f"graph files {missing} are not among the files of the bundle")
        if promised and self.role == "transform" and self.identity is None:
            raise ConfigError("there is no identity of the transform: it was left out or taken out; export it again")
        pictures = any(name.startswith(PICTURES) for name in self.files)
        if promised and self.role != "transform" and not pictures:
            raise ConfigError(
                "there is no golden picture, which every bundle of its version has: they were left out or taken out, "
                "and a self-test would see neither colour nor shape; get it again from its maker, or export it again"
            )

    def certificates_for(self, gallery_space: str) -> tuple[Certificate, ...]:
        """The evaluations that show that the model may search this space; none if it is only declared."""
        return tuple(shown for shown in self.certificates if shown.gallery_space == gallery_space)

    @property
    def spaces(self) -> TransformSpaces | None:
        """From where to where a transform leads; None for every other role."""
        return None if self.source is None else self.source.to(self.space, self.dim)

    def to_json(self) -> dict[str, object]:
        """Return the manifest as JSON values, with format, version and the digest of all the rest."""
        found = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        found |= {
            "format": FORMAT,
            "version": VERSION,
            "searches": list(self.searches),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_json(),
            "graphs": [graph.to_json() for graph in self.graphs],
            "source": None if self.source is None else dataclasses.asdict(self.source),
            "files": {name: dataclasses.asdict(record) for name, record in self.files.items()},
            "identity": None if self.identity is None else self.identity.to_json(),
            "certificates": [shown.to_json() for shown in self.certificates],
        }
        return sealed(found)

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Manifest:
        """Read what `to_json` wrote, or 0.7: version 2, which has no identity, certificates, release or expiry.

        Raises:
            BundleError: Another format or version, a digest that does not match, a field that is missing,
                unknown, of the wrong type or out of its range.
        """
        if value.get("format") != FORMAT:
            raise BundleError(f"{MANIFEST} says format {shown_value(value.get('format'))}; expected {FORMAT!r}")
        version = value.get("version")
        if type(version) is not int or version not in (2, VERSION):
            raise BundleError(
                f"{MANIFEST} says version {shown_value(version)}, this release reads versions 2 and {VERSION}; "
                f"upgrade compat-sdk or export the model again"
            )
        rest = {name: item for name, item in value.items() if name != "digest"}
        digest = sealed(rest)["digest"]
        if digest != value.get("digest"):
            raise BundleError(
                f"{MANIFEST} has digest {digest}, but states {shown_value(value.get('digest'))}: it was changed "
                f"after it was written; restore the bundle from its source"
            )
        expected = {item.name for item in dataclasses.fields(cls)} | {"format", "version"}
        expected -= _SINCE_3 if version == 2 else set()
        if set(rest) != expected:
            missing, unknown = sorted(expected - set(rest)), sorted(set(rest) - expected)
            raise BundleError(
                f"{MANIFEST} lacks the fields {missing} and has the unknown fields {shown_value(unknown)}"
            )
        try:
            return cls._build(rest)
        except (ConfigError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise BundleError(f"{MANIFEST} is malformed: {shortened(str(error), 240)}") from error

    @classmethod
    def _build(cls, rest: dict[str, object]) -> Manifest:
        graphs = cast("list[dict[str, Any]]", rest["graphs"])
        files = cast("dict[str, dict[str, object]]", rest["files"])
        preprocessing = cast("dict[str, object] | None", rest["preprocessing"])
        source = cast("dict[str, Any] | None", rest["source"])
        if not isinstance(rest["searches"], list):
            raise ConfigError("searches is not a list")
        if not all(isinstance(graph["inputs"], list) for graph in graphs):
            raise ConfigError("the inputs of a graph are not a list")
        parsed: dict[str, object] = {name: rest[name] for name in rest if name not in ("format", "version")}
        parsed |= {
            "searches": tuple(rest["searches"]),
            "preprocessing": None if preprocessing is None else Preprocessing.from_json(preprocessing),
            "graphs": tuple(Graph(**graph | {"inputs": tuple(graph["inputs"])}) for graph in graphs),
            "source": None if source is None else TransformSource(**source),
            "files": {name: FileRecord(**record) for name, record in files.items()},  # type: ignore[arg-type]
        }
        if rest["version"] != 2:
            identity = cast("dict[str, object] | None", rest["identity"])
            kind = TransformIdentity if rest["role"] == "transform" else Identity
            if not isinstance(rest["certificates"], list):
                raise ConfigError("certificates is not a list")
            parsed |= {
                "identity": None if identity is None else kind.from_json(identity),
                "certificates": tuple(map(Certificate.from_json, rest["certificates"])),
            }
        made = cls(**parsed)  # type: ignore[arg-type]  # every field is checked on construction
        if rest["version"] == 2:
            made.require_complete(promised=False)
            made._require_old_spaces()
        else:
            made.require_complete()
        return made

    def _require_old_spaces(self) -> None:
        """Refuse what says it is of 0.7, and so needs no identity, but names spaces as only later releases do."""
        source = self.source
        beside = () if source is None else (source.old_space, source.side_space or "")
        later = [name for name in (self.space, *self.searches, *beside) if covers_all(name)]
        if later:
            raise ConfigError(f"version 2 names the space {later[0]} of a later version; restore it from its source")
