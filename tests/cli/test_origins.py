"""A gallery knows which file each of its rows came from."""

from __future__ import annotations

import os
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_cli import main, pictures
from compat_cli.filling import fill
from compat_cli.origins import Origins
from compat_sdk.errors import ConfigError
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.remote import RemoteGallery
from compat_sdk.images import Preprocessing, decode_many
from compat_sdk.space import Embeddings


class MeanColour:
    """A model whose vectors tell pictures apart by their mean colour."""

    name, space, dim, preprocessing = "mean", "toy-3", 3, Preprocessing(size=8)
    stored = None

    def embed(self, images: object) -> Embeddings:
        means = decode_many(images, self.preprocessing).mean(axis=(1, 2), dtype=np.float64) + 1.0  # type: ignore[arg-type]
        vectors = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
        return Embeddings(vectors.reshape(-1, 3), self.space)


def camera(folder: Path, colours: str) -> pictures.Pictures:
    folder.mkdir(exist_ok=True)
    for number, colour in enumerate(colours):
        Image.new("RGB", (8, 8), {"r": "red", "g": "green", "b": "blue"}[colour]).save(folder / f"IMG_{number}.png")
    return pictures.from_folder(folder)


def filled(gallery: Gallery, wanted: pictures.Pictures, **more: bool) -> int:
    return fill(gallery, MeanColour(), wanted, lambda *_: None, **more)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery.create(tmp_path / "g", space="toy-3", dim=3)
    assert filled(made, camera(tmp_path / "anna", "rgb")) == 3
    return made


def test_the_same_pictures_are_left_alone_also_when_they_were_copied(gallery: Gallery, tmp_path: Path) -> None:
    assert filled(gallery, pictures.from_folder(tmp_path / "anna")) == 0
    shutil.copytree(tmp_path / "anna", tmp_path / "copy")
    os.utime(tmp_path / "copy" / "IMG_0.png", (1, 1))
    assert filled(gallery, pictures.from_folder(tmp_path / "copy")) == 0


def test_other_pictures_of_the_same_names_are_refused_and_told_apart_by_a_prefix(
    gallery: Gallery, tmp_path: Path
) -> None:
    ben = camera(tmp_path / "ben", "ggg")
    with pytest.raises(ConfigError, match=r"2 pictures have an id .* such as IMG_0.png; .*--prefix"):
        filled(gallery, ben)
    assert filled(gallery, ben.renamed("ben/")) == 3 and len(gallery) == 6


def test_a_replaced_picture_is_embedded_again_where_that_is_wanted(gallery: Gallery, tmp_path: Path) -> None:
    before = dict(zip(gallery.ids, gallery.vectors, strict=True))
    wanted = camera(tmp_path / "anna", "bgb")
    assert filled(gallery, wanted, replace=True) == 1
    after = dict(zip(gallery.ids, gallery.vectors, strict=True))
    np.testing.assert_array_equal(after["IMG_0.png"], before["IMG_2.png"])
    np.testing.assert_array_equal(after["IMG_1.png"], before["IMG_1.png"])
    assert filled(gallery, wanted) == 0


def test_a_torn_note_is_passed_over_and_written_on(gallery: Gallery, tmp_path: Path) -> None:
    note = gallery.path / "origins.jsonl"
    note.write_bytes(note.read_bytes()[:-20])
    wanted = pictures.from_folder(tmp_path / "anna")
    assert Origins(gallery.path).others(wanted.ids, wanted.images) == []
    assert filled(gallery, camera(tmp_path / "anna", "rgbr")) == 1
    assert Origins(gallery.path).others(("IMG_3.png",), (tmp_path / "anna" / "IMG_0.png",)) == []
    assert Origins(gallery.path).others(("IMG_3.png",), (tmp_path / "anna" / "IMG_1.png",)) == [0]


def test_unreadable_pictures_cost_nothing_the_second_time_either(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "anna" / "zz.png").write_bytes(b"bad")
    for _ in range(2):
        assert filled(gallery, pictures.from_folder(tmp_path / "anna"), skip_unreadable=True) == 0


