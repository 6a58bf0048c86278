"""`compat-sdk serve`: what it answers, what it refuses, and what a request may cost."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compat_sdk import errors
from compat_sdk.embedder import Embedder
from compat_sdk.gallery import Gallery
from compat_sdk.images import limit_pixels
from compat_sdk.space import Embeddings
from tests.golden.files import HERE
from tests.sdk.bundles import DIM, LinearEngine, make_bundle, picture

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
from starlette.testclient import TestClient

from compat_cli.serving import service as service_module
from compat_cli.serving.desk import Desk, Limits, RequestError
from compat_cli.serving.listen import bind, url
from compat_cli.serving.searcher import Searcher
from compat_cli.serving.service import is_loopback, make_service

LIMITS = Limits(max_bytes=100_000, timeout=60.0, at_once=2, waiting=2)
SPACE = "big-8-bbbbbbbbbbbb"


def rows(count: int, seed: int = 0, space: str = SPACE) -> Embeddings:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), space)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder.load(make_bundle(tmp_path_factory.mktemp("serve") / "query.bundle"), engine=LinearEngine())


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery.create(tmp_path / "photos.gallery", space=SPACE, dim=DIM)
    made.add(rows(20), [f"{row}.jpg" for row in range(20)], [f"label {row % 3}" for row in range(20)])
    return made


@pytest.fixture
def searcher(embedder: Embedder, gallery: Gallery) -> Searcher:
    return Searcher(embedder, gallery.path)


@pytest.fixture
def client(searcher: Searcher) -> Iterator[TestClient]:
    hosts = ("testserver", "localhost")
    service = make_service(searcher, LIMITS, hosts=hosts, origins=("http://kiosk",), refresh=0)
    with TestClient(service, raise_server_exceptions=False) as found:
        yield found


def test_a_picture_finds_what_the_library_finds(client: TestClient, embedder: Embedder, gallery: Gallery) -> None:
    found = client.post("/search?k=3", content=picture())
    assert found.status_code == 200
    wanted = gallery.search(embedder.embed(picture()), 3)[0]
    told = [(hit["id"], hit["label"], pytest.approx(hit["score"], abs=1e-6)) for hit in found.json()["hits"]]
    assert told == [(hit.id, hit.label, hit.score) for hit in wanted]
    assert set(found.json()["milliseconds"]) == {"decode", "embed", "search"} and found.json()["generation"] == 1
    assert len(client.post("/search", content=picture()).json()["hits"]) == 10


def test_an_id_that_is_no_unicode_is_found_too(searcher: Searcher, gallery: Gallery) -> None:
    gallery.remove(gallery.ids)
    gallery.add(rows(1), ["\udcff é.jpg"])
    assert searcher.refresh()
    with TestClient(make_service(searcher, LIMITS, refresh=0)) as client:
        assert client.post("/search", content=picture()).json()["hits"][0]["id"] == "\udcff é.jpg"


def test_labels_say_what_may_be_found(client: TestClient) -> None:
    found = client.post("/search?label=label+1&label=label+2&k=20", content=picture()).json()["hits"]
    assert len(found) == 13 and {hit["label"] for hit in found} == {"label 1", "label 2"}
    assert client.post("/search?label=none", content=picture()).json()["hits"] == []


def test_a_picture_becomes_the_vector_that_the_library_gives(client: TestClient, embedder: Embedder) -> None:
    told = client.post("/embed", content=picture(), headers={"content-type": "image/png"}).json()
    wanted = embedder.embed(picture())
    np.testing.assert_allclose(told["vector"], wanted.vectors[0], atol=1e-6)
    assert (told["space"], told["searches"]) == (wanted.space, list(wanted.searches))


def test_health_and_info_say_what_answers(client: TestClient) -> None:
    assert client.get("/health").json() == {
        "ready": True,
        "space": SPACE,
        "rows": 20,
        "generation": 1,
        "refused": None,
    }
    told = client.get("/info").json()
    assert told["limits"] == {"max_bytes": 100_000, "timeout": 60.0, "at_once": 2, "waiting": 2}
    assert told["engine"] == "linear" and told["gallery"]["rows"] == 20 and not told["certified"]
    assert "path" not in told["gallery"]


def test_the_document_has_every_address_and_what_each_refuses(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/search", "/embed", "/health", "/info"}
    refusal = {"$ref": "#/components/schemas/Refusal"}
    for path in ("/search", "/embed"):
        post = document["paths"][path]["post"]
        assert post["requestBody"]["content"]["image/*"]["schema"]["format"] == "binary"
        answers = post["responses"]
        assert {"400", "408", "409", "413", "415", "422", "500", "503"} == set(answers) - {"200"}
        assert all(answers[code]["content"]["application/json"]["schema"] == refusal for code in set(answers) - {"200"})
    assert (
        client.get("/docs").status_code == client.get("/redoc").status_code == 404
    )  # they load scripts from elsewhere


def huge() -> bytes:
    """A PNG of few bytes and many pixels."""
    file = io.BytesIO()
    Image.new("1", (4000, 4000)).save(file, "PNG")
    return file.getvalue()


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "nothing": ({"url": "/search"}, 422, "ImageError", "it is empty"),
    "no picture": ({"url": "/search", "content": b"<svg>"}, 422, "ImageError", "expected JPEG, PNG"),
    "half a picture": ({"url": "/embed", "content": picture()[:200]}, 422, "ImageError", "cannot read image"),
    "many pixels": ({"url": "/search", "content": huge()}, 422, "ImageError", "decompression bombs"),
    "many bytes": ({"url": "/search", "content": bytes(100_001)}, 413, "RequestError", "more than 100,000 bytes"),
    "a form": ({"url": "/search", "files": {"a": picture()}}, 415, "RequestError", "bytes alone"),
    "an encoded picture": (
        {"url": "/search", "content": picture(), "headers": {"content-encoding": "gzip"}},
        415,
        "RequestError",
        "'gzip'",
    ),
    "k twice": ({"url": "/search?k=1&k=2", "content": picture()}, 400, "ConfigError", "k is given more than once"),
    "k of no hits": ({"url": "/search?k=0", "content": picture()}, 400, "ConfigError", "k is '0'"),
    "k of too many": ({"url": "/search?k=1001", "content": picture()}, 400, "ConfigError", "k is '1001'"),
    "k in words": ({"url": "/search?k=a%0Ab", "content": picture()}, 400, "ConfigError", r"k is 'a\nb'"),
    "a parameter that is none": ({"url": "/search?K=1"}, 400, "ConfigError", "found the parameter 'K'"),
    "a parameter of another": ({"url": "/embed?k=1"}, 400, "ConfigError", "expected none"),
    "another host": ({"url": "/search", "headers": {"host": "evil.example:80"}}, 421, "RequestError", "evil.example"),
    "no such address": ({"url": "/photos"}, 404, "RequestError", "openapi.json"),
    "another method": ({"url": "/health"}, 405, "RequestError", "method not allowed"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_is_refused_has_a_name_one_short_line_and_its_status(client: TestClient, case: str) -> None:
    asked, status, name, said = REFUSED[case]
    limit_pixels(10_000_000)
    try:
        found = client.post(**asked)
    finally:
        limit_pixels(None)
    told = found.json()
    assert (found.status_code, told["error"]) == (status, name) and said in told["message"], told
    assert set(told) == {"error", "message"} and len(told["message"]) < 300 and "\n" not in told["message"]


def every_error(kind: type[errors.CompatError] = errors.CompatError) -> Iterator[type[errors.CompatError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every_error(below)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("ImageError", 422),
        ("ConfigError", 400),
        ("StateError", 409),
        ("IncompatibleSpaceError", 409),
        ("SystemRefusedError", 503),
        ("GalleryError", 500),
        ("BundleError", 500),
        ("VectorError", 500),
        ("MissingExtraError", 500),
        ("CompatError", 500),
    ],
)
def test_every_error_of_ours_is_told_by_its_name(
    client: TestClient, searcher: Searcher, monkeypatch: pytest.MonkeyPatch, kind: str, status: int
) -> None:
    error = getattr(errors, kind)
    raised = error.__new__(error, "what was found")
    raised.args = ("what was found",)

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(searcher, "search", fail)
    found = client.post("/search", content=picture())
    assert (found.status_code, found.json()) == (status, {"error": kind, "message": "what was found"})


def test_of_other_errors_nothing_is_told_but_that_there_was_one(
    client: TestClient, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "search", lambda *_: {}["secret"])
    found = client.post("/search", content=picture())
    assert found.status_code == 500 and found.json()["error"] == "RequestError"
    assert "secret" not in found.text and "Traceback" not in found.text


def asked(desk: Desk, job: Any, *parts: bytes, length: int | None = None, ends: bool = True) -> Any:
    """What a desk answers to a body that comes in parts; without an end, it waits for more for good."""
    from starlette.requests import Request

    left = list(parts)

    async def receive() -> dict[str, Any]:
        if not left and not ends:
            await asyncio.Event().wait()
        assert left, "more was read than there is"
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not ends}

    headers = [] if length is None else [(b"content-length", str(length).encode())]

    async def answered() -> Any:
        return await desk.answer(Request({"type": "http", "method": "POST", "headers": headers}, receive), job)

    return asyncio.run(answered())


def refused(desk: Desk, job: Any, *parts: bytes, **more: Any) -> int:
    with pytest.raises(RequestError) as found:
        asked(desk, job, *parts, **more)
    return found.value.status


def test_a_body_that_says_it_is_too_large_is_not_read_and_one_that_does_not_say_is_left_at_the_limit() -> None:
    desk = Desk(Limits(10, 60.0, 1, 0))
    assert refused(desk, len, length=11) == 413
    assert refused(desk, len, length=int("9" * 30)) == 413
    assert refused(desk, len, b"12345678", b"123", ends=False) == 413
    assert asked(desk, len, b"12345678", b"12") == 10  # and no place was kept


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    desk = Desk(Limits(10, 0.05, 1, 0))
    assert refused(desk, len, b"1234", ends=False) == 408
    assert refused(desk, len, b"1234", ends=False) == 408


def test_a_place_is_taken_until_its_work_is_done_though_nobody_waits_any_more() -> None:
    desk, go, begun = Desk(Limits(10, 0.05, 1, 1)), threading.Event(), []

    def slow(_: bytes) -> None:
        begun.append(1)
        go.wait()

    try:
        assert desk.answers
        assert refused(desk, slow, b"1") == 503  # it has the thread, and keeps it
        assert not desk.answers
        assert refused(desk, slow, b"1") == 503  # it waited for the thread, and will not begin
        assert refused(desk, len, b"1", ends=False) == 408  # so that there is a place, and one alone
        desk._places.acquire()
        assert refused(desk, len) == 503  # nothing of it is read
    finally:
        go.set()
    desk.close()
    assert len(begun) == 1


def test_a_service_whose_threads_hang_is_not_ready(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "answers", False)
    found = client.get("/health")
    assert found.status_code == 503 and not found.json()["ready"] and found.json()["rows"] == 20


def test_one_request_too_many_is_turned_away_at_once_and_told_when_to_come_again(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, begun, search = threading.Event(), threading.Semaphore(0), searcher.search

    def slow(*told: Any) -> Any:
        begun.release()
        go.wait()
        return search(*told)

    monkeypatch.setattr(searcher, "search", slow)
    service = make_service(searcher, Limits(100_000, 600.0, at_once=2, waiting=0), refresh=0)
    with TestClient(service) as client, ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.post, "/search", content=picture()) for _ in range(2)]
        for _ in answers:
            begun.acquire()
        more = client.post("/embed", content=picture())
        go.set()
        assert all(answer.result().status_code == 200 for answer in answers)
    assert more.status_code == 503 and more.headers["retry-after"] == "1" and "2 requests" in more.json()["message"]


def test_many_at_once_get_what_each_gets_alone(searcher: Searcher) -> None:
    pictures = []
    for seed in range(16):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 40, 3), np.uint8)).save(file, "PNG")
        pictures.append(file.getvalue())
    alone = [searcher.search(one, 5).hits for one in pictures]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: searcher.search(one, 5).hits, pictures * 3)) == alone * 3


def test_a_changed_gallery_is_searched_and_one_that_cannot_be_used_is_not(
    client: TestClient, searcher: Searcher, gallery: Gallery
) -> None:
    assert not searcher.refresh()
    gallery.add(rows(1, seed=5), ["new.jpg"])
    assert client.get("/health").json()["rows"] == 20
    assert searcher.refresh() and not searcher.refresh()
    health = client.get("/health").json()
    assert (health["rows"], health["generation"], health["refused"]) == (21, 2, None)
    there = gallery.path.rename(gallery.path.with_name("moved"))
    Gallery.create(gallery.path, space="other-8-cccccccccccc", dim=DIM)
    assert not searcher.refresh()
    assert client.get("/health").json()["refused"].startswith("IncompatibleSpaceError: ")
    (gallery.path / "gallery.json").write_bytes(b"{")
    assert not searcher.refresh()
    assert client.get("/health").json()["refused"].startswith("GalleryError: ")
    (gallery.path / "gallery.json").unlink()
    assert not searcher.refresh() and searcher.refused is not None
    assert len(client.post("/search?k=30", content=picture()).json()["hits"]) == 21
    gallery.path.rename(gallery.path.with_name("gone"))
    there.rename(gallery.path)
    assert not searcher.refresh() and searcher.refused is None


def test_a_running_service_looks_by_itself(
    searcher: Searcher, gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    with TestClient(make_service(searcher, LIMITS, refresh=0.01)) as client:
        gallery.add(rows(1, seed=5), ["new.jpg"])
        while client.get("/health").json()["rows"] == 20:
            pass
    assert "the gallery changed: 21 rows, generation 2" in capsys.readouterr().err


@pytest.mark.parametrize(("signed", "all_must"), [(True, False), (False, True), (False, False)])
def test_a_signature_is_required_of_a_gallery_that_has_one_or_where_all_must(
    embedder: Embedder, gallery: Gallery, monkeypatch: pytest.MonkeyPatch, signed: bool, all_must: bool
) -> None:
    given: list[object] = []
    monkeypatch.setattr(Gallery, "is_signed", lambda *_: signed)
    monkeypatch.setattr(Gallery, "open", lambda path, trust: given.append(trust) or gallery)
    trust: Any = SimpleNamespace(galleries=all_must)
    Searcher(embedder, gallery.path, trust=trust)
    assert given == [trust if signed or all_must else None]


def test_a_gallery_of_another_space_is_refused_before_anything_is_answered(embedder: Embedder, tmp_path: Path) -> None:
    other = Gallery.create(tmp_path / "other", space="other-8-cccccccccccc", dim=DIM)
    with pytest.raises(errors.IncompatibleSpaceError):
        Searcher(embedder, other.path)


def test_pages_of_allowed_origins_alone_may_read_answers(client: TestClient) -> None:
    allowed = client.get("/health", headers={"origin": "http://kiosk"})
    other = client.get("/health", headers={"origin": "http://evil.example"})
    assert allowed.headers["access-control-allow-origin"] == "http://kiosk"
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.5", False), ("box.local", False)],
)  # fmt: skip
def test_loopback_is_told_from_addresses_that_others_reach(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone


def test_an_address_that_is_taken_or_unknown_is_told() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(errors.ConfigError, match="--port"):
            bind("127.0.0.1", taken.getsockname()[1])
        assert url(taken) == f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(errors.ConfigError, match="cannot listen at"):
        bind("no such host", 0)


SERVED = (
    "serve",
    "--bundle",
    str(HERE / "0.7/bundles/query.bundle.zip"),
    "--gallery",
    str(HERE / "0.7/galleries/plain"),
)


def test_the_command_warns_of_an_address_that_others_reach(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    from compat_cli.app import main

    hosts: list[object] = []
    make = service_module.make_service
    monkeypatch.setattr(
        "compat_cli.serving.service.make_service", lambda *a, **b: hosts.append(b["hosts"]) or make(*a, **b)
    )
    monkeypatch.setattr("compat_cli.serving.listen.listen", lambda *_: None)
    for host in ("0.0.0.0", "127.0.0.1"):
        with pytest.raises(SystemExit) as leaving:
            main([*SERVED, "--host", host, "--port", "0", "--json"])
        out, err = capsys.readouterr()
        assert not leaving.value.code and json.loads(out)["url"].startswith(f"http://{host}:"), err
        assert ("warning: other machines reach" in err) == (host == "0.0.0.0")
    assert hosts == [(), ["127.0.0.1", "[::1]", "localhost"]]


def test_over_a_socket_it_answers_ends_idle_connections_and_ends_when_told_with_what_it_began() -> None:
    pytest.importorskip("onnxruntime")
    words = [sys.executable, "-m", "compat_cli", *SERVED, "--port", "0", "--timeout", "2", "--threads", "1", "--json"]
    content = (HERE / "0.7/photos/Coat/4.png").read_bytes()
    with contextlib.ExitStack() as open_until_the_end:
        process = open_until_the_end.enter_context(
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        open_until_the_end.callback(process.kill)
        assert process.stdout and process.stderr
        told = "".join(iter(process.stdout.readline, "}\n")) + "}"
        port = int(json.loads(told)["url"].rpartition(":")[2])
        idle = open_until_the_end.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        idle.sendall(b"POST /search HTTP/1.1\r\nHost: local")
        large, eager, whole, half = (
            open_until_the_end.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)))
            for _ in range(4)
        )
        announce(large, 1 << 40)
        assert large.getresponse().status == 413  # not a byte of it was sent
        eager.request("POST", "/search", bytes(17 << 20))
        assert eager.getresponse().status == 413  # it is sent to the end before the answer is looked at
        whole.request("POST", "/search?k=1", content)
        assert json.load(whole.getresponse())["hits"][0]["id"]
        assert idle.recv(1) == b""  # ended by the service
        announce(half, len(content), content[:50])
        whole.request("GET", "/health")  # when this is answered, the other one has begun
        assert json.load(whole.getresponse())["ready"]
        process.send_signal(signal.SIGTERM)
        half.send(content[50:])
        assert len(json.load(half.getresponse())["hits"]) == 1
        assert process.wait() == 0
        assert "Traceback" not in process.stderr.read()


def announce(connection: http.client.HTTPConnection, length: int, begin: bytes = b"") -> None:
    connection.putrequest("POST", "/search?k=1")
    connection.putheader("Content-Length", str(length))
    connection.endheaders(begin)
