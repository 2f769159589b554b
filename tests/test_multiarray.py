"""What NumPy's tests of its arrays found, as programs of one line.

Each runs plain, under `lima.traced`, and with `lima.numpy`: results, errors with their text, and
warnings are the same.
"""

import copy
import decimal
import fractions

import numpy as np
import pytest
from one_line import HEAD, compare
from same import public

import lima
import lima.numpy

MORE = """
import decimal


class Bad:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("not this one")


class Empty:
    def __array__(self, dtype=None, copy=None):
        return None


class Theirs:
    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        places = [k for k, x in enumerate(inputs) if x is self]
        return ufunc.__name__, method, places, options

    def __radd__(self, other):
        return "not asked"


class Holder:
    def __init__(self, held):
        self.held = held

    def __array__(self, dtype=None, copy=None):
        return self.held


class Deck:
    def __init__(self):
        self.cards = [1, 2, 3, 4]

    def __len__(self):
        return 4

    def __getitem__(self, k):
        return self.cards[k]

    def __setitem__(self, k, card):
        self.cards[k] = card


class Target:
    def __array_ufunc__(self, ufunc, method, *inputs, out, **options):
        return ufunc.__name__, method, len(inputs), [type(x).__name__ for x in out], options


class Above:
    __array_priority__ = 10.0

    def __radd__(self, other):
        return "asked", other.shape

    def __rdivmod__(self, other):
        return "asked", other.shape


class Below:
    def __radd__(self, other):
        return "each", float(other)


class Number(float):
    pass
"""

OBJECTS = """
k * decimal.Decimal(3)
decimal.Decimal(3) * k
decimal.Decimal(3) + k[1]
k[1] * decimal.Decimal(3)
k ** fractions.Fraction(2)
fractions.Fraction(1, 3) - k
v + Number(2.0)
Number(2.0) - v
v[0] * Number(2.0)
v * range(4)
range(4) * v
v + [None, 1, 2, 3]
k + [decimal.Decimal(1), 1, 2, 3]
k + [2**70, 1, 2, 3]
v == object
v != set()
v == {}
{} == v
v[0] == {}
v < object()
v + Bad()
Bad() + v
v == Bad()
v < Bad()
v + Theirs()
Theirs() == v
v @ Theirs()
v ** Theirs()
v[0] + Theirs()
v + Above()
divmod(v, Above())
divmod(Above(), v)
divmod(k, decimal.Decimal(2))
divmod(v, Theirs())
B ** np.matrix(B)
np.matrix(B) ** 2
v ** np.matrix(v)
v[0] ** np.matrix(v)
v * np.matrix(B)
np.matrix(B) - B
r = B.copy(); r **= np.matrix(B); r
r = B.copy(); r += np.matrix(B); r
v + Below()
v[0] + Below()
r = k.copy(); r += decimal.Decimal(1); r
r = np.array(3, dtype=object); (r + r) * 2
r = np.array(3, dtype=object); -r, abs(r), r + 1, 1 - r, np.add(r, 4), r ** 2
r = np.array(3, dtype=object); r == 3, r < 2, r.shape
r = np.array([1, 2], dtype=object); (r @ r) + 1, np.dot(r, r), r[0]
r = [1]; s = np.array([r, None], dtype=object); s[0] is r
r = [1]; s = np.array([r, None], dtype=object); s.copy()[0] is r, copy.copy(s)[0] is r
r = [1]; s = np.array([r, None], dtype=object); copy.deepcopy(s)[0] is r, copy.deepcopy(s)[0]
r = {}; s = np.array([r, r]); s[0] is r
""".strip().splitlines()

# An array of objects holds arrays themselves, which see what is written to them later.
KEPT = """
r = np.array([v, w], dtype=object); r[0] + 1
r = np.array([v, None], dtype=object); r[0]
r = np.array([v, v], dtype=object); v[0] = 9; r
r = np.empty(2, dtype=object); r[:] = [v, w]; r[1] * 2
r = np.array([v, None], dtype=object); v[0] = 9; r[0]
r = np.array([v, None], dtype=object); r[0][1] = 9; v
s = v * 2; r = np.array([s, None], dtype=object); s[0] = 9; r[0]
s = v * 2; r = np.array([s, None], dtype=object); r[0][0] = 9; s
s = v * 2; r = np.empty(2, dtype=object); r[:] = [s, None]; s[0] = 9; r[0]
s = A * 2; r = np.empty(2, dtype=object); r[1] = s[2]; t = s + 1; s[2, 0] = 9; r[1], t
r = np.empty(2, dtype=object); r[0] = v; r[1] = w; v[0] = 8; r[0], v
s = v * 2; r = np.empty(4, dtype=object); r[:] = s; s[0] = 9; r
s = v * 2; r = np.empty(2, dtype=object); r[0] = s[1]; s[1] = 9; r
r = np.array([v, w], dtype=object); [float(x.sum()) for x in r]
np.concatenate(np.array([v, w], dtype=object))
""".strip().splitlines()

