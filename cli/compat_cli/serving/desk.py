"""What a request may cost: bytes, seconds, and a place among those that are being answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from compat_sdk.errors import CompatError
from compat_sdk.shown import shown_value

_Answer = TypeVar("_Answer")


class RequestError(CompatError):
    """A request that the service does not take.

    Attributes:
        status: Its HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What requests may cost.

    Attributes:
        max_bytes: Largest picture as it is sent.
        timeout: Seconds for one request, from its first byte to its answer.
        at_once: Requests that are worked on at the same time.
        waiting: Further requests that may be sent or wait meanwhile; one more is turned away.
    """

    max_bytes: int
    timeout: float
    at_once: int
    waiting: int


class Desk:
    """Reads the pictures of requests and has them answered in threads, within limits.

    A place is taken before a byte of the picture is read, so that ``at_once + waiting`` pictures are the most that are
    ever in memory. A thread cannot be stopped: the place of a request that took too long is free when its thread is.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = threading.BoundedSemaphore(limits.at_once + limits.waiting)
        self._pool = ThreadPoolExecutor(limits.at_once, "compat-serve")
        self._overdue: set[Future[Any]] = set()

    @property
    def answers(self) -> bool:
        """Whether a thread is free to answer, or soon will be: not all work for longer than a request may take."""
        return sum(not work.done() for work in self._overdue) < self._limits.at_once

    def close(self) -> None:
        """Begin nothing more; what is being answered is answered."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Request, job: Callable[[bytes], _Answer]) -> _Answer:
        """What ``job`` makes of the picture that a request brings.

        Raises:
            RequestError: It is too large (413), comes or takes too long (408, 503), comes in a form or
                encoded (415), or finds all places taken (503).
            CompatError: Whatever the job raises.
        """
        limits = self._limits
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            raise RequestError(415, "found a form (multipart); send the picture's bytes alone as the request's body")
        if (coding := request.headers.get("content-encoding", "identity")).lower() != "identity":
            raise RequestError(415, f"found the encoding {shown_value(coding)}; send the picture's bytes as they are")
        if not self._places.acquire(blocking=False):
            raise RequestError(503, f"{limits.at_once + limits.waiting} requests are being answered; try again soon")
        work: Future[_Answer] | None = None
        try:
            async with asyncio.timeout(limits.timeout):
                picture = await _picture(request, limits.max_bytes)
                work = self._pool.submit(job, picture)
                return await asyncio.wrap_future(work)
        except TimeoutError:
            if work is None:
                raise RequestError(408, f"the picture did not arrive in {limits.timeout:g} s; send it again") from None
            self._overdue = {other for other in self._overdue | {work} if not other.done()}
            raise RequestError(503, f"there was no answer in {limits.timeout:g} s; try again later") from None
        finally:
            if work is None:
                self._places.release()
            else:
                work.add_done_callback(lambda _: self._places.release())


async def _picture(request: Request, most: int) -> bytes:
    """The body of a request, whose state says that it ``arrived``; one that states that it is too large is not read."""
    too_large = RequestError(413, f"the picture has more than {most:,} bytes; send a smaller one")
    stated = request.headers.get("content-length", "0")
    if len(stated) > 20 or not stated.isdecimal() or int(stated) > most:
        raise too_large
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise too_large
    except ClientDisconnect:
        raise RequestError(400, "the connection ended before the picture did") from None
    request.state.arrived = True
    return bytes(body)
