"""Reductions along rows of what waits, by blocks of rows: bits, what is asked for besides, warnings."""

import warnings

import numpy as np
import pytest

import lima
from lima import row_blocks
from lima.op import FUSES

pytestmark = pytest.mark.skipif(
    not FUSES, reason="nothing runs by blocks where lima is not compiled"
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks and arrays that tests can afford."""
    monkeypatch.setattr(row_blocks, "LEAST", 1 << 16)


@pytest.fixture
def ran(monkeypatch):
    """How many values were computed by blocks."""
    made = []
    reduced = row_blocks.Blocks.reduced

    def counting(self, asked):
        made.append(len(asked))
        return reduced(self, asked)

    monkeypatch.setattr(row_blocks.Blocks, "reduced", counting)
    return made


def numbers(seed, *shape, dtype=float):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


DIRECT = [
    lambda X, C: ((X[:, None] - C) ** 2).sum(2).argmin(1),
    lambda X, C: ((X[:, None, :] - C[None]) ** 2).sum(axis=-1),
    lambda X, C: np.abs(X[:, np.newaxis] - C).max(axis=2),
    lambda X, C: (X[:, None] * C + 0.5).mean(axis=2),
    lambda X, C: np.square(X[:, None] - C).min(-1).argmin(-1),
    lambda X, C: np.where(X[:, None] > C, X[:, None], -C).sum(axis=2, keepdims=True),
    lambda X, C: (X * 2 - X[0]).argmax(axis=1),
    lambda X, C: (X - X.mean(0)).argmin(axis=1, keepdims=True),
]


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("rows", [4096, 4097, 5003, 20_000])
@pytest.mark.parametrize("k", range(len(DIRECT)))
def test_bits_are_numpys(k, rows, dtype, ran):
    X, C = numbers(0, rows, 11, dtype=dtype), numbers(1, 7, 11, dtype=dtype)
    with lima.session(exactness="bitwise", strict=True):
        same(lima.traced(DIRECT[k])(X, C), DIRECT[k](X, C))
    assert ran or X.nbytes < 1 << 18


@pytest.mark.parametrize("columns", [2, 9, 64, 200])
def test_wide_and_narrow_rows(columns, ran):
    X, C = numbers(0, 6001, columns), numbers(1, 5, columns)
    with lima.session(exactness="bitwise", strict=True):
        same(lima.traced(DIRECT[0])(X, C), DIRECT[0](X, C))
    assert ran


def test_signed_zeros_and_nan(ran):
    X, C = np.round(numbers(0, 5000, 6)), np.zeros((4, 6))
    X[X == 0] = -0.0
    X[17, 3], X[4999, 0], X[64, 5] = np.nan, np.inf, -np.inf
    with lima.session(exactness="bitwise", strict=True), np.errstate(all="ignore"):
        for program in DIRECT:
            same(lima.traced(program)(X, C), program(X, C))
    assert ran


@pytest.mark.parametrize("order", ["F", "reversed", "strided", "transposed"])
def test_other_layouts(order):
    C = numbers(1, 7, 11)
    X = numbers(0, 5000, 11)
    X = {
        "F": np.asfortranarray(X),
        "reversed": X[::-1],
        "strided": numbers(0, 10_000, 22)[::2, ::2],
        "transposed": numbers(0, 11, 5000).T,
    }[order]
    with lima.session(exactness="bitwise", strict=True):
        for program in DIRECT:
            same(lima.traced(program)(X, C), program(X, C))
            same(lima.traced(program)(X, np.asfortranarray(C)), program(X, np.asfortranarray(C)))


def nearest(X, norms, C):
    distances = norms[:, None] - 2.0 * X @ C.T + (C * C).sum(axis=1)
    labels = distances.argmin(axis=1)
    return labels, distances.min(axis=1).sum()


def steps(X, C):
    norms = (X * X).sum(axis=1)
    found = []
    for _ in range(4):
        found.append(nearest(X, norms, C))
        C = C + 0.01
    return found


@pytest.mark.parametrize("dtype", "fd")
def test_nearest_centre_without_the_matrix(dtype, ran):
    X, C = numbers(0, 30_011, 12, dtype=dtype), numbers(1, 13, 12, dtype=dtype)
    wanted = steps(X, C)
    with lima.session(exactness="rounding", strict=True) as session:
        found = lima.traced(steps)(X, C)
        assert session.stats.partial["product-in-rows"] == 3
    assert ran == [1, 2, 2, 2]  # from the second one on with the least distance
    for (labels, total), (other, sum_) in zip(found, wanted, strict=True):
        assert np.mean(labels != other) < 1e-3  # but for ties
        np.testing.assert_allclose(total, sum_, rtol=1e-4 if dtype == "f" else 1e-12)


def test_bits_of_a_bitwise_session():
    X, C = numbers(0, 20_011, 12), numbers(1, 13, 12)
    with lima.session(exactness="bitwise", strict=True) as session:
        found = lima.traced(steps)(X, C)
        assert not session.stats.partial
    for one, other in zip(found, steps(X, C), strict=True):
        same(one[0], other[0])
        same(np.asarray(one[1]), np.asarray(other[1]))


def test_lineage_says_what_was_computed():
    def program(X, C):
        for k in range(3):
            product = X @ (C.T + k)
            squares = product * product
            total = squares.sum(axis=1)
        return total, product, squares, squares.sum(axis=0)

    X, C = numbers(0, 20_011, 12), numbers(1, 13, 12)
    with lima.session(exactness="rounding", strict=True) as session:
        arrays = [lima.array(X, name="X"), lima.array(C, name="C")]
        found = lima.traced(program)(*arrays)
        assert session.stats.partial["product-in-rows"] >= 1
        for one, wanted in zip(found, program(X, C), strict=True):
            np.testing.assert_allclose(np.asarray(one), wanted, rtol=1e-10, atol=1e-14)
            same(np.asarray(lima.recompute(lima.lineage(one))), np.asarray(one))
        scope = {"__name__": "written"}
        exec(lima.to_python(lima.lineage(found[0])), scope)
        same(scope["program"](X=X, C=C), np.asarray(found[0]))


def test_warnings_are_numpys(ran):
    def program(X, C):
        return (1.0 / (X[:, None] - C)).sum(axis=2)

    X, C = numbers(0, 5000, 6), numbers(1, 4, 6)
    X[4000] = C[2]
    caught = []
    for run in (program, lima.traced(program)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with lima.session(exactness="bitwise", strict=True):
                same(run(X, C), program(X, C))
            caught.append(sorted({str(one.message) for one in said}))
    assert caught[0] == caught[1] != []


def test_what_lies_between_may_be_read_later(ran):
    def program(X, C):
        apart = X[:, None] - C
        squares = apart**2
        return squares.sum(axis=2), squares.max(axis=2), apart[:3].copy(), squares.sum(), squares

    X, C = numbers(0, 5000, 6), numbers(1, 4, 6)
    with lima.session(exactness="bitwise", strict=True):
        for one, other in zip(lima.traced(program)(X, C), program(X, C), strict=True):
            same(np.asarray(one), np.asarray(other))
    assert ran


def test_a_line_may_make_arrays_of_several_kinds(ran):
    def program(arrays):
        found = []
        for a in arrays:
            b = a * 2.0 - 1.0
            found += [b.argmax(axis=1), b.sum(axis=0), b.argmin(axis=1), b.sum(axis=-1), b.min()]
        return found

    arrays = [
        numbers(0, 5000, 9),
        numbers(1, 5000, 3, 5),
        numbers(2, 5000, 9),
        numbers(3, 30_000, 2),
    ]
    with lima.session(exactness="bitwise", strict=True):
        for one, other in zip(lima.traced(program)(arrays), program(arrays), strict=True):
            same(np.asarray(one), np.asarray(other))
    assert ran


def test_a_write_in_between_is_not_seen():
    def program(X, C):
        norms = (X * X).sum(axis=1)
        for _ in range(2):
            distances = norms[:, None] - 2.0 * X @ C.T
            labels = distances.argmin(axis=1)
            X[:100] = 0.0
            C[0] += 1.0
            least = distances.min(axis=1)
        return labels, least

    X, C = numbers(0, 20_011, 12), numbers(1, 13, 12)
    wanted = program(X.copy(), C.copy())
    with lima.session(exactness="rounding", strict=True):
        found = lima.traced(program)(X.copy(), C.copy())
    assert np.mean(found[0] != wanted[0]) < 1e-3
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-9, atol=1e-9)
