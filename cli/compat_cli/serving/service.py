"""The service: its addresses, its answers and its refusals, from which its OpenAPI document follows.

FastAPI makes that document from the types of the functions below, so that the two cannot differ. Its pages of
documentation are left out: they load scripts from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from compat_cli import console
from compat_cli.serving.answers import Embedded, Found, Health, Info, Refusal
from compat_cli.serving.desk import Desk, Limits, RequestError
from compat_cli.serving.searcher import Searcher
from compat_sdk import __version__
from compat_sdk.errors import (
    CompatError,
    ConfigError,
    ImageError,
    IncompatibleSpaceError,
    StateError,
    SystemRefusedError,
)
from compat_sdk.shown import shortened, shown_value

_STATUS: tuple[tuple[type[CompatError], int], ...] = (
    (ImageError, 422),
    (StateError, 409),
    (ConfigError, 400),
    (IncompatibleSpaceError, 409),
    (SystemRefusedError, 503),
    (CompatError, 500),
)
_MOST_HITS = 1000
_PATIENCE_S = 60.0
_LINGER_S = 2.0


_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_TAKES_A_PICTURE: dict[str, Any] = {"requestBody": {"required": True, "content": {"image/*": _PICTURE}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "A value is out of its range, or not one that is known."},
    408: {"model": Refusal, "description": "The picture did not arrive in time."},
    409: {"model": Refusal, "description": "The gallery is not in the state for this search."},
    413: {"model": Refusal, "description": "The picture has too many bytes."},
    415: {"model": Refusal, "description": "The body is a form, or encoded, instead of a picture."},
    422: {"model": Refusal, "description": "The picture cannot be read."},
    500: {"model": Refusal, "description": "The model or the gallery is at fault."},
    503: {"model": Refusal, "description": "Too many requests, or no answer in time."},
}
_NO_PICTURE: dict[int | str, dict[str, Any]] = {
    400: _REFUSALS[400],
    422: {"model": Refusal, "description": "Not used."},
}


def make_service(
    searcher: Searcher, limits: Limits, *, hosts: Sequence[str] = (), origins: Sequence[str] = (), refresh: float = 5.0
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        searcher: What answers.
        limits: What a request may cost.
        hosts: Names by which it may be called, without a port; empty for any. A page elsewhere that has its own name
            lead to this machine is turned away by this.
        origins: Origins such as ``http://localhost:3000`` whose pages may read the answers in a browser.
        refresh: Seconds between looks for a changed gallery; 0 never looks.
    """
    desk = Desk(limits)

    @contextlib.asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(_follow(searcher, refresh)) if refresh else None
        yield
        if looking is not None:
            looking.cancel()
        desk.close()

    def known(request: Request) -> None:
        """Refuse a name or a parameter that nothing here has: neither is passed over."""
        host = _without_port(request.headers.get("host", "").lower())
        if hosts and host not in hosts:
            raise RequestError(421, f"the host is {shown_value(host)}; expected one of {', '.join(hosts)}")
        taken = {field.alias for field in request.scope["route"].dependant.query_params}
        if unknown := sorted(set(request.query_params) - taken):
            expected = f"expected only {', '.join(sorted(taken))}" if taken else "expected none"
            raise ConfigError(f"found the parameter {shown_value(unknown[0])}; {expected}")
        if len(request.query_params.getlist("k")) > 1:
            raise ConfigError("k is given more than once; give it once", setting="k")

    service = FastAPI(
        title="compat-sdk serve",
        summary="Search one gallery by pictures.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=running,
        dependencies=[Depends(known)],
    )
    if origins:
        service.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"])
    service.add_exception_handler(CompatError, _refuse)
    service.add_exception_handler(RequestValidationError, _refuse)
    service.add_exception_handler(HTTPException, _refuse)
    service.add_exception_handler(Exception, _refuse)

    @service.post("/search", response_model=Found, responses=_REFUSALS, openapi_extra=_TAKES_A_PICTURE)
    async def search(
        request: Request,
        k: Annotated[int, Query(ge=1, le=_MOST_HITS, description="Hits wanted.")] = 10,
        label: Annotated[
            list[str] | None, Query(description="Find pictures of this label alone; of several, give it again.")
        ] = None,
    ) -> Response:
        """The k most similar pictures of the gallery, best first."""
        return _Json(asdict(await desk.answer(request, lambda picture: searcher.search(picture, k, label or ()))))

    @service.post("/embed", response_model=Embedded, responses=_REFUSALS, openapi_extra=_TAKES_A_PICTURE)
    async def embed(request: Request) -> Response:
        """The picture's unit vector."""
        return _Json(asdict(await desk.answer(request, searcher.embed)))

    @service.get(
        "/health", response_model=Health, responses=_NO_PICTURE | {503: {"model": Health, "description": "Not ready."}}
    )
    async def health() -> Response:
        """Whether pictures are answered, and from which state of the gallery."""
        info = searcher.present.info
        told = Health(desk.answers, info["space"], info["rows"], info["generation"], searcher.refused)
        return _Json(asdict(told), 200 if told.ready else 503)

    @service.get("/info", response_model=Info, responses=_NO_PICTURE)
    async def info() -> Response:
        """What this service is made of, and what it takes."""
        embedder = searcher.embedder
        told = Info(
            version=__version__,
            model=embedder.manifest.name,
            engine=embedder.engine.name,
            space=embedder.space,
            searches=list(embedder.searches),
            dim=embedder.dim,
            size=embedder.preprocessing.size,
            certified=searcher.doubt is None,
            gallery={name: value for name, value in searcher.present.info.items() if name not in ("path", "model")},
            limits=limits,
            most_hits=_MOST_HITS,
        )
        return _Json(asdict(told))

    return service


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _follow(searcher: Searcher, seconds: float) -> None:
    """Look for a changed gallery again and again, and say what came of it.

    One that is not taken is not read again at once: to read it is to compare the digest of every file.
    """
    while True:
        await asyncio.sleep(seconds if searcher.refused is None else max(seconds, _PATIENCE_S))
        before = searcher.refused
        if await asyncio.to_thread(searcher.refresh):
            info = searcher.present.info
            console.note(f"the gallery changed: {info['rows']} rows, generation {info['generation']}")
        elif searcher.refused not in (None, before):
            console.note(f"warning: the changed gallery is not taken, the one before answers: {searcher.refused}")


