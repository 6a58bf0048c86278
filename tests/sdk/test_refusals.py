"""What the system refused is named as that, with its own remedy; it is not called damage."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compat_sdk.bundle import Bundle, Trust
from compat_sdk.bundle.signature import PublicKey
from compat_sdk.datasets import check_dataset, open_dataset, own_rows
from compat_sdk.datasets.content import content_sha256
from compat_sdk.datasets.idx import read_idx
from compat_sdk.embedder import Embedder
from compat_sdk.errors import BundleError, ConfigError, CorruptFileError, SystemRefusedError
from compat_sdk.files.digests import file_problem
from compat_sdk.files.documents import read_json, write_json_atomic
from compat_sdk.gallery import Gallery
from compat_sdk.images import Preprocessing, decode_many, decode_readable, find_pictures, image_size, open_image
from tests.sdk.bundles import LinearEngine, make_bundle

REFUSALS = {
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "close some programs",
    errno.EACCES: "permission",
    errno.EIO: "check the disk",
    errno.ENOMEM: "free some memory",
    errno.ENOSPC: "make room",
    errno.ESTALE: "mount it again",
}


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Lets every opening of a file of this name fail with this error, as the system would."""

    def start(name: str, number: int) -> None:
        def failing(opened: Callable[..., Any]) -> Callable[..., Any]:
            def call(file: Any, *arguments: Any, **more: Any) -> Any:
                if Path(os.fspath(file) if not isinstance(file, int) else "").name == name:
                    raise OSError(number, os.strerror(number), os.fspath(file))
                return opened(file, *arguments, **more)

            return call

        monkeypatch.setattr(io, "open", failing(io.open))
        monkeypatch.setattr(os, "open", failing(os.open))  # the opener of `compat_sdk.files.plain.open_plain`

    return start


@pytest.mark.parametrize(("number", "remedy"), REFUSALS.items(), ids=map(errno.errorcode.get, REFUSALS))
@pytest.mark.parametrize("name", ["b.bundle/model.onnx", "b.bundle/manifest.json", "b.zip/b.zip"])
def test_a_bundle_that_the_system_does_not_read_is_not_called_damaged(
    tmp_path: Path, refuse: Callable[[str, int], None], name: str, number: int, remedy: str
) -> None:
    path = make_bundle(tmp_path / name.split("/")[0]).path
    refuse(name.split("/")[1], number)
    for load in (Bundle.open, lambda path: Embedder.load(path, engine=LinearEngine())):
        with pytest.raises(SystemRefusedError, match=remedy) as caught:
            load(path)
        assert caught.value.errno == number and "restore" not in str(caught.value)


def test_a_bundle_that_is_open_says_the_same_of_its_files(tmp_path: Path, refuse: Callable[[str, int], None]) -> None:
    bundles = [make_bundle(tmp_path / name) for name in ("b", "b.zip")]
    refuse("model.onnx", errno.EIO)
    refuse("b.zip", errno.EIO)
    for bundle in bundles:
        with pytest.raises(SystemRefusedError, match="check the disk"):
            bundle.read("model.onnx")


def test_a_folder_that_cannot_be_listed_is_the_systems_affair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle(tmp_path / "b").path

    def scandir(path: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), os.fspath(str(path)))

    monkeypatch.setattr("compat_sdk.bundle.folder.os.scandir", scandir)
    with pytest.raises(SystemRefusedError, match="ulimit"):
        Bundle.open(path)


def test_a_bundle_that_the_system_does_not_read_is_not_overwritten(
    tmp_path: Path, refuse: Callable[[str, int], None]
) -> None:
    bundle = make_bundle(tmp_path / "b")
    refuse("manifest.json", errno.EACCES)
    with pytest.raises(SystemRefusedError):
        make_bundle(bundle.path, overwrite=True)


