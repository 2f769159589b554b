"""Results from parts: every rule gives what the plain operation gives, and says so.

The default exactness is "rounding": the error of a derived result is of the order of rounding,
measured here against the bound that holds for any order of summation.
"""

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lima
from bench import parts
from lima import cost, rewrite
from lima.cli import main
from lima.node import Node, Spec, leaf
from lima.op import FUSES, OPS
from lima.pattern import CLASSES, GUARDED
from lima.record import Lineage, loads

ROWS, COLUMNS = 6000, 12


def bound(a, b):
    """Elementwise bound of the error of a product, whatever the order of summation."""
    inner = a.shape[-1]
    eps = np.finfo(a.dtype).eps
    return 2 * (inner + 8) * eps * (np.abs(a) @ np.abs(b)) + np.finfo(a.dtype).tiny


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    """Derive wherever a rule applies: prices are tested by themselves."""
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))  # of one thread, always


@pytest.fixture
def session():
    with lima.session(exactness="rounding", strict=True) as made:
        yield made


def matrix(seed, rows=ROWS, columns=COLUMNS, dtype=float):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)


# --------------------------------------------------------------------------- any structure

PARTS = st.sampled_from(["all", "slice", "backwards", "list", "mask", "one", "line", "ones", "new"])
SPELLINGS = st.sampled_from(["hstack", "column_stack", "concatenate", "c_", "append", "nested"])


@st.composite
def joined(draw, columns=True):
    """A recipe for a matrix joined from pieces of X, constants and new columns (or rows)."""
    kinds = draw(st.lists(PARTS, min_size=1, max_size=4))
    return kinds, draw(SPELLINGS), draw(st.integers(0, 10_000)), columns


def build(recipe, X, fresh):
    """The matrix of a recipe, in NumPy's words; the same for plain and for traced arrays."""
    kinds, spelling, seed, columns = recipe
    if not columns:
        X = X.T
        fresh = [f.T for f in fresh]
    rng = np.random.default_rng(seed)
    n = X.shape[1]
    parts = []
    for kind in kinds:
        picked = rng.permutation(n)[: int(rng.integers(1, n))]
        start, stop = sorted(rng.choice(n + 1, 2, replace=False))
        part = {
            "all": lambda: X,
            "slice": lambda start=start, stop=stop: X[:, start:stop],
            "backwards": lambda start=start, stop=stop: X[:, start:stop][:, ::-1],
            "list": lambda picked=picked: X[:, picked],
            "mask": lambda picked=picked: X[:, np.isin(np.arange(n), picked)],
            "one": lambda start=start: X[:, start : start + 1],
            "line": lambda start=start: X[:, start][:, np.newaxis],
            "ones": lambda: np.full((X.shape[0], 1), 1.0 if seed % 2 else -2.5, dtype=X.dtype),
            "new": lambda: fresh[seed % len(fresh)],
        }[kind]()
        parts.append(part)
    if spelling == "hstack":
        made = np.hstack(parts)
    elif spelling == "column_stack":
        made = np.column_stack(parts)
    elif spelling == "concatenate":
        made = np.concatenate(parts, axis=-1)
    elif spelling == "c_":
        made = np.concatenate(tuple(parts), axis=1)
    elif spelling == "append":
        made = parts[0]
        for part in parts[1:]:
            made = np.append(made, part, axis=1)
    else:
        made = np.hstack([np.hstack(parts[:1]), *parts[1:]])
    return made if columns else made.T


def program(X, Y, fresh, y, left, right):
    Z, W = build(left, X, fresh), build(right, Y, fresh)
    w = y[: Z.shape[1]]
    return [X.T @ X, X.T @ y, Z.T @ Z, Z.T @ y, Z @ w, Z.T @ W, np.dot(Z.T, Z), W.T @ Z, y @ Z]


