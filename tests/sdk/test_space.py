from __future__ import annotations

import numpy as np
import pytest

from compat_sdk.errors import ConfigError, IncompatibleSpaceError, VectorError
from compat_sdk.space import Embeddings, check_space, may_search, require_compatible


def unit(rows: int = 3, dim: int = 4) -> np.ndarray:
    vectors = np.random.default_rng(0).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_embeddings_keep_the_array_they_were_given() -> None:
    vectors = unit()
    embeddings = Embeddings(vectors, "a-4-0123", ("b",))
    assert embeddings.vectors is vectors
    assert (len(embeddings), embeddings.dim) == (3, 4)


def test_no_vectors_are_still_embeddings_of_a_dimension() -> None:
    assert Embeddings(np.empty((0, 4), np.float32), "a").dim == 4


@pytest.mark.parametrize(
    "vectors",
    [
        unit().astype(np.float64),
        unit()[0],
        np.empty((3, 0), np.float32),
        np.asfortranarray(unit()),
        unit(6)[::2],
        unit().tolist(),
    ],
    ids=["float64", "one-dimensional", "no numbers", "Fortran order", "strided", "a list"],
)
def test_what_is_not_a_contiguous_float32_matrix_is_refused(vectors: object) -> None:
    with pytest.raises(VectorError):
        Embeddings(vectors, "a")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_with_their_rows(value: float) -> None:
    vectors = unit(5)
    vectors[1, 2] = vectors[4, 0] = value
    with pytest.raises(VectorError, match="2 of 5 vectors") as caught:
        Embeddings(vectors, "a")
    assert caught.value.rows == (1, 4)


@pytest.mark.parametrize("length", [0.0, 0.5, 1.01, 3.0])
def test_rows_that_are_not_of_unit_length_are_refused_with_their_rows(length: float) -> None:
    vectors = unit(5)
    vectors[3] *= length
    with pytest.raises(VectorError, match="unit length") as caught:
        Embeddings(vectors, "a")
    assert caught.value.rows == (3,)


@pytest.mark.parametrize("space", ["", "a b", "a/b", "../a", "é", "x" * 121, "a\n"])
def test_a_malformed_space_is_refused(space: str) -> None:
    with pytest.raises(ConfigError, match="not a space identifier"):
        Embeddings(unit(), space)
    with pytest.raises(ConfigError):
        check_space(space)


def test_searches_must_be_a_tuple_so_that_a_string_is_not_read_as_letters() -> None:
    with pytest.raises(ConfigError, match="searches"):
        Embeddings(unit(), "a", "big-128")  # type: ignore[arg-type]


def test_a_space_may_search_itself_and_what_it_declares_and_nothing_else() -> None:
    assert may_search("a", (), "a")
    assert may_search("a", ("b",), "b")
    assert not may_search("a", ("b",), "c")
    assert not may_search("b", (), "a")


def test_an_undeclared_space_is_refused_even_when_the_dimensions_agree() -> None:
    query = Embeddings(unit(), "a", ("b",))
    require_compatible(query, "a")
    require_compatible(query, "b")
    with pytest.raises(IncompatibleSpaceError) as caught:
        require_compatible(query, "c")
    assert (caught.value.query_space, caught.value.searches, caught.value.gallery_space) == ("a", ("b",), "c")
