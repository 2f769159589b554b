"""Products with tall matrices in one pass: bits of the twins, what is asked for besides, warnings."""

import warnings

import numpy as np
import pytest

import lima
from lima.op import FUSES
from lima.ops.tall import row_products, row_sums
from lima.record import loads

pytestmark = pytest.mark.skipif(not FUSES, reason="there is no pass where lima is not compiled")
if FUSES:
    from lima import tall

RULE = "product-in-one-pass"
ROWS, COLUMNS = 20_001, 33


def numbers(seed, *shape, dtype=float):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def rounding(**options):
    return lima.session(exactness="rounding", **options)


def partial(session):
    return dict(session.stats.partial)


# ---------------------------------------------------------------------------- kernels


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("columns", [1, 7, 8, 9, 16, 33, 100])
@pytest.mark.parametrize("rows", [1, 3, 8, 63, 65, 1000, 8191, 8192, 8201, 16_390])
def test_kernels_have_the_bits_of_their_twins(dtype, rows, columns):
    X, v, w = (
        numbers(k, *s, dtype=dtype) for k, s in enumerate([(rows, columns), (columns,), (rows,)])
    )
    assert tall.takes(X, v) and tall.takes(X, w, long=True)
    z, out = tall.dots(X, v)[0], tall.sums(X, w)[0]
    assert z.tobytes() == row_products(X, v).tobytes()
    assert out.tobytes() == row_sums(X, w).tobytes()
    assert tall.dots(X, v, 2)[0].tobytes() == z.tobytes()
    assert tall.sums(X, w, 2)[0].tobytes() == out.tobytes()
    both = np.empty(rows, dtype)
    assert tall.through(None, -1, X, v, both, 2)[0].tobytes() == tall.sums(X, z)[0].tobytes()
    assert both.tobytes() == z.tobytes()


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("columns", [1, 9, 16, 33])
@pytest.mark.parametrize("rows", [1, 8, 511, 513, 1031, 8192, 16_390])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 1.0])
def test_rows_without_weight_are_left_out(dtype, rows, columns, part):
    X, w = numbers(0, rows, columns, dtype=dtype), numbers(1, rows, dtype=dtype)
    w[np.random.default_rng(2).random(rows) >= part] = -0.0
    out = tall.some(X, w)[0]
    assert out.tobytes() == row_sums(X, w, some=True).tobytes() == tall.some(X, w, 2)[0].tobytes()
    np.testing.assert_allclose(out, X.T @ w, rtol=0, atol=1e-3 if dtype == "f" else 1e-11)
    X[w == 0] = np.nan
    assert tall.some(X, w)[0].tobytes() == out.tobytes()


@pytest.mark.parametrize("dtype", "fd")
def test_rows_may_lie_apart(dtype):
    wide, v, w = numbers(0, 9001, 45, dtype=dtype), numbers(1, 40, dtype=dtype), numbers(2, 9001)
    X, w = wide[:, 3:43], w.astype(dtype)
    assert tall.dots(X, v)[0].tobytes() == row_products(X.copy(), v).tobytes()
    assert tall.sums(X, w)[0].tobytes() == row_sums(X.copy(), w).tobytes()
    w[::3] = 0
    assert tall.some(X, w)[0].tobytes() == row_sums(X.copy(), w, some=True).tobytes()


def test_what_the_kernels_leave_to_numpy():
    X, v = numbers(0, 100, 20), numbers(1, 20)
    assert tall.takes(X, v)
    assert not tall.takes(np.asfortranarray(X), v)
    assert not tall.takes(X[:, ::2], v[::2].copy())
    assert not tall.takes(X, numbers(1, 40)[::2])
    assert not tall.takes(X[::-1], v)
    assert not tall.takes(X.astype(">f8"), v) and not tall.takes(X, v.astype(">f8"))
    assert not tall.takes(X, v.astype("f"))
    assert not tall.takes(X.astype(int), v.astype(int))
    assert not tall.takes(numbers(0, 100, 2000), numbers(1, 2000))  # a block fills the cache
    assert not tall.takes(X[:, :0], v[:0])