@settings(max_examples=4 * settings.default.max_examples)
@given(left=joined(), right=joined(), kind=st.sampled_from(["f8", "f4", "c16"]))
def test_products_of_joined_and_chosen_columns(left, right, kind):
    X, Y = matrix(1, dtype=kind), matrix(2, columns=7, dtype=kind)
    fresh, y = [matrix(3, columns=2, dtype=kind), matrix(4, columns=1, dtype=kind)], matrix(5)[:, 0]
    y = y.astype(kind)
    arguments = X, Y, fresh, y, left, right
    wanted = program(*arguments)
    Z, W = build(left, X, fresh), build(right, Y, fresh)
    pairs = [(X.T, X), (X.T, y), (Z.T, Z), (Z.T, y), (Z, y[: Z.shape[1]]), (Z.T, W), (Z.T, Z)]
    pairs += [(W.T, Z), (y, Z)]
    with pytest.MonkeyPatch.context() as patch, lima.session(exactness="rounding", strict=True):
        patch.setattr(cost, "CALL", 1e-12)
        patch.setattr(cost, "DERIVATION", 1e-12)
        for _ in range(2):
            for got, want, (a, b) in zip(
                lima.traced(program)(*arguments), wanted, pairs, strict=True
            ):
                assert got.dtype == want.dtype and got.shape == want.shape
                assert got.flags.c_contiguous == want.flags.c_contiguous and got.flags.writeable
                assert (np.abs(got - want) <= bound(a, b)).all()


def test_a_constant_column_may_be_computed_in_between():
    """What joins it was looked at before, as the line of a constant that waited."""
    lines = [
        "v3 = np.column_stack([F, F, np.full((8, 1), -0.5)])",
        "v4 = np.hstack([v3, np.full((8, 1), 1.0)])",
        "v6 = v4 @ v4.T",
        "v12 = gram(v4)",
    ]
    assert parts.check(lines, 244) is None


def test_what_waits_is_looked_at_anew_when_its_array_was_written():
    lines = [
        "v1 = np.c_[F, F]",
        "v4 = np.concatenate((v1, v1), axis=1)",
        "v5 = []",
        "for _k in range(1, 13):\n    v5.append(v1[:, :_k].T @ v4)",
        "F[:, 1] = 2.0",
        "v9 = np.dot(v4.T, v4)",
    ]
    assert parts.check(lines, 30282) is None


def test_no_columns_at_all(session):
    X, d = lima.array(matrix(1)), lima.array(matrix(2, columns=1))
    Z = np.hstack([X, d])
    assert (Z[:, 5:5].T @ Z).shape == (0, COLUMNS + 1)
    assert (Z.T @ Z[:, []]).shape == (COLUMNS + 1, 0)
    assert not session.stats.faults


def folds(X, y, k, w, spelling):
    Xs, ys = np.split(X, 6), np.split(y, 6)
    Z = getattr(np, spelling)(Xs[:k] + Xs[k + 1 :])
    t = np.concatenate(ys[:k] + ys[k + 1 :])
    A = np.hstack([Z, np.ones((Z.shape[0], 1))])
    return [Z.T @ Z, Z.T @ t, A.T @ A, A.T @ t, Xs[k] @ w]


@pytest.mark.parametrize("spelling", ["vstack", "concatenate"])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_folds(session, spelling, dtype):
    X, y, w = matrix(1, dtype=dtype), matrix(2)[:, 0].astype(dtype), matrix(3)[0].astype(dtype)
    for k in (0, 2, 5, 2):
        wanted = folds(X, y, k, w, spelling)
        for got, want in zip(lima.traced(folds)(X, y, k, w, spelling), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=2e4 * np.finfo(dtype).eps)
    assert session.stats.partial["product-of-parts"] > 3


def leading(C, V, K):
    return [C @ V[:, ::-1][:, :k] for k in K]


@pytest.mark.parametrize("K", [range(3, 30), range(29, 2, -2), (5, 5, 20, 6, 31, 2)])
def test_projections_on_leading_columns(session, K):
    C, V = matrix(1, 4000, 40), matrix(2, 40, 40)
    for got, want in zip(lima.traced(leading)(C, V, K), leading(C, V, K), strict=True):
        assert got.flags.c_contiguous and got.flags.writeable
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
    assert session.stats.partial["product-of-lines"] >= len(K) // 3


# --------------------------------------------------------------------------- operations of rules

