"""Eigenvalues, exponentials, factorisations and graphs of sparse arrays: SciPy's, and traced."""

import warnings

import numpy as np
import pytest
from eager import eager
from test_sparse import equal, program_of

import lima

pytest.importorskip("scipy")
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from scipy.sparse import csgraph

N = 40


def matrix(form="csc", scale=1.0):
    a = sp.random_array((N, N), density=0.1, rng=np.random.default_rng(3))
    made = (a + a.T + sp.eye_array(N) * 4) * scale
    return made.asformat(form)


def seen(x):
    """A result as something that can be compared."""
    if isinstance(x, (tuple, list)):
        return type(x), [seen(v) for v in x]
    if sp.issparse(x):
        held = [x.data, x.indices, x.indptr] if hasattr(x, "indptr") else [x.toarray()]
        return type(x), x.shape, [seen(a) for a in held]
    if isinstance(x, np.ndarray):
        return x.dtype, x.shape, x.strides, x.flags.writeable, x.tobytes()
    return type(x), repr(x)


b = np.linspace(-1.0, 1.0, N)

CALLS = {
    "eigsh from a vector": lambda A, x: spla.eigsh(A, k=3, v0=x),
    "eigsh with a seed": lambda A, x: spla.eigsh(A, k=3, rng=5),
    "eigsh near a number": lambda A, x: spla.eigsh(A, k=2, sigma=0.5, rng=5),
    "eigsh, values": lambda A, x: spla.eigsh(A, 3, which="SA", v0=x, return_eigenvectors=False),
    "eigs": lambda A, x: spla.eigs(A, k=3, rng=np.int64(2)),
    "svds": lambda A, x: spla.svds(A, k=2, solver="lobpcg", rng=3),
    "lobpcg": lambda A, x: (lambda X: (spla.lobpcg(A, X, maxiter=5), X))(np.eye(N, 3)),
    "expm": lambda A, x: spla.expm(A / 20),
    "expm_multiply": lambda A, x: spla.expm_multiply(A / 20, x),
    "expm_multiply at times": lambda A, x: spla.expm_multiply(A / 99, x, 0, 1, num=3),
    "splu": lambda A, x: spla.splu(A).solve(x),
    "splu, transposed": lambda A, x: spla.splu(A).solve(x, "T"),
    "splu, several": lambda A, x: spla.splu(A, permc_spec="NATURAL").solve(np.outer(x, x)),
    "splu, parts": lambda A, x: (lambda f: (f.L, f.U, f.perm_c, f.perm_r, f.nnz, f.shape))(
        spla.splu(A)
    ),
    "spilu": lambda A, x: spla.spilu(A, drop_tol=0.1).solve(x),
    "factorized": lambda A, x: spla.factorized(A)(x),
    "gmres": lambda A, x: spla.gmres(A, x),
    "minres": lambda A, x: spla.minres(A, x),
    "lsmr": lambda A, x: spla.lsmr(A, x)[0],
    "components": lambda A, x: csgraph.connected_components(A),
    "shortest paths": lambda A, x: csgraph.shortest_path(abs(A), return_predecessors=True),
    "dijkstra": lambda A, x: csgraph.dijkstra(abs(A), indices=[0, 2], limit=2.5),
    "bellman_ford": lambda A, x: csgraph.bellman_ford(abs(A), indices=1),
    "johnson": lambda A, x: csgraph.johnson(abs(A)),
    "spanning tree": lambda A, x: csgraph.minimum_spanning_tree(abs(A)),
    "laplacian": lambda A, x: csgraph.laplacian(abs(A), normed=True, return_diag=True),
    "breadth first": lambda A, x: csgraph.breadth_first_order(A, 0),
    "depth first": lambda A, x: csgraph.depth_first_tree(A, 0),
    "an order": lambda A, x: csgraph.reverse_cuthill_mckee(A.tocsr()),
    "a rank": lambda A, x: csgraph.structural_rank(A),
    "a matching": lambda A, x: csgraph.maximum_bipartite_matching(A.tocsr()),
    "of a dense array": lambda A, x: csgraph.floyd_warshall(np.abs(np.outer(x, x))),
    "written over": lambda A, x: csgraph.floyd_warshall(np.abs(np.outer(x, x)), overwrite=True),
}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("form", ["csc", "csr"])
def test_a_call_is_scipys_and_reused(name, form):
    wanted = seen(CALLS[name](matrix(form), b.copy()))
    with eager() as s:
        traced = lima.traced(reuse="operation")(CALLS[name])
        for k in range(3):
            before = s.stats.hits
            assert seen(traced(matrix(form), b.copy())) == wanted, k
        assert s.stats.hits > before and s.stats.barriers == 0


