"""The client of Qdrant: imported where it is used, and its errors as one line without a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from compat_sdk.errors import MissingExtraError, StoreError
from compat_sdk.shown import shortened, without_keys
from compat_sdk.stores.addresses import KEY_VARIABLE, QdrantAddress

_SECONDS = 60
"""For which an answer of a server is waited for."""


@contextmanager
def answered(address: QdrantAddress) -> Iterator[None]:
    """Turn what the client raises into one line without a key; its own chain of errors ends here."""
    failure = None
    try:
        yield
    except client_module().failures as error:
        failure = error
    if failure is not None:
        _refuse(address, failure)


def _refuse(address: QdrantAddress, error: Exception) -> NoReturn:
    status = getattr(error, "status_code", None)
    said = without_keys(shortened(" ".join(str(error).split()), 120))
    if address.key:
        said = said.replace(address.key, "***")
    if status in (401, 403):
        raise StoreError(f"{address} refuses the key, or wants one; set {KEY_VARIABLE}") from None
    if status == 404 or "not found" in said.lower():
        raise StoreError(f"{address} is not there: the store has no such collection; check its name") from None
    if address.folder is not None and "already accessed" in said:
        raise StoreError(f"{address.folder} is used by another process; end that, or run a server") from None
    if status is None and not isinstance(error, ValueError):
        raise StoreError(f"{address} does not answer ({said}); check the address, and that the server runs") from None
    raise StoreError(f"{address} refused: {said}") from None


def client_at(address: QdrantAddress, *, new: bool = False) -> Any:
    """Return a client of qdrant-client for an address; nothing is asked of a server yet.

    Args:
        address: Where it is.
        new: Whether a folder may be made for it.

    Raises:
        StoreError: The folder is not there, or another process uses it.
        MissingExtraError: qdrant-client is not installed.
    """
    module = client_module()
    if address.folder is None:
        return module.QdrantClient(
            host=address.host,
            port=address.port,
            https=address.tls,
            api_key=address.key,
            timeout=_SECONDS,
            check_compatibility=False,
        )
    if not new and not (address.folder / "meta.json").is_file():
        raise StoreError(f"{address.folder} holds no collections: it has no meta.json; check the path")
    with answered(address):
        return module.QdrantClient(path=str(address.folder))


@dataclass(frozen=True)
class _Client:
    QdrantClient: Any
    models: Any
    failures: tuple[type[Exception], ...]


def client_module() -> _Client:
    """What is used of qdrant-client.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import qdrant_client
        from qdrant_client.http.exceptions import ApiException
    except ImportError as error:
        raise MissingExtraError("qdrant-client", "qdrant") from error
    failures = (ApiException, ValueError, RuntimeError, OSError, AssertionError)
    return _Client(qdrant_client.QdrantClient, qdrant_client.models, cast("tuple[type[Exception], ...]", failures))
