"""Products over sets of rows: all folds but one, a cleaned sample, however they were chosen."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.ops import subsets

ROWS, COLUMNS = 20_000, 12
RULE, FAR = "product-of-subsets", "product-of-subsets-guarded"


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(subsets, "STEP", 1e-12)


def matrix(seed, rows=ROWS, columns=COLUMNS, dtype="f8"):
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((rows, columns))
    return (made + 1j * made[::-1] if np.dtype(dtype).kind == "c" else made).astype(dtype)


SPELLINGS = {
    "index": lambda A, fold: A[np.setdiff1d(np.arange(len(A)), fold)],
    "mask": lambda A, fold: A[~np.isin(np.arange(len(A)), fold)],
    "delete": lambda A, fold: np.delete(A, fold, axis=0),
    "delete by a mask": lambda A, fold: np.delete(A, np.isin(np.arange(len(A)), fold), axis=0),
    "permuted": lambda A, fold: A[np.setdiff1d(np.arange(len(A)), fold)[::-1]],
    "negative": lambda A, fold: A[np.setdiff1d(np.arange(len(A)), fold) - len(A)],
}
JOINED = {
    "slices": lambda A, fold: np.concatenate([A[: fold[0]], A[fold[-1] + 1 :]]),
    "delete a slice": lambda A, fold: np.delete(A, slice(int(fold[0]), int(fold[-1]) + 1), axis=0),
}


def stretches(k):
    return np.array_split(np.arange(ROWS), k)


def scattered(k):
    return np.array_split(np.random.default_rng(9).permutation(ROWS), k)


def use(X, Y, y, folds, choose):
    found = []
    for fold in folds:
        Z, T, t = choose(X, fold), choose(Y, fold), choose(y, fold)
        found += [Z.T @ Z, Z.T @ T, Z.T @ t, np.dot(T.T, Z)]
    return found


def pairs(X, Y, y, folds, choose):
    for fold in folds:
        Z, T, t = choose(X, fold), choose(Y, fold), choose(y, fold)
        yield from ((Z.T, Z), (Z.T, T), (Z.T, t), (T.T, Z))


def within(got, want, arguments, factor):
    """Bounds by the norms of columns; with a factor of 1 elementwise ones."""
    for g, w, (a, b) in zip(got, want, pairs(*arguments), strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert g.flags.c_contiguous == w.flags.c_contiguous
        eps = 4 * (a.shape[-1] + 8) * np.finfo(a.dtype).eps
        if factor == 1:
            limit = np.abs(a) @ np.abs(b)
        else:
            limit = np.multiply.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=0))
        assert (np.abs(g - w) <= factor * eps * limit).all()


def run(arguments, **session):
    with lima.session(**{"exactness": "rounding", "strict": True, **session}) as here:
        return lima.traced(use)(*arguments), here.stats.partial


@pytest.mark.parametrize("name", [*SPELLINGS, *JOINED])
@pytest.mark.parametrize("dtype", ["f8", "f4", "c16"])
def test_folds_that_are_stretches(name, dtype):
    """Nothing is subtracted, so that the error is that of another order of summation."""
    X, Y, y = matrix(1, dtype=dtype), matrix(2, columns=5, dtype=dtype), matrix(3, dtype=dtype)
    for folds in (stretches(5), [stretches(7)[k] for k in (3, 0, 6, 3, 1)]):
        arguments = X, Y, y[:, 0].copy(), folds, (SPELLINGS | JOINED)[name]
        want = use(*arguments)
        got, fired = run(arguments)
        assert fired[RULE] + fired["product-of-parts"] >= 12 and fired[RULE] >= 8
        within(got, want, arguments, 1)
        for gram in got[::4]:
            assert dtype == "c16" or gram.tobytes() == gram.T.copy().tobytes()


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_folds_that_lie_scattered(name, dtype):
    X, Y, y = matrix(1, dtype=dtype), matrix(2, columns=5, dtype=dtype), matrix(3, dtype=dtype)
    arguments = X, Y, y[:, 0].copy(), scattered(6), SPELLINGS[name]
    want = use(*arguments)
    got, fired = run(arguments)
    assert fired[RULE] >= 12
    within(got, want, arguments, 16)
    for gram in got[::4]:
        assert gram.tobytes() == gram.T.copy().tobytes()


def test_work_is_that_of_all_rows_once(monkeypatch):
    """Five folds and all rows multiplied once, in stretches, whatever the order of the folds."""
    from lima.op import OPS

    kernel, work = OPS["matmul"].kernel, []

    def counting(a, b):
        work.append(a.shape[1])
        return kernel(a, b)

    object.__setattr__(OPS["matmul"], "kernel", counting)
    try:
        X = lima.array(matrix(1))
        with lima.session(exactness="rounding", strict=True):
            for fold in [stretches(5)[k] for k in (2, 0, 4, 1, 3)]:
                Z = np.delete(X, lima.array(fold), axis=0)
                Z.T @ Z
    finally:
        object.__setattr__(OPS["matmul"], "kernel", kernel)
    assert sum(work) == ROWS


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e120])
@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("folds", [stretches, scattered])
def test_errors_stay_rounding_errors(scale, shift, folds):
    X = (matrix(1) * np.logspace(-6, 6, COLUMNS) + shift) * scale
    X[:, 3] = X[:, 2] * (1 + 1e-14)
    arguments = X, X[:, :5] * 2, X[:, 0] * 3, folds(6), SPELLINGS["mask"]
    got, fired = run(arguments)
    # where squares may vanish, nothing is subtracted
    assert (fired[RULE] >= 8) == (scale > 1e-150 or folds == stretches)
    within(got, use(*arguments), arguments, 1 if folds == stretches else 16)


@pytest.mark.parametrize("size", [10.0, 1e3, 1e9])
def test_the_guard_refuses_where_cancellation_hurts(size):
    """One fold holds nearly all of a column: what is left of it would have lost its digits."""
    X, folds = matrix(1), scattered(6)
    X[folds[4], 2] *= size
    X[folds[5], 3] *= size
    arguments = X, X[:, :5] * 2, X[:, 0].copy(), folds, SPELLINGS["index"]
    want = use(*arguments)
    for exactness, factor in (("rounding", 16), ("guarded", 1e6)):
        got, _ = run(arguments, exactness=exactness)
        within(got, want, arguments, factor)
        for k in (16, 20):
            same = got[k].tobytes() == want[k].tobytes()
            assert same == (factor == 16 or size == 1e9)


def test_columns_that_are_zero_but_for_the_rows_left_out():
    X, folds = matrix(1), scattered(4)
    X[:, 5] = 0.0
    X[folds[1], 5] = 1.0
    arguments = X, X[:, :5], X[:, 5].copy(), folds, SPELLINGS["mask"]
    got, _ = run(arguments, exactness="guarded")
    want = use(*arguments)
    for k in range(4, 8):
        assert got[k].tobytes() == want[k].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("folds", [stretches, scattered])
def test_what_is_not_finite(value, folds):
    X, parts = matrix(1), folds(4)
    X[parts[2][7], 3] = value
    arguments = X, X[:, :5], X[:, 0].copy(), parts, SPELLINGS["mask"]
    with np.errstate(all="ignore"):
        got, _ = run(arguments)
        for g, w in zip(got, use(*arguments), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9)


NONE = {
    "repeated": lambda A, f: A[np.concatenate([f, f])],
    "another step": lambda A, f: A[::2][f % (ROWS // 2)],
    "columns": lambda A, f: A[:, [0, 1, 2]],
}


@pytest.mark.parametrize("name", NONE)
def test_rows_that_are_no_set(name):
    X = matrix(1)
    with lima.session(exactness="rounding", strict=True) as session:
        T = lima.array(X)
        T.T @ T
        for fold in scattered(4):
            Z, W = NONE[name](X, fold), NONE[name](T, fold)
            np.testing.assert_allclose(np.asarray(W.T @ W), Z.T @ Z, rtol=1e-9, atol=1e-9)
        assert not session.stats.partial[RULE]


def test_short_index_arrays_in_other_orders():
    X, Y = matrix(1), matrix(2)
    with lima.session(exactness="rounding", strict=True):
        T, U = lima.array(X), lima.array(Y)
        T.T @ U
        for seed in range(4):
            some = np.random.default_rng(seed).permutation(50)
            Z, W = np.take(T, tuple(some.tolist()), axis=0), U[some[::-1].tolist()]
            want = X[some].T @ Y[some[::-1]]
            np.testing.assert_allclose(np.asarray(Z.T @ W), want, rtol=1e-9, atol=1e-9)


def test_other_rows_or_another_order_on_either_side():
    X, Y = matrix(1), matrix(2)
    with lima.session(exactness="rounding", strict=True) as session:
        T, U = lima.array(X), lima.array(Y)
        T.T @ U, T.T @ T
        a, b = np.arange(ROWS - 700), np.arange(700, ROWS)
        c = np.random.default_rng(1).permutation(ROWS - 700)
        for left, right in ((a, b), (a, c), (c, a), (b, c[::-1]), (c, c[::-1])):
            for one, other, p, q in ((T, T, X, X), (T, U, X, Y)):
                got = np.asarray(one[left].T @ other[right])
                np.testing.assert_allclose(got, p[left].T @ q[right], rtol=1e-9, atol=1e-9)
        assert not session.stats.partial[RULE]
        np.testing.assert_allclose(np.asarray(T[c].T @ U[c]), X[c].T @ Y[c], rtol=1e-9, atol=1e-9)


def test_rows_and_index_arrays_that_were_written_since():
    @lima.traced
    def use(X, y, folds):
        found, keep = [], np.ones(len(X), dtype=bool)
        for fold in folds:
            keep[:] = True
            keep[fold] = False
            Z, t = X[keep], y[keep]
            found += [Z.T @ Z, Z.T @ t]
            if len(found) == 4:
                X[40] = 7.0
                y[:30] = 2.0
        return found

    for folds in (stretches(5), scattered(5)):
        with lima.session(exactness="rounding", strict=True) as session:
            arguments = matrix(1), matrix(2)[:, 0].copy(), folds
            again = matrix(1), matrix(2)[:, 0].copy(), folds
            for got, want in zip(use(*arguments), use.__wrapped__(*again), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-9)
            assert session.stats.partial[RULE] >= 2


def test_rows_of_a_matrix_that_was_written_since_they_were_chosen():
    """The selection is a copy of what the matrix was: nothing of what it is now may enter."""

    @lima.traced
    def use(X, y, folds):
        found = []
        for fold in folds:
            keep = np.ones(len(X), dtype=bool)
            keep[fold] = False
            Z, t = X[keep], y[keep]
            found += [Z.T @ Z]
            mean = Z.mean(axis=0)
            X[fold[0]] += 1.0
            keep[fold[0]] = True
            y[7] = 0.0
            W = X[keep]
            found += [Z.T @ t, mean, W.T @ W, Z.T @ Z, W.T @ y[keep], Z[3:].T @ t[3:]]
        return found

    for folds in (stretches(5), scattered(5)):
        with lima.session(exactness="rounding", strict=True):
            arguments = matrix(1), matrix(2)[:, 0].copy(), folds
            again = matrix(1), matrix(2)[:, 0].copy(), folds
            for got, want in zip(use(*arguments), use.__wrapped__(*again), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-9)


def test_a_plain_index_array_that_its_owner_changes():
    X = matrix(1)
    index = np.arange(ROWS - 4000)
    with lima.session(exactness="rounding", strict=True):
        T = lima.array(X)
        Z = T[index]
        index += 4000
        W = T[index]
        np.testing.assert_array_equal(np.asarray(Z[:3]), X[:3])
        np.testing.assert_allclose(np.asarray(W.T @ W), X[4000:].T @ X[4000:], atol=1e-9)
        np.testing.assert_allclose(np.asarray(Z.T @ Z), X[:-4000].T @ X[:-4000], atol=1e-9)


def test_what_was_evicted_is_computed_again():
    X = matrix(1)
    with lima.session(exactness="rounding", strict=True) as session:
        T = lima.array(X)
        for folds in (stretches(5), scattered(5)):
            for fold in folds:
                Z, W = np.delete(X, fold, axis=0), np.delete(T, fold, axis=0)
                np.testing.assert_allclose(np.asarray(W.T @ W), Z.T @ Z, atol=1e-9)
                session.clear()


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
@pytest.mark.parametrize("folds", [stretches, scattered])
def test_sessions_that_do_not_allow_it(options, folds):
    arguments = matrix(1), matrix(2), matrix(3)[:, 0].copy(), folds(4), SPELLINGS["delete"]
    got, fired = run(arguments, **options)
    assert not fired
    for g, w in zip(got, use(*arguments), strict=True):
        assert g.tobytes() == w.tobytes()


@pytest.mark.parametrize("folds", [stretches, scattered])
def test_not_where_it_costs_more(monkeypatch, folds):
    monkeypatch.setattr(subsets, "STEP", 1.0)
    arguments = matrix(1), matrix(2), matrix(3)[:, 0].copy(), folds(4), SPELLINGS["delete"]
    assert not run(arguments)[1][RULE]


def test_little_data_is_not_looked_at(monkeypatch):
    monkeypatch.undo()
    X = lima.array(matrix(1, 300))
    with lima.session(exactness="rounding", strict=True) as session:
        for fold in np.array_split(np.arange(300), 5):
            Z = np.delete(X, fold, axis=0)
            Z.T @ Z
        assert not session.stats.partial


@pytest.mark.parametrize("folds", [stretches, scattered])
def test_its_lineage_computes_the_same_bits(folds):
    T = lima.array(matrix(1), name="X")
    with lima.session(exactness="rounding", strict=True) as session:
        for fold in folds(5):
            F = lima.array(fold, name=f"fold{fold[0]}")
            Z = np.delete(T, F, axis=0)
            G = Z.T @ Z
        assert session.stats.partial[RULE] >= 3 and RULE in str(lima.explain(G))
        assert lima.recompute(lima.lineage(G)).tobytes() == np.asarray(G).tobytes()


def test_standardised_training_sets():
    """The rule of centred products asks for those of the rows, and has them from this one."""

    def use(X, y, folds):
        found = []
        for fold in folds:
            Z, t = np.delete(X, fold, axis=0), np.delete(y, fold)
            G = Z.T @ Z
            S = (Z - Z.mean(axis=0)) / Z.std(axis=0)
            found += [G, S.T @ S, S.T @ t, Z.T @ t]
        return found

    arguments = matrix(1), matrix(2)[:, 0].copy(), stretches(5)
    with lima.session(exactness="rounding", strict=True) as session:
        for got, want in zip(lima.traced(use)(*arguments), use(*arguments), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
        assert session.stats.partial["centred-product"] >= 5
        assert session.stats.partial[RULE] >= 5


def test_deleted_columns_are_chosen_lines():
    X = matrix(1)
    with lima.session(exactness="rounding", strict=True) as session:
        T = lima.array(X)
        T.T @ T
        some = np.array([1, 5, 5, -2])
        for j, k in ((0, 0), (-1, -1), (slice(2, 9, 3),) * 2, (some, lima.array(some))):
            Z, W = np.delete(X, j, axis=1), np.delete(T, k, axis=1)
            np.testing.assert_allclose(np.asarray(W.T @ W), Z.T @ Z, atol=1e-9)
            np.testing.assert_array_equal(np.asarray(W), Z)
        assert session.stats.partial["product-of-lines"] == 4


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize(
    "obj",
    [3, -1, 40_000, slice(None), slice(5, 2), slice(8, 1, -3), np.array([1, 1, -1]), np.uint8(3),
     np.zeros(0, int), np.zeros(ROWS, bool), np.zeros(COLUMNS, bool), np.array([2.0]), [0, 2],
     np.array([[1], [2]]), np.array([99_999]), True],
)  # fmt: skip
def test_what_is_deleted(axis, obj):
    """Shapes are told before anything is computed; what NumPy refuses is refused at once."""
    X = matrix(1)
    for A in (X, X[:, 0].copy(), np.asfortranarray(X)):
        try:
            want = np.delete(A, obj, axis=axis)
        except Exception as error:
            with pytest.raises(type(error)):
                np.delete(lima.array(A), obj, axis=axis)
            continue
        got = np.delete(lima.array(A), obj, axis=axis)
        assert got.shape == want.shape and got.dtype == want.dtype
        got = np.asarray(got)
        assert got.tobytes() == want.tobytes()
        assert got.flags.f_contiguous == want.flags.f_contiguous
