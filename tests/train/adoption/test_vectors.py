"""A gallery model of which only vectors are known: matched to pictures by their ids, or refused."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compat_sdk.errors import CompatError, ConfigError, CorruptFileError, DataError, VectorError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from compat_train import Checkpoint, Wanted, adopt

NAMES = ("a/1.png", "a/2.png", "b/3.png", "b/4.png")
ROWS = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def table(path: Path, ids: Any = NAMES, vectors: Any = ROWS) -> str:
    np.savez(path, ids=np.array(ids), vectors=np.asarray(vectors))
    return f"vectors:{path}"


@pytest.mark.parametrize(
    "ids",
    [NAMES, [name[:-4] for name in NAMES], [Path(name).name for name in NAMES], [Path(name).stem for name in NAMES]],
    ids=["paths", "paths without endings", "names", "names without endings"],
)
def test_ids_are_matched_by_the_one_rule_that_fits(ids: Any, photos: Path, tmp_path: Path) -> None:
    done = adopt(table(tmp_path / "t.npz", ids), tmp_path / "run", Wanted(images=photos))
    assert done.proof is None
    found = Checkpoint.load(tmp_path / "run")
    unit = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    np.testing.assert_allclose(found.stored(["b/3.png", "a/1.png"]), unit[[2, 0]], rtol=1e-6)
    with pytest.raises(DataError, match=r"1 of 2 pictures \(such as 'c/9.png'\) have no vector"):
        found.stored(["a/1.png", "c/9.png"])
    with pytest.raises(ConfigError, match="embeds no new pictures"):
        found.build()


def test_ids_match_their_pictures_whatever_the_spelling_of_either(photos: Path, tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "a/Zoë.png") for form in ("NFC", "NFD"))
    (photos / "a/1.png").rename(photos / apart)
    adopt(table(tmp_path / "t.npz", [composed, *NAMES[1:]]), tmp_path / "run", Wanted(images=photos))
    found = Checkpoint.load(tmp_path / "run")
    np.testing.assert_array_equal(found.stored([composed, "b/3.png"]), found.stored([apart, "b/3.png"]))
    with pytest.raises(DataError, match="two Unicode spellings"):
        adopt(table(tmp_path / "u.npz", [composed, apart, *NAMES[2:]]), tmp_path / "run2", Wanted(images=photos))


def test_vectors_of_a_gallery_keep_its_space(photos: Path, tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", space="big-5-aaaaaaaaaaaa", dim=5)
    gallery.add(Embeddings(ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True), gallery.space), list(NAMES))
    done = adopt(f"vectors:{tmp_path / 'g'}", tmp_path / "run", Wanted(images=photos))
    assert done.checkpoint.space == "big-5-aaaaaaaaaaaa" and Checkpoint.load(tmp_path / "run").identity is None


def test_the_same_vectors_are_the_same_space_and_others_are_another(photos: Path, tmp_path: Path) -> None:
    tables = [table(tmp_path / f"{n}.npz", vectors=rows) for n, rows in enumerate((ROWS, ROWS, ROWS + 1))]
    spaces = [
        adopt(each, tmp_path / f"run{n}", Wanted(images=photos)).checkpoint.space for n, each in enumerate(tables)
    ]
    assert spaces[0] == spaces[1] != spaces[2]


def test_parquet_is_read_by_its_columns(photos: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    made = {"id": list(NAMES), "label": ["x"] * 4, "embedding": ROWS.tolist()}
    parquet.write_table(pyarrow.table(made), tmp_path / "t.parquet")
    found = adopt(f"vectors:{tmp_path / 't.parquet'}", tmp_path / "run", Wanted(images=photos)).checkpoint
    assert found.dim == 5
    for change, message in (
        ({"embedding": [*ROWS.tolist()[:3], None]}, "empty cells"),
        ({"embedding": [*ROWS.tolist()[:3], [1.0]]}, "unequal length"),
        ({"id": ["a", "b", "c", None]}, "empty cells"),
        ({"embedding": [1.0, 2.0, 3.0, 4.0]}, "one column of lists"),
    ):
        parquet.write_table(pyarrow.table(made | change), tmp_path / "t.parquet")
        with pytest.raises(CorruptFileError, match=message):
            adopt(f"vectors:{tmp_path / 't.parquet'}", tmp_path / "run", Wanted(images=photos))


@pytest.mark.parametrize(
    ("ids", "vectors", "error", "message"),
    [
        (["x", "y", "z", "w"], ROWS, DataError, "none of the 4 ids .*'x'.* is a picture"),
        (["a/1.png"] * 4, ROWS, DataError, "more than once"),
        (NAMES, np.where(np.eye(4, 5) > 0, np.nan, ROWS), VectorError, "NaN"),
        (NAMES, ROWS * np.array([[1], [0], [1], [1]]), VectorError, "norm zero"),
        (NAMES[:3], ROWS, CorruptFileError, "expected texts"),
        (NAMES, ROWS[:, 0], CorruptFileError, "expected texts"),
        (NAMES, ROWS.astype(int), CorruptFileError, "expected texts"),
    ],
)
def test_a_table_that_is_not_right_is_refused(
    ids: Any, vectors: Any, error: type[CompatError], message: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        adopt(table(tmp_path / "t.npz", ids, vectors), tmp_path / "run", Wanted(images=photos))
    assert not (tmp_path / "run").exists()


def test_pickles_are_never_read(photos: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", ids=np.array([{}, [], 1, 2], dtype=object), vectors=ROWS)
    with pytest.raises(CorruptFileError, match=r"no whole \.npz file"):
        adopt(f"vectors:{tmp_path / 't.npz'}", tmp_path / "run", Wanted(images=photos))


def test_what_is_missing_or_has_no_meaning_is_said(photos: Path, tmp_path: Path) -> None:
    source = table(tmp_path / "t.npz")
    for wanted, message in (
        (Wanted(), "needs --images"),
        (Wanted(images=tmp_path / "empty"), "empty"),
        (Wanted(images=photos, output="x"), "--output is about a network"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            adopt(source, tmp_path / "run", wanted)
    with pytest.raises(ConfigError, match=r"expected \.parquet, \.npz"):
        (tmp_path / "t.txt").write_text("a")
        adopt(f"vectors:{tmp_path / 't.txt'}", tmp_path / "run", Wanted(images=photos))


def test_two_pictures_of_one_name_are_not_matched_by_it(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "blue").save(photos / "b" / "1.png")
    source = table(tmp_path / "t.npz", [Path(name).name for name in NAMES])
    with pytest.raises(DataError, match="share a file name"):
        adopt(source, tmp_path / "run", Wanted(images=photos))
