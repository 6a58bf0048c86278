"""Native code reads an index file only if this user built it, or a trusted maker signed the gallery that it is in."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import ConfigError, ForeignIndexError, GalleryError, SystemRefusedError
from compat_sdk.gallery import Gallery, Where
from compat_sdk.gallery.release import Release, next_release
from compat_sdk.index import (
    KINDS,
    ApproximateIndex,
    ExactIndex,
    approximate,
    built_here,
    faiss_graph,
    faiss_lists,
    hnswlib_graph,
    usearch_graph,
)
from compat_sdk.space import Embeddings
from tests.sdk.signing import key_pair

SPACE = "tiny-8-aaaaaaaaaaaa"


def rows(count: int, seed: int = 0) -> Embeddings:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), SPACE)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's notes; another folder is another user's, or another machine's."""
    monkeypatch.setenv("COMPAT_SDK_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def indexed(tmp_path: Path) -> Gallery:
    pytest.importorskip("usearch")
    gallery = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    gallery.add(rows(40), [str(row) for row in range(40)])
    gallery.build_index()
    return Gallery.open(gallery.path)


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPAT_SDK_STATE", str(tmp_path / "of another user"))


def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on it fails the test if a library reads a file."""

    def read(*_: object, **__: object) -> None:
        pytest.fail("native code was given a file that was not built here")

    for library in (usearch_graph, hnswlib_graph, faiss_graph, faiss_lists):
        monkeypatch.setattr(library, "read", read)


# ---- the notes


def test_what_was_noted_is_known_and_nothing_else(state: Path) -> None:
    built_here.note(b"an index")
    assert built_here.was_built_here(hashlib.sha256(b"an index").hexdigest())
    assert not built_here.was_built_here(hashlib.sha256(b"another").hexdigest())
    assert not built_here.was_built_here("")
    assert [path.stat().st_mode & 0o777 for path in (state / "built").iterdir()] == [0o600]


def test_old_notes_are_forgotten_beyond_a_number(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built_here, "_MOST", 3)
    for number in range(5):
        built_here.note(b"%d" % number)
        path = state / "built" / hashlib.sha256(b"%d" % number).hexdigest()
        os.utime(path, ns=(number, number))
    assert len(list((state / "built").iterdir())) == 3
    assert built_here.was_built_here(hashlib.sha256(b"4").hexdigest())
    assert not built_here.was_built_here(hashlib.sha256(b"0").hexdigest())


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are other ones there")
def test_notes_that_others_may_write_are_refused(state: Path) -> None:
    built_here.note(b"an index")
    (state / "built").chmod(0o777)
    for act in (
        lambda: built_here.was_built_here(hashlib.sha256(b"an index").hexdigest()),
        lambda: built_here.note(b"another"),
        built_here.prepare,
    ):
        with pytest.raises(ConfigError, match="others may write to it"):
            act()


def test_a_state_folder_that_cannot_be_made_is_named_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    gallery.add(rows(4), list("abcd"))
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("COMPAT_SDK_STATE", str(tmp_path / "file"))
    monkeypatch.setattr(ApproximateIndex, "build", lambda *_, **__: pytest.fail("minutes of work for nothing"))
    with pytest.raises(SystemRefusedError, match="set COMPAT_SDK_STATE to a folder"):
        gallery.build_index()
    assert not gallery.info()["foreign_index"]


def test_the_folder_is_where_the_desktop_standard_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPAT_SDK_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    if os.name == "posix":
        assert built_here.prepare() == tmp_path / "xdg" / "compat-sdk" / "built"
        monkeypatch.setenv("XDG_STATE_HOME", "relative, which the standard says to pass over")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert built_here.prepare() == tmp_path / "home" / ".local" / "state" / "compat-sdk" / "built"


# ---- index files


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_file_of_another_user_or_a_changed_one_reaches_no_native_code(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(kind.partition("-")[0])
    vectors = rows(40).vectors

    def load(source: Path | bytes) -> ApproximateIndex:
        return ApproximateIndex.load(kind, source, 40, 8, lambda: ExactIndex(vectors))

    built = ApproximateIndex.build(kind, vectors)
    built.save(tmp_path / "graph")
    content = (tmp_path / "graph").read_bytes()
    assert len(load(content)) == 40
    forged = bytearray(content)
    forged[len(forged) // 2] ^= 1
    never(monkeypatch)
    for wrong in (bytes(forged), content[:-1], content + b"\0", b""):
        with pytest.raises(ForeignIndexError, match="did not build here"):
            load(wrong)
    elsewhere(monkeypatch, tmp_path)
    for source in (content, tmp_path / "graph"):
        with pytest.raises(ForeignIndexError):
            load(source)


# ---- galleries


def test_a_gallery_from_elsewhere_is_searched_exactly_and_says_so(
    indexed: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert indexed.info()["search"] == "usearch" and not indexed.info()["foreign_index"]
    elsewhere(monkeypatch, tmp_path)
    moved = Gallery.open(shutil.copytree(indexed.path, tmp_path / "moved"))
    never(monkeypatch)
    assert moved.info()["search"] == "exact" and moved.info()["foreign_index"]
    with pytest.warns(UserWarning, match=r"was not built here .* the exact scan answers; `compat-sdk index repair"):
        found = moved.search(rows(3), 5)
    assert found == moved.search(rows(3), 5, index="exact")  # and it is said once
    assert moved.verify() == []
    again = Gallery.open(moved.path)
    with pytest.warns(UserWarning, match="one is built in memory"):
        assert [hit.id for hit in again.search(rows(3), 1, index="usearch")[0]] == [found[0][0].id]


def test_a_forged_index_is_never_read_whatever_its_digests_say(
    indexed: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write the index can write its digest into gallery.json too."""
    from compat_sdk.files.atomic import write_atomic
    from compat_sdk.gallery import state as state_file

    path = next(indexed.path.glob("index-*"))
    forged = path.read_bytes()[:-8] + b"\xff" * 8
    path.write_bytes(forged)
    state = (indexed.path / "gallery.json").read_bytes()
    body = state_file.parse_state(indexed.path, state)
    assert body.index is not None
    old = body.index.file.sha256.encode()
    value = __import__("json").loads(state.replace(old, hashlib.sha256(forged).hexdigest().encode()))
    rest = {key: item for key, item in value.items() if key not in ("format", "version", "digest")}
    write_atomic(indexed.path / "gallery.json", state_file._render(rest))
    never(monkeypatch)
    gallery = Gallery.open(indexed.path)
    with pytest.warns(UserWarning, match="was not built here"):
        gallery.search(rows(3), 5)
    assert gallery.verify() == []


def test_repair_builds_an_index_from_elsewhere_again(
    indexed: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch, tmp_path)
    gallery = Gallery.open(indexed.path, verify=False)
    assert gallery.repair() == ["rebuilt the usearch index: it was not built here"]
    assert gallery.repair() == []
    opened = Gallery.open(indexed.path)
    assert opened.info()["search"] == "usearch"
    opened.search(rows(3), 5)


# ---- signed galleries


def test_a_signed_gallery_opens_with_the_key_and_its_index_is_used_elsewhere_too(
    indexed: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = key_pair(tmp_path, "maker")
    assert not Gallery.is_signed(indexed.path)
    indexed.sign(private)
    elsewhere(monkeypatch, tmp_path)
    moved = Gallery.open(shutil.copytree(indexed.path, tmp_path / "moved"), public_key=public)
    assert moved.info()["search"] == "usearch" and moved.info()["signed_by"] == str(public)
    moved.search(rows(3), 5, index="usearch")
    assert moved.verify() == []
    assert Gallery.open(moved.path).info()["foreign_index"]


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Gallery, Path]:
    private, public = key_pair(tmp_path, "maker")
    gallery = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    gallery.add(rows(4), list("abcd"))
    gallery.sign(private)
    return gallery, public


CHANGES: dict[str, Callable[[Gallery], object]] = {
    "add": lambda gallery: gallery.add(rows(1, 9), ["new"]),
    "remove": lambda gallery: gallery.remove(["a"]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_deletes_the_signature_and_says_so(
    signed: tuple[Gallery, Path], change: Callable[[Gallery], object]
) -> None:
    gallery, public = signed
    with pytest.warns(UserWarning, match="sign it again"):
        change(Gallery.open(gallery.path, public_key=public))
    assert not Gallery.is_signed(gallery.path)
    with pytest.raises(GalleryError, match="is not signed"):
        Gallery.open(gallery.path, public_key=public)


def test_what_is_kept_beside_the_rows_is_signed(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "maker")
    gallery = Gallery.create(tmp_path / "g", space=SPACE, dim=8)
    gallery.add(rows(2), ["a", "b"], payload=[{"price": 1}, {"price": 2}])
    gallery.sign(private)
    file, expected = gallery.path / "payload.jsonl", [{"price": 1}, {"price": 2}]
    whole = file.read_bytes()
    opened = Gallery.open(gallery.path, public_key=public)
    file.write_bytes(whole + b'{"id": "a", "payload": {"price": 9}}\n')  # of a writer that has not committed yet
    for one in (opened, Gallery.open(gallery.path, public_key=public)):
        assert one.get(["a", "b"]).payload == expected
        assert one.search(rows(1), 2, where=Where(payload={"price": 9})) == [[]]
    for wrong in (whole.replace(b"1}", b"9}"), whole[:-1], b""):
        file.write_bytes(wrong)
        with pytest.raises(GalleryError, match=r"payload\.jsonl does not begin with the \d+ bytes that were signed"):
            Gallery.open(gallery.path, public_key=public)
        with pytest.raises(GalleryError, match=r"payload\.jsonl does not begin"):
            opened.get(["a"])
        with pytest.raises(GalleryError, match=r"payload\.jsonl does not begin"):
            opened.search(rows(1), 2, where=Where(payload={"price": 9}))
    file.unlink()
    with pytest.raises(GalleryError, match=r"payload\.jsonl"):
        Gallery.open(gallery.path, public_key=public)
    assert Gallery.open(gallery.path).get(["a"]).payload == [{}]


def test_a_signature_without_the_payload_does_not_vouch_for_one(
    signed: tuple[Gallery, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, public = signed
    file = gallery.path / "payload.jsonl"
    file.write_bytes(b'{"id": "a", "payload": {"price": 9}}\n')
    assert Gallery.open(gallery.path, public_key=public).get(["a"]).payload == [{}]  # none was signed
    monkeypatch.setattr("compat_sdk.gallery.signing.payload_record", lambda _: None)  # as earlier commits signed
    gallery.sign(tmp_path / "maker.pem")
    with pytest.raises(GalleryError, match=r"does not cover its payload\.jsonl; sign it again"):
        Gallery.open(gallery.path, public_key=public)
    file.unlink()
    Gallery.open(gallery.path, public_key=public)


def test_the_release_is_signed(signed: tuple[Gallery, Path], tmp_path: Path) -> None:
    gallery, public = signed
    file = gallery.path / "release.json"
    was = file.read_bytes()
    file.write_bytes(Release("g", 9).to_bytes())
    with pytest.raises(GalleryError, match="valid signature"):
        Gallery.open(gallery.path, public_key=public)
    file.unlink()
    with pytest.raises(GalleryError, match=r"covers no release\.json"):
        Gallery.open(gallery.path, public_key=public)
    Gallery.open(gallery.path)
    file.write_bytes(was)
    Gallery.open(gallery.path, public_key=public)


@pytest.mark.parametrize("content", [b"{}", b"\xff", b'{"format": "x"}'])
def test_a_damaged_release_is_no_ground_to_count_from(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(GalleryError, match="sign the gallery again"):
        Release.parse(content, tmp_path / "release.json")
    (tmp_path / "release.json").write_bytes(content)
    with pytest.raises(GalleryError, match="sign the gallery again"):
        next_release(tmp_path, None, None, None, allow_older=False)


def test_releases_count_up_by_name_and_not_down(tmp_path: Path) -> None:
    def next_of(name: str | None = None, release: int | None = None, older: bool = False) -> Release:
        return next_release(tmp_path, name, release, None, allow_older=older)

    assert next_of() == Release(tmp_path.name, 1)
    (tmp_path / "release.json").write_bytes(Release("photos", 4).to_bytes())
    assert (next_of(), next_of("other"), next_of(release=4)) == (
        Release("photos", 5),
        Release("other"),
        Release("photos", 4),
    )
    with pytest.raises(ConfigError, match=r"release is 3, and .* release 4 of photos already"):
        next_of(release=3)
    assert next_of(release=3, older=True) == Release("photos", 3)
    for wrong in ({"name": "\x1b"}, {"name": "a", "release": 0}, {"name": "a", "expires": "soon"}):
        with pytest.raises(ConfigError):
            Release(**wrong)  # type: ignore[arg-type]


def test_a_call_that_changes_nothing_leaves_the_signature(signed: tuple[Gallery, Path]) -> None:
    gallery, public = signed
    assert gallery.remove(["nobody"]) == 0
    gallery.compact()
    assert len(Gallery.open(gallery.path, public_key=public)) == 4


def test_a_changed_gallery_another_key_and_an_old_signature_are_refused(
    signed: tuple[Gallery, Path], tmp_path: Path
) -> None:
    gallery, public = signed
    with pytest.raises(GalleryError, match="valid signature"):
        Gallery.open(gallery.path, public_key=key_pair(tmp_path, "stranger")[1])
    signature = (gallery.path / "signature.json").read_bytes()
    with pytest.warns(UserWarning, match="sign it again"):
        gallery.add(rows(1, 9), ["new"])
    (gallery.path / "signature.json").write_bytes(signature)
    with pytest.raises(GalleryError, match=r"made for other content of gallery\.json"):
        Gallery.open(gallery.path, public_key=public)


def test_rows_of_a_signed_gallery_are_compared_with_their_digests(signed: tuple[Gallery, Path]) -> None:
    gallery, public = signed
    path = next(gallery.path.glob("vectors-*"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(GalleryError, match="SHA-256"):
        Gallery.open(gallery.path, public_key=public)
    with pytest.raises(ConfigError, match="a signature says nothing of files that are not compared"):
        Gallery.open(gallery.path, public_key=public, verify=False)


def test_the_signature_of_a_gallery_is_checked_before_its_state_is_parsed(
    signed: tuple[Gallery, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, _ = signed

    def parse(*_: object) -> None:
        raise AssertionError("the state of a gallery that is not trusted was parsed")

    monkeypatch.setattr("compat_sdk.gallery.opening.parse_state", parse)
    with pytest.raises(GalleryError, match="valid signature"):
        Gallery.open(gallery.path, public_key=key_pair(tmp_path, "stranger")[1])


def test_a_link_or_a_pipe_in_the_place_of_a_signature_is_refused(signed: tuple[Gallery, Path], tmp_path: Path) -> None:
    gallery, public = signed
    (gallery.path / "signature.json").rename(tmp_path / "elsewhere.json")
    (gallery.path / "signature.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(GalleryError, match="no plain file"):
        Gallery.open(gallery.path, public_key=public)
    (gallery.path / "signature.json").unlink()
    os.mkfifo(gallery.path / "signature.json")
    with pytest.raises(GalleryError, match="no plain file"):
        Gallery.open(gallery.path, public_key=public)


def test_nobody_signs_an_index_of_someone_else_or_damaged_rows(
    indexed: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(indexed.path.glob("vectors-*"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(GalleryError, match="cannot be signed"):
        indexed.sign(tmp_path / "never-read.pem")
    path.write_bytes(whole)
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(GalleryError, match="index was not built here"):
        Gallery.open(indexed.path).sign(tmp_path / "never-read.pem")


def test_a_maker_may_be_limited_to_galleries(signed: tuple[Gallery, Path], tmp_path: Path) -> None:
    from tests.sdk.signing import trust_file

    gallery, public = signed
    maker = {"name": "A", "public_key": public.name}
    for roles, spaces, said in (
        (["query"], [SPACE], "of the role index"),
        (["index"], ["other-8-aaaaaaaaaaaa"], "of the space tiny"),
    ):
        with pytest.raises(GalleryError, match=said):
            Gallery.open(gallery.path, trust=trust_file(tmp_path, maker | {"roles": roles, "spaces": spaces}))
    limits = {"roles": ["index"], "spaces": [SPACE], "bundles": []}
    opened = Gallery.open(gallery.path, trust=trust_file(tmp_path, maker | limits))
    assert opened.info()["signed_by"] == "A"


def test_there_is_one_door_to_the_readers_of_native_code() -> None:
    """Every way to them goes through `ApproximateIndex.load`, which asks who built the file."""
    root = Path(approximate.__file__).parents[1]
    text = {path.name: path.read_text() for path in root.rglob("*.py")}
    native = ("graph.load(", ".restore(", "Index.metadata(", ".load_index(", "deserialize_index(", "faiss.read_index(")
    readers = {name for name, lines in text.items() if any(word in lines for word in native)}
    assert readers == {"usearch_graph.py", "hnswlib_graph.py", "faiss_file.py"}
    assert {name for name, lines in text.items() if "read_engine(" in lines} == {"engine.py", "approximate.py"}
    assert text["approximate.py"].count("read_engine(") == 1
