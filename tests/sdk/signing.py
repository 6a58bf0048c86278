"""Key pairs and trust files for tests of signatures; a test is skipped where model-signing is not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def key_pair(folder: Path, name: str, curve: str = "SECP256R1") -> tuple[Path, Path]:
    """Private and public PEM file, as the openssl commands in the help make them."""
    pytest.importorskip("model_signing", exc_type=ImportError)
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(getattr(ec, curve)())
    private, public = folder / f"{name}.pem", folder / f"{name}-public.pem"
    pem = form.Encoding.PEM
    private.write_bytes(key.private_bytes(pem, form.PrivateFormat.TraditionalOpenSSL, form.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def trust_file(folder: Path, *makers: dict[str, Any], name: str = "trust.json", **rest: Any) -> Path:
    """A trust file of these makers."""
    (folder / name).write_text(json.dumps({"makers": list(makers), **rest}))
    return folder / name