A, B, V, W = matrix(1, 30, 4), matrix(2, 30, 3), matrix(3, 30, 1)[:, 0], matrix(4, 9, 5)
T, LARGE = matrix(6, 9, 9), matrix(7, 150, 150)
LONG = (*range(20, 140), 3, *range(9), 149)
WILD = tuple(np.random.default_rng(8).permutation(150).tolist())
TWINS = {
    "matmul.parts": [
        (([A, V, B], W[:8, 0]), {"widths": (4, 1, 3)}, A @ W[:4, 0] + V * W[4, 0] + B @ W[5:8, 0]),
        (([1.0, A, V], W[:6]), {"widths": (1, 4, 1)}, A @ W[1:5] + V[:, None] * W[5] + W[0]),
        (([A, -2.5], W[:5, 1]), {"widths": (4, 1)}, A @ W[:4, 1] + -2.5 * W[4, 1]),
    ],
    "lines": [
        (([T],), {"rows": (3, 3, 0), "columns": (8, 1)}, T[np.ix_([3, 3, 0], [8, 1])]),
        (([LARGE],), {"rows": LONG, "columns": LONG}, LARGE[np.ix_(LONG, LONG)]),
        (([LARGE],), {"rows": LONG, "columns": WILD}, LARGE[np.ix_(LONG, WILD)]),
        (([LARGE.T],), {"rows": WILD, "columns": LONG}, LARGE.T[np.ix_(WILD, LONG)]),
    ],
}


@pytest.mark.parametrize("name", TWINS)
def test_operations_of_rules_and_their_source(name):
    """Each against the expression that it stands for, and against the source that is written."""
    row = OPS[name]
    for (arrays, *rest), params, wanted in TWINS[name]:
        operands = [*arrays, *rest]
        got = row.kernel(operands if row.variadic else operands[0], **params)
        np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-13)
        assert got.flags.c_contiguous and got.dtype == wanted.dtype
        node = Node(
            Spec(name, tuple(params.items()), len(operands), row.version),
            tuple(leaf(x, f"x{k}") if np.ndim(x) else x for k, x in enumerate(operands)),
        )
        scope = {}
        exec(lima.to_python(Lineage({"y": node})), scope)
        assert scope["program"](*[x for x in operands if np.ndim(x)]).tobytes() == got.tobytes()
        again = loads(Lineage({"y": node}).log())
        named = {f"x{k}": x for k, x in enumerate(operands) if np.ndim(x)}
        assert lima.recompute(again, named)["y"].tobytes() == got.tobytes()


# --------------------------------------------------------------------------- what could go wrong


def test_plan_internals_are_not_mistaken_for_other_products(session):
    """W1 to W6 of the reference: sides, arity, several new rows, bounds, shifted operands."""

    @lima.traced
    def use(X, D, V):
        S = X[:COLUMNS]
        return [
            *(S.T @ S, S @ S.T, X.T @ X),
            np.vstack([X, D, D + 1]).T @ np.vstack([X, D, D + 1]),
            *(X @ V, np.vstack([X, D]) @ V, X @ V[:, 2:5], X[:, 3:] @ V[3:], X @ V[::-1]),
            *((X + 5) @ V[:, :4], X[:, 1:] @ V[1:], X[:, 1:].T @ X[:, :-1]),
        ]

    X, D, V = matrix(1), matrix(2, 50), matrix(3, COLUMNS, 7)
    wanted = use.__wrapped__(X, D, V)
    for _ in range(2):
        for got, want in zip(use(X, D, V), wanted, strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


def test_many_threads_on_one_session(session):
    """Windows, tables and accounts are shared; what one thread changes must not mislead another."""
    C, V, X = matrix(1, 4000, 40), matrix(2, 40, 40), matrix(3)
    work = lima.traced(leading)

    def run(seed):
        rng = np.random.default_rng(seed)
        for _ in range(6):
            K = rng.integers(2, 38, 5).tolist()
            for got, want in zip(work(C, V, K), leading(C, V, K), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
            d = rng.standard_normal(ROWS)
            for got, want in zip(grown(X, d), grown.__wrapped__(X, d), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
        return session.planner.depth

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(1, 9))) == [0] * 8


def test_what_was_written_since_is_not_used(session):
    @lima.traced
    def use(X, d):
        first = X.T @ X
        Z = np.column_stack([X, d])
        X[:, 0] = 7.0
        d += 1
        return first, Z.T @ Z, X.T @ X, np.column_stack([X, d]).T @ np.column_stack([X, d])

    wanted = use.__wrapped__(matrix(1), matrix(2)[:, 0])
    for got, want in zip(use(matrix(1), matrix(2)[:, 0]), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-11)


def test_derived_results_are_the_callers_own(session):
    @lima.traced
    def use(X, V, k):
        P = X @ V[:, :k]
        P[0] = 0.0
        P *= 2
        return P, X @ V[:, :k], X.T @ X, X[:, 2:].T @ X[:, 2:]

    X, V = matrix(1), matrix(2, COLUMNS, COLUMNS)
    for k in (3, 4, 5, 5, 4):
        got, want = use(X, V, k), use.__wrapped__(X, V, k)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-11)
            g += 1.0
    assert session.cache.check() is None


