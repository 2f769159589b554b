"""Products spelled as `tensordot`, `inner`, `multi_dot` and `einsum`: one operation, one rule."""

import itertools

import numpy as np
import pytest

import lima
from lima import cost
from lima.op import OPS
from lima.ops.contraction import roles


def matrix(seed, rows, columns, dtype="f8", order="C"):
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((rows, columns))
    if np.dtype(dtype).kind == "c":
        made = made + 1j * rng.standard_normal((rows, columns))
    return np.asarray(made.astype(dtype), order=order)


def same(got, want):
    """Bits, dtype, shape and flags."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    bits = np.ndarray.tolist if want.dtype == object else np.ndarray.tobytes
    assert bits(got) == bits(want)
    if want.size > 1:
        assert got.flags.c_contiguous == want.flags.c_contiguous


# --------------------------------------------------------------------------- the same bits

SPELLED = {
    "tensordot 1": lambda X, Y, Z: np.tensordot(X.T, Y, 1),
    "tensordot rows": lambda X, Y, Z: np.tensordot(X, Y, axes=([0], [0])),
    "tensordot columns": lambda X, Y, Z: np.tensordot(X, Z, axes=(1, 1)),
    "tensordot negative": lambda X, Y, Z: np.tensordot(X, Y, axes=((-2,), (-2,))),
    "tensordot itself": lambda X, Y, Z: np.tensordot(X, X, axes=(0, 0)),
    "tensordot a copy": lambda X, Y, Z: np.tensordot(X, X.copy(), axes=(0, 0)),
    "tensordot slices": lambda X, Y, Z: np.tensordot(X[::2, 1:], Y[::2], axes=(0, 0)),
    "tensordot two axes": lambda X, Y, Z: np.tensordot(X, X, axes=2),
    "tensordot none": lambda X, Y, Z: np.tensordot(X[:9], Z[:5], axes=0),
    "inner": lambda X, Y, Z: np.inner(X[:90], Z),
    "inner itself": lambda X, Y, Z: np.inner(X[:90], X[:90]),
    "multi_dot 2": lambda X, Y, Z: np.linalg.multi_dot([X.T, Y]),
    "multi_dot 3 left": lambda X, Y, Z: np.linalg.multi_dot([X.T, Y, Y.T[:, :800]]),
    "multi_dot 3 right": lambda X, Y, Z: np.linalg.multi_dot((X, X.T, Y)),
    "multi_dot 4": lambda X, Y, Z: np.linalg.multi_dot([X, X.T, Y, Y.T[:, :90]]),
    "multi_dot vector": lambda X, Y, Z: np.linalg.multi_dot([X.T, Y, Y[0]]),
}


@pytest.mark.parametrize("name", SPELLED)
@pytest.mark.parametrize("dtype", ["f8", "f4", "c16", "i8", "?"])
def test_these_are_dot_inside(name, dtype):
    run = SPELLED[name]
    arrays = [matrix(k, 900, n, dtype) for k, n in ((1, 8), (2, 6))] + [matrix(3, 40, 8, dtype)]
    with lima.session(exactness="bitwise"):
        traced = lima.traced(lambda X, Y, Z: run(X, Y, Z))
        for _ in range(2):
            same(np.asarray(run(*map(lima.array, arrays))), run(*arrays))
            same(traced(*arrays), run(*arrays))


@pytest.mark.parametrize(
    "run",
    [
        lambda X, Y: np.tensordot(X, Y, 1),
        lambda X, Y: np.tensordot(X, Y, axes=([0, 1], [0])),
        lambda X, Y: np.tensordot(X, Y, axes=(5, 0)),
        lambda X, Y: np.inner(X, Y),
        lambda X, Y: np.linalg.multi_dot([X, Y]),
        lambda X, Y: np.linalg.multi_dot([X]),
    ],
)
def test_errors_are_numpys(run):
    X, Y = matrix(1, 7, 3), matrix(2, 7, 4)
    with pytest.raises(Exception) as plain:
        run(X, Y)
    with lima.session(), pytest.raises(type(plain.value)) as traced:
        run(lima.array(X), lima.array(Y))
    assert str(traced.value) == str(plain.value)


def test_one_product_however_spelled():
    with lima.session(exactness="bitwise") as session:
        X, Y = lima.array(matrix(1, 20000, 12)), lima.array(matrix(2, 20000, 9))
        X.T.dot(Y)
        before = session.stats.hits
        np.tensordot(X, Y, axes=(0, 0))
        np.linalg.multi_dot([X.T, Y])
        assert session.stats.hits == before + 2
        np.inner(Y.T, X.T[:5])
        Y.T.dot(X.T[:5].T)
        assert session.stats.hits == before + 3


# --------------------------------------------------------------------------- einsum

SUBSCRIPTS = [
    *("ij,jk->ik", "ij,jk", "ij,ik->jk", "ij,ik->kj", "ji,jk->ik", "ij,kj->ik", "ij,kj->ki"),
    *("ij,jk->ki", "ba,bc", "ca,cb", "Za,Zc->ac", "ji,kj->ik"),
]


def operands(subscripts, dtype, orders, sizes=(700, 30, 41)):
    one, other = subscripts.split("->")[0].split(",")
    (shared,) = {*one} & {*other}
    size = dict(zip(sorted({*one, *other} - {shared}), sizes[1:], strict=True)) | {shared: sizes[0]}
    return [
        matrix(k, *[size[c] for c in labels], dtype, order)
        for k, (labels, order) in enumerate(zip((one, other), orders, strict=True))
    ]


@pytest.mark.parametrize("subscripts", SUBSCRIPTS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "c16"])
def test_einsum_of_matrices_is_a_product(subscripts, dtype, monkeypatch):
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    for orders, optimize in itertools.product(("CC", "CF", "FC", "FF"), (False, True)):
        arrays = operands(subscripts, dtype, orders)
        want = np.einsum(subscripts, *arrays, optimize=optimize)
        with lima.session(exactness="rounding", strict=True) as session:
            got = np.einsum(subscripts, *map(lima.array, arrays), optimize=optimize)
            if not optimize:
                assert session.stats.partial["sum-over-labels"] == 1
            got = np.asarray(got)
        assert (got.dtype, got.shape, got.strides) == (want.dtype, want.shape, want.strides)
        size = np.einsum(subscripts, *map(np.abs, arrays))
        assert (np.abs(got - want) <= 2 * 720 * np.finfo(dtype).eps * size).all()


NO_PRODUCT = [
    *(
        "ij,ij->ij",
        "ij,ij->i",
        "ij,ij",
        "ij,jk->i",
        "ij,jk->ijk",
        "ij,kl->ik",
        "ij,jk->",
        "ii,ij->j",
    ),
    *("ij,j->i", "i...,ij->j...", "ij,ji->", "ij,ij->ji"),
]


@pytest.mark.parametrize("subscripts", NO_PRODUCT)
def test_other_sums_are_left_alone(subscripts):
    assert roles(subscripts) is None
    A = matrix(1, 60, 60)
    B = A[0] if subscripts == "ij,j->i" else matrix(2, 60, 60)
    with lima.session(exactness="rounding", strict=True) as session:
        for _ in range(2):
            got = np.einsum(subscripts, lima.array(A), lima.array(B))
            same(np.asarray(got), np.asarray(np.einsum(subscripts, A, B)))
        assert not session.stats.partial


@pytest.mark.parametrize("dtype", ["i8", "?", "f2", "O"])
def test_einsum_of_other_dtypes_is_left_alone(dtype):
    """Integers wrap, booleans are combined by `or`, and halves are summed otherwise than by BLAS."""
    A = (matrix(1, 90, 40) * 9).astype("i8").astype(dtype)
    with lima.session(exactness="rounding", strict=True) as session:
        got = np.einsum("ij,ik->jk", lima.array(A), lima.array(A))
        same(np.asarray(got), np.einsum("ij,ik->jk", A, A))
        assert not session.stats.partial


def test_einsum_repeats_a_single_line():
    A, B = matrix(1, 300, 1), matrix(2, 300, 90)
    with lima.session(exactness="rounding", strict=True):
        got = np.einsum("ij,jk->ik", lima.array(A), lima.array(B))
        want = np.einsum("ij,jk->ik", A, B)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-12)


@pytest.mark.parametrize("options", [{"dtype": "f8"}, {"order": "F"}, {"optimize": "greedy"}])
def test_einsum_with_more_to_say(options):
    A = matrix(1, 300, 40)
    with lima.session(exactness="rounding", strict=True):
        one = lima.array(A)  # one buffer, as in the plain call: BLAS may sum two otherwise
        got = np.einsum("ij,ik->jk", one, one, **options)
        same(np.asarray(got), np.einsum("ij,ik->jk", A, A, **options))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_einsum_of_what_is_not_finite(value):
    A = matrix(1, 300, 40)
    A[3, 4] = value
    with lima.session(exactness="rounding", strict=True), np.errstate(all="ignore"):
        got = np.einsum("ij,ik->jk", lima.array(A), lima.array(A))
        np.testing.assert_allclose(np.asarray(got), np.einsum("ij,ik->jk", A, A), rtol=1e-10)


def test_einsum_is_not_replaced_where_that_costs_more(monkeypatch):
    """A few elements take less time than finding a derivation; nor with `bitwise`."""
    assert OPS["einsum"].rules
    A, B = matrix(1, 12, 12), matrix(2, 300, 40)
    with lima.session(exactness="rounding", strict=True) as session:
        np.einsum("ij,ik->jk", lima.array(A), lima.array(A))
        monkeypatch.setattr(cost, "DERIVATION", 1.0)
        np.einsum("ij,ik->jk", lima.array(B), lima.array(B))
        assert not session.stats.partial
    with lima.session(exactness="bitwise") as session:
        got = np.einsum("ij,ik->jk", lima.array(B), lima.array(B))
        same(np.asarray(got), np.einsum("ij,ik->jk", B, B))


def test_the_other_rules_serve_einsum():
    with lima.session(exactness="rounding", strict=True) as session:
        X, d = lima.array(matrix(1, 20000, 20)), lima.array(matrix(2, 20000, 1))
        X.T @ X
        Z = np.hstack([X, d])
        got = np.einsum("ij,ik->jk", Z, Z)
        assert {"sum-over-labels", "product-of-lines"} <= {*session.stats.partial}
        plain = np.hstack([np.asarray(X), np.asarray(d)])
        np.testing.assert_allclose(np.asarray(got), plain.T @ plain, rtol=1e-10, atol=1e-9)
        again = lima.recompute(lima.lineage(got))
        assert again.tobytes() == np.asarray(got).tobytes()