def test_portions_do_not_grow_in_number():
    portions = [tall.portion(n) for n in (1, 1 << 19, 10**6, 10**8)]
    assert portions == [8192, 8192, 16384, 1526 * 1024]


def test_nan_and_infinity_go_through():
    X, v, w = numbers(0, 9000, 20), numbers(1, 20), numbers(2, 9000)
    X[5, 3], X[70, 2], w[8500] = np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(np.isnan(tall.dots(X, v)[0]), np.isnan(X @ v))
        np.testing.assert_array_equal(np.isinf(tall.dots(X, v)[0]), np.isinf(X @ v))
        np.testing.assert_array_equal(np.isnan(tall.sums(X, w)[0]), np.isnan(X.T @ w))


# ---------------------------------------------------------------------------- the rule


def sigmoid(X, y, w):
    return X.T @ (1.0 / (1.0 + np.exp(-(X @ w))) - y)


def hessian(X, y, w):
    return X.T @ (y * (X @ w))


def from_the_left(X, y, w):
    return np.dot(np.tanh(X.dot(w) + 0.5) - y, X)


def bare(X, y, w):
    return X.T @ (X @ w)


def masked(X, y, w):
    z = X @ w
    return X.T @ np.where(y * z < 1, -y, 0 * y)


FUNCTIONS = [sigmoid, hessian, from_the_left, bare, masked]


def steps(function, X, y, w):
    """So often that the product waits from the second time on."""
    found = []
    for k in range(3):
        found.append(function(X, y, w))
        w = w + found[-1] / (10.0 * len(X) * (k + 1))
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("threads", [1, 2])
def test_one_pass_gives_what_two_give(function, dtype, threads):
    X, y = numbers(0, ROWS, 40, dtype=dtype), numbers(1, ROWS, dtype=dtype)
    w = numbers(2, 40, dtype=dtype)
    wanted = steps(function, X, y, w)
    with rounding(strict=True, threads=threads) as session:
        found = lima.traced(steps)(function, X, y, w)
        taken = partial(session)
        # a Gram matrix may give X' X v as well
        assert taken.get(RULE) == 2 or function.__name__ == "bare"
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=200 * np.finfo(dtype).eps * ROWS)


def test_threads_do_not_change_bits():
    X, y, w = numbers(0, 70_000, COLUMNS), numbers(1, 70_000), numbers(2, COLUMNS)
    found = []
    for threads in (1, 2, 3):
        with rounding(threads=threads):
            found.append(np.concatenate(lima.traced(steps)(sigmoid, X, y, w)).tobytes())
    assert len(set(found)) == 1


def test_not_in_a_bitwise_session():
    X, y, w = numbers(0, ROWS, COLUMNS), numbers(1, ROWS), numbers(2, COLUMNS)
    with lima.session(exactness="bitwise") as session:
        found = lima.traced(steps)(sigmoid, X, y, w)
        assert not partial(session)
    for a, b in zip(found, steps(sigmoid, X, y, w), strict=True):
        assert a.tobytes() == b.tobytes()


def test_what_lies_between_can_be_read_and_has_its_lineage():
    def program(X, y, w):
        X.T @ np.tanh(X @ (w + 1))
        scores = X @ w
        p = np.tanh(scores)
        gradient = X.T @ (p - y)
        return gradient, p, scores, p.sum(), scores[:7].copy()

    X, y, w = numbers(0, ROWS, COLUMNS), numbers(1, ROWS), numbers(2, COLUMNS)
    with rounding(strict=True) as session:
        arrays = [lima.array(a) for a in (X, y, w)]
        found = lima.traced(program)(*arrays)
        assert partial(session)[RULE] == 1
        gradient, p, scores, total, head = (np.asarray(a) for a in found)
        assert scores.tobytes() == row_products(X, w).tobytes()
        assert p.tobytes() == np.tanh(scores).tobytes() and total == p.sum()
        assert gradient.tobytes() == row_sums(X, p - y).tobytes()
        assert head.tobytes() == scores[:7].tobytes()
        for one in found:
            assert (
                np.asarray(lima.recompute(lima.lineage(one))).tobytes() == np.asarray(one).tobytes()
            )
        text = lima.to_python(lima.lineage(found[0]))
        scope = {"__name__": "written"}
        exec(text, scope)
        assert scope["program"](X, w, y).tobytes() == gradient.tobytes()