def test_structure_is_used_at_all():
    """The random structures above must not all be computed as asked.

    Calls of `build` are not kept as wholes here, which hangs on how long they take: what is kept is
    computed, and has no structure.
    """
    recipe = (["all", "ones", "list"], "hstack", 7, True)
    X, fresh = matrix(1), [matrix(3, columns=2), matrix(4, columns=1)]
    with lima.session(exactness="rounding", strict=True, reuse="partial") as session:
        lima.traced(program)(X, matrix(2, columns=7), fresh, matrix(5)[:, 0], recipe, recipe)
        assert sum(session.stats.partial.values()) >= 5, session.report()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_what_is_not_finite_is_computed_as_asked(session, value):
    """NaN in a column that was not chosen must not show; NumPy's warnings must."""

    @lima.traced
    def use(X, cols):
        return X.T @ X, X[:, cols].T @ X[:, cols]

    X = matrix(1)
    X[5, 2] = value
    for cols in ([0, 1], [3, 4, 5], [1, 2], [2, 3]):
        with np.errstate(all="ignore"):
            want = use.__wrapped__(X, cols)
            got = use(X, cols)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-9)


def test_dtypes_that_are_mixed_or_exact(session):
    @lima.traced
    def use(X, one, K):
        Z = np.column_stack([X, one])
        L = np.column_stack([K, K[:, 0]])
        return X.T @ X, Z.T @ Z, L.T @ L, K.T @ K, L.T @ X

    X, one, K = matrix(1, dtype="f4"), np.ones(ROWS), np.arange(ROWS * 3).reshape(ROWS, 3) % 50
    for g, w in zip(use(X, one, K), use.__wrapped__(X, one, K), strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-2)


def test_empty_and_tiny_operands(session):
    @lima.traced
    def use(X):
        Z = np.hstack([X, X[:, :0]])
        E = X[:0]
        return Z.T @ Z, E.T @ E, np.hstack([E, E]).T @ np.hstack([E, E]), X[:, :0].T @ X

    for g, w in zip(use(matrix(1)), use.__wrapped__(matrix(1)), strict=True):
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e8, 1e120])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_errors_stay_rounding_errors(session, scale, shift):
    """Badly scaled, far from the origin, nearly collinear: the bound knows of no such thing."""
    X = matrix(1) * np.logspace(-6, 6, COLUMNS) * scale + shift * scale
    X[:, 3] = X[:, 2] * (1 + 1e-14)

    @lima.traced
    def use(X):
        Z = np.column_stack([np.ones(len(X)), X[:, ::2], X])
        return X.T @ X, Z.T @ Z

    got = use(X)[1]
    Z = np.column_stack([np.ones(len(X)), X[:, ::2], X])
    assert (np.abs(got - Z.T @ Z) <= bound(Z.T, Z)).all()
    assert session.stats.partial["product-of-lines"] == 1


def test_a_window_of_columns_is_no_table_of_rows(session):
    """`X.T @ X[:, 20:26]` asks for columns of X'X; Gram matrices of chosen lines need its rows too."""
    X = matrix(1, ROWS, 40)
    T = lima.array(X)
    for stop in (26, 27, 28):
        np.testing.assert_allclose(T.T @ T[:, 20:stop], X.T @ X[:, 20:stop], atol=1e-9)
    for columns in ([21, 20, 23, 24, 22, 25], [22, 23, 24, 25, 26, 27, 20]):
        Z = T[:, columns]
        np.testing.assert_allclose(Z.T @ Z, X[:, columns].T @ X[:, columns], atol=1e-9)


def test_constant_blocks_wider_than_they_are_tall(session):
    @lima.traced
    def use(W):
        Z = np.hstack([W, np.full((W.shape[0], 800), 1.5)])
        return W.T @ W, Z.T @ Z, Z.T @ W, Z @ Z.T

    W = matrix(1, 50, 900)
    for _ in range(2):
        for got, want in zip(use(W), use.__wrapped__(W), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-9)
    assert session.stats.partial


