"""`lima.Array` behaves as ndarray does: values, types, protocols, attributes, errors.

Most tests are statements that `bench.fuzz.check` runs with plain NumPy and under lima in all its
ways (waiting or not, cached or not, with and without decorator) and compares to the last bit.
"""

import copy
import pickle
import zlib

import numpy as np
import pytest

import lima
from bench.fuzz import check, stress
from lima.handle import value_of
from lima.values import Pending

# A (6, 4), B (4, 4), C (6, 4) not in C order, D (5, 4) float32 or read-only, v (4,), w (6,),
# k (4,) integers, m (6, 4) mask, z (3,) complex, rng, box.a, pair: see `bench.fuzz.inputs`.

OPERATORS = [
    f"r = {left} {op} {right}"
    for op in ("+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", ">", ">=")
    for left, right in (
        *(("B", "v"), ("v", "B"), ("B", "k"), ("k", "2"), ("2", "k"), ("B", "0.5"), ("0.5", "B")),
        *(("z", "2j"), ("True", "B"), ("np.float32(1.5)", "D"), ("D", "np.float64(2)")),
        *(("[1, 2, 3, 4]", "B"), ("B", "[1.0, 2, 3, 4]"), ("k", "np.array(3)"), ("PLAIN", "v")),
        *(("v", "PLAIN"), ("B", "np.array(1.5)"), ("k.max()", "v"), ("v", "k.max()")),
        *(("k.max()", "k.min()"), ("2", "v.sum()"), ("v.sum()", "2"), ("v.sum()", "k.sum()")),
        *(("A", "v[:3]"), ("B", "None"), ("B", "'x'"), ("m", "m"), ("k", "m[0]")),
    )
]
BITS = [f"r = {a} {op} {b}" for op in "& | ^ << >>".split()
        for a, b in (("k", "3"), ("3", "k"), ("k", "abs(k)"), ("m", "True"), ("B", "k"))]  # fmt: skip
UNARY = [f"r = {op}({a})" for op in ("-", "+", "abs", "~", "not ", "np.sqrt", "np.exp", "np.sign")
         for a in ("B", "k", "m", "z", "v.sum()", "k.max()", "D")]  # fmt: skip
