"""The zip form: one form of bytes, and everything else refused before any content is looked at."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.bundle import Bundle
from compat_sdk.bundle import bundle as bundle_module
from compat_sdk.bundle.archive import ZipFiles, zip_bytes
from compat_sdk.bundle.records import record_of
from compat_sdk.embedder import Embedder
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.files.documents import indented_json
from tests.sdk.bundles import LinearEngine, golden, make_bundle

NAMES = [
    "MODEL_CARD.md",
    "golden/embeddings.npy",
    "golden/images.npy",
    "golden/inputs.npy",
    "golden/pictures/00.png",
    "manifest.json",
    "model.onnx",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.bundle.zip").path


def contents_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(path: Path, extra: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a bundle and more of them, under a manifest that lists them all."""
    contents = contents_of(path) | extra
    manifest = Bundle.open(path).manifest
    records = {name: record_of(data) for name, data in contents.items() if name != "manifest.json"}
    return contents | {"manifest.json": indented_json(dataclasses.replace(manifest, files=records).to_json())}


def entry(name: str, **changes: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.create_system = 3
    for field, value in changes.items():
        setattr(info, field, value)
    return info


def archive_of(path: Path, contents: dict[str, bytes], *more: tuple[zipfile.ZipInfo, bytes]) -> None:
    """Written by Python's zipfile, which makes what it is told."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(contents):
            archive.writestr(entry(name), contents[name])
        for info, data in more:
            archive.writestr(info, data, compress_type=info.compress_type)


# ---- one form


def test_both_forms_are_the_same_bundle(path: Path, tmp_path: Path) -> None:
    folder, packed = make_bundle(tmp_path / "tiny"), Bundle.open(path)
    assert (folder.form, packed.form) == ("folder", "zip")
    assert packed.manifest == folder.manifest and not packed.signed
    assert packed.path == path
    assert packed.read("model.onnx") == folder.read("model.onnx")
    for found, expected in zip(packed.golden(), golden(), strict=True):
        assert np.array_equal(found, expected)
    assert Embedder.load(path, engine=LinearEngine()).self_test().min_cosine > 0.9999


def test_the_same_bundle_gives_the_same_bytes_by_every_route(path: Path, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny")
    folder.copy_to(tmp_path / "packed.zip")
    Bundle.open(path).copy_to(tmp_path / "unpacked").copy_to(tmp_path / "again.zip")
    copies = {(tmp_path / name).read_bytes() for name in ("packed.zip", "again.zip")}
    assert copies == {path.read_bytes()}
    for name in NAMES:
        assert (tmp_path / "unpacked" / name).read_bytes() == (folder.path / name).read_bytes()


def test_the_bytes_of_a_zip_are_those_of_every_release() -> None:
    data = zip_bytes({"model.onnx": b"graph", "manifest.json": b"{}", "a/Data/com.apple.CoreML/w.bin": bytes(300)})
    assert hashlib.sha256(data).hexdigest() == "f0fdf04fd0c4b8c8d3e5c15df8d0ceb41afb6e90a140103467b74968856d6958"


def test_any_zip_tool_reads_a_packed_bundle(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == NAMES
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert (info.compress_type, info.external_attr >> 16) == (zipfile.ZIP_STORED, stat.S_IFREG | 0o644)


def test_a_zip_is_known_by_its_content_and_may_be_reached_through_a_link(path: Path, tmp_path: Path) -> None:
    path.rename(tmp_path / "download")
    (tmp_path / "current").symlink_to(tmp_path / "download")
    assert Bundle.open(tmp_path / "current").form == "zip"


def test_a_zip_that_zipfile_writes_in_the_same_form_is_read(path: Path, tmp_path: Path) -> None:
    archive_of(tmp_path / "other.zip", contents_of(path))
    assert (tmp_path / "other.zip").read_bytes() == path.read_bytes()


# ---- damage


@pytest.mark.parametrize("mask", [0x01, 0x20])
def test_a_flipped_byte_is_refused_in_every_header_and_throughout_the_content(path: Path, mask: int) -> None:
    original = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        headers = [range(info.header_offset, info.header_offset + 60) for info in archive.infolist()]
        positions = {*range(archive.start_dir, len(original)), *range(0, len(original), 61)}
    for position in sorted(positions.union(*headers)):
        damaged = bytearray(original)
        damaged[position] ^= mask
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            Bundle.open(path)


def test_a_zip_that_is_cut_anywhere_is_refused(path: Path) -> None:
    original = path.read_bytes()
    for length in range(0, len(original), 29):
        path.write_bytes(original[:length])
        with pytest.raises(BundleError, match="not a bundle"):
            Bundle.open(path)


def test_damage_is_found_before_any_parser_sees_the_content(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*arguments: object, **options: object) -> None:
        raise AssertionError("a damaged file was parsed")

    contents = contents_of(path)
    images = contents["golden/images.npy"]
    path.write_bytes(zip_bytes(contents | {"golden/images.npy": images[:-1] + bytes([images[-1] ^ 1])}))
    monkeypatch.setattr(np, "load", parse)
    with pytest.raises(BundleError, match=r"golden/images.npy has SHA-256"):
        Bundle.open(path)


def test_a_zip_that_changes_after_opening_is_refused(path: Path) -> None:
    opened = Bundle.open(path)
    make_bundle(path, graph=b"another", overwrite=True)
    with pytest.raises(BundleError, match="changed since"):
        opened.read("model.onnx")


# ---- malice: what the entries are


@pytest.mark.parametrize(
    "name",
    [
        "../outside.bin",
        "model/../../outside.bin",
        "/etc/outside.bin",
        "C:/outside.bin",
        "C:outside.bin",
        "model\\outside.bin",
        "\\\\server\\outside.bin",
        "weights\n.bin",
        "weights\x7f.bin",
        "wéights.bin",
        "./weights.bin",
        ".hidden",
        "weights.bin.",
        "nul.bin",
        "Manifest.json",
    ],
)
def test_an_entry_name_that_is_not_plain_is_refused_and_named(path: Path, name: str, tmp_path: Path) -> None:
    archive_of(path, contents_of(path), (entry(name), b"x"))
    with pytest.raises(BundleError, match=r"entry .*not a plain relative file name") as refused:
        Bundle.open(path)
    assert name.encode("ascii", "backslashreplace").decode()[-4:] in str(refused.value) or "\\" in str(refused.value)
    assert sorted(found.name for found in tmp_path.iterdir()) == [path.name]


def test_a_nul_in_an_entry_name_is_refused(path: Path) -> None:
    archive_of(path, contents_of(path), (entry("model.onnx_.txt"), b"x"))
    path.write_bytes(path.read_bytes().replace(b"model.onnx_.txt", b"model.onnx\0.txt"))
    with pytest.raises(BundleError, match=r"model\.onnx\\x00\.txt.*not a plain relative file name"):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (entry("weights/"), "'weights/' is a folder"),
        (entry("weights.bin", external_attr=(stat.S_IFLNK | 0o777) << 16), "'weights.bin' is a link"),
        (entry("weights.bin", external_attr=(stat.S_IFIFO | 0o644) << 16), "'weights.bin' is a special file"),
        (entry("weights.bin", external_attr=(stat.S_IFCHR | 0o644) << 16), "'weights.bin' is a special file"),
        (entry("weights.bin", external_attr=0o100755 << 16), "'weights.bin' has a date, flags, attributes"),
        (entry("weights.bin", external_attr=0o104644 << 16), "'weights.bin' has a date, flags, attributes"),
        (entry("weights.bin", date_time=(2026, 1, 1, 0, 0, 0)), "'weights.bin' has a date, flags, attributes"),
        (entry("weights.bin", compress_type=zipfile.ZIP_DEFLATED), r"compressed \(method 8\)"),
        (entry("weights.bin", compress_type=zipfile.ZIP_BZIP2), r"compressed \(method 12\)"),
        (entry("weights.bin", compress_type=zipfile.ZIP_LZMA), r"compressed \(method 14\)"),
        (entry("weights.bin", extra=struct.pack("<HHB", 0x7075, 1, 1)), "'weights.bin' has extra fields"),
        (entry("weights.bin", comment=b"hello"), "'weights.bin' has extra fields or a comment"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_entry_that_is_no_plain_stored_file_is_refused(path: Path, info: zipfile.ZipInfo, message: str) -> None:
    archive_of(path, contents_of(path), (info, b"" if info.filename.endswith("/") else bytes(100)))
    with pytest.raises(BundleError, match=message):
        Bundle.open(path)


def test_a_name_that_comes_twice_is_refused_also_in_another_case(path: Path) -> None:
    for name, message in (("model.onnx", "model.onnx"), ("model.ONNX", "upper and lower case")):
        archive_of(path, contents_of(make_bundle(path, overwrite=True).path))
        contents = contents_of(path)
        placeholder = {"model.onny": b"second"}
        archive_of(path, contents | placeholder)
        path.write_bytes(path.read_bytes().replace(b"model.onny", name.encode()))
        with pytest.raises(BundleError, match=message):
            Bundle.open(path)
        make_bundle(path.with_name("fresh.zip")).path.replace(path)


def test_a_file_that_is_another_ones_folder_is_refused(path: Path) -> None:
    archive_of(path, contents_of(path), (entry("model.onnx/weights"), b"x"))
    with pytest.raises(BundleError, match="a file and a folder at once"):
        Bundle.open(path)


def test_a_compression_bomb_is_refused_without_unpacking_it(path: Path) -> None:
    contents = contents_of(path)
    bomb = entry("weights.bin", compress_type=zipfile.ZIP_DEFLATED)
    archive_of(path, contents, (bomb, bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    assert peak_of_refusal(path, "compressed") < 2_000_000


# ---- malice: what the headers say


def patch(path: Path, name: str, field: int, value: bytes, *, where: str = "both") -> None:
    """Overwrite a header field of one entry, given by its offset in the local header."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        local = archive.getinfo(name).header_offset
    central = data.rindex(name.encode()) - 46
    if where in ("both", "local"):
        data[local + field : local + field + len(value)] = value
    if where in ("both", "central"):
        data[central + field + 2 : central + field + 2 + len(value)] = value
    path.write_bytes(data)


def peak_of_refusal(path: Path, message: str) -> int:
    """Most bytes held by Python while a bundle is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=message):
            Bundle.open(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


FLAGS, METHOD, DATE, CRC, PACKED, SIZE = 6, 8, 12, 14, 18, 22


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (FLAGS, b"\x01\x00", "'model.onnx' is encrypted"),
        (FLAGS, b"\x41\x00", "'model.onnx' is encrypted"),
        (FLAGS, b"\x08\x00", "'model.onnx' has a date, flags"),
        (FLAGS, b"\x00\x08", "'model.onnx' has a date, flags"),
        (METHOD, b"\x63\x00", r"'model.onnx' is compressed \(method 99\)"),
        (DATE, b"\x22\x00", "'model.onnx' has a date"),
        (CRC, b"\0\0\0\0", r"model.onnx has CRC-32"),
        (SIZE, b"\xff\xff\xff\x7f", "'model.onnx' has .* bytes in the archive but 2147483647 unpacked"),
        (PACKED, b"\xff\xff\xff\x7f" * 2, "end at byte"),
        (PACKED, b"\xff\xff\xff\xff" * 2, "zip64"),
        (PACKED, b"\1\0\0\0" * 2, "end at byte"),
    ],
)
def test_a_header_that_lies_is_refused_in_little_memory(path: Path, field: int, value: bytes, message: str) -> None:
    patch(path, "model.onnx", field, value)
    assert peak_of_refusal(path, message) < 2_000_000


@pytest.mark.parametrize("where", ["local", "central"])
@pytest.mark.parametrize(("field", "value"), [(FLAGS, b"\x02"), (CRC, b"\1"), (SIZE, b"\1"), (DATE, b"\2")])
def test_an_entry_that_its_two_headers_describe_differently_is_refused(
    path: Path, field: int, value: bytes, where: str
) -> None:
    patch(path, "model.onnx", field, value, where=where)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Bundle.open(path)


def test_an_entry_under_another_name_at_its_own_place_is_refused(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"model.onnx", b"other.onnx", 2).replace(b"other.onnx", b"model.onnx", 1))
    with pytest.raises(BundleError):
        Bundle.open(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\0",
        lambda data: data + data,
        lambda data: b"\0" + data,
        lambda data: b"#!/bin/sh\n" + data,
        lambda data: data[:-2] + b"\5\0hello",
        lambda data: data[:-22] + b"PK\6\7" + bytes(16) + data[-22:],
        lambda data: data[:-22] + b"PK\5\6" + data[-18:-14] + b"\xff" * 12 + b"\0\0",
        lambda data: data[:-22] + data[-22:-18] + b"\1\0" + data[-16:],
        lambda data: data[:-14] + b"\3\0\3\0" + data[-10:],
        lambda data: data[:-14] + b"\3\0" + data[-12:],
    ],
    ids=[
        "trailing byte", "twice", "leading byte", "leading script", "comment", "zip64 locator", "zip64 end",
        "second disk", "one entry hidden", "counts differ",
    ],
)  # fmt: skip
def test_anything_around_the_entries_is_refused(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BundleError):
        Bundle.open(path)


def rebuilt(path: Path, order: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> None:
    """Put the entries of a zip (local part, directory record) together anew, with offsets that fit."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        end = archive.start_dir
    data = path.read_bytes()
    starts = [info.header_offset for info in infos] + [end]
    locals_ = [data[begin:stop] for begin, stop in itertools.pairwise(starts)]
    records, at = [], end
    for info in infos:
        records.append(data[at : at + 46 + len(info.filename)])
        at += 46 + len(info.filename)
    body, directory = b"", b""
    pairs = order(list(zip(locals_, records, strict=True)))
    for local, record in pairs:
        directory += record[:42] + struct.pack("<I", len(body)) + record[46:]
        body += local
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(pairs), len(pairs), len(directory), len(body), 0)
    path.write_bytes(body + directory + tail)