class _Json(JSONResponse):
    """JSON in ASCII: an id may hold half of a surrogate pair, as the name of a file may, which UTF-8 does not take."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    """An error as JSON with its status: the text of ours, and of others nothing but that there was one."""
    told = _ours(error)
    status = (
        told.status
        if isinstance(told, RequestError)
        else next(code for kind, code in _STATUS if isinstance(told, kind))
    )
    headers = {"retry-after": "1"} if status == 503 else {}
    kind = _Json if getattr(request.state, "arrived", False) else _RefusedUnread
    return kind(asdict(Refusal(type(told).__name__, str(told))), status, headers)


class _RefusedUnread(_Json):
    """A refusal that reaches whoever is still sending, and ends the connection.

    A connection that is closed with bytes unread is reset, and the answer with it. So what comes is read to nowhere
    for a moment.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})


def _ours(error: Exception) -> CompatError:
    """An error of the library, or of what is around it, as one of ours."""
    if isinstance(error, CompatError):
        return error
    if isinstance(error, RequestValidationError):
        return _out_of_range(error)
    if isinstance(error, HTTPException):
        told = HTTPStatus(error.status_code).phrase.lower()
        return RequestError(error.status_code, f"{told}; GET /openapi.json says what there is")
    return RequestError(500, "the service failed; its log says how")


def _out_of_range(error: RequestValidationError) -> ConfigError:
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return ConfigError(f"{name} is {shown_value(first.get('input'))}: {shortened(first['msg'], 160)}", setting=name)


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() else host
