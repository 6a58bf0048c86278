"""What commands say of a space, and of a right to search that nothing shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_cli.app import main
from compat_sdk.certificate import Accuracy, Certificate
from compat_sdk.gallery import Gallery
from compat_sdk.identity import Identity
from compat_sdk.space import Embeddings
from tests.golden.files import HERE
from tests.sdk.bundles import DIM, PREPROCESSING, make_bundle, onnx_graph
from tests.sdk.certificates import certificate

IDENTITY = Identity("ab" * 32, "tiny", DIM, PREPROCESSING)
GALLERY = "big-8-0123456789abcdef"
SHOWN = certificate(IDENTITY.space, GALLERY)


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main([*map(str, words)])
    found = capsys.readouterr()
    return int(leaving.value.code or 0), found.out, found.err


def bundle(path: Path, *shown: Certificate) -> Path:
    return make_bundle(
        path, onnx_graph(), space=IDENTITY.space, identity=IDENTITY, searches=(GALLERY, "new-8-1"), certificates=shown
    ).path


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """One row in the space that the bundle declares."""
    vectors = np.eye(1, DIM, dtype=np.float32)
    Gallery.create(tmp_path / "gallery", space=GALLERY, dim=DIM).add(Embeddings(vectors, GALLERY), ["a"])
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    return tmp_path / "gallery"


def test_info_tells_each_gallery_space_that_is_shown_from_one_that_is_only_declared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = bundle(tmp_path / "b", SHOWN)
    text = said(capsys, "bundle", "info", path)[1]
    assert f"space: {IDENTITY.space} (a digest of everything that decides a vector)\n" in text
    assert f"  {GALLERY}: shown by an evaluation on sample (990 queries, 5000 images): M(q,g) 75.0, M(q,q) 70.0" in text
    assert "  new-8-1: declared, not shown by an evaluation\n" in text
    found = json.loads(said(capsys, "bundle", "info", path, "--json")[1])
    assert found["searches"] == [GALLERY, "new-8-1"] and found["certificates"] == [SHOWN.to_json()]
    assert (found["space_covers"], found["identity"]) == ("all", IDENTITY.to_json())


def test_info_marks_what_0_7_made(capsys: pytest.CaptureFixture[str]) -> None:
    golden = HERE / "0.7"
    assert (
        "(an old space: it covers the weights only)" in said(capsys, "bundle", "info", golden / "bundles/h.bundle")[1]
    )
    assert (
        "(a chosen name, or a digest of the weights only)"
        in said(capsys, "index", "info", golden / "galleries/plain")[1]
    )


def test_a_search_whose_right_is_shown_says_nothing_and_another_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gallery: Path
) -> None:
    failed = Accuracy(0.7, 0.8, 0.9, 0.6)
    shown = {
        "shown": (SHOWN,),
        "declared": (),
        "failed": (Certificate(**{**vars(SHOWN), "query_gallery": failed}),),
    }
    for name, certificates in shown.items():
        path = bundle(tmp_path / name, *certificates)
        words = ("search", gallery, tmp_path / "red.png", "--model", path, "--threads", 1, "--json")
        code, out, err = said(capsys, *words)
        assert code == 0 and json.loads(out)["certified"] == (name == "shown")
        assert len(json.loads(out)["hits"][0]) == 1
        assert err.count("\n") == (name != "shown") and ("rule M(q,g) > M(q,q) failed" in err) == (name == "failed")
        code, out, err = said(capsys, *words, "--require-certificate")
        assert (code, out != "") == ((0, True) if name == "shown" else (3, False)), err


def test_a_model_may_search_its_own_space_without_a_certificate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gallery: Path
) -> None:
    own = Gallery.create(tmp_path / "own", space=IDENTITY.space, dim=DIM)
    own.add(Embeddings(np.eye(1, DIM, dtype=np.float32), IDENTITY.space), ["a"])
    words = ("search", own.path, tmp_path / "red.png", "--model", bundle(tmp_path / "b"), "--threads", 1)
    code, _, err = said(capsys, *words, "--require-certificate")
    assert (code, err) == (0, "")
