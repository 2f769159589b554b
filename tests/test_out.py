"""`out=`: a buffer that is overwritten as a whole has no history, and what it gets may be found."""

import operator

import numpy as np
import pytest
from same import same

import lima
import lima.numpy
from lima.handle import value_of

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(60, 40)), RNG.normal(size=(40, 30))
V, W = RNG.normal(size=500), RNG.normal(size=500)

CALLS = {
    "matmul": (np.matmul, (A, B), {}),
    "dot": (np.dot, (A, B), {}),
    "einsum": (np.einsum, ("ij,jk", A, B), {}),
    "add": (np.add, (V, W), {}),
    "add a number": (np.add, (V, 2.0), {}),
    "add columns": (np.add, (A, A[:1]), {}),
    "exp": (np.exp, (A,), {}),
    "less": (np.less, (V, W), {}),
    "clip": (np.clip, (V, -1.0, 1.0), {}),
    "sum": (np.sum, (A,), {"axis": 1}),
    "mean": (np.mean, (A,), {"axis": 0, "keepdims": True}),
    "cumsum": (np.cumsum, (A,), {"axis": 1}),
    "argmax": (np.argmax, (A,), {"axis": 1}),
    "add.reduce": (np.add.reduce, (A,), {"axis": 1}),
    "multiply.outer": (np.multiply.outer, (V[:9], W[:8]), {}),
    "fft": (np.fft.fft, (V,), {}),
    "median": (np.median, (A,), {"axis": 0}),
}


@pytest.mark.parametrize("name", CALLS)
def test_lineage_is_that_of_the_call_without_out(name):
    function, args, options = CALLS[name]
    x = [lima.array(a) if isinstance(a, np.ndarray) else a for a in args]
    for reuse in ("hybrid", "none"):
        with lima.session(reuse=reuse):
            wanted = function(*x, **options)
            for old in (0, 1):
                out = lima.array(np.full(wanted.shape, old, wanted.dtype))
                assert function(*x, out=out, **options) is out
                assert lima.lineage(x=out).digest() == lima.lineage(x=wanted).digest()
                assert np.asarray(out).tobytes() == np.asarray(wanted).tobytes()