def test_derived_arrays_in_a_session_that_wants_bits(session):
    """Its digest is that of the plain product, its bits are not: neither may serve for the other."""

    @lima.traced
    def inverse(G):
        return np.linalg.inv(G)

    @lima.traced
    def whole(X, d):
        Z = np.column_stack([X, d])
        return np.linalg.inv(Z.T @ Z)

    X, d = matrix(1, ROWS, 40), matrix(2)[:, 0]
    Z = np.column_stack([X, d])
    T = lima.array(X)
    _, handle = T.T @ T, np.column_stack([T, lima.array(d)])
    handle = handle.T @ handle
    plain = np.asarray(handle).copy()
    _, derived, _ = grown(X, d)
    assert session.stats.partial["product-of-lines"] == 2
    with lima.session(exactness="bitwise") as bitwise:
        for G in (plain, derived, handle, handle):
            assert np.asarray(inverse(G)).tobytes() == np.linalg.inv(np.asarray(G)).tobytes()
            got = np.linalg.inv(lima.array(G) if isinstance(G, np.ndarray) else G)
            assert np.asarray(got).tobytes() == np.linalg.inv(np.asarray(G)).tobytes()
            assert whole(X, d).tobytes() == np.linalg.inv(Z.T @ Z).tobytes()
        assert not bitwise.stats.partial


def test_lineage_where_an_operand_was_evicted_and_then_derived(session):
    """The inverse was computed from the plain product; its log must not speak of the derivation."""
    T, d = lima.array(matrix(1, ROWS, 40), name="X"), lima.array(matrix(2)[:, 0], name="d")
    Z = np.column_stack([T, d])
    np.asarray(Z)  # built: the product is computed as asked
    first = np.linalg.inv(G := Z.T @ Z)
    session.cache.evict(G._value.node.digest)
    T.T @ T
    Z = np.column_stack([T, d])
    second = np.linalg.inv(Z.T @ Z)
    assert session.stats.partial and np.asarray(first).tobytes() == np.asarray(second).tobytes()
    assert lima.recompute(lima.lineage(second)).tobytes() == np.asarray(second).tobytes()


def test_parts_of_plans_that_the_program_asks_for(session):
    """What a plan kept carries its own lineage to whoever hits it."""
    F = [lima.array(matrix(k, ROWS, 20), name=f"F{k}") for k in range(3)]
    d = lima.array(matrix(9, 3 * ROWS)[:, 0], name="d")
    grams = [f.T @ f for f in F]
    S = np.vstack(F)
    Z = np.column_stack([S, d])
    H = Z.T @ Z
    column = (S.T @ d)[:, np.newaxis]
    B = np.block([[S.T @ S, column], [column.T, d @ d]])
    for x in (H, B, *grams, S.T @ S):
        assert lima.recompute(lima.lineage(x)).tobytes() == np.asarray(x).tobytes()


def test_a_rule_with_a_result_of_another_shape_is_refused(session, monkeypatch):
    table = next(rule for rule in OPS["matmul"].rules if rule.name == "product-of-lines")

    def wrong(*arguments):
        offer = table.plan(*arguments)
        return offer and offer._replace(make=lambda: arguments[0].run("zeros", shape=(2, 2)))

    rule = dataclasses.replace(table, plan=wrong)
    offers = lambda p, *call: [o for o in [wrong(p, rule, *call)] if o]  # noqa: E731
    monkeypatch.setattr(lima.rewrite.Planner, "offers", offers)
    with pytest.raises(lima.InternalError, match="product-of-lines"):
        grown(matrix(1), matrix(2)[:, 0])


# --------------------------------------------------------------------------- what is said of it


@lima.traced
def grown(X, d):
    G = X.T @ X
    Z = np.column_stack([X, d, np.ones(len(d))])
    H = Z.T @ Z
    return G, H, np.linalg.inv(H)


def test_lineage_tells_the_truth_about_the_bits(session):
    """The log holds the derivation, so what is recomputed has the bits of what was derived."""
    X, d = matrix(1), matrix(2)[:, 0]
    for _ in range(2):  # computed, then hit
        G, H, inverse = grown(X, d)
        record = lima.lineage(G=G, H=H, inverse=inverse)
        assert record.find("block")
        again = lima.recompute(loads(record.log()), {"X": X, "d": d})
        for name, value in (("G", G), ("H", H), ("inverse", inverse)):
            assert again[name].tobytes() == value.tobytes()
        scope = {}
        exec(lima.to_python(record), scope)
        for value, text in zip((G, H, inverse), scope["program"](X, d), strict=True):
            assert text.tobytes() == value.tobytes()


