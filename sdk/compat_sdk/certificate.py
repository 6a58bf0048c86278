"""Evaluation certificates: what showed that a query model may search a gallery model's space.

A query model's ``searches`` is a claim. A certificate is what backs it: which two spaces were measured, on which
data, and what came out. Training keeps it beside the model's record, export puts it into the bundle's manifest, and a
bundle's signature covers it. Without a signature it tells what the maker measured to whoever trusts the maker: its
digest tells damage, not origin.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from compat_sdk.errors import CheckFailedError, ConfigError, CorruptFileError
from compat_sdk.files.seal import sealed, unsealed
from compat_sdk.shown import shown_value
from compat_sdk.space import check_space

_FORMAT, _VERSION = "compat-sdk-certificate", 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Accuracy:
    """One system's accuracy on one dataset, as fractions in [0, 1].

    Attributes:
        top1: Queries whose first hit has their label.
        top5: Queries with a hit of their label among the first 5.
        top10: Queries with a hit of their label among the first 10.
        map: Mean average precision.

    Raises:
        ConfigError: A value is no number in [0, 1].
    """

    top1: float
    top5: float
    top10: float
    map: float

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise ConfigError(f"{item.name} is {shown_value(value)}; expected a fraction from 0 to 1")


_PAIRS = ("query_query", "query_gallery", "gallery_gallery")

QUERY_RULE = "M(q,g) > M(q,q)"
"""Of a query model: mixing the two models beats the small one alone (CMP-NAS, section 3.1)."""
NEW_MODEL_RULE = "M(new,old) > M(old,old)"
"""Of a new gallery model: its queries do better in the old gallery than the old model's own (DMU, Eq. 5)."""