def test_a_label_that_changed_alone_is_refused_or_taken_in_the_place_of_the_old(
    gallery: Gallery, tmp_path: Path
) -> None:
    wanted = replace(pictures.from_folder(tmp_path / "anna"), labels=("", "shoe", "bag"))
    assert filled(gallery, wanted, replace=True) == 2
    labels = dict(zip(gallery.ids, gallery.labels, strict=True))
    assert labels == {"IMG_0.png": "", "IMG_1.png": "shoe", "IMG_2.png": "bag"}
    other = replace(wanted, labels=("", "shoe", "b\nag"))
    with pytest.raises(ConfigError, match=r"1 pictures have another label .* IMG_2.png with 'bag'; .* --replace"):
        filled(gallery, other)
    assert filled(gallery, replace(wanted, labels=("", "", ""))) == 0  # nothing is known: no other label
    assert dict(zip(gallery.ids, gallery.labels, strict=True)) == labels
    assert filled(gallery, other, replace=True) == 1 and filled(gallery, other) == 0


def test_the_same_pictures_are_known_however_their_names_are_spelled(gallery: Gallery, tmp_path: Path) -> None:
    for form, folder in (("NFD", "mac"), ("NFC", "linux")):
        place = tmp_path / folder / unicodedata.normalize(form, "Zoë")
        place.mkdir(parents=True)
        shutil.copy(tmp_path / "anna" / "IMG_0.png", place / unicodedata.normalize(form, "é.png"))
    mac, linux = (pictures.from_folder(tmp_path / name) for name in ("mac", "linux"))
    assert mac.ids != linux.ids and mac.labels == linux.labels == ("Zoë",)
    assert filled(gallery, mac) == 1 and filled(gallery, linux.spelled_as(gallery.ids)) == 0
    run = ("index", "remove", str(gallery.path))
    with pytest.raises(SystemExit) as left:
        main([*run, linux.ids[0], "no such id"])
    assert not left.value.code and len(Gallery.open(gallery.path)) == 3


def test_an_id_that_is_not_there_is_told(gallery: Gallery, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["index", "remove", str(gallery.path), "IMG_0.png", "a\nb"])
    told = capsys.readouterr()
    assert r"warning: 1 of 2 ids are not in the gallery, such as a\nb" in told.err
    assert told.out == "removed 1; 2 images remain\n"


def test_a_collection_knows_too_which_file_a_row_came_from(tmp_path: Path) -> None:
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    models = pytest.importorskip("qdrant_client").models
    client.create_collection("c", vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE))
    made = RemoteGallery.of_client(client, "c", space="toy-3")
    anna = camera(tmp_path / "anna", "rgb")
    assert filled(made, anna) == 3 and filled(made, anna) == 0
    with pytest.raises(ConfigError, match=r"2 pictures have an id .*--prefix"):
        filled(made, camera(tmp_path / "ben", "rbg"))
    Image.new("RGB", (8, 8), "green").save(tmp_path / "anna" / "IMG_0.png")
    assert filled(made, pictures.from_folder(tmp_path / "anna"), replace=True) == 1
    assert np.allclose(made.get(["IMG_0.png"]).vectors, MeanColour().embed([tmp_path / "anna" / "IMG_0.png"]).vectors)
    assert made.get(["IMG_0.png"]).payload == [{}]  # the note is nobody else's


def test_a_gallery_in_parts_knows_it_too(gallery: Gallery, tmp_path: Path) -> None:
    Gallery.create(tmp_path / "new", space="toy-3", dim=3)
    whole = Gallery.open([tmp_path / "g", tmp_path / "new"])
    assert filled(whole, camera(tmp_path / "carl", "rgbr")) == 1  # three are the first part's, by their bytes
    with pytest.raises(ConfigError, match="2 pictures have an id"):
        filled(whole, camera(tmp_path / "ben", "rbgr"))
    assert filled(whole, camera(tmp_path / "ben", "rbgb"), replace=True) == 3
    assert Gallery.open(tmp_path / "new").ids == ("IMG_1.png", "IMG_2.png", "IMG_3.png")
    assert filled(whole, camera(tmp_path / "ben", "rbgb")) == 0  # what the first part knows of two of them is past