SHAPES = """
r = v.copy(); r @= v; r
r = B.copy(); r @= v; r
r = A.copy(); r @= v; r
r = v.copy(); r @= 2; r
r = v.copy(); r @= B; r
r = A.copy(); r @= B; r
r = A.copy(); r @= A; r
r = v[0]; r @= B; r
r = v.copy(); r @= B.tolist(); r
r = v.copy(); r @= v.tolist(); r
np.reshape(v[0], (1, 1)).flags.writeable
r = v.copy(); r.resize(-1); r
r = v.copy(); r.resize(2, refcheck='x'); r
np.ones((1,) * 64).flat
""".strip().splitlines()

CALLS = """
v.partition(2, axis=None); v
v.sort(axis=None); v
A.sort(axis=None); A
np.array()
np.asarray()
np.sum()
np.linalg.solve()
np.concatenate()
np.array([1, 2, 3], copy='always')
np.array([1], float, 1)
np.array(Empty())
np.asarray(Empty())
np.array(Bad())
np.where(condition=m, x=A, y=1.0)
np.where(m, A, y=1.0)
r = k.copy(); np.putmask(a=r, mask=k > 0, values=1); r
r = k.copy(); np.putmask(r, mask=k > 0, values=1); r
v.astype(np.dtypes.Float32DType)
v.astype(dtype=type(k.dtype))
A.astype(np.dtypes.StrDType)
v.astype(np.dtypes.BoolDType).sum()
v.astype(type(v.dtype), copy=False) is v
np.array(['2020-01-01']).astype(np.dtypes.DateTime64DType)
np.bincount([], v[:0])
np.bincount([], weights=v[:0], minlength=3)
np.bincount(v[:0])
np.add(Holder(v), 1)
np.sum(Holder(A), axis=0)
v + Holder(v)
Holder(v) - v
v[Holder(k > 0)]
np.concatenate([Holder(v), Holder(w)])
np.linalg.norm(Holder(A), axis=1)
r = v.copy(); r[:] = Holder(v * 2); r
r = v.copy(); r += Holder(v); r
r = v.copy(); r[Holder(k > 0)] = 7; r
np.asarray(Holder(v), dtype='f4')
np.array(Holder(v))
r = v.copy(); np.copyto(r, Holder(v * 2)); r
np.einsum('i,i', Holder(v), v)
np.array([Holder(v), Holder(v)])
np.intersect1d(Holder(k), k)
np.bincount(Holder(np.arange(3)))
np.add.reduce(Holder(v))
np.split(Holder(v), 2)
np.random.default_rng(3).permutation(Holder(v))
np.random.default_rng(3).normal(Holder(v))
r = Deck(); np.random.RandomState(3).shuffle(r); r.cards
r = Deck(); np.random.default_rng(3).shuffle(r); r.cards
r = Deck(); np.random.default_rng(3).shuffle(x=r, axis=0); r.cards
np.random.default_rng(3).shuffle(v, slice(1, 2))
np.random.default_rng(3).shuffle(v, 1.5)
np.random.RandomState(3).shuffle(v, 1)
r = np.random.default_rng(3); r.normal == r.normal, r.normal in (r.gamma, r.normal), len({r.normal, r.normal})
r = np.random.default_rng(3); r.normal == r.gamma, r.normal == np.random.default_rng(3).normal
np.add.reduceat(A, [])
np.add.reduceat(A, indices=(), axis=1)
np.add.reduceat(A, v[:0])
np.modf(Target(), None, v)
np.modf(Target(), 'first', 'second')
np.modf(v, Target())
np.modf(v, None, Target())
np.modf(v, out=(Target(), None), casting="no")
np.divmod(v, w, out=(Target(), Target()))
np.modf(v, object())
""".strip().splitlines()

# What is written to what a function gives is written to what it was given.
ITSELF = """
r = np.diff(A, n=0); r[0] = 7; r is A, A
r = np.diff(A, 0, axis=0); r[0] = 7; A
r = np.linalg.matrix_power(B, 1); r[0] = 7; B
r = np.linalg.matrix_power(B[:2, :2], n=1); r[0] = 7; B
np.linalg.matrix_power(A, 1)
r = np.polyder(v, 0); r[0] = 7; v
r = np.polyint(v, m=0); r[0] = 7; v
np.polyint(v, m=0, k=3)
r = np.ix_(k, k[:2]); r[0][1] = 7; r, k
np.ix_(k > 0, k)
[r.tolist() for r in (*np.ix_(k, [1, 2]), *np.ix_([], k))]
np.ix_(v[:0], k)
np.ix_(A)
r = np.meshgrid(v, copy=False); r[0][1] = 7; v
r = np.meshgrid(v, w, copy=False, sparse=True); r[0][0, 1] = 7; r[1][2] = 8; r, v, w
r = np.meshgrid(v, w, k, indexing='ij', copy=False, sparse=True); r[2][0, 0] = 7; r, k
[(r.strides, r.tolist()) for r in np.meshgrid(v, w, copy=False)]
[(r.strides, r.tolist()) for r in np.meshgrid(v, w, k, copy=False, indexing='ij')]
[(r.strides, r.tolist()) for r in np.meshgrid(v, w, k, copy=False)]
[(r.strides, r.tolist()) for r in np.meshgrid(A, v, copy=False)]
np.meshgrid(v, w, copy=False, indexing='yx')
[(r.strides, r.tolist()) for r in np.meshgrid(v[0], v, copy=False)]
np.meshgrid(copy=False)
""".strip().splitlines()

