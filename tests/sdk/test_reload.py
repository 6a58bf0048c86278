"""A gallery that stays open while others write, and goes over to what they wrote when it is told to."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from compat_sdk import upgrade
from compat_sdk.errors import GalleryError, IncompatibleSpaceError
from compat_sdk.gallery import Gallery, opening
from compat_sdk.gallery.files import StoredFile
from compat_sdk.space import Embeddings
from tests.sdk.signing import key_pair
from tests.sdk.upgrade.toy import NEW, OLD, Toy, make, vectors


def test_a_reload_shows_what_others_wrote_and_says_whether_anything_changed(tmp_path: Path) -> None:
    path, _ = make(tmp_path)
    served, late = Gallery.open(path), Embeddings(vectors(1, 16, 9), OLD)
    assert not served.reload()
    Gallery.open(path).add(late, ["late"])
    assert served.search(late, k=1)[0][0].id != "late"
    assert served.reload() and not served.reload()
    assert served.search(late, k=1)[0][0].id == "late" and len(served) == 66
    Gallery.open(path).remove(["late"])
    assert served.reload() and len(served) == 65


def test_a_reload_compares_the_digests_of_new_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = make(tmp_path)
    served = Gallery.open(path)
    known = {segment.vectors.name for segment in served._snapshot.state.segments}
    Gallery.open(path).add(Embeddings(vectors(1, 16, 9), OLD), ["late"])
    compared, compare = list[str](), opening.problem_with

    def watched(folder: Path, file: StoredFile) -> str | None:
        compared.append(file.name)
        return compare(folder, file)

    monkeypatch.setattr(opening, "problem_with", watched)
    assert served.reload()
    assert len([name for name in compared if name.startswith("vectors")]) == 1 and not known & set(compared)


def test_after_a_cutover_a_reload_goes_over_to_the_new_space(tmp_path: Path) -> None:
    path, side = make(tmp_path)
    served = Gallery.open(path)
    query = Embeddings(np.array(served.vectors[:1]), OLD)
    upgrade.run(path, Toy(), side=side, workers=1)
    upgrade.cutover(path, unverified=True)
    assert served.search(query)[0][0].id == "image-0"
    assert served.reload() and (served.space, served.dim) == (NEW, 24)
    with pytest.raises(IncompatibleSpaceError):
        served.search(query)


def test_a_damaged_state_is_refused_and_the_one_before_goes_on_to_serve(tmp_path: Path) -> None:
    path, _ = make(tmp_path)
    served, query = Gallery.open(path), Embeddings(vectors(1, 16, 3), OLD)
    before = served.search(query)
    state = path / "gallery.json"
    state.write_bytes(state.read_bytes().replace(b'"rows": 40', b'"rows": 41'))
    with pytest.raises(GalleryError, match=r"gallery\.json"):
        served.reload()
    assert served.search(query) == before


def test_whose_signature_was_required_must_have_signed_the_present_state_too(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "maker")
    path, _ = make(tmp_path)
    Gallery.open(path).sign(private)
    served = Gallery.open(path, public_key=public)
    with pytest.warns(UserWarning, match="was signed"):
        Gallery.open(path).remove(["image-0"])
    with pytest.raises(GalleryError, match="not signed"):
        served.reload()
    assert len(served) == 65
    Gallery.open(path).sign(private)
    assert served.reload() and len(served) == 64


def test_searches_beside_reloads_and_a_writer_see_whole_states(tmp_path: Path) -> None:
    path, _ = make(tmp_path)
    served, query = Gallery.open(path, verify=False), Embeddings(vectors(1, 16, 3), OLD)
    failures, stop = list[BaseException](), threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                assert len(served.search(query, k=100)[0]) in range(65, 76)
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=search)
    reader.start()
    writer = Gallery.open(path)
    for number in range(10):
        writer.add(Embeddings(vectors(1, 16, 100 + number), OLD), [f"late-{number}"])
        served.reload()
    stop.set()
    reader.join()
    assert failures == [] and len(served) == 75
