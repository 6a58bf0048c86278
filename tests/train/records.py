"""Editing the record of a RUN, as somebody does who knows how it is sealed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compat_sdk.files.seal import sealed_json


def edit_record(path: Path, change: Mapping[str, Any], *, seal: bool = True) -> None:
    """Give fields of the model in a RUN's ``model.json`` other values.

    Args:
        path: The record.
        change: Values by name.
        seal: Make the digest anew; False leaves the old one, or none where there is none.
    """
    record = json.loads(path.read_text())
    record["model"] |= change
    if seal:
        record.pop("digest", None)
        path.write_bytes(sealed_json(record))
    else:
        path.write_text(json.dumps(record))
