"""Passes over rows of a product with a small matrix: bits of the twins, edges, what is left to NumPy."""

import numpy as np
import pytest

import lima
from lima.op import FUSES
from lima.ops.by_rows import narrow_product
from lima.ops.in_blocks import weighted_sums
from lima.ops.labelled import sums_by_label

pytestmark = pytest.mark.skipif(not FUSES, reason="there is no pass where lima is not compiled")
if FUSES:
    from lima import narrow

ROWS = [1, 3, 8, 63, 64, 257, 1025, 8192, 8201]
WIDTHS = [(1, 1), (3, 7), (8, 8), (5, 16), (20, 20), (11, 33), (64, 64)]


def numbers(seed, *shape, dtype=float):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def reduced(x, v, *asked, threads=1):
    return narrow.reduced(None, -1, x, v, None, -1, -1, v.shape[1], x.dtype, asked, threads)


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("columns, width", WIDTHS)
@pytest.mark.parametrize("rows", ROWS)
def test_kernels_have_the_bits_of_their_twins(dtype, rows, columns, width):
    X, V = numbers(0, rows, columns, dtype=dtype), numbers(1, columns, width, dtype=dtype)
    wanted = narrow_product(X, V)
    assert narrow.takes(X, V) and narrow.takes(X, np.asfortranarray(V))
    for threads in (1, 2):
        assert narrow.product(X, np.asfortranarray(V), threads)[0].tobytes() == wanted.tobytes()
    asked = ((np.minimum, True), (np.minimum, False), (np.maximum, True), (np.add, False))
    found, _ = reduced(X, V, *asked, threads=2)
    values = wanted.argmin(1), wanted.min(1), wanted.argmax(1), wanted.sum(1)
    for one, other in zip(found, values, strict=True):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("columns, wide", [(1, 1), (7, 5), (8, 16), (11, 20)])
def test_weighted_sums_have_the_bits_of_their_twins(dtype, rows, columns, wide):
    X, Y = numbers(0, rows, columns, dtype=dtype), numbers(1, rows, wide, dtype=dtype)
    w = numbers(2, rows, 3, dtype=dtype)[:, 1]
    for threads in (1, 2):
        found = narrow.gram(None, -1, X, w, Y, columns, False, threads)[0]
        assert found.tobytes() == weighted_sums(X, w, Y, twice=False).tobytes()
        found = narrow.gram(None, -1, X, w, None, columns, True, threads)[0]
        assert found.tobytes() == weighted_sums(X, w, X, twice=True).tobytes()


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("rows", ROWS)
def test_sums_by_label_have_the_bits_of_their_twin(dtype, rows):
    X, labels = numbers(0, rows, 9, dtype=dtype), np.random.default_rng(1).integers(3, 8, rows)
    wanted = sums_by_label(labels, X, first=3, count=5)
    for threads in (1, 2):
        assert narrow.labelled(X, labels, 3, 5, threads).tobytes() == wanted.tobytes()
    labels[-1] = 8
    assert narrow.labelled(X, labels, 3, 5) is None


def test_rows_may_lie_apart():
    wide, V = numbers(0, 901, 31), numbers(1, 20, 12)
    X = wide[:, 4:24]
    assert narrow.product(X, V)[0].tobytes() == narrow_product(X.copy(), V).tobytes()
    assert not narrow.takes(wide[:, ::2][:, :12], V[:12])
    assert not narrow.takes(np.asfortranarray(X), V)
    assert not narrow.takes(X.astype(">f8"), V) and not narrow.takes(X, V.astype("f"))
    assert not narrow.takes(X.astype(int), V.astype(int))
    assert not narrow.takes(numbers(0, 9, 65), numbers(1, 65, 2))


def test_what_is_not_finite_is_left_to_numpy():
    X, V = numbers(0, 300, 6), np.eye(6)
    X[77, 3] = np.nan
    assert reduced(X, V, (np.minimum, False))[0] is None
    found = reduced(X, V, (np.minimum, True))[0]
    np.testing.assert_array_equal(found[0], narrow_product(X, V).argmin(axis=1))
    X[77, 3] = np.inf  # times zero
    assert reduced(X, V, (np.add, False))[0] is None
    zeros = np.zeros((300, 4))
    zeros[:, 2] = -0.0
    assert reduced(np.ones((300, 1)), zeros[:1], (np.maximum, False))[0] is not None


# ---------------------------------------------------------------------------- the rules


def by_label(X, labels, k):
    M = (labels[:, None] == np.arange(k)).astype(X.dtype)
    return M.T @ X, M.sum(axis=0), M[:3].copy()


def by_line(X, labels, k):
    M = (np.arange(k)[:, None] == labels).astype(X.dtype)
    return M @ X, M.sum(axis=1), M.sum(axis=0)


@pytest.mark.parametrize("program", [by_label, by_line])
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("integer", ["i8", "i4", "u1"])
def test_sums_and_counts_by_label(program, dtype, integer):
    X = numbers(0, 30_011, 9, dtype=dtype)
    labels = np.random.default_rng(1).integers(0, 12, len(X)).astype(integer)
    with lima.session(exactness="rounding", strict=True) as session:
        found = lima.traced(program)(X, labels, 12)
        taken = session.stats.partial
        assert (taken["sums-by-label"], taken["counts-by-label"]) == (
            (0, 0) if integer == "u1" else (1, 1)
        )
    wanted = program(X, labels, 12)
    atol = 200 * np.finfo(dtype).eps * np.sqrt(len(X))
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=atol)
    for one, other in zip(found[1:], wanted[1:], strict=True):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()


def test_a_bitwise_session_multiplies():
    X, labels = numbers(0, 30_011, 9), np.arange(30_011) % 12
    with lima.session(exactness="bitwise", strict=True) as session:
        found = lima.traced(by_label)(X, labels, 12)
        assert not session.stats.partial  # the product has made the matrix, which is summed
    for one, other in zip(found, by_label(X, labels, 12), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("case", ["outside", "nan", "gaps", "written"])
def test_labels_that_are_none_and_rows_that_are_not_finite(case):
    X, labels = numbers(0, 30_011, 9), np.arange(30_011) % 12
    if case == "outside":
        labels[5], labels[9] = -1, 12
    if case == "nan":
        X[17, 2] = np.nan

    def program(X, labels):
        lines = np.arange(12) * 2 if case == "gaps" else np.arange(12)
        M = (labels[:, None] == lines).astype(float)
        if case == "written":
            labels[:100] = 3
        return M.T @ X, M.sum(axis=0)

    wanted = program(X.copy(), labels.copy())
    with lima.session(exactness="rounding", strict=True):
        found = lima.traced(program)(X.copy(), labels.copy())
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-9, atol=1e-9)
    assert found[1].tobytes() == wanted[1].tobytes()


def test_what_waits_is_made_as_it_is_weighted():
    def program(X, w):
        centred = X - X.mean(axis=0)
        first = (w[:, None] * centred).T @ centred
        return first, centred[:5].copy(), (w[:, None] * centred).T @ centred

    X, w = numbers(0, 30_011, 10), np.abs(numbers(1, 30_011))
    with lima.session(exactness="rounding", strict=True):
        arrays = lima.array(X), lima.array(w)
        found = lima.traced(program)(*arrays)
        again = lima.recompute(lima.lineage(found[0]))
        assert np.asarray(again).tobytes() == np.asarray(found[0]).tobytes()
        assert "weighted_sums" in lima.to_python(lima.lineage(found[0]))
    for one, other in zip(found, program(X, w), strict=True):
        np.testing.assert_allclose(np.asarray(one), other, rtol=1e-9, atol=1e-9)
