"""Names of files that are no UTF-8, as archives of other systems leave them: refused at once, or worked with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_cli import main
from compat_sdk.datasets import Split, divide
from compat_sdk.datasets.shuffle import shuffled
from compat_sdk.errors import ConfigError
from compat_sdk.exchange import import_gallery
from compat_sdk.gallery import Gallery
from compat_sdk.shown import as_unicode

ODD = os.fsdecode(b"Zo\xeb")


def identities(root: Path, names: int = 6, pictures: int = 3) -> Path:
    for name in range(names):
        (root / f"p{name}").mkdir(parents=True)
        for number in range(pictures):
            Image.new("RGB", (4, 4), (40 * name, 80 * number, 9)).save(root / f"p{name}" / f"{number}.png")
    return root


def moved(path: Path, name: str) -> Path:
    try:
        return path.rename(path.with_name(name))
    except OSError:
        pytest.skip("this file system has names in Unicode only")


def ended(*words: object) -> object:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def test_a_text_is_stored_as_it_is_or_by_its_bytes() -> None:
    assert as_unicode("Zoë \x1b") == "Zoë \x1b"
    assert as_unicode(ODD) == r"Zo\udceb"


@pytest.mark.parametrize("what", ["picture", "folder"])
def test_a_division_refuses_a_path_that_no_manifest_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    photos = identities(tmp_path / "photos")
    photos = moved(photos, ODD) if what == "folder" else moved(photos / "p0" / "0.png", f"{ODD}.png").parents[1]
    assert ended("data", "split", photos, "--out", tmp_path / "d") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no valid UTF-8" in error and "rename it" in error
    assert not (tmp_path / "d").exists()


def test_a_division_takes_a_folder_beside_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identities(tmp_path / "photos")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    written = divide("../photos").write(Path("d"))
    assert str(tmp_path / "photos" / "p0") in written.read_text()
    assert ended("data", "info", "d") == 0


def test_a_training_is_refused_before_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    data = moved(identities(tmp_path / "data"), ODD)
    assert ended("train", "gallery", "--data", data, "--arch", "resnet18", "--out", tmp_path / "run") == 2
    assert "no valid UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_settings_that_no_record_holds_are_refused() -> None:
    pytest.importorskip("torch")
    from compat_train.config.parts import Source
    from compat_train.config.query import QueryConfig
    from compat_train.config.settings import config_to_json

    with pytest.raises(ConfigError, match=r"data is .*no valid UTF-8"):
        config_to_json(Source(data=ODD))
    chain = QueryConfig(source=Source(data="x"), gallery="g", method="dmu", through=("h", ODD), embedded_by="g")
    with pytest.raises(ConfigError, match=r"through is .*no valid UTF-8"):
        config_to_json(chain)


def test_undecodable_ids_are_drawn_like_others() -> None:
    pytest.importorskip("torch")
    from compat_train.data.held_out import hold_out

    assert sorted(shuffled([ODD, "a", "b"], 1)) == sorted([ODD, "a", "b"])
    assert shuffled("abcd", 1) == ["d", "a", "b", "c"]  # as before
    kept, held = hold_out(Split("train", np.zeros((2, 4, 4), np.uint8), ("x", "y"), (ODD, "b")), 1)
    assert sorted(kept.ids + held.ids) == sorted([ODD, "b"])


def test_vectors_of_an_undecodable_file_become_a_gallery(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    source = moved(tmp_path / "v.npy", f"{ODD}.npy")
    made = import_gallery(source, tmp_path / "g", space="s")
    assert len(made) == 3 and made.model["name"] == r"Zo\udceb.npy"


def test_a_gallery_notes_a_model_of_any_path(tmp_path: Path) -> None:
    from compat_cli.commands import index

    class Model:
        name, space, dim = "m", "s-1", 2

    photos = identities(tmp_path / "photos", 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index.pictures, "open_model", lambda *_, **__: Model())
        patch.setattr(index, "_fill_and_say", lambda *_, **__: None)
        assert ended("index", "build", "--model", ODD, "--images", photos, "--out", tmp_path / "g") == 0
    assert Gallery.open(tmp_path / "g").model["path"] == as_unicode(ODD)


@pytest.mark.parametrize("name", [ODD, "写真\u3000データ", "a\nb", "x" * 300, ""])
def test_a_certificate_names_any_dataset(name: str) -> None:
    pytest.importorskip("torch")
    from compat_train.evaluation.certify import _printable

    shown = _printable(name)
    assert 1 <= len(shown) <= 200 and shown.isprintable()
