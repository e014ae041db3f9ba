"""Similarities: values of sentence-transformers, exact ones for equal vectors, and bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sentence_transformers import SimilarityFunction

from isobatch.errors import InputError, OptionError
from isobatch.tasks.similarity import similarities

FUNCTIONS = ("cosine", "dot", "euclidean", "manhattan")
DRAWN = np.random.default_rng(5).normal(size=(300, 33)).astype(np.float32)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_are_those_of_sentence_transformers(function: str) -> None:
    """More vectors than a block has, on both sides."""
    found = similarities(DRAWN, DRAWN[:280], function)
    assert (found.shape, found.dtype) == ((300, 280), np.float64)
    reference = SimilarityFunction.to_similarity_fn(function)
    expected = reference(DRAWN.astype(np.float64), DRAWN[:280].astype(np.float64)).numpy()
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-6 if function == "euclidean" else 1e-9
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_pair_has_the_same_bits_alone_and_in_a_matrix(function: str) -> None:
    together = similarities(DRAWN, DRAWN, function)
    for row, column in ((0, 0), (299, 3), (257, 258), (12, 299)):
        alone = similarities(DRAWN[row], DRAWN[column], function)
        assert alone.shape == (1, 1)
        assert alone.tobytes() == together[row, column].tobytes()
    assert together.T.tobytes() == similarities(DRAWN, DRAWN, function).tobytes()


def test_a_product_of_matrices_fails_the_same_test() -> None:
    """The control: which order of sums it takes depends on the shape."""
    wide = np.random.default_rng(5).normal(size=(300, 384))
    together = wide @ wide.T
    pairs = [(row, column) for row in range(0, 300, 7) for column in range(0, 300, 5)]
    alone = [float(wide[row] @ wide[column]) for row, column in pairs]
    assert alone != [together[pair] for pair in pairs]


@given(
    arrays(
        np.float32,
        (3, 9),
        elements=st.sampled_from([0.0, -0.0, 1e-15, 1e15, 0.1, -3.7, 1 / 3]),
    )
)
def test_the_cosine_of_equal_vectors_is_exactly_one(vectors: np.ndarray) -> None:
    found = np.diagonal(similarities(vectors, vectors, "cosine"))
    assert found.tolist() == [1.0 if vector.any() else 0.0 for vector in vectors]


def test_distances_are_negative_and_zero_for_equal_vectors() -> None:
    for function in ("euclidean", "manhattan"):
        found = similarities(DRAWN[:9], DRAWN[:9], function)
        assert np.array_equal(np.diagonal(found), np.zeros(9))
        assert (found <= 0).all()


def test_no_vectors_have_no_similarities() -> None:
    empty = np.empty((0, 33), np.float32)
    assert similarities(empty, DRAWN, "cosine").shape == (0, 300)
    assert similarities(DRAWN, empty, "dot").shape == (300, 0)


def test_a_caller_s_numpy_settings_do_not_matter() -> None:
    with np.errstate(all="raise"):
        assert similarities([[0.0, 0.0]], [[1.0, 0.0]], "cosine").tolist() == [[0.0]]


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="vectors of 33 and of 3 numbers cannot be compared"):
        similarities(DRAWN, DRAWN[:, :3], "cosine")
    with pytest.raises(InputError, match="got an array of 3 dimensions"):
        similarities(DRAWN[None], DRAWN, "cosine")
    with pytest.raises(OptionError, match="similarity 'maxsim' is not supported"):
        similarities(DRAWN, DRAWN, "maxsim")


@pytest.mark.parametrize("function", ["cosine", "dot", "euclidean", "manhattan"])
def test_a_vector_that_is_not_a_number_is_similar_to_nothing(function: str) -> None:
    found = similarities([[np.nan, 1.0], [0.0, 0.0]], [[1.0, 1.0]], function)
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1]).any()


@pytest.mark.parametrize("vectors", [["a text"], [object()], [[1.0], [1.0, 2.0]]])
def test_what_is_no_vector_is_an_input_error(vectors: object) -> None:
    with pytest.raises(InputError, match=r"expected vectors as numbers .*each\.vector"):
        similarities(vectors, [[1.0, 1.0]], "cosine")  # type: ignore[arg-type]
