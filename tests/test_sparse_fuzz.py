"""Random programs on sparse arrays: run by SciPy alone, and under lima at every level of reuse."""

import random
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sparse_samples import same

import lima
from lima.op import OPS
from lima.ops import of_scipy

of_scipy.provide("scipy.sparse.linalg")

STATEMENTS = """
{n} = {a} @ {b}
{n} = {a} + {b}
{n} = {a} - {b}
{n} = {a}.T
{n} = {a}.multiply({b})
{n} = {a} * 2
{n} = -{a}
{n} = abs({a})
{n} = {a}.copy()
{n} = {a}.conj()
{n} = {a}.maximum({b})
{n} = ({a} > {b}) * 1.0
{n} = {a}
{n} = {a}.tocsr()
{n} = {a}.tocsc()
{n} = {a}.tocoo()
{n} = {a}.todia()
{n} = {a}.tobsr()
{n} = {a}.asformat("csr")
{n} = sp.csr_array({a})
{n} = sp.coo_array({a})
{n} = {a}.__class__({a})
{n} = {a}.tocsr(); {n} = sp.csr_array(({n}.data, {n}.indices, {n}.indptr), shape=(5, 5))
{n} = {a}.tocsr()[:, ::-1]
{n} = {a}.tocsr()[[3, 1, 0, 2, 4]]
{n} = sp.tril({a}, format="csr")
{n} = sp.vstack([{a}, {b}]).tocsr()[2:7]
{n} = sp.kron({a}, sp.eye_array(1)).tocsr()
{n} = {a}.copy(); maybe({n}, "sum_duplicates")
{n} = {a}.copy(); maybe({n}, "eliminate_zeros")
{n} = helped({a}, {b})
{a} *= 3
{a}.data *= 2
{a}.data[:1] = 5
{a}.data = {a}.data + 1
d = {a}.data; d[-1:] = 4
put({a}, {i}, {j}, {v})
put({a}, {i}, slice(None), {v})
maybe({a}, "sort_indices")
maybe({a}, "setdiag", 7)
x = x + {a} @ x
x = {a}.sum(axis=0)
out.append({a}.sum())
out.append({a} @ x)
out.append(x @ {a})
out.append({a}.nnz)
out.append({a}.toarray())
out.append({a}.diagonal())
out.append({a} is {b})
out.append([{a}, {b}.T])
""".strip().splitlines()
# Duplicates and zeros are dropped from copies only: SciPy leaves arrays that share memory with what
# was changed in a state in which it reads memory that nobody has written.


def put(A, i, j, value):
    if A.format in ("csr", "csc"):
        A[i, j] = value


def maybe(A, name, *args):
    if hasattr(A, name):
        getattr(A, name)(*args)


def helped(A, B):
    C = A @ B
    C.data[:2] = 1
    return C + A


def program(seed):
    """A function of two sparse arrays and a vector."""
    rnd = random.Random(seed)
    names, lines = ["A", "B"], []
    for k in range(rnd.randint(4, 22)):
        text = rnd.choice(STATEMENTS)
        a, b = rnd.choice(names), rnd.choice(names)
        i, j, v = rnd.randrange(5), rnd.randrange(5), rnd.choice([0, 2.5, 1])
        lines.append("    " + text.format(n=f"v{k}", a=a, b=b, i=i, j=j, v=v))
        if "{n}" in text:
            names.append(f"v{k}")
    result = f"    return out, x, [{', '.join(names)}]"
    source = "\n".join(["def work(A, B, x):", "    out = []", *lines, result])
    scope = globals()
    exec(compile(source, f"<program {seed}>", "exec"), scope)
    return scope["work"], source


def arguments(seed):
    rng = np.random.default_rng(seed)

    def one():
        i, j = rng.integers(0, 5, (2, 12), dtype=np.int32)
        values = rng.integers(-3, 4, 12).astype(float)
        made = sp.coo_array((values, (i, j)), shape=(5, 5))
        return made.asformat(rng.choice(["csr", "csr", "csc", "coo", "dia", "bsr"]))

    A, B = one(), one()
    B = {0: A, 1: A.T}.get(seed % 7, B)
    return A, B, rng.integers(-2, 3, 5).astype(float)


def outcome(work, args):
    try:
        return work(*args), None
    except Exception as error:
        return None, type(error)


@pytest.mark.parametrize("start", range(0, 160, 20))
@pytest.mark.filterwarnings("ignore")
def test_programs_do_the_same_under_lima(start, monkeypatch):
    for name, row in OPS.items():
        if name.startswith("scipy.sparse."):
            monkeypatch.setattr(row, "weight", 1e9)
    for seed in range(start, start + 20):
        work, source = program(seed)
        plain = arguments(seed)
        wanted, error = outcome(work, plain)
        with warnings.catch_warnings(), lima.session(exactness="bitwise") as s:
            s.cache.worth = 0
            s.call_seconds = -1
            for level in (None, None, "operation", "none"):
                given = arguments(seed)
                found, fault = outcome(lima.traced(work, reuse=level), given)
                assert fault is error, source
                if error is None:
                    same(found, wanted, source)
                    same(given, plain, source)
            s.cache.check()
