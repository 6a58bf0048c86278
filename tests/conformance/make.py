"""Write the cases that every runtime passes, sdk/conformance, with the Python runtime.

    python -m tests.conformance.make [FOLDER]

`tests/conformance/test_cases.py` makes them again and compares. sdk/conformance/README.md says what they mean.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.conformance import bundles, embeddings, galleries, pixels, spaces
from tests.conformance.place import COMMITTED, Place

KINDS = (bundles, spaces, pixels, embeddings, galleries)


def make(folder: Path) -> None:
    """Write all cases into a folder; what was there, but for its README.md, goes."""
    for old in folder.iterdir() if folder.exists() else ():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != "README.md":
            old.unlink()
    for kind in KINDS:
        kind.write(Place(folder))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else COMMITTED)