MATMUL = [
    f"r = {text}"
    for text in (
        *("B @ v", "v @ B", "v @ v", "A.T @ C", "A @ 2", "[1, 2, 3, 4] @ B", "B @ [1, 2, 3, 4]"),
        *("np.ones((2, 4, 4)) @ B", "A @ A", "PLAIN @ B", "divmod(k, 3)", "divmod(3, k % 5 + 1)"),
        *("divmod(v, 2)", "pow(k, 2)", "pow(v, 0.5)", "B.__matmul__(v)", "v.__rsub__(2)"),
    )
]
SCALARS = [
    f"r = {text}"
    for text in (
        *("float(v.sum())", "int(k.sum())", "bool(k[0])", "complex(z[0])", "bool(B)", "float(B)"),
        *("range(int(abs(k).max()))", "[10, 20, 30][k.argmax() % 3]", "round(v.sum(), 2)"),
        *("round(v.sum())", "'%.3f' % v[0]", "f'{v.sum():.2f}'", "f'{k[0]:d}'", "format(v[1], 'g')"),
        *("str(v.sum())", "hash(k[1])", "{u: n for n, u in enumerate(np.unique(k))}", "len(B)"),
        *("{k[0]: 1}[k[0]]", "v[0] in {v[0], v[1]}", "sorted(v)", "max(v)", "min(k)", "sum(v)"),
        *("list(v)", "list(B)[1]", "tuple(k)", "[x for x in B]", "len(v.sum())", "len(k[0])"),
        *("1 in k", "99 in k", "B[0] in B", "v[0] in v", "list(zip(k, v))", "iter(k[0])"),
        *("all(x > -9 for x in k)", "any(v > 0)", "v[0] < v[1] < v[2]", "0 < v.sum() < 9"),
        *("k.item(0)", "v.sum().item()", "B.item(1, 2)", "B.item()", "B.tolist()", "k[0].tolist()"),
        *("B.tobytes()", "A[:, 0].tobytes()", "np.isscalar(v.sum())", "np.isscalar(v)"),
        *("isinstance(v.sum(), float)", "isinstance(k[0], np.integer)", "isinstance(B, np.ndarray)"),
        *("isinstance(v.sum(), np.ndarray)", "v.sum().dtype", "k.max().shape", "v.sum().T"),
        *("v.sum().reshape(1)", "v.sum()[()]", "v.sum()[...]", "v.sum()[0]", "v.sum()[None]"),
        *("v[0].real", "z[0].imag", "z[0].conjugate()", "abs(z[0])", "-k[0]", "~k[0]", "k[0] ** 2"),
        *("k[0] / 2", "2 ** k[3] if k[3] > 0 else 0", "k[0] // 0.3", "v.max() + k", "v.max() == v"),
        *("np.float64(v.sum())", "np.array([v.sum(), 1])", "np.where(v.sum() > 0, 1, 2)"),
        *("v.sum().astype(int)", "v.sum().copy()", "v.sum().mean()", "k[0].bit_length()"),
        *("not B", "not k[0]", "v if v.any() else k", "B and v", "k[0] or 5", "slice(k[0], None)"),
    )
]  # fmt: skip
ATTRIBUTES = [
    f"r = {a}.{name}"
    for a in ("A", "C", "B.T", "w[::2]", "k", "z", "v.sum()", "m[:0]", "D")
    for name in (
        *("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "T", "mT", "real"),
        *("imag", "flags.c_contiguous", "flags['F_CONTIGUOUS']", "flags.writeable", "device"),
    )
]
METHODS = [
    f"r = {a}.{call}"
    for a in ("A", "C", "k", "z", "m", "A[:0]", "np.zeros((0, 3))", "v.sum()")
    for call in (
        *("sum()", "sum(axis=0)", "mean(0)", "std(ddof=1)", "var(axis=-1, keepdims=True)", "max()"),
        *("min(axis=0)", "argmax()", "argmin(0)", "prod(dtype=float)", "all()", "any(axis=0)"),
        *("cumsum()", "cumprod(axis=0)", "ravel()", "flatten()", "reshape(-1, 1)", "copy()"),
        *(
            "argsort()",
            "nonzero()",
            "round(1)",
            "clip(0, 1)",
            "conj()",
            "astype(complex)",
            "T.copy()",
        ),
        *("squeeze()", "swapaxes(0, -1)", "take([0, 0])", "repeat(2)", "dot([1, 2, 3])", "trace()"),
        *("diagonal()", "sum(axis=5)", "reshape(99)", "view()", "transpose()", "searchsorted(0.5)"),
        *("max(initial=0)", "sum(where=True)", "flatten('F')", "tolist()", "astype('f4').sum()"),
    )
]
INDICES = [
    f"r = {a}[{index}]"
    for a in ("A", "C.T", "A[::-1]")
    for index in (
        *("0", "-1", "99", "1:3", "::-1", "1:3, ::2", "..., 0", "None", "0, 0", "5, 3", "0, 0, 0"),
        *("[0, 1]", "[True, False] * 3", "[]", "[[0, 1], [1, 0]]", "[0, 1], [1, 2]", ":, [0, 1]"),
        *("[0, 99]", "A[:4, :1].T > 0", "np.array([1, 0])", "np.array(1)", "k[0]", "k[:2] % 4"),
        *("np.ix_([0, 2], [1, 3])", "1.5", "'a'", "[0, 1], :, None", "True", "False", "np.True_"),
        *("(slice(0, 2), 1)", "...", "()", "1, ...", "np.int64(2)", "range(2)", "(0, 1), (1, 0)"),
        *("A.argmax() % 4", "slice(None, k.size)", "None, 0, None", "0:0", "3:1", "-3:, -2:"),
    )
]


def cases(*tables):
    lines = sorted({line for table in tables for line in table})
    return pytest.mark.parametrize("line", lines)


def holds(line, *more):
    __tracebackhide__ = True
    lines = [line, *more] if isinstance(line, str) else list(line)
    problem = check(lines, zlib.crc32(lines[0].encode()) % 1000)
    assert problem is None, problem


@cases(OPERATORS, BITS, UNARY, MATMUL)
def test_operators(line):
    holds(line)


@cases(SCALARS)
def test_scalars(line):
    holds(line)


@cases(ATTRIBUTES)
def test_attributes(line):
    holds(line)


@cases(METHODS)
def test_methods(line):
    holds(line)


@cases(INDICES)
def test_indices(line):
    holds(line)