def test_explanations_and_statistics_name_the_rule(session):
    _, H, _ = grown(matrix(1), matrix(2)[:, 0])
    assert session.stats.partial == {"product-of-lines": 1}
    assert "product-of-lines" in session.report()
    assert "product-of-lines" in str(lima.explain(H))


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    X, d = matrix(1), matrix(2)[:, 0]
    with lima.session(**{"exactness": "rounding", **options}) as session:
        got = grown(X, d)
        assert not session.stats.partial
    for g, w in zip(got, grown.__wrapped__(X, d), strict=True):
        assert g.tobytes() == w.tobytes()


def test_a_rule_that_fails_is_nobodys_trouble(monkeypatch):
    X, d = matrix(1), matrix(2)[:, 0]

    def broken(*arguments):
        raise RuntimeError("broken rule")

    monkeypatch.setattr(lima.rewrite.Planner, "offers", broken, raising=True)
    with lima.session(exactness="rounding", strict=False) as session:
        got = grown(X, d)
        assert session.stats.faults > 0
    for g, w in zip(got, grown.__wrapped__(X, d), strict=True):
        assert g.tobytes() == w.tobytes()
    with lima.session(exactness="rounding", strict=True), pytest.raises(RuntimeError):
        grown(X, d)


# --------------------------------------------------------------------------- the rules as data

RULES = {rule.name: (row, rule) for row in OPS.values() for rule in row.rules}


@pytest.mark.parametrize("name", RULES)
def test_rules_are_stated(name):
    _, rule = RULES[name]
    assert rule.exactness in CLASSES and rule.equation and rule.saves


def test_the_catalogue_page_and_the_command_show_every_rule(capsys):
    page = (Path(__file__).parents[1] / "docs" / "rules.md").read_text("utf-8")
    assert page.count("\n## ") == len(lima.rules())
    assert main(["rules"]) == 0
    listed = capsys.readouterr().out
    for rule in lima.rules():
        assert f"## {rule.name}\n" in page and f"`{rule.exactness}`" in page
        assert all(part in page for part in rule.equation.split(";  "))
        assert rule.example in page and rule.saves in page
        assert rule.name in listed and rule.saves in listed


KERNELS = {"product-in-one-pass", "product-of-weighted-rows"}
"""Rules that need a compiled kernel."""


@pytest.mark.parametrize("name", RULES)
def test_the_example_of_a_rule_fires_it(name):
    if name in KERNELS and not FUSES:
        pytest.skip("there is no pass where lima is not compiled")
    _, rule = RULES[name]
    scope = {"np": np}
    exec(rule.example, scope)
    plain = scope["f"]
    X = matrix(1)
    with lima.session(exactness=rule.exactness, strict=True) as session:
        for d in (matrix(2)[:, 0], matrix(3)):
            try:
                wanted = plain(X, d)
            except ValueError:
                continue  # the other kind of operand
            got = lima.traced(exec_copy(rule.example))(X, d)
            for g, w in itertools.zip_longest(got, wanted):
                size = np.abs(w).max() if rule.exactness == GUARDED else 1.0
                np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-10 * size)
        assert session.stats.partial[name] >= 1


def exec_copy(text):
    scope = {"np": np}
    exec(text, scope)
    return scope["f"]


# --------------------------------------------------------------------------- investment

WORST = {
    "ever other single columns": [[k % 16] for k in range(400)],
    "small and large in turn": [list(range(2)), list(range(15))] * 40,
    "growing": [list(range(k)) for k in range(1, 17)] * 6,
    "once and never again": [[0, 5, 9]],
    "just before it pays": [list(range(4))] * 15,
}