def test_entries_are_refused_out_of_order_twice_and_with_gaps(path: Path) -> None:
    original = path.read_bytes()
    rebuilt(path, lambda pairs: pairs)
    assert path.read_bytes() == original
    rebuilt(path, lambda pairs: pairs[::-1])
    with pytest.raises(BundleError, match="order of their names"):
        Bundle.open(path)
    path.write_bytes(original)
    rebuilt(path, lambda pairs: [*pairs, pairs[-1]])
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Bundle.open(path)
    path.write_bytes(original)
    rebuilt(path, lambda pairs: [(pairs[0][0] + b"gap", pairs[0][1]), *pairs[1:]])
    with pytest.raises(BundleError, match="leave a gap"):
        Bundle.open(path)


def test_overlapping_entries_are_refused(path: Path) -> None:
    """As in a quoted-overlap bomb: a second record that points at the place of the first."""
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        end = archive.start_dir
    record = data[-22 - 46 - len("model.onnx") : -22]
    directory = data[end:-22] + record
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 5, 5, len(directory), end, 0)
    path.write_bytes(data[:end] + directory + tail)
    with pytest.raises(BundleError, match=r"'model\.onnx' begins at byte .* overlap"):
        Bundle.open(path)


def test_a_directory_of_more_entries_than_any_bundle_has_is_not_read(path: Path) -> None:
    with pytest.raises(ConfigError, match="10000 files"):
        zip_bytes({f"f{number}": b"" for number in range(10_001)})
    directory = bytes(5 << 20)
    path.write_bytes(directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 9, 9, len(directory), 0, 0))
    assert peak_of_refusal(path, "never needs so many") < 1_000_000