def test_what_is_missing_or_no_file_is_still_the_files_own_fault(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Bundle.open(tmp_path / "gone")
    with pytest.raises(CorruptFileError):
        read_json(tmp_path / "gone.json")
    with pytest.raises(CorruptFileError):
        read_json(tmp_path)
    assert file_problem(tmp_path / "gone", {"bytes": 1, "sha256": ""}) is not None


@pytest.mark.parametrize(("number", "remedy"), REFUSALS.items(), ids=map(errno.errorcode.get, REFUSALS))
def test_records_keys_trust_files_and_data_are_refused_by_the_system_in_its_name(
    tmp_path: Path, refuse: Callable[[str, int], None], number: int, remedy: str
) -> None:
    path = tmp_path / "model.json"
    write_json_atomic(path, {"a": 1})
    record = {"bytes": path.stat().st_size, "sha256": "0" * 64}
    refuse("model.json", number)
    readers: tuple[Callable[[], object], ...] = (
        lambda: read_json(path),
        lambda: file_problem(path, record),
        lambda: PublicKey.read(path),
        lambda: Trust.read(path),
        lambda: read_idx(path, 1),
    )
    for read in readers:
        with pytest.raises(SystemRefusedError, match=remedy):
            read()


@pytest.mark.parametrize(("number", "remedy"), REFUSALS.items(), ids=map(errno.errorcode.get, REFUSALS))
def test_a_picture_that_the_system_does_not_read_is_no_damaged_picture(
    tmp_path: Path, refuse: Callable[[str, int], None], number: int, remedy: str
) -> None:
    for split in ("query", "gallery"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / split / "a" / "x.png")
    path, data = tmp_path / "query" / "a" / "x.png", open_dataset(tmp_path)
    query, gallery = data.split("query"), data.split("gallery")
    refuse("x.png", number)
    readers: tuple[Callable[[], object], ...] = (
        lambda: open_image(path),
        lambda: image_size(path),
        lambda: decode_many([path], Preprocessing(size=4)),
        lambda: check_dataset(data),
        lambda: content_sha256(data, ["query"]),
        lambda: own_rows(query, gallery),
    )
    for read in readers:
        with pytest.raises(SystemRefusedError, match=remedy) as caught:
            read()
        assert caught.value.errno == number


def test_skipping_what_cannot_be_read_does_not_skip_what_is_refused_to_all(
    tmp_path: Path, refuse: Callable[[str, int], None]
) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(path)
    refuse("x.png", errno.EACCES)
    _, read, errors = decode_readable([path, np.zeros((4, 4), np.uint8)], Preprocessing(size=4))
    assert read == [1] and "give this user permission" in errors[0].reason
    refuse("x.png", errno.EMFILE)
    with pytest.raises(SystemRefusedError, match="ulimit"):
        decode_readable([path], Preprocessing(size=4))


def test_too_little_memory_for_a_picture_is_no_fault_of_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")

    def full(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("compat_sdk.images.decode._decode", full)
    with pytest.raises(SystemRefusedError, match=r"refused to decode .*free some memory"):
        open_image(tmp_path / "x.png")


def test_a_folder_of_pictures_that_cannot_be_listed_is_the_systems_affair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def iterdir(path: Path) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), os.fspath(path))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(SystemRefusedError, match="ulimit"):
        find_pictures(tmp_path)


def test_a_signature_that_cannot_be_staged_is_not_called_a_forgery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("model_signing", exc_type=ImportError)
    from tests.sdk.signing import key_pair

    private, public = key_pair(tmp_path, "maker")
    gallery = Gallery.create(tmp_path / "g", space="tiny-8-aaaaaaaaaaaa", dim=8)
    gallery.sign(private)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone" / "away"))
    with pytest.raises((SystemRefusedError, FileNotFoundError)):
        Gallery.open(gallery.path, public_key=public)

    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/x")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(SystemRefusedError, match=r"refused to write .*make room"):
        Gallery.open(gallery.path, public_key=public)
    with pytest.raises(ConfigError, match="says nothing of files that are not compared"):
        Gallery.open(gallery.path, public_key=public, verify=False)
