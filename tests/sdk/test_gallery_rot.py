"""Bytes that rotted, and a system that refuses to open files: neither may be taken for the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.errors import GalleryError, SystemRefusedError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings

SPACE = "toy-8"


def rows(count: int, seed: int) -> Embeddings:
    vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), SPACE)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Two segments, of 8 and 2 rows."""
    made = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    made.add(rows(8, 0), [f"a{number}" for number in range(8)])
    made.add(rows(2, 1), ["b0", "b1"])
    assert made.info()["segments"] == 2
    return made


def rot(path: Path) -> None:
    """Exchange the first two numbers of the last row: still a unit vector, but another."""
    data = bytearray(path.read_bytes())
    data[-32:-28], data[-28:-24] = data[-28:-24], data[-32:-28]
    path.write_bytes(data)


@pytest.mark.parametrize("change", ["compact", "remove", "add", "build_index"])
def test_no_change_gives_rotten_vectors_a_fresh_digest(gallery: Gallery, change: str) -> None:
    if change == "build_index":
        pytest.importorskip("usearch")
    opened = Gallery.open(gallery.path)
    for segment in opened._snapshot.state.segments:
        rot(gallery.path / segment.vectors.name)
    before = {path.name: path.read_bytes() for path in gallery.path.iterdir()}
    changes = {
        "compact": opened.compact,
        "remove": lambda: opened.remove(["a3"]),
        "add": lambda: opened.add(rows(30, 2), [f"c{number}" for number in range(30)]),
        "build_index": lambda: opened.build_index(threads=1),
    }
    with pytest.raises(GalleryError, match=r"SHA-256 .*; nothing was changed; restore the gallery"):
        changes[change]()
    assert {path.name: path.read_bytes() for path in gallery.path.iterdir()} == before


def test_segments_that_are_not_rewritten_need_not_be_read(gallery: Gallery) -> None:
    opened = Gallery.open(gallery.path)
    rot(gallery.path / opened._snapshot.state.segments[0].vectors.name)
    opened.remove(["b0"])
    with pytest.raises(GalleryError, match="SHA-256"):
        Gallery.open(gallery.path)


@pytest.mark.parametrize("place", range(10, 118, 3))
def test_a_flipped_bit_in_the_header_of_a_vector_file_is_one_sentence(gallery: Gallery, place: int) -> None:
    path = gallery.path / gallery._snapshot.state.segments[0].vectors.name
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)
    problems = Gallery(gallery.path, gallery._snapshot, False).verify()
    assert len(problems) == 1 and len(problems[0]) < 400 and "\n" not in problems[0]
    with pytest.raises(GalleryError):
        Gallery.open(gallery.path, verify=False).search(rows(1, 0))
        Gallery.open(gallery.path)


LIMITED = """
import json, resource, sys
from compat_sdk.gallery import Gallery
from compat_sdk.errors import CompatError
path, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
found = []
for step in (lambda: Gallery.open(path), lambda: Gallery.compact_folder(path), lambda: Gallery.open(path)):
    try:
        found.append(len(step() or ()))
    except CompatError as error:
        found.append(type(error).__name__ + ": " + str(error))
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of open files are POSIX")
def test_too_many_open_files_are_no_damage_and_can_be_merged(tmp_path: Path) -> None:
    made = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    for number in range(60, 0, -1):  # ever smaller, so that none absorbs the one before
        made.add(rows(number, number), [f"{number}-{row}" for row in range(number)])
    assert made.info()["segments"] == 60
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(made.path), "40"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    refused, compacted, rows_after = json.loads(done.stdout)
    assert refused.startswith("SystemRefusedError: ") and "60 vector files" in refused and "index compact" in refused
    assert (compacted, rows_after) == (0, 1830)
    again = Gallery.open(made.path)
    assert again.ids == made.ids and again.info()["segments"] == 1 and again.verify() == []
    np.testing.assert_array_equal(again.vectors, made.vectors)


@pytest.mark.parametrize("suffix", ["vectors", "rows", "gallery"])
def test_what_the_system_refuses_is_named_as_that(
    gallery: Gallery, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(opened: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, *arguments: Any, **more: Any) -> Any:
            path = Path(file)
            if path.name.startswith(suffix) and path.suffix != ".lock":
                raise OSError(24, "Too many open files", str(path))
            return opened(file, *arguments, **more)

        return call

    monkeypatch.setattr(Path, "open", refusing(Path.open))
    monkeypatch.setattr(os, "open", refusing(os.open))  # the opener of `compat_sdk.files.plain.open_plain`
    with pytest.raises(
        SystemRefusedError, match=r"Too many open files; close some files|more than the system lets this process open"
    ):
        Gallery.open(gallery.path)
