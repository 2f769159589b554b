"""Weighted products by blocks of rows: spellings, edges of blocks, what is not finite."""

import warnings

import numpy as np
import pytest

import lima
from lima.ops.in_blocks import weighted_product

RULE = "weighted-product-in-blocks"


def numbers(seed, *shape, dtype=float):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


SPELLINGS = [
    lambda X, Y, w: X.T @ (w[:, None] * Y),
    lambda X, Y, w: X.T @ (Y * w[:, None]),
    lambda X, Y, w: (X * w.reshape(-1, 1)).T @ Y,
    lambda X, Y, w: np.dot(X.T * w, Y),
    lambda X, Y, w: X.T @ (w[:, np.newaxis] * X),
    lambda X, Y, w: (w[:, None] * X).T @ (w[:, None] * X),
]


@pytest.mark.parametrize("spelling", range(len(SPELLINGS)))
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("threads", [1, 2])
def test_no_scaled_matrix_is_written(spelling, dtype, threads):
    X, Y = numbers(0, 20_011, 21, dtype=dtype), numbers(1, 20_011, 24, dtype=dtype)
    w = np.abs(numbers(2, 20_011, dtype=dtype))
    program = SPELLINGS[spelling]
    wanted = program(X, Y, w)
    with lima.session(exactness="rounding", strict=True, threads=threads) as session:
        arrays = [lima.array(a) for a in (X, Y, w)]
        found = lima.traced(program)(*arrays)
        assert session.stats.partial[RULE] == 1
        again = lima.recompute(lima.lineage(found))
        found = np.asarray(found)
        assert np.asarray(again).tobytes() == found.tobytes()
    assert found.dtype == wanted.dtype
    size = np.abs(X).max() ** 2 * w.max() ** 2 * len(X)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=20 * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 300])
@pytest.mark.parametrize("length", [1, 128, 129, 257])
def test_edges_of_blocks(rows, length):
    X, Y, w = numbers(0, length, 5), numbers(1, length, 4), numbers(2, length)
    found = weighted_product(X, w, Y, rows=rows, twice=False)
    np.testing.assert_allclose(found, X.T @ (w[:, None] * Y), atol=1e-12)
    both = weighted_product(X, w, X, rows=rows, twice=True)
    np.testing.assert_allclose(both, X.T @ (w[:, None] ** 2 * X), atol=1e-12)


def product(X, w):
    return X.T @ (w[:, None] * X)


def test_what_is_left_to_numpy():
    cases = [
        (numbers(0, 2000, 20), numbers(1, 2000), "rounding"),  # small
        (numbers(0, 4000, 300), numbers(1, 4000), "rounding"),  # wide
        (np.asfortranarray(numbers(0, 40_000, 20)), numbers(1, 40_000), "rounding"),
        (numbers(0, 40_000, 20), numbers(1, 40_000), "bitwise"),
    ]
    for X, w, exactness in cases:
        with lima.session(exactness=exactness, strict=True) as session:
            found = lima.traced(product)(X, w)
            assert RULE not in session.stats.partial
        assert found.tobytes() == product(X, w).tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
def test_what_is_not_finite_is_numpys(bad):
    X, w = numbers(0, 40_000, 20), numbers(1, 40_000)
    w[39_999] = bad
    X[39_999] *= 10
    caught = []
    for run in (product, lima.traced(product)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with lima.session(exactness="rounding", strict=True):
                caught.append((run(X, w), sorted({str(one.message) for one in said})))
    np.testing.assert_array_equal(caught[0][0], caught[1][0])
    assert caught[0][1] == caught[1][1]


def test_the_scaled_matrix_may_be_read_later():
    def program(X, w):
        scaled = w[:, None] * X
        return X.T @ scaled, scaled.sum(), scaled[:5].copy()

    X, w = numbers(0, 40_000, 20), numbers(1, 40_000)
    with lima.session(exactness="rounding", strict=True) as session:
        found = lima.traced(program)(X, w)
        assert session.stats.partial[RULE] == 1
    for a, b in zip(found, program(X, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)


def test_weights_that_differ_are_another_product():
    def program(X, w):
        first = X.T @ (w[:, None] * X)
        w[7] = 100.0
        second = X.T @ (w[:, None] * X)
        X[3] = 2.0
        return first, second, X.T @ (w[:, None] * X)

    X, w = numbers(0, 40_000, 20), np.abs(numbers(1, 40_000))
    wanted = program(X.copy(), w.copy())
    with lima.session(exactness="rounding", strict=True):
        found = lima.traced(program)(X.copy(), w.copy())
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)
