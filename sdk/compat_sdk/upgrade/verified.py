"""Whether the bytes that a cutover would put in place are those that a verification was of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compat_sdk.errors import StateError
from compat_sdk.files.documents import canonical_json
from compat_sdk.upgrade.manifest import Manifest, Verified
from compat_sdk.upgrade.shard import Record
from compat_sdk.upgrade.sharding import Shard

Finished = Sequence[tuple[Shard, Record]]
"""Shards with their records, by number."""


def digest_of(manifest: Manifest, shards: Finished) -> str:
    """SHA-256 of what shards were made of, by what, and of what they hold: what a verification is of."""
    tables = [source.segment.table.sha256 for source in manifest.sources]
    lines = [
        [shard.number, shard.rows, tables[shard.source], record.inputs, record.transform, record.output.sha256]
        for shard, record in shards
    ]
    return hashlib.sha256(canonical_json(lines)).hexdigest()


def require_verified(gallery: Path, manifest: Manifest, shards: Finished) -> None:
    """Refuse a cutover to rows that nobody has verified; one without rows needs no verification.

    Raises:
        StateError: There was no verification, one without the new model's vectors, or one of other bytes.
    """
    found = manifest.verified
    if not shards:
        return
    verify = f"`compat-sdk upgrade verify {gallery} --transform H --held-out NEW`"
    if found is None or not found.measured:
        said = "was not verified" if found is None else "was verified without vectors of the new model"
        raise StateError(
            f"the upgrade of {gallery} {said}, so nothing is known of what searches will find; {verify}, or type "
            f"--unverified (unverified=True)"
        )
    if digest_of(manifest, shards[: found.shards]) != found.digest:
        raise StateError(
            f"the shards of {gallery} are others than those that were verified; {verify} again, or type --unverified "
            f"(unverified=True)"
        )
    later = sum(shard.rows for shard, _ in shards[found.shards :])
    if later:
        raise StateError(
            f"{later} rows of {gallery} were transformed after the verification; {verify} again, or type --unverified "
            f"(unverified=True)"
        )


def extended(manifest: Manifest, shards: Finished) -> Manifest:
    """The manifest whose verification covers shards that were just made too: by the transform that was verified."""
    if manifest.verified is None:
        return manifest
    verified = Verified(len(shards), digest_of(manifest, shards), manifest.verified.measured)
    return replace(manifest, verified=verified)