CASES = {
    "another dtype": lambda: ((A, B), {}, np.zeros((60, 30), "f4")),
    "columns first": lambda: ((A, B), {}, np.zeros((60, 30), order="F")),
    "a part": lambda: ((A, B), {}, np.zeros((70, 30))[5:65]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_decides_more_than_the_place_stays_in_the_lineage(name):
    args, options, out = CASES[name]()
    options = {"casting": "unsafe"} if out.dtype == "f4" else options
    wanted = np.matmul(*args, out=out.copy(order="K"), **options)
    x, y = map(lima.array, args)
    found = lima.array(out)
    np.matmul(x, y, out=found, **options)
    assert np.array_equal(found, wanted)
    if found.flags.c_contiguous and found.dtype == "f8":
        return  # `lima.array` made the part an array of its own
    assert lima.lineage(x=found).digest() != lima.lineage(x=np.matmul(x, y)).digest()


LARGE, LARGER = RNG.normal(size=(150, 150)), RNG.normal(size=(150, 150))
IN_PLACE = {
    "+=": operator.iadd, "-=": operator.isub, "*=": operator.imul, "/=": operator.itruediv,
}  # fmt: skip
RIGHT = {"an array": LARGER, "a number": 2.5, "a row": LARGER[:1], "a list": [0.5] * 150}


@pytest.mark.parametrize("symbol", IN_PLACE)
@pytest.mark.parametrize("name", RIGHT)
def test_an_in_place_operator_gives_what_the_operator_gives(symbol, name):
    in_place, plain = IN_PLACE[symbol], getattr(operator, IN_PLACE[symbol].__name__[1:])
    x, y = np.tile(LARGE, (2, 1)), RIGHT[name]
    y = np.tile(y, (2, 1)) if name == "an array" else y
    given = lima.array(y) if isinstance(y, np.ndarray) else y
    wanted, changed = plain(lima.array(x), given), lima.array(x)
    view = changed[3:]
    assert in_place(changed, given) is changed
    assert lima.lineage(x=changed).digest() == lima.lineage(x=wanted).digest()
    assert np.asarray(changed).tobytes() == plain(x, y).tobytes() == np.asarray(wanted).tobytes()
    assert np.asarray(view).tobytes() == plain(x, y)[3:].tobytes()


KEPT = {
    "itself": (lambda x: operator.iadd(x, x), "f8"),
    "its transpose": (lambda x: operator.iadd(x, x.T), "f8"),
    "a part of it": (lambda x: operator.imul(x, x[:1]), "f8"),
    "more digits": (lambda x: operator.iadd(x, np.ones(x.shape)), "f4"),
    "a part": (lambda x: operator.iadd(x[1:], 1.0), "f8"),
    "columns first": (lambda x: operator.iadd(x.T, 1.0), "f8"),
    "integers": (lambda x: operator.imul(x, 3), "i8"),
    "floor": (lambda x: operator.ifloordiv(x, 3), "i4"),
    "power": (lambda x: operator.ipow(x, 2), "f4"),
    "what waits": (lambda x: operator.iadd(x * 2.0 + 1.0, x), "f8"),
}


@pytest.mark.parametrize("name", KEPT)
def test_in_place_operators_of_every_kind(name):
    work, dtype = KEPT[name]

    def program(x):
        found = work(x)
        return found, x, found.sum()

    x = (np.tile(LARGE, (2, 2)) * 9).astype(dtype)
    same(program, lambda: (x.copy(),))
    want = program(x.copy())
    handle = lima.array(x.copy(), name="x")
    found = lima.traced(lambda x: work(x).copy())(handle)
    again = lima.recompute(lima.lineage(found), {"x": x})
    assert again.tobytes() == np.asarray(found).tobytes() == np.ascontiguousarray(want[0]).tobytes()


@pytest.mark.parametrize("work", [
    lambda x: operator.iadd(x, 0.5), lambda x: operator.itruediv(x, 2),
    lambda x: operator.iadd(x, np.ones((3, *x.shape))), lambda x: operator.isub(x, "a"),
])  # fmt: skip
def test_in_place_operators_refuse_what_numpy_refuses(work):
    x = np.ones((200, 200), "i8")
    with pytest.raises(Exception) as plain:
        work(x.copy())
    with pytest.raises(type(plain.value)) as traced:
        lima.traced(work)(x.copy())
    assert str(traced.value) == str(plain.value)


def test_where_leaves_the_rest():
    out, mask = lima.array(V), lima.array(V > 0)
    np.add(lima.array(V), 1.0, out=out, where=mask)
    assert np.array_equal(out, np.where(V > 0, V + 1, V))
    assert lima.lineage(x=out).digest() != lima.lineage(x=lima.array(V) + 1.0).digest()


def test_a_buffer_of_a_loop_hits():
    def grid(X):
        G, found = np.empty((40, 40)), []
        for shift in range(5):
            np.dot(X.T, X, out=G)
            G.flat[:: G.shape[0] + 1] += shift
            found.append(G[0, 0])
        return found

    X = np.tile(A, (200, 1))
    with lima.session(exactness="bitwise") as session:
        assert lima.traced(grid)(X) == grid(X)
    assert session.stats.hits == 4


def test_lineage_of_a_loop_with_buffers_does_not_grow():
    @lima.traced
    def loop(x, n):
        t = np.empty_like(x)
        for k in range(n):
            np.multiply(x, k, out=t)
            np.add(t, 1.0, out=t)
        return t

    assert len(lima.lineage(x=loop(V, 3))) == len(lima.lineage(x=loop(V, 300)))


PROGRAMS = """
def into_an_argument(a, b, c): np.dot(a, b, out=c); d = c + 1; c[0] = 7; return d
def seen_by_views(a, b, c): v = c[0]; w = c.T; np.matmul(a, b, out=c); v += 1; return v, w, c
def twice(a, b, c): np.dot(a, b, out=c); d = c.copy(); np.dot(a, b, out=c); c += 1; return c, d
def itself(a, b, c): return np.matmul(a, a, out=a), np.add(a, b, out=b), np.add(a, a[::-1], out=a)
def read_before(a, b, c): d = c * 2; e = c[1:] + 1; np.dot(a, b, out=c); return d, e, c
def chained(a, b, c): return np.dot(np.dot(a, b, out=c), b, out=np.empty_like(c)), c
def casting(a, b, c): s = np.zeros(4, "f4"); np.sum(a, axis=0, out=s); np.add(s, 1, out=s); return s
def refused(a, b, c): s = np.zeros(4, "i4"); np.sum(a, axis=0, out=s); return s
def wrong_shape(a, b, c): s = np.zeros(3); np.dot(a, b, out=s); return s
def broadcast(a, b, c): s = np.zeros((3, 4)); np.add(a[0], b[1], out=s); return s
def in_columns(a, b, c): s = np.zeros((4, 4), order="F"); np.add(a, b, out=s); return s, s.sum()
def of_columns(a, b, c): s = np.zeros((4, 4)); np.add(a.T, b.T, out=s); return s, s.sum(), np.exp(s.T)
def no_rows(a, b, c): s = np.ones((0, 4)); np.dot(a[:0], b, out=s); return s
def kept_alive(a, b, c): x = [np.add(a, k, out=c).copy() for k in range(3)]; return x, c
def half(a, b, c): np.add(a, b, out=c, where=a > 0); np.dot(a, b, out=c[:]); return c
def locked(a, b, c): c.setflags(write=False); np.dot(a, b, out=c); return c
def waiting(a, b, c): a[:2] = a[1:3]; d = a % b; np.dot(b, b, out=a); e = a + 1; a[0] = 3; return d, a, e
def of_one_row(a, b, c): s = np.array(a[:1], order="F"); np.clip(a[:1], 0, 1, out=s); return s, s.strides
def numbers(a, b, c): s = np.zeros(()); np.sum(a, out=s); np.add(s, 1.0, out=s); return s
def backwards(a, b, c): s = np.zeros(4); np.einsum("ij->i", (np.tile(a, 19) / 3)[:, ::-2], out=s); return s
def in_few_digits(a, b, c): s = np.zeros(4, "f2"); np.mean(np.full((3, 4), 6e4, "f2"), 0, out=s); return s
def errors(a, b, c):
    with np.errstate(all="raise"):
        try: np.divide(a, 0.0, out=c)
        except FloatingPointError: pass
    return c
""".strip()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [line[4:].split("(")[0] for line in PROGRAMS.splitlines()
                                  if line.startswith("def ")])  # fmt: skip
def test_programs(name):
    scope = {"np": np, "__name__": "programs_with_out"}
    exec(PROGRAMS, scope)
    same(scope[name], lambda: tuple(np.random.default_rng(1).normal(size=(3, 4, 4)).copy()))


def test_a_result_that_waits_can_be_written():
    a, out = lima.array(A), lima.array(np.zeros((40, 40)))
    np.matmul(a.T, a, out=out)
    value_of(out)
    out += 1
    assert np.array_equal(out, A.T @ A + 1)