@dataclass(frozen=True)
class Certificate:
    """One evaluation of a query model against a gallery model.

    Attributes:
        query_space: Space of the query model.
        gallery_space: Space of the gallery model, another one.
        data: Name of the dataset, for people.
        data_sha256: Digest of what was embedded: every picture's bytes, label and split, 64 hexadecimal digits.
        splits: Names of the splits that queries and gallery came from.
        queries: Queries scored.
        skipped: Queries left out, since the gallery holds no image of their label.
        gallery_size: Images in the gallery.
        query_query: M(q,q), the query model embeds everything.
        query_gallery: M(q,g), the heterogeneous system.
        gallery_gallery: M(g,g), the gallery model embeds everything.
        created_by: Program and version that measured.
        rule: Which rule the figures are held to: `QUERY_RULE`, or `NEW_MODEL_RULE` of a new gallery model.

    Raises:
        ConfigError: A value is of the wrong type or out of its range.
    """

    query_space: str
    gallery_space: str
    data: str
    data_sha256: str
    splits: tuple[str, str]
    queries: int
    skipped: int
    gallery_size: int
    query_query: Accuracy
    query_gallery: Accuracy
    gallery_gallery: Accuracy
    created_by: str
    rule: str = QUERY_RULE

    def __post_init__(self) -> None:
        check_space(self.query_space)
        check_space(self.gallery_space)
        if self.query_space == self.gallery_space:
            raise ConfigError(f"both spaces are {self.query_space}; expected two, a model may always search its own")
        if not isinstance(self.data_sha256, str) or _SHA256.fullmatch(self.data_sha256) is None:
            raise ConfigError(f"data_sha256 is {shown_value(self.data_sha256)}; expected 64 hexadecimal digits")
        for label in ("data", "created_by"):
            value = getattr(self, label)
            if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
                raise ConfigError(f"{label} is {shown_value(value)}; expected 1 to 200 printable characters")
        if not isinstance(self.splits, tuple) or len(self.splits) != 2 or not all(map(_is_word, self.splits)):
            raise ConfigError(f"splits is {shown_value(self.splits)}; expected the names of two splits")
        for label, low in (("queries", 1), ("skipped", 0), ("gallery_size", 1)):
            value = getattr(self, label)
            if type(value) is not int or not low <= value < 2**53:
                raise ConfigError(f"{label} is {shown_value(value)}; expected an integer of at least {low}")
        if self.rule not in (QUERY_RULE, NEW_MODEL_RULE):
            raise ConfigError(f"rule is {shown_value(self.rule)}; expected {QUERY_RULE!r} or {NEW_MODEL_RULE!r}")
        for label in _PAIRS:
            if not isinstance(getattr(self, label), Accuracy):
                raise ConfigError(f"{label} is {shown_value(getattr(self, label))}; expected an accuracy")

    @property
    def rule_holds(self) -> bool:
        """Whether the figures are as ``rule`` says, at top-1."""
        alone = self.query_query if self.rule == QUERY_RULE else self.gallery_gallery
        return self.query_gallery.top1 > alone.top1

    def __str__(self) -> str:
        rule = "" if self.rule_holds else f", rule {self.rule} failed"
        return (
            f"shown by an evaluation on {self.data} ({self.queries} queries, {self.gallery_size} images): "
            f"M(q,g) {_percent(self.query_gallery)}, M(q,q) {_percent(self.query_query)}, "
            f"M(g,g) {_percent(self.gallery_gallery)} % top-1{rule}"
        )

    def to_json(self) -> dict[str, object]:
        """Return JSON values: all fields, ``rule_holds``, format, version and the digest of all the rest.

        A query model's certificate does not name its rule.
        """
        fields = dataclasses.asdict(self)
        if self.rule == QUERY_RULE:
            del fields["rule"]
        found = fields | {
            "format": _FORMAT,
            "version": _VERSION,
            "splits": list(self.splits),
            "rule_holds": self.rule_holds,
        }
        return sealed(found)

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Certificate:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: Another format or version, a digest that does not match, figures that contradict
                ``rule_holds``, or a field that is missing, unknown, of the wrong type or out of its range.
        """
        extra = {"format", "version", "rule_holds", "digest"}
        expected = {item.name for item in dataclasses.fields(cls)} | extra
        if not isinstance(value, Mapping) or (value.get("format"), value.get("version")) != (_FORMAT, _VERSION):
            raise ConfigError(f"a certificate is no {_FORMAT!r} version {_VERSION}; evaluate again")
        if set(value) | {"rule"} != expected:
            wrong = sorted(map(str, (set(value) | {"rule"}) ^ expected))
            raise ConfigError(f"a certificate lacks or adds the fields {wrong}; evaluate again")
        try:
            unsealed(value, "a certificate")
        except CorruptFileError as error:
            raise ConfigError(str(error)) from error
        fields = cast("dict[str, Any]", {name: item for name, item in value.items() if name not in extra})
        if not isinstance(fields["splits"], list):
            raise ConfigError(f"splits is {shown_value(fields['splits'])}; expected a list")
        figures = {label: _accuracy(label, fields[label]) for label in _PAIRS}
        made = cls(**fields | figures | {"splits": tuple(fields["splits"])})
        if value["rule_holds"] is not made.rule_holds:
            raise ConfigError(
                f"rule_holds is {shown_value(value['rule_holds'])}, but the figures say {made.rule_holds}"
            )
        return made


def doubt(space: str, certificates: Sequence[Certificate], gallery_space: str) -> str | None:
    """Say in one line why a right to search is not shown, or return None.

    Args:
        space: Space of the query model.
        certificates: Of the query model.
        gallery_space: Space of the gallery, which the model declares, or its own.
    """
    if gallery_space == space:
        return None
    of_gallery = [shown for shown in certificates if (shown.query_space, shown.gallery_space) == (space, gallery_space)]
    if not of_gallery:
        return f"no evaluation that travels with the model shows that {space} may search {gallery_space}"
    failed = [shown for shown in of_gallery if not shown.rule_holds]
    return None if not failed else f"{space} searches {gallery_space}: {failed[0]}"


def require_certified(space: str, certificates: Sequence[Certificate], gallery_space: str) -> None:
    """Refuse a search whose right is not shown by an evaluation; a model may always search its own space.

    Whose word a certificate is, a signature tells: open the bundle with its maker's public key.

    Args:
        space: Space of the query model.
        certificates: Of the query model, such as ``bundle.manifest.certificates``.
        gallery_space: Space of the gallery.

    Raises:
        CheckFailedError: No certificate is of these two spaces, or one says that its rule failed.
    """
    if reason := doubt(space, certificates, gallery_space):
        raise CheckFailedError(f"{reason}; run evaluate --certify on the trained model, then export it again")


def _accuracy(label: str, value: object) -> Accuracy:
    names = {item.name for item in dataclasses.fields(Accuracy)}
    if not isinstance(value, Mapping) or set(value) != names:
        raise ConfigError(f"{label} is {shown_value(value)}; expected exactly {sorted(names)}")
    try:
        return Accuracy(**value)
    except ConfigError as error:
        raise error.within(f"{label}.") from None


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 40 and value.isprintable()


def _percent(accuracy: Accuracy) -> str:
    return f"{100 * accuracy.top1:.1f}"