ATTRIBUTES = """
r = np.array([1.5, 2j, 3], object); r.real.tolist(), r.imag.tolist(), r.real is r
r = np.array([1.5, 2j, 3], object); r.real[0] = 7; r
r = np.array([1.5, 2j, 3], object); r.real = 7; r
r = np.array([1.5, 2j, 3], object); np.real(r.T).tolist(), np.real_if_close(r) is r
r = np.zeros((0, 2)); r[:, 1] = {1: v}; r
A[0, 1] = np.ma.masked; A.T[2, 1] = np.ma.masked_less(v, 9)[0]; A
A[0] = np.ma.masked; A[A > 1] = np.ma.masked; A
A[0, 1] = np.ma.masked_less(v, 9)[:1]; A
v.fill(np.ma.masked); v
v.fill(np.array(3)); v
r = np.zeros((3, 2)); r[1] = decimal.Decimal(3); r + v[:2]
v.flat.index = 1; v
v.flat.coords = 1; v
r = v.flat; next(r); next(r); r.index, r.coords, r.base is v
r = A.copy().flat; r.__delitem__(0); r
delattr(v.flags, 'num')
delattr(v.flags, 'writeable')
delattr(v.flags, 'contiguous')
delattr(v, 'shape')
delattr(v, 'T')
delattr(v, 'real')
setattr(v, 'ndim', 3)
setattr(v, 'T', 3)
setattr(v, 'device', 'cpu')
setattr(v, 'base', None)
setattr(v[0], 'ndim', 3)
r = np.zeros(3, 'i4,f8'); r.flags.writeable = False; hash(r[0]) == hash(r[1])
r = np.zeros(3, 'i4,f8'); hash(r[0])
r = np.unique(np.zeros(3, 'i4,f8')); {u: 1 for u in r}
r = np.zeros(3, 'i4,f8')[['f0', 'f1']]; {u: 1 for u in np.array_split(r, 2)[1]}
""".strip().splitlines()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", [*OBJECTS, *KEPT, *SHAPES, *CALLS, *ITSELF, *ATTRIBUTES])
def test_traced_functions(line):
    compare(line, HEAD + MORE, said=lima.__compiled__)


# With `lima.numpy` numbers and lists become arrays that views look at.
NUMBERS = """
np.broadcast_to(1.0, (4, 1))
np.broadcast_to(np.float32(1), (2,))
np.broadcast_to(array=1.0, shape=3)
np.broadcast_to([1, 2], (4, 2))
np.reshape(5, (1, 1))
np.reshape([1, 2, 3, 4], (2, 2))
np.transpose(1.0)
np.expand_dims(1.0, 0)
np.squeeze([[1.0]])
np.diagonal([[1, 2], [3, 4]])
np.ravel([[1, 2]])
np.swapaxes([[1, 2]], 0, 1)
""".strip().splitlines()

MADE = "np.arange(3) np.ones((2,3))[0] np.float64(3.0) np.array(3,dtype=object)".split()


def seen(text, namespace):
    scope = {"np": namespace, "decimal": decimal, "fractions": fractions, "copy": copy}
    exec(MORE, scope)
    try:
        found = eval(text, scope)
    except Exception as error:
        return public(type(error)), str(error).replace("'Array'", "'numpy.ndarray'")
    if isinstance(found, (np.ndarray, lima.Array)):
        flags = found.flags
        shown = found.strides, flags.writeable
        return np.asarray(found).tolist(), found.dtype, found.shape, shown
    return type(found), repr(found)


HELD = """
np.add(Holder(np.arange(3)), 1)
np.linalg.norm(Holder(np.ones((2, 3))), axis=1)
np.random.default_rng(3).permutation(Holder(np.arange(3)))
np.random.RandomState(3).permutation(Holder(np.arange(3)))
np.arange(3)[Holder(np.array([1, 2]))]
""".strip().splitlines()


@pytest.mark.parametrize("text", HELD)
def test_objects_that_hand_out_traced_arrays(text):
    assert seen(text, lima.numpy) == seen(text, np)


@pytest.mark.parametrize("text", NUMBERS)
def test_views_of_what_is_no_array(text):
    assert seen(text, lima.numpy) == seen(text, np)


@pytest.mark.parametrize("x", MADE)
@pytest.mark.parametrize(
    "y",
    [
        "Below()",
        "Above()",
        "Theirs()",
        "Number(2)",
        "decimal.Decimal(2)",
        "range(3)",
        "object",
        "Bad()",
        "[None]*3",
        "'a'",
        "fractions.Fraction(1,2)",
    ],
)
@pytest.mark.parametrize("op", ["+", "-", "==", "<", "**", "@"])
def test_operators_with_objects_of_every_kind(x, y, op):
    for text in (f"{x} {op} {y}", f"{y} {op} {x}"):
        assert seen(text, lima.numpy) == seen(text, np), text
