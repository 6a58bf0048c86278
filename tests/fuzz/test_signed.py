"""Mutants of signatures and of what they are of; skipped where the library of signatures is not installed."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from compat_sdk.bundle import Bundle
from compat_sdk.bundle.writing import sign_bundle
from compat_sdk.gallery import Gallery
from tests.fuzz.engine import Fuzz, Tally
from tests.fuzz.reader import Case, Reader
from tests.sdk.bundles import make_bundle
from tests.sdk.signing import key_pair

_MUTANTS = 20
_SECONDS = float(os.environ.get("COMPAT_FUZZ_SECONDS", "0"))
_WORDS = (b"payload", b"signatures", b'"sig"', b"{", b"[" * 3000, b"null", b"\xff")


def test_a_mutant_of_a_signature_or_of_what_is_signed_is_refused(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "maker")
    made = make_bundle(tmp_path / "bundle")
    sign_bundle(made.path, private)
    gallery = Gallery.create(tmp_path / "gallery", space="toy-8", dim=8)
    gallery.sign(private)

    def bundle(folder: Path, target: str) -> object:
        return Bundle.open(folder, public_key=public).manifest

    def opened(folder: Path, target: str) -> object:
        return Gallery.open(folder, public_key=public).info() | {"path": ""}

    signed = tuple(Case(made.path, name) for name in ("signature.json", "manifest.json", "model.onnx"))
    kept = tuple(Case(gallery.path, name) for name in ("signature.json", "gallery.json"))
    draw = random.Random(17)
    for reader in (
        Reader("signature", bundle, signed, True, words=_WORDS),
        Reader("signed gallery", opened, kept, True, words=_WORDS),
    ):
        fuzz, tally = Fuzz(reader, tmp_path / "work"), Tally()
        until = time.monotonic() + _SECONDS
        while tally.mutants < _MUTANTS or time.monotonic() < until:
            fuzz.try_one(draw, tally)
        assert not tally.faults
        assert tally.refused