@pytest.mark.parametrize("name", [n for n in CALLS if n not in ("a rank", "splu, parts")])
def test_a_call_is_recomputed_and_written_as_a_program(name, tmp_path):
    record = lima.traced(CALLS[name]).lineage(matrix(), b.copy())
    inputs = {"A": matrix(), "x": b.copy()}
    lima.save(tmp_path / "log", record, leaf_data=True, inputs=inputs)
    log = lima.load_log(tmp_path / "log")
    assert log == record
    again = lima.recompute(log)
    again = list(again.values()) if isinstance(again, dict) else [again]
    assert len(again) == len(record.outputs) and all(map(equal, again, program_of(log)))


DIFFERENT = [
    lambda A, x: spla.splu(A).solve(x),
    lambda A, x: spla.splu(A).solve(x, "T"),
    lambda A, x: spla.splu(A).solve(x, trans="H"),
    lambda A, x: spla.splu(A, permc_spec="NATURAL").solve(x),
    lambda A, x: spla.splu(A, permc_spec="NATURAL", options={"Equil": False}).solve(x),
    lambda A, x: spla.splu(A, diag_pivot_thresh=0.5).solve(x),
    lambda A, x: spla.spilu(A).solve(x),
    lambda A, x: spla.spilu(A, drop_tol=0.5).solve(x),
    lambda A, x: spla.factorized(A)(x),
    lambda A, x: spla.spsolve(A, x),
    lambda A, x: spla.splu(A).solve(x * 2),
    lambda A, x: spla.splu(A * 2).solve(x),
    lambda A, x: spla.eigsh(A, k=2, rng=1)[1],
    lambda A, x: spla.eigsh(A, k=2, rng=2)[1],
    lambda A, x: spla.eigsh(A, k=3, rng=2)[1],
    lambda A, x: spla.eigsh(A, k=2, v0=x)[1],
    lambda A, x: spla.eigsh(A, k=2, v0=x, rng=2)[1],
    lambda A, x: spla.eigsh(A, k=2, v0=x + 1)[1],
    lambda A, x: spla.eigs(A, k=2, v0=x)[1],
    lambda A, x: csgraph.shortest_path(abs(A)),
    lambda A, x: csgraph.shortest_path(abs(A), directed=False),
    lambda A, x: csgraph.shortest_path(abs(A), unweighted=True),
    lambda A, x: csgraph.dijkstra(abs(A), limit=1.5),
    lambda A, x: csgraph.laplacian(abs(A)),
    lambda A, x: csgraph.laplacian(abs(A), normed=True),
    lambda A, x: csgraph.laplacian(abs(A), use_out_degree=True),
]  # fmt: skip


def test_calls_that_differ_in_anything_have_different_keys():
    keys = set()
    with eager():
        for call in DIFFERENT:
            for _ in range(2):
                traced = lima.traced(reuse="operation")(call)
                assert seen(traced(matrix(), b.copy())) == seen(call(matrix(), b.copy()))
            (node, *_) = traced.lineage(matrix(), b.copy()).outputs.values()
            keys.add(node.digest)
    assert len(keys) == len(DIFFERENT)


def test_a_matrix_that_changes_afterwards_does_not_change_its_factors():
    def work(A, x):
        lu = spla.splu(A)
        solve = spla.factorized(A)
        A.data *= 2
        return lu.solve(x), solve(x), spla.splu(A).solve(x), lu.L

    wanted = seen(work(matrix(), b))
    with eager():
        for _ in range(3):
            assert seen(lima.traced(reuse="operation")(work)(matrix(), b.copy())) == wanted


def test_a_matrix_that_is_factorised_is_brought_in_order_as_by_scipy():
    def work(rows, x):
        A = sp.csc_array((x[:6], (rows, [0, 0, 0, 1, 1, 2])), shape=(3, 3))
        A = sp.csc_array((A.data[::-1].copy(), A.indices[::-1].copy(), A.indptr), shape=(3, 3))
        B = sp.csc_array((np.ones(4), np.array([0, 0, 1, 2]), np.array([0, 2, 3, 4])), shape=(3, 3))
        lu = spla.splu(B)
        return lu.solve(np.arange(3.0)), B.data, B.nnz, B.has_canonical_format, A.nnz

    rows = np.array([0, 1, 2, 1, 2, 2])
    wanted = seen(work(rows, b + 2))
    with eager():
        for _ in range(3):
            assert seen(lima.traced(reuse="operation")(work)(rows, b + 2)) == wanted


def test_a_singular_matrix_is_refused_each_time():
    singular = sp.csc_array(np.outer(b, b))
    traced = lima.traced(reuse="operation")(lambda A, x: spla.splu(A).solve(x))
    with eager():
        for _ in range(2):
            with pytest.raises(RuntimeError, match="singular"):
                traced(singular, b)


