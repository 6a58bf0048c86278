"""Errors cross from a worker process as they are, and those of spaces are of one kind."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from compat_sdk import errors
from compat_sdk.errors import CompatError, IncompatibleSpaceError

MADE: tuple[CompatError, ...] = (
    errors.ConfigError("lr is 0", setting="lr"),
    errors.ImageError("a.jpg", "it is torn"),
    errors.VectorError("2 rows", np.array([3, 4]).tolist()),
    errors.SystemRefusedError("a.jpg", 24, "too many open files"),
    errors.IncompatibleSpaceError("a", ("b",), "c", "a may not search c"),
    errors.IncompatibleSpaceError("a", (), "c", "the transform takes c"),
    errors.MissingExtraError("usearch", "usearch"),
    errors.GalleryError("damaged"),
)


def kinds(of: type[CompatError]) -> set[type[CompatError]]:
    return {of}.union(*map(kinds, of.__subclasses__()))


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_on_the_other_side_of_a_pipe(error: CompatError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_every_error_with_a_constructor_of_its_own_is_tried() -> None:
    own = {kind for kind in kinds(CompatError) if "__init__" in vars(kind) and kind.__module__ == "compat_sdk.errors"}
    assert own <= {type(error) for error in MADE}


def test_vectors_of_another_space_are_one_kind_of_error_whatever_is_said() -> None:
    said = IncompatibleSpaceError("a", (), "c", "the transform takes c")
    assert (str(said), said.query_space, said.gallery_space) == ("the transform takes c", "a", "c")