# ---- malice: what the manifest says


def test_entries_and_manifest_must_list_the_same_files(path: Path) -> None:
    contents = contents_of(path)
    path.write_bytes(zip_bytes(contents | {"extra.bin": b""}))
    with pytest.raises(BundleError, match=r"does not list.*extra\.bin"):
        Bundle.open(path)
    path.write_bytes(zip_bytes({name: data for name, data in contents.items() if name != "model.onnx"}))
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        Bundle.open(path)
    path.write_bytes(zip_bytes({name: data for name, data in contents.items() if name != "manifest.json"}))
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        Bundle.open(path)
    path.write_bytes(zip_bytes(contents | {"model.onnx": bytes(10_000_000)}))
    assert peak_of_refusal(path, r"model\.onnx has 10000000 bytes, expected") < 2_000_000


def test_a_manifest_beyond_the_size_limit_is_not_parsed(path: Path) -> None:
    path.write_bytes(zip_bytes(contents_of(path) | {"manifest.json": b" " * (5 << 20)}))
    with pytest.raises(BundleError, match="larger than"):
        Bundle.open(path)


def test_archives_and_pickles_inside_are_refused_even_when_listed(path: Path) -> None:
    inner = zip_bytes({"a.bin": b"1"})
    for name, data in {"inner.bin": inner, "inner.zip": b"x", "tail.bin": b"x" + inner, "w.pt": b"x"}.items():
        make_bundle(path, overwrite=True)
        path.write_bytes(zip_bytes(sealed(path, {name: data})))
        with pytest.raises(BundleError, match=rf"{name} is a pickle or an archive"):
            Bundle.open(path)


# ---- writing


def test_a_failure_at_any_step_leaves_the_old_zip(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = path.read_bytes()

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    for owner, name in ((Path, "replace"), (bundle_module.os, "fsync"), (ZipFiles, "chunks")):
        with monkeypatch.context() as change:
            change.setattr(owner, name, fail)
            with pytest.raises(OSError, match="No space"):
                make_bundle(path, graph=b"new", overwrite=True)
        assert path.read_bytes() == old
        assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert make_bundle(path, graph=b"new", overwrite=True).read("model.onnx") == b"new"
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_what_is_replaced_must_be_a_bundle_of_the_same_form(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists; choose another"):
        make_bundle(path)
    (tmp_path / "photos.zip").write_bytes(zip_bytes({"manifest.json": b"{}"}))
    (tmp_path / "folder.zip").mkdir()
    path.rename(tmp_path / "no-suffix")
    (tmp_path / "link.zip").symlink_to(tmp_path / "no-suffix")
    for name in ("photos.zip", "folder.zip", "no-suffix", "link.zip"):
        with pytest.raises(ConfigError, match="is not a bundle"):
            make_bundle(tmp_path / name, overwrite=True)
    assert Bundle.open(tmp_path / "no-suffix").form == "zip"
