"""`compat-sdk gallery` and `search` with conditions: what is printed, and what is never printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compat_cli import main, pictures
from compat_cli.filling import fill
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.remote import RemoteGallery
from compat_sdk.space import Embeddings
from tests.cli.test_origins import MeanColour, camera

UNIT = np.eye(4, dtype=np.float32)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.savez("t.npz", ids=np.array(["a", "b", "c", "d"]), vectors=2 * UNIT, labels=np.array(["x", "x", "y", ""]))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


def test_vectors_go_in_and_out_and_say_so(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "gallery", "info", "t.npz", "--json")
    assert code == 0 and json.loads(out) == {
        "source": "t.npz", "rows": 4, "dim": 4, "space": None, "distance": None, "ids": "string",
    }  # fmt: skip
    assert "rows: 4 of 4 numbers, ids are strings" in run(capsys, "gallery", "info", "t.npz")[1]
    code, out, err = run(capsys, "gallery", "import", "t.npz", "--space", "s-4", "--out", "g")
    assert (code, out) == (1, "") and "--lengths drop" in err and not Path("g").exists()
    words = ("gallery", "import", "t.npz", "--space", "s-4", "--lengths", "keep", "--dtype", "float16", "--out", "g")
    code, out, err = run(capsys, *words, "--json")
    facts = json.loads(out)
    assert (code, facts["rows"], facts["space"], facts["dtype"], facts["labels"]) == (0, 4, "s-4", "float16", 2)
    assert "importing: 4/4" in err
    code, out, err = run(capsys, "gallery", "export", "g", "--to", "o.npz")
    assert code == 0 and out.startswith("o.npz: 4 rows in space s-4, SHA-256 ")
    np.testing.assert_allclose(np.load("o.npz")["vectors"], 2 * UNIT, atol=1e-2)
    Gallery.open("g").add(Embeddings(UNIT[:1], "s-4"), ["e"], payload=[{"price": 1}])
    code, out, err = run(capsys, "gallery", "export", "g", "--to", "p.npz", "--json")
    assert json.loads(out)["left_out"] == ["payload"] and "note: p.npz holds no payload" in err
    assert "s-4" in run(capsys, "index", "info", "g")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gallery", "import", "t.npz", "--out", "g"), "tell it, as --space"),
        (("gallery", "import", "t.npz", "--space", "s", "--out", "g", "--ids", "x.txt"), "--ids means nothing to npz"),
        (("gallery", "import", "t.npz", "--space", "s", "--out", "g", "--no-payload"), "--no-payload means nothing"),
        (
            ("gallery", "import", "t.npz", "--space", "s", "--out", "g", "--payload", "x", "--no-payload"),
            "give one of them",
        ),
        (("gallery", "import", "t.npz", "--space", "s", "--out", "g", "--lengths", "any"), "refuse, drop, keep"),
        (("gallery", "export", "t.npz", "--to", "o.npz"), "tell it, as --space"),
        (("gallery", "info", "nowhere.npz"), "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(
    table: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "") and said in err and len(err) < 320 and not Path("g").exists()


ADDRESS = "qdrants://s3cret@127.0.0.1:1/photos"


@pytest.mark.parametrize(
    "words",
    [
        ("gallery", "info", ADDRESS),
        ("gallery", "import", ADDRESS, "--out", "g"),
        ("gallery", "import", "t.npz", "--space", "s", "--lengths", "drop", "--out", ADDRESS),
        ("gallery", "export", "g0", "--to", ADDRESS),
        ("gallery", "export", ADDRESS, "--to", "o.npz"),
        ("index", "info", ADDRESS),
        ("index", "info", ADDRESS, "--json"),
        ("index", "verify", ADDRESS),
        ("index", "remove", ADDRESS, "a"),
        ("index", "compact", ADDRESS),
        ("index", "repair", ADDRESS),
        ("index", "build", "--model", "none", "--images", ".", "--out", ADDRESS),
        ("search", ADDRESS, "t.npz", "--model", "none"),
        ("upgrade", "plan", ADDRESS, "--transform", "none"),
        ("upgrade", "run", ADDRESS, "--transform", "none"),
        ("upgrade", "cutover", ADDRESS),
        ("upgrade", "rollback", ADDRESS),
        ("evaluate", "--data", ADDRESS, "--query", ADDRESS, "--gallery", ADDRESS),
        ("data", "info", ADDRESS),
        ("bundle", "info", ADDRESS),
        ("no-such-command", ADDRESS),
        ("search", "g0", "t.npz", "--model", "none", "--no-such-option", ADDRESS),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_no_command_prints_the_key_of_an_address(
    table: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_client")
    Gallery.create("g0", space="s-4", dim=4)
    code, out, err = run(capsys, *words)
    assert "s3cret" not in out + err and "Traceback" not in err
    assert code != 0 and not Path("qdrants:").exists()


def test_a_search_takes_conditions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "open_model", lambda *_, **__: _Certain())
    camera(tmp_path / "asked", "r")
    made = Gallery.create(tmp_path / "g", space="toy-3", dim=3)
    vectors = np.eye(3, dtype=np.float32)
    made.add(Embeddings(vectors, "toy-3"), ["1", "2", "3"], ["x", "y", "y"], payload=[{"n": 1}, {"n": "1"}, {"n": 2}])
    asked = ("search", tmp_path / "g", tmp_path / "asked", "--model", "any", "--json")

    def found(*more: str) -> list[str]:
        code, out, err = run(capsys, *asked, *more)
        assert code == 0, err
        return sorted(hit["id"] for hit in json.loads(out)["hits"][0])

    assert found() == ["1", "2", "3"] and found("--label", "y") == ["2", "3"]
    assert found("--label", "y", "--label", "x") == ["1", "2", "3"]
    assert found("--where", "n=1") == ["1"] and found("--where", 'n="1"') == ["2"]
    assert found("--where", "n=1", "--where", "n=2") == ["1", "3"] and found("--where", "n=[1") == []
    code, _, err = run(capsys, *asked, "--where", "n")
    assert code == 2 and "expected FIELD=VALUE" in err
    code, _, err = run(capsys, *asked, "--space", "other-3")
    assert code == 1 and "told as other-3" in err


def test_pictures_are_added_to_a_collection_as_to_a_folder(tmp_path: Path) -> None:
    module = pytest.importorskip("qdrant_client")
    from compat_sdk.stores.addresses import QdrantAddress
    from compat_sdk.stores.qdrant import Collection

    made = Collection(module.QdrantClient(":memory:"), QdrantAddress("photos"))
    made.create(3, "cosine")
    made.finish("toy-3")
    wanted = camera(tmp_path / "anna", "rgb")
    assert fill(RemoteGallery(made), MeanColour(), wanted, lambda *_: None) == 3
    assert fill(RemoteGallery(made), MeanColour(), wanted, lambda *_: None) == 0


class _Certain(MeanColour):
    certificates = ()
