"""Sparse arrays of every format and state, and calls on them, for `test_sparse.py`."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from lima.formats import taken


def same(found, wanted, path="result"):
    """Equal classes, shapes, flags and bits, however deep."""
    assert type(found) is type(wanted), (path, type(found), type(wanted))
    if sp.issparse(wanted):
        _same_sparse(found, wanted, path)
    elif isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted), path
        for k, (f, w) in enumerate(zip(found, wanted, strict=True)):
            same(f, w, f"{path}[{k}]")
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted), path
        for key in wanted:
            same(found[key], wanted[key], f"{path}[{key!r}]")
    elif isinstance(wanted, (np.ndarray, np.generic)):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), path
        assert np.asarray(found).tobytes() == np.asarray(wanted).tobytes(), path
        if isinstance(wanted, np.ndarray):
            assert found.flags.writeable == wanted.flags.writeable, path
    else:
        assert found == wanted or (found != found and wanted != wanted), path


def _same_sparse(found, wanted, path):
    parts = taken(wanted)
    if parts is None:  # LIL and DOK hold Python objects
        assert wanted.format in ("lil", "dok"), path
        same(found.toarray(), wanted.toarray(), path)
        return
    mine = taken(found)
    assert mine[:3] == parts[:3], (path, mine[:3], parts[:3])
    same(mine.arrays, parts.arrays, path)


FORMS = [
    ("csr_array", "f8", "plain"),
    ("csr_array", "f8", "duplicates"),
    ("csc_array", "f8", "unsorted"),
    ("csr_matrix", "f8", "zeros"),
    ("coo_array", "f8", "duplicates"),
    ("dia_array", "f8", "plain"),
    ("coo_matrix", "f4", "plain"),
    ("csr_array", "i4", "int64"),
    ("csc_matrix", "c16", "plain"),
    ("bsr_array", "f8", "plain"),
    ("csr_array", "?", "plain"),
    ("csr_array", "f8", "empty"),
    ("csc_array", "f4", "nothing"),
    ("dia_matrix", "f8", "plain"),
]
"""Class, dtype, and what is special about the content."""

ROWS, COLUMNS = 7, 9


def make(kind, dtype, state, seed=1):
    """A sparse array of 7 x 9 (0 x 9 if `empty`) with up to 25 stored elements."""
    rng = np.random.default_rng([seed, FORMS.index((kind, dtype, state))])
    rows = 0 if state == "empty" else ROWS
    count = 0 if state in ("empty", "nothing") else 25
    # 32 bits: of 64-bit indices in matrices, SciPy's results depend on uninitialised memory.
    i, j = (rng.integers(0, max(n, 1), count, dtype=np.int32) for n in (rows, COLUMNS))
    data = rng.standard_normal(count) * 3
    if dtype == "?":
        data = data > 0
    elif dtype[0] == "c":
        data = data + 1j * rng.standard_normal(count)
    data = data.astype(dtype)
    if state == "zeros":
        data[::4] = 0
    coo = sp.coo_array((data, (i, j)), shape=(rows, COLUMNS))
    cls = getattr(sp, kind)
    if state in ("duplicates", "unsorted") and kind[:3] in ("csr", "csc"):
        major, minor = (j, i) if kind[:3] == "csc" else (i, j)
        order = np.argsort(major, kind="stable")
        counts = np.bincount(major, minlength=COLUMNS if kind[:3] == "csc" else rows)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return cls((data[order], minor[order], starts), shape=coo.shape)
    if not (state == "duplicates" and kind[:3] == "coo"):
        coo.sum_duplicates()
    made = cls(coo)
    if state == "int64":
        made.indices, made.indptr = made.indices.astype("i8"), made.indptr.astype("i8")
    return made


def arguments(form):
    """A and B of one form, a vector and two matrices that fit, a mask and places of rows."""
    rng = np.random.default_rng([3, FORMS.index(form)])
    A, B = make(*form), make(*form, 2)
    rows, columns = A.shape
    x, X = rng.standard_normal(columns), rng.standard_normal((rows, columns))
    return (
        A,
        B,
        x,
        X,
        X.T.copy(),
        np.arange(rows) % 2 == 0,
        np.arange(rows, dtype=np.int32)[::-1].copy(),
    )


def with_item(A, key, value):
    A[key] = value
    return A


def doubled(A):
    A *= 2
    return A


def write_data(A):
    A.data *= 2
    return A


def set_data(A):
    A.data = A.data + 1
    return A


def after(A, name, *args):
    """What is left of A after a method that may not be there."""
    found = getattr(A, name)(*args) if hasattr(A, name) else None
    return found, A


def square(A):
    return (A @ A.T + sp.eye(A.shape[0])).tocsc()


TEXTS = """
A @ x
A @ Y
X.T @ A
A @ B.T
A.T @ B
A.dot(x)
A + B
A - B
A * 3
3 * A
A / 2
np.float64(2) * A
A * np.float64(3)
A.multiply(B)
A.multiply(X[:, :1])
X + A
X - A
A + X
X * A
A / X
np.ones((3, A.shape[0])) @ A
-A
abs(A)
A ** 2
A == B
A != B
A > 0.5
A < 0.2
A >= 0.3
A.power(2)
A.sqrt()
A.sin()
A.sign()
abs(A).sqrt()
np.abs(A)
np.sqrt(abs(A))
A.maximum(B)
A.maximum(A), A
A.multiply(A), A
A @ A.T, A + A, A
A.tocsr().maximum(A.tocsr()), A
A.minimum(0)
A.sum()
A.sum(axis=0)
A.sum(1)
A.sum(axis=0, dtype=np.float32)
A.mean()
A.mean(axis=1)
A.max()
A.min()
A.max(axis=0)
A.min(axis=1)
A.nanmax()
A.argmax()
A.argmax(axis=0)
A.argmin(axis=1)
np.sum(A, axis=0)
A.T
A.transpose()
A.T.T
A.tocsr().T.tocsr()
A.tocsr()
A.tocsc()
A.tocoo()
A.todia()
A.tobsr()
A.tolil()
A.todok()
A.toarray()
A.todense()
A.asformat("csc")
A.astype(np.float32)
A.astype("complex128")
A.astype(float)
A.copy()
A.conj()
A.real
A.imag
A.reshape((A.shape[1], A.shape[0]))
A.diagonal()
A.diagonal(1)
A.trace()
A.nnz, A.shape, A.dtype, A.ndim, A.format, A.size
A.getnnz(axis=0)
A.count_nonzero()
A.data, A
A.tocsr().indptr
A.tocoo().coords
A.tocoo().row
A.has_sorted_indices
A.has_canonical_format
A[1]
A[1:4]
A[:, 2]
A[1, 2]
A[1:5, ::2]
A[[0, 2, 3]]
A[[0, 2]][:, [1, 3]]
A[m]
A[:, i]
A[i]
A[A > 0.5]
A.nonzero()
sp.find(A)
list(A)
sp.hstack([A, B])
sp.vstack([A, B], format="csr")
sp.vstack((A, B))
sp.block_diag([A, B])
sp.bmat([[A, None], [None, B]])
sp.block_array([[A, B], [B, A]])
sp.kron(A, B)
sp.tril(A)
sp.triu(A, k=1)
sp.csr_array(A)
sp.csr_matrix(A)
sp.csc_array(A)
sp.coo_array(A)
sp.dia_array(A)
sp.bsr_array(A)
A.__class__(A)
A.__class__(A.toarray())
A.__class__(A.shape)
sp.csr_array((A.tocsr().data, A.tocsr().indices, A.tocsr().indptr), shape=A.shape)
sp.csr_array((x, (i, i[::-1])), shape=(9, 9))
sp.csr_array((x[:5], ([0, 1, 1, 1, 2], [0, 3, 3, 1, 2])), shape=(9, 9))
sp.eye_array(4) @ A[:4]
sp.eye(5), sp.identity(4), sp.diags([1, 2, 3]), sp.diags_array([x, x[:-1]], offsets=[0, 1])
sp.diags_array(x)
spla.norm(A)
spla.norm(A, 1)
spla.spsolve(square(A), X[:, 0])
spla.spsolve(square(A), A.T.tocsc()[:5].T)
spla.splu(square(A)).solve(X[:, 0])
spla.cg(square(A), X[:, 0])
spla.lsqr(A, X[:, 0])[0]
spla.svds(A.astype(float), k=2, v0=np.ones(min(A.shape)))
spla.eigsh((A @ A.T).astype(float), k=2, v0=np.ones(A.shape[0]))[0]
(A @ x).sum(), A
isinstance(A, sp.csr_array), sp.issparse(A), sp.isspmatrix(A), repr(A), str(A)
A.__class__.__name__, bool(A.nnz), A.maxprint
A.resize((4, 4)), A
after(A, "sum_duplicates")
after(A, "sort_indices")
after(A, "eliminate_zeros")
after(A, "check_format")
after(A, "prune")
A.setdiag(5), A
A.setdiag(x[:3]), A
with_item(A, (1, 2), 7.0)
with_item(A, (slice(0, 2), 1), 7.0)
with_item(A, ([0, 1], [1, 2]), [3, 4])
with_item(A, 1, 0)
doubled(A)
write_data(A)
set_data(A)
"""

CALLS = {text: eval(f"lambda A, B, x, X, Y, m, i: ({text})") for text in TEXTS.strip().splitlines()}
"""Calls of the arguments above, by their text."""