def test_a_write_in_between_is_not_seen():
    def program(X, y, w):
        X.T @ np.tanh(X @ (w + 1))
        z = X @ w
        X[0] = 7.0
        return X.T @ np.tanh(z), z

    X, y, w = numbers(0, ROWS, COLUMNS), numbers(1, ROWS), numbers(2, COLUMNS)
    wanted = program(X.copy(), y, w)
    with rounding(strict=True):
        found = lima.traced(program)(X.copy(), y, w)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_numpys(bad):
    X, y, w = numbers(0, ROWS, COLUMNS), numbers(1, ROWS), numbers(2, COLUMNS)
    X[ROWS // 2, 3] = bad
    with warnings.catch_warnings(record=True) as wanted_warnings:
        warnings.simplefilter("always")
        wanted = steps(sigmoid, X, y, w)
    with rounding(strict=True) as session, warnings.catch_warnings(record=True) as found_warnings:
        warnings.simplefilter("always")
        found = lima.traced(steps)(sigmoid, X, y, w)
        assert RULE not in partial(session)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert {str(w.message) for w in found_warnings} == {str(w.message) for w in wanted_warnings}


def test_warnings_are_numpys():
    X, y, w = numbers(0, ROWS, COLUMNS), numbers(1, ROWS), 400 * numbers(2, COLUMNS)
    with (
        rounding(strict=True) as session,
        pytest.warns(RuntimeWarning, match="overflow encountered in exp"),
    ):
        lima.traced(steps)(sigmoid, X, y, w)
    assert RULE not in partial(session)
    with rounding(strict=True) as session, np.errstate(over="ignore"):
        lima.traced(steps)(sigmoid, X, y, w)
        assert partial(session)[RULE] == 2
    with rounding(strict=True), np.errstate(over="raise"), pytest.raises(FloatingPointError):
        lima.traced(steps)(sigmoid, X, y, w)


def test_small_and_narrow_matrices_are_left_to_blas():
    for rows, columns, dtype in ((9000, 30, "d"), (ROWS, 7, "d"), (ROWS, 31, "f")):
        X, y = numbers(0, rows, columns, dtype=dtype), numbers(1, rows, dtype=dtype)
        w = numbers(2, columns, dtype=dtype)
        with rounding() as session:
            found = lima.traced(steps)(sigmoid, X, y, w)
            assert RULE not in partial(session)
        for a, b in zip(found, steps(sigmoid, X, y, w), strict=True):
            assert a.tobytes() == b.tobytes()


def test_two_products_of_one_matrix_are_not_mixed_up():
    def program(X, y, w):
        found = []
        for k in range(3):
            u, v = X @ (w + k), X @ (w - k)
            found += [X.T @ (u * v), X.T @ np.tanh(u), X.T @ np.tanh(v), u, v]
        return found

    X, y, w = numbers(0, ROWS, COLUMNS), numbers(1, ROWS), numbers(2, COLUMNS)
    with rounding(strict=True):
        found = lima.traced(program)(X, y, w)
    for a, b in zip(found, program(X, y, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-7)


def test_another_matrix_of_the_same_shape_is_another_product():
    def program(X, Z, w):
        for _ in range(2):
            X.T @ np.tanh(X @ (w + 1))
        return Z.T @ np.tanh(X @ w), X.T @ np.tanh(Z @ w)

    X, Z, w = numbers(0, ROWS, COLUMNS), numbers(1, ROWS, COLUMNS), numbers(2, COLUMNS)
    with rounding(strict=True):
        found = lima.traced(program)(X, Z, w)
    for a, b in zip(found, program(X, Z, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)


def test_the_same_again_is_found():
    def program(X, y, w):
        return [sigmoid(X, y, w + k % 2) for k in range(6)]

    X, y, w = numbers(0, ROWS, COLUMNS), numbers(1, ROWS), numbers(2, COLUMNS)
    with rounding(strict=True) as session:
        found = lima.traced(program)(X, y, w)
        assert session.stats.hits + session.stats.function_hits >= 2
    for a, b in zip(found, program(X, y, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)


# ---------------------------------------------------------------------------- rows without weight

SOME = "product-of-weighted-rows"
WIDE = numbers(3, ROWS, 120)


def hinges(X, y, steps):
    """Gradients of a squared hinge loss."""
    w, found = np.zeros(X.shape[1], X.dtype), []
    for _ in range(steps):
        margin = X @ w
        if margin[0] > 1e9:  # so it does not wait for what is made of it
            break
        slack = np.maximum(1.0 - y * margin, 0.0) * (y > 0.3)
        found.append(X.T @ (slack * y))
        w = w + found[-1] / len(X)
    return found


def from_left(X, y, steps):
    return [np.dot(np.where(y > k / 9, y * k, 0.0), X) for k in range(4, 4 + steps)]


@pytest.mark.parametrize("program", [hinges, from_left])
@pytest.mark.parametrize("dtype", "fd")
def test_products_of_weighted_rows(program, dtype):
    X, y = WIDE.astype(dtype), numbers(4, ROWS, dtype=dtype)
    plain = program(X, y, 9)
    with rounding() as here:
        found = lima.traced(program)(X, y, 9)
        assert partial(here)[SOME] >= 4
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3 if dtype == "f" else 1e-9)
        assert a.dtype == b.dtype
    with lima.session(exactness="bitwise") as here:
        found = lima.traced(program)(X, y, 9)
        assert SOME not in partial(here)
    assert [a.tobytes() for a in found] == [b.tobytes() for b in plain]


def test_few_zeros_are_no_reason():
    X, y = WIDE, np.abs(numbers(4, ROWS)) + 0.1
    with rounding() as here:
        lima.traced(lambda X, y: [X.T @ (y * k) for k in range(1, 9)])(X, y)
        assert SOME not in partial(here)


@pytest.mark.parametrize("what", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, ROWS - 1])
def test_zero_times_infinity_is_as_in_numpy(what, place):
    """Of which a row without weight would say nothing."""
    X, y = WIDE.copy(), numbers(4, ROWS)
    X[place, 5], y[place] = what, -1.0
    with np.errstate(invalid="ignore"):
        plain = from_left(X, y, 9)
        with rounding() as here:
            found = lima.traced(from_left)(X, y, 9)
            assert SOME not in partial(here)
    assert all(np.isnan(a[5]) for a in plain)
    assert [np.isnan(a).tobytes() for a in found] == [np.isnan(b).tobytes() for b in plain]


def test_a_matrix_that_is_written_is_looked_at_again():
    def program(X, y):
        found = from_left(X, y, 6)
        X[7, 2] = np.inf
        return found, from_left(X, np.where(np.arange(len(y)) == 7, -1.0, y), 6)

    y = numbers(4, ROWS)
    with np.errstate(invalid="ignore"), rounding() as here:
        first, second = lima.traced(program)(WIDE.copy(), y)
        assert partial(here)[SOME] >= 3
    assert np.isfinite(first).all()
    assert np.isnan([a[2] for a in second]).all()


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_weights_that_are_not_finite(what):
    y = np.where(numbers(4, ROWS) > 0.5, 1.0, 0.0)
    bad = y.copy()
    bad[77] = what

    def program(X, y, bad):
        return [X.T @ (y * k) for k in range(1, 6)], X.T @ (bad * 2.0)

    with np.errstate(invalid="ignore"), rounding() as here:
        _, last = lima.traced(program)(WIDE, y, bad)
        assert partial(here)[SOME] >= 2
        plain = WIDE.T @ (bad * 2.0)
    assert np.array_equal(np.isnan(last), np.isnan(plain))
    assert np.array_equal(np.isinf(last), np.isinf(plain))


def test_a_log_says_which_rows_were_added_up():
    y = numbers(4, ROWS)
    with rounding():
        found = lima.traced(hinges)(WIDE, y, 8)[-1]
        record = lima.traced(hinges).lineage(WIDE, y, 8)
    text = record.log()
    assert "tall.some" in text
    again = lima.recompute(loads(text), {"X": WIDE, "y": y})
    last = list(again.values())[-1] if isinstance(again, dict) else again[-1]
    assert np.asarray(last).tobytes() == found.tobytes()
