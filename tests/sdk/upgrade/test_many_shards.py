"""Upgrades of more shards than a process may open files, and frozen rows that rot between two runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import GalleryError
from compat_sdk.gallery import Gallery
from compat_sdk.upgrade import assembly
from tests.sdk.upgrade.toy import NEW, OLD, Toy, close, contents, expected, make

LIMITED = """
import resource, sys
from pathlib import Path
from compat_sdk import upgrade
from compat_sdk.gallery import Gallery
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
before = Gallery.open(path)
assert upgrade.cutover(path, unverified=True).rows == 1300
opened = Gallery.open(path)
assert opened.info()["segments"] <= 128 and opened.ids == before.ids and opened.labels == before.labels
opened.compact()
upgrade.rollback(path)
assert Gallery.open(path).ids == before.ids
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of open files are POSIX")
def test_a_cutover_of_more_shards_than_open_files_leaves_a_gallery_that_opens(tmp_path: Path) -> None:
    gallery, side = make(tmp_path, (1300,))
    before = contents(gallery)
    upgrade.run(gallery, Toy(), side=side, shard_rows=5, workers=1)
    subprocess.run([sys.executable, "-c", LIMITED, str(gallery)], check=True)
    assert contents(gallery) == before


def test_merged_shards_hold_what_single_ones_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MOST_SEGMENTS", 4)
    gallery, side = make(tmp_path, (40, 25))
    wanted = expected(gallery, side)
    labels = dict(zip(Gallery.open(gallery).ids, Gallery.open(gallery).labels, strict=True))
    upgrade.run(gallery, Toy(), side=side, shard_rows=7, workers=1)
    gone = ["image-0", "image-13", "image-14", "image-40", "image-64"]
    Gallery.open(gallery).remove(gone)
    upgrade.cutover(gallery, unverified=True)
    found = Gallery.open(gallery)
    assert found.space == NEW and found.verify() == [] and found.info()["segments"] == 4
    kept = [id for id in wanted if id not in gone]
    assert list(found.ids) == kept and list(found.labels) == [labels[id] for id in kept]
    close(found.vectors, np.stack([wanted[id] for id in kept]))


@pytest.mark.parametrize("kind", ["sources/vectors", "side/vectors", "sources/pairs"])
def test_frozen_rows_that_rot_between_two_runs_are_not_transformed(tmp_path: Path, kind: str) -> None:
    gallery, side = make(tmp_path, (40,))
    upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    shards = gallery / "upgrade" / "shards"
    for path in shards.iterdir():  # as if the first run had been stopped
        if "-00000000" not in path.name:
            path.unlink()
    folder, _, prefix = kind.partition("/")
    (frozen,) = (path for path in (gallery / "upgrade" / folder).iterdir() if path.name.startswith(prefix))
    data = bytearray(frozen.read_bytes())
    width = 8 if prefix == "pairs" else 4
    last, before = data[-width:], data[-2 * width : -width]
    data[-width:], data[-2 * width : -width] = before, last
    frozen.unlink()  # it has other names, which stay as they are
    frozen.write_bytes(data)
    with pytest.raises(GalleryError, match=r"SHA-256 .*; nothing was changed; restore the gallery"):
        upgrade.run(gallery, Toy(), side=side, shard_rows=10, workers=1)
    assert all("-00000000" in path.name for path in shards.iterdir()) and Gallery.open(gallery).space == OLD
