"""Conditions of a search as Qdrant has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from compat_sdk.gallery.where import Where
from compat_sdk.stores.points import point_id

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def condition_of(where: Where) -> Any:
    """Conditions as a filter of qdrant-client."""
    from qdrant_client import models

    def one_of(key: str, values: Iterable[object]) -> Any:
        named = key if _PLAIN_KEY.fullmatch(key) else f'"{key}"'
        return models.Filter(should=[_is(models, named, value) for value in values] or [_never(models)])

    must: list[Any] = [one_of(key, where.values(key)) for key in where.payload]
    if where.labels is not None:
        must.append(one_of("label", where.labels))
    if where.ids is not None:
        must.append(models.HasIdCondition(has_id=[point_id(id) for id in where.ids]))
    return models.Filter(must=must)


def _is(models: Any, key: str, value: object) -> Any:
    if key == "label" and value == "":
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
    if isinstance(value, float):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _never(models: Any) -> Any:
    return models.HasIdCondition(has_id=[])