def test_a_reused_factorisation_is_not_made_again(monkeypatch):
    made = []
    plain = spla.splu
    traced = lima.traced(reuse="operation")(lambda A, x: spla.splu(A).solve(x))
    with eager():
        first = traced(matrix(), b)
        from lima.ops import of_factors

        monkeypatch.setattr(of_factors, "called", lambda *a, **k: made.append(1) or plain(*a))
        assert traced(matrix(), b).tobytes() == first.tobytes()
    assert not made


def test_a_factorisation_leaves_as_scipys():
    with eager():
        for _ in range(2):
            lu, solve = lima.traced(lambda A: (spla.splu(A), spla.factorized(A)))(matrix())
            assert type(lu) is spla.SuperLU
            wanted = spla.splu(matrix()).solve(b)
            assert lu.solve(b).tobytes() == solve(b).tobytes() == wanted.tobytes()


def test_a_factorisation_is_what_it_says():
    def work(A):
        lu = spla.splu(A)
        return isinstance(lu, spla.SuperLU), callable(spla.factorized(A)), lu.shape, lu.nnz

    with eager():
        for _ in range(2):
            assert lima.traced(reuse="operation")(work)(matrix()) == work(matrix())
        with pytest.raises(AttributeError):
            lima.traced(lambda A: spla.splu(A).nothing)(matrix())


DRAWING = {
    "eigsh": lambda A: spla.eigsh(A, k=2)[0],
    "eigs": lambda A: spla.eigs(A, k=2)[0],
    "svds": lambda A: spla.svds(A, k=2)[1],
    "svds with a seed": lambda A: spla.svds(A, k=2, rng=1)[1],
    "norm": lambda A: spla.norm(A, 2),
    "a generator": lambda A: spla.eigsh(A, k=2, rng=np.random.default_rng(1))[0],
    "an invariant subspace": lambda A: spla.eigsh(A * 0 + sp.eye_array(N), k=2, v0=b)[1],
    "estimated norms": lambda A: spla.expm_multiply(A * 30, b),
}


@pytest.mark.parametrize("name", DRAWING)
def test_what_draws_random_numbers_is_never_reused(name):
    """Not that it is equal: it was drawn anew."""
    with eager() as s:
        traced = lima.traced(DRAWING[name])
        for k in range(2):
            traced(matrix())
            assert s.stats.barriers == k + 1
        assert s.stats.function_hits == 0


def test_the_global_generator_is_where_it_would_be():
    def work(A, x):
        return spla.expm_multiply(A * 30, x), np.random.random(), spla.onenormest(A)

    np.random.seed(4)
    wanted = seen(work(matrix(), b))
    with eager():
        for _ in range(2):
            np.random.seed(4)
            assert seen(lima.traced(work)(matrix(), b.copy())) == wanted


def test_functions_of_a_laplacian_are_scipys():
    work = lambda A, x: csgraph.laplacian(abs(A), form="function")(x)  # noqa: E731
    with eager():
        for _ in range(2):
            found = lima.traced(work)(matrix("csr"), b)
            assert seen(found) == seen(work(matrix("csr"), b))


def test_callbacks_and_operators_are_barriers():
    work = lambda A, x: spla.cg(A, x, M=spla.aslinearoperator(A))[0]  # noqa: E731
    with eager() as s:
        for _ in range(2):
            assert seen(lima.traced(work)(matrix(), b)) == seen(work(matrix(), b))
        assert s.stats.function_hits == 0


OPERATORS = {
    "gmres": lambda op, x: spla.gmres(op, x)[0],
    "bicgstab": lambda op, x: spla.bicgstab(op, x)[0],
    "cgs": lambda op, x: spla.cgs(op, x)[0],
    "lsqr": lambda op, x: spla.lsqr(op, x)[0],
    "minres": lambda op, x: spla.minres(op, x)[0],
    "qmr": lambda op, x: spla.qmr(op, x)[0],
    "a product": lambda op, x: op @ x,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_solvers_may_write_what_an_operator_of_the_users_gives(name):
    def program(A, x):
        product, transposed = (lambda v: A @ v), (lambda v: A.T @ v)
        op = spla.LinearOperator(A.shape, product, transposed, dtype=float)
        return OPERATORS[name](op, x)

    wanted = seen(program(matrix(), b.copy()))
    with eager():
        for _ in range(2):
            assert seen(lima.traced(program)(matrix(), b.copy())) == wanted


def test_factors_are_the_same_each_time():
    def program(A):
        factor = spla.splu(A)
        factor.L.data[0] = 5.0
        return factor.L, factor.L is factor.L

    wanted = seen(program(matrix()))
    with eager():
        for _ in range(2):
            assert seen(lima.traced(program)(matrix())) == wanted