@pytest.mark.parametrize("name", WORST)
def test_total_is_at_most_twice_the_best_in_hindsight(name, monkeypatch):
    """Gram matrices of subsets, where a product of k columns costs k^2 and nothing else counts."""
    n, work = 16, []
    kernel = OPS["matmul"].kernel

    def counting(a, b):
        if a.ndim == b.ndim == 2 and a.shape[1] == ROWS:
            work.append(a.shape[0] * b.shape[1])
        return kernel(a, b)

    monkeypatch.setattr(cost, "product", lambda m, k, n, size, symmetric=False: float(m * n))
    monkeypatch.setattr(cost, "build", lambda *sizes: 0.0)
    object.__setattr__(OPS["matmul"], "kernel", counting)
    subsets = WORST[name]
    X = matrix(1, ROWS, n)
    try:
        with lima.session(exactness="rounding", strict=True, reuse="partial"):
            T = lima.array(X)
            for k, subset in enumerate(subsets):
                # other rows first: no two requests are equal, so that only the rule can help
                order = np.roll(subset, k) if len(subset) > 1 else subset
                Z = T[:, order]
                np.testing.assert_allclose(Z.T @ Z, X[:, order].T @ X[:, order], atol=1e-9)
    finally:
        object.__setattr__(OPS["matmul"], "kernel", kernel)
    best = min(float(n * n), sum(len(s) ** 2 for s in subsets))
    assert sum(work) <= 2 * best + max(len(s) for s in subsets) ** 2


def test_requests_with_and_without_a_constant_pay_for_one_product(monkeypatch):
    """What both kinds would be cut out of is X'X, so both count towards it."""
    n, work = 16, []
    kernel = OPS["matmul"].kernel

    def counting(a, b):
        if a.ndim == b.ndim == 2 and a.shape[1] == ROWS:
            work.append(a.shape[0] * b.shape[1])
        return kernel(a, b)

    monkeypatch.setattr(cost, "product", lambda m, k, n, size, symmetric=False: float(m * n))
    monkeypatch.setattr(cost, "build", lambda *sizes: 0.0)
    object.__setattr__(OPS["matmul"], "kernel", counting)
    X = matrix(1, ROWS, n)
    try:
        with lima.session(exactness="rounding", strict=True, reuse="partial"):
            T, ones = lima.array(X), lima.array(np.ones(ROWS))
            for k in range(12):
                chosen = [(k + j) % n for j in range(8)]
                Z, P = T[:, chosen], X[:, chosen]
                if k % 2:
                    Z = np.column_stack([Z, ones])
                    P = np.column_stack([P, np.ones(ROWS)])
                np.testing.assert_allclose(Z.T @ Z, P.T @ P, atol=1e-9)
    finally:
        object.__setattr__(OPS["matmul"], "kernel", kernel)
    assert sum(work) <= 8 * 8 + 9 * 9 + (n + 1) ** 2


def test_what_a_rule_gave_lately_is_not_derived_again(session):
    X, d = lima.array(matrix(1)), lima.array(matrix(2)[:, 0])
    (X.T @ X, X.T @ d, d @ d)
    first, second, third = [], [], []
    for found in (first, second, third):
        Z = np.column_stack([X, d])
        found.append(Z.T @ Z)
        partial = session.stats.partial["product-of-lines"]
    assert partial == 1
    for got in (second[0], third[0]):
        assert np.asarray(got).tobytes() == np.asarray(first[0]).tobytes()
        assert lima.recompute(lima.lineage(got)).tobytes() == np.asarray(got).tobytes()
    want = np.asarray(third[0]).copy()
    second[0] += 1.0  # its own memory from now on
    Z = np.column_stack([X, d])
    for got in (first[0], third[0], Z.T @ Z):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(second[0], want + 1.0)


def test_one_window_is_opened_ahead_of_the_requests(session, monkeypatch):
    """The first columns asked for give some more at once; the next such venture has to be earned."""
    asked = []
    kernel = OPS["matmul"].kernel
    monkeypatch.setattr(rewrite, "VENTURE", 0.0)
    monkeypatch.setattr(cost, "product", lambda m, k, n, size, symmetric=False: 1e-9 * m * k * n)
    monkeypatch.setattr(cost, "build", lambda *sizes: 0.0)

    def counting(a, b):
        asked.append(b.shape[1])
        return kernel(a, b)

    object.__setattr__(OPS["matmul"], "kernel", counting)
    try:
        X = matrix(1, ROWS, 200)
        T = lima.array(X)
        for seed in (2, 3, 4):
            V = matrix(seed, 200, 60)
            for k in (10, 11) if seed == 2 else (10,):
                np.testing.assert_allclose(T @ lima.array(V)[:, :k], X @ V[:, :k], atol=1e-9)
    finally:
        object.__setattr__(OPS["matmul"], "kernel", kernel)
    assert asked == [16, 16, 10]
