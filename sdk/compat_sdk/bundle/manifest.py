"""What a bundle says about its model: one frozen object, one JSON form, checked in both directions."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, cast, get_args

from compat_sdk.bundle.names import MANIFEST, PICTURES, check_file_name, check_file_names
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

_WORD = re.compile(r"[A-Za-z0-9._-]{1,120}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileRecord:
    """Which file it must be: SHA-256 of its content (64 hexadecimal digits) and its size in bytes."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or _SHA256.fullmatch(self.sha256) is None:
            raise ConfigError(f"SHA-256 is {shown_value(self.sha256)}; expected 64 lower-case hexadecimal digits")
        if not isinstance(self.bytes, int) or isinstance(self.bytes, bool) or self.bytes < 0:
            raise ConfigError(f"a file size is {shown_value(self.bytes)}; expected a number of bytes")


@dataclass(frozen=True)
class Graph:
    """One exported form of the model.

    Attributes:
        target: Format, such as ``"onnx"``.
        precision: Of the weights, such as ``"fp32"``.
        file: Name inside the bundle, with ``/``: a file, or the folder of a format that is one (``.mlpackage``).
        inputs: Names of the graph's inputs, in the order in which an engine takes them: one for images, float32
            ``[n, 3, size, size]`` or as ``layout`` says; ``old``, float32 ``[n, old_dim]``, for a transform, then
            ``side``, float32 ``[n, side_dim]``, where it takes side-information.
        output: Name of the graph's output, float32 ``[n, dim]``.
        batch: The one number of images or vectors that the graph takes, 1 to 1024, or None for any.
        layout: Order of an image's axes: ``"nchw"``, or ``"nhwc"`` for ``[n, size, size, 3]``.
        values: ``"prepared"``, or ``"pixels"`` where the graph takes RGB in [0, 255] and does mean, standard
            deviation and channel order itself. Either way a client does what the manifest's preprocessing says.
        min_cosine: Smallest cosine to the trained model's vectors that the maker allowed, below that of the precision,
            -1 to 1; None for that of the precision, see `compat_sdk.bundle.self_test.MIN_COSINE`.
    """

    target: str
    precision: str
    file: str
    inputs: tuple[str, ...] = ("image",)
    output: str = "embedding"
    batch: int | None = None
    layout: str = "nchw"
    values: str = "prepared"
    min_cosine: float | None = None

    def __post_init__(self) -> None:
        _check_word("graph target", self.target)
        _check_word("graph precision", self.precision)
        check_file_name(self.file)
        if not isinstance(self.inputs, tuple) or not self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise ConfigError(f"graph inputs are {shown_value(self.inputs)}; expected at least one name, each once")
        for name in (*self.inputs, self.output):
            if not isinstance(name, str) or not name:
                raise ConfigError(f"a graph input or output is named {shown_value(name)}; expected a name")
        if self.batch is not None and (type(self.batch) is not int or not 1 <= self.batch <= 1024):
            raise ConfigError(f"graph batch is {shown_value(self.batch)}; expected 1 to 1024, or none")
        if self.layout not in ("nchw", "nhwc"):
            raise ConfigError(f"graph layout is {shown_value(self.layout)}; expected nchw or nhwc")
        if self.values not in ("prepared", "pixels"):
            raise ConfigError(f"graph values is {shown_value(self.values)}; expected prepared or pixels")
        if self.min_cosine is not None and (type(self.min_cosine) is not float or not -1 <= self.min_cosine <= 1):
            raise ConfigError(f"graph min_cosine is {shown_value(self.min_cosine)}; expected -1 to 1, or none")

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values, without a ``min_cosine`` that is None, as 0.7 wrote them."""
        found = dataclasses.asdict(self) | {"inputs": list(self.inputs)}
        if self.min_cosine is None:
            del found["min_cosine"]
        return found

    def client_part(self, preprocessing: Preprocessing) -> Preprocessing:
        """Return what a client does to an image for this graph; the rest is inside.

        Args:
            preprocessing: The manifest's or the model's own. Bundles of 0.7 and before state the latter even where
                their graphs take pixels.
        """
        return preprocessing if self.values == "prepared" else preprocessing.inside_graph()

    def is_made_of(self, file: str) -> bool:
        """Whether ``file``, a name inside the bundle, is this graph's file or lies in its folder."""
        return file == self.file or file.startswith(f"{self.file}/")


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
        _check_word("tier", self.tier)
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
        self._check_role()
        self._check_identity()
        self._check_certificates()
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

    def _check_role(self) -> None:
        """Refuse what does not go with the role."""
        if self.searches and self.role not in ("query", "gallery"):
            raise ConfigError(
                f"a {self.role} model searches {list(self.searches)}; expected none: only query and gallery models do"
            )
        taken: tuple[str, ...] | None = None
        if self.role == "transform":
            if self.source is None or self.preprocessing is not None:
                raise ConfigError("a transform takes vectors; expected a source and no preprocessing")
            taken = self.source.inputs
            self.source.to(self.space, self.dim)  # refuses what does not go together
        elif self.source is not None or not isinstance(self.preprocessing, Preprocessing):
            raise ConfigError(f"a {self.role} model takes images; expected preprocessing and no source")
        for graph in self.graphs:
            if len(graph.inputs) != 1 if taken is None else graph.inputs != taken:
                wanted = "one, the image" if taken is None else ", ".join(taken)
                raise ConfigError(f"graph {graph.file} has the inputs {', '.join(graph.inputs)}; expected {wanted}")
            if taken is not None and (graph.layout, graph.values) != ("nchw", "prepared"):
                raise ConfigError(f"graph {graph.file} has layout or values of an image; a transform takes vectors")

    def _check_identity(self) -> None:
        """Refuse what contradicts the name of the space, or of the transform."""
        own = self.identity
        if self.role == "transform":
            self._check_transform(own)
            return
        if own is None:
            if covers_all(self.space):
                raise ConfigError(
                    f"there is no identity, of which space {self.space} is the digest; restore it or export again"
                )
            return
        if not isinstance(own, Identity):
            raise ConfigError(f"a {self.role} model has the identity of a transform; export it again")
        if (own.arch, own.dim) != (self.arch, self.dim):
            raise ConfigError(f"it is {self.arch} of {self.dim}, its identity {own.arch} of {own.dim}; export it again")
        kinds = {graph.values for graph in self.graphs} or {"prepared"}
        left = {own.preprocessing if kind == "prepared" else own.preprocessing.inside_graph() for kind in kinds}
        if left != {self.preprocessing}:
            raise ConfigError(
                "preprocessing is not what the identity and the graphs leave to a client: it was changed after the "
                "space was named; restore the bundle from its source"
            )
        own.require_space(self.space, "it")

    def _check_transform(self, own: Identity | TransformIdentity | None) -> None:
        """Refuse an identity of another transform than the manifest describes."""
        if own is None:
            return
        if not isinstance(own, TransformIdentity):
            raise ConfigError("a transform has the identity of a model of images; export it again")
        if (own.arch, own.spaces) != (self.arch, self.spaces):
            raise ConfigError(
                f"it is {self.arch} {self.spaces}, its identity {own.arch} {own.spaces}: one of them was changed after "
                f"the transform was named; restore the bundle from its source"
            )

    def _check_certificates(self) -> None:
        """Refuse a certificate of anything but this model and what it declares, and two of one evaluation."""
        if not isinstance(self.certificates, tuple) or not all(isinstance(c, Certificate) for c in self.certificates):
            raise ConfigError(f"certificates is {shown_value(self.certificates)}; expected a tuple of certificates")
        for shown in self.certificates:
            if shown.query_space != self.space or shown.gallery_space not in self.searches:
                raise ConfigError(
                    f"a certificate shows that {shown.query_space} may search {shown.gallery_space}; expected "
                    f"{self.space} and one of {list(self.searches)}"
                )
        seen = {(shown.gallery_space, shown.data_sha256) for shown in self.certificates}
        if len(seen) < len(self.certificates):
            raise ConfigError("two certificates are of one gallery space and the same data; expected one")

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


def record_of(data: bytes) -> FileRecord:
    """Return the record of a file with this content."""
    return FileRecord(hashlib.sha256(data).hexdigest(), len(data))


def is_day(value: object) -> bool:
    """Return whether this is a day of the calendar in the one form ``YYYY-MM-DD``."""
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _check_word(label: str, value: object) -> None:
    if not isinstance(value, str) or _WORD.fullmatch(value) is None:
        raise ConfigError(f"{label} is {shown_value(value)}; expected 1 to 120 of the characters A-Z a-z 0-9 . _ -")
