"""The committed cases are what the Python runtime writes and does: made again they are equal, and it passes them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import compat_sdk.errors
from compat_sdk.bundle import Bundle, Graph
from compat_sdk.embedder import Embedder, graph_input
from compat_sdk.gallery import Gallery
from compat_sdk.images import Preprocessing, to_pixels
from compat_sdk.space import Embeddings, require_compatible
from tests.conformance.bundles import expected_of_zip
from tests.conformance.make import make
from tests.conformance.place import COMMITTED, cases, laid_out

_README = "README.md"
_MOST_BYTES = 1_700_000


def _array(name: str) -> NDArray[Any]:
    return np.asarray(np.load(COMMITTED / name, allow_pickle=False))


def _refused(case: dict[str, Any]) -> AbstractContextManager[object]:
    """What a case expects to be raised: exactly this class."""
    if "error" not in case:
        return nullcontext()
    kind = getattr(compat_sdk.errors, case["error"])
    return pytest.raises(kind, check=lambda error: type(error) is kind)


def test_made_again_the_cases_are_those_that_are_committed(tmp_path: Path) -> None:
    make(tmp_path)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    committed = {path.relative_to(COMMITTED) for path in COMMITTED.rglob("*") if path.is_file()} - {Path(_README)}
    assert made == committed, "run: python -m tests.conformance.make"
    for name in sorted(made):
        ours, theirs = (tmp_path / name).read_bytes(), (COMMITTED / name).read_bytes()
        if ours == theirs:
            continue
        # What Pillow and numpy round by the processor: a level of a resized pixel, and what is made of it.
        assert name.name.endswith(("-resized.npy", "-input.npy")), f"{name}: run: python -m tests.conformance.make"
        one, other = np.load(tmp_path / name), np.load(COMMITTED / name)
        assert one.dtype == other.dtype and np.abs(one.astype(np.float64) - other).max() <= (
            1 if one.dtype == np.uint8 else 0.02
        )
    assert sum((COMMITTED / name).stat().st_size for name in committed) < _MOST_BYTES


class _Recorded:
    """An engine that gives what a case says."""

    name = "recorded"

    def __init__(self, output: NDArray[np.float32], takes: NDArray[np.float32] | None = None) -> None:
        self.output, self.takes = output, takes

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.takes is not None:
            np.testing.assert_allclose(images, self.takes, atol=0.02)
        return self.output


@pytest.mark.parametrize("case", cases("bundles"))
def test_a_bundle_opens_or_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    path = COMMITTED / case["zip"] if "zip" in case else None
    if path is None:
        path = laid_out(tmp_path / "b", case["files"])
    with _refused(case):
        Embedder.load(path, engine=_Recorded(np.zeros((1, 8), np.float32)))
    if "opens" in case:
        bundle = Bundle.open(path)
        assert bundle.digest == case["opens"]["digest"] and sorted(bundle.manifest.files) == case["opens"]["files"]
        if bundle.form == "zip":
            assert expected_of_zip(path.read_bytes()) == case["opens"]


@pytest.mark.parametrize("case", cases("spaces"))
def test_a_space_may_be_searched_or_not(case: dict[str, Any]) -> None:
    with _refused(case):
        one = Embeddings(np.ones((1, 1), np.float32), case["space"], tuple(case["searches"]))
        require_compatible(one, case["gallery_space"])


@pytest.mark.parametrize("case", cases("preprocessing"))
def test_pixels_become_an_input_or_are_refused(case: dict[str, Any]) -> None:
    with _refused(case):
        preprocessing = Preprocessing.from_json(case["preprocessing"])
        pixels = to_pixels(_array(case["pixels"]), preprocessing)
        graph = Graph("onnx", "fp32", "model.onnx", layout=case["layout"], values=case["values"])
        fed = graph_input(pixels[None], preprocessing, graph)
    if "resized" in case:
        resized = _array(case["resized"])
        assert np.abs(pixels.astype(np.int16) - resized).max() <= 1
        exact = graph_input(resized[None], preprocessing, graph)
        assert exact.shape == _array(case["input"]).shape and np.array_equal(exact, _array(case["input"]))
        assert fed.dtype == np.float32


@pytest.mark.parametrize("case", cases("embeddings"))
def test_what_an_engine_gives_becomes_a_unit_vector_or_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    engine = _Recorded(_array(case["output"]), _array(case["input"]))
    embedder = Embedder.load(laid_out(tmp_path / "b", case["files"]), engine=engine)
    with _refused(case):
        vectors = embedder.embed(_array(case["pixels"])).vectors
    if "embedding" in case:
        np.testing.assert_allclose(vectors, _array(case["embedding"]), atol=1e-6)


@pytest.mark.parametrize("case", cases("galleries"))
def test_a_gallery_opens_and_is_searched_or_is_refused(case: dict[str, Any], tmp_path: Path) -> None:
    with _refused(case):
        gallery = Gallery.open(laid_out(tmp_path / "g", case["files"]))
        gallery.search(Embeddings(np.eye(1, gallery.dim, dtype=np.float32), gallery.space), 1, index="exact")
    if "opens" not in case:
        return
    told = case["opens"]
    info = gallery.info()
    assert all(info[name] == value for name, value in told.items() if name not in ("ids", "labels"))
    assert (list(gallery.ids), list(gallery.labels)) == (told["ids"], told["labels"])
    for search in case["searches"]:
        with _refused(search):
            query = Embeddings(_array(search["queries"]), search["space"], tuple(search["searches"]))
            hits = gallery.search(query, search["k"], index="exact")
        if "hits" in search:
            assert [[hit.id for hit in line] for line in hits] == [
                [hit["id"] for hit in line] for line in search["hits"]
            ]
            for found, expected in zip(hits, search["hits"], strict=True):
                np.testing.assert_allclose([hit.score for hit in found], [hit["score"] for hit in expected], atol=1e-6)
