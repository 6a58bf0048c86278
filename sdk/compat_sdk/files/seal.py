"""JSON objects with a digest of themselves, by which a later change shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from compat_sdk.errors import CorruptFileError
from compat_sdk.files.documents import canonical_json, indented_json, parse_json


def sealed(value: Mapping[str, object]) -> dict[str, object]:
    """Return ``value`` with one more key, ``digest``: the SHA-256 of all the others.

    Raises:
        ValueError: ``value`` holds NaN or infinity.
    """
    return {**value, "digest": hashlib.sha256(canonical_json(value)).hexdigest()}


def unsealed(value: Mapping[str, object], name: str, *, required: bool = True) -> dict[str, object]:
    """Return what `sealed` was given, refusing any change of it; spaces and the order of keys do not count.

    Args:
        value: The parsed JSON object.
        name: What to call it in an error.
        required: Refuse an object without a digest; False takes it as it is, since releases up to 0.7 wrote none.

    Raises:
        CorruptFileError: It differs from its own digest, or has none.
    """
    body = {key: item for key, item in value.items() if key != "digest"}
    if not required and "digest" not in value:
        return body
    try:
        holds = sealed(body)["digest"] == value.get("digest")
    except ValueError:  # a number beyond float64, which no writer of ours writes
        holds = False
    if not holds:
        raise CorruptFileError(
            f"{name} differs from its own digest: it was changed after it was written; restore it from a copy"
        )
    return body


def sealed_json(value: Mapping[str, object]) -> bytes:
    """Return ``value`` as JSON for people, with one more key, ``digest``: the SHA-256 of all the others.

    Raises:
        ValueError: ``value`` holds NaN or infinity.
    """
    return indented_json(sealed(value))


def parse_sealed(data: bytes, name: str) -> dict[str, object]:
    """Parse what `sealed_json` wrote, refusing a change of a single byte; returned without the digest.

    Raises:
        CorruptFileError: It is not JSON, or differs from its own digest.
    """
    value = parse_json(data, name)
    body = {key: item for key, item in value.items() if key != "digest"}
    if sealed_json(body) != data:
        raise CorruptFileError(f"{name} differs from its own digest; restore it from a copy")
    return body
