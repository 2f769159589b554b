"""SciPy's functions under lima: SciPy's answer, with lineage, reuse, log and program."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.spatial.distance
import scipy.special
import scipy.stats
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from scipy.stats import norm

import lima
from lima.op import OPS
from lima.ops import of_scipy

rng = np.random.default_rng(3)
X, Y = rng.standard_normal((40, 6)), rng.standard_normal((30, 6))
S, B = X.T @ X + np.eye(6), rng.standard_normal((6, 2))

for _name in of_scipy.MODULES:
    of_scipy.provide(_name)

st = scipy.stats
la, sp, ft, di = scipy.linalg, scipy.special, scipy.fft, scipy.spatial.distance

CALLS = {
    "solve": lambda S, B: la.solve(S, B),
    "solve.options": lambda S, B: la.solve(
        S, B, assume_a="pos", overwrite_a=True, overwrite_b=True
    ),
    "solve_triangular": lambda S, B: la.solve_triangular(S, B, lower=True),
    "inv": lambda S, B: la.inv(S, overwrite_a=True),
    "det": lambda S, B: la.det(S),
    "lstsq": lambda S, B: la.lstsq(S, B)[0],
    "pinv": lambda S, B: la.pinv(S),
    "svd": lambda S, B: la.svd(B, full_matrices=False),
    "svdvals": lambda S, B: la.svdvals(B),
    "eigh": lambda S, B: la.eigh(S),
    "eigh.values": lambda S, B: la.eigh(S, eigvals_only=True, subset_by_index=[0, 2]),
    "eigh.general": lambda S, B: la.eigh(S, S @ S),
    "eig": lambda S, B: la.eig(S),
    "qr": lambda S, B: la.qr(B, mode="economic"),
    "qr.pivoting": lambda S, B: la.qr(S, pivoting=True),
    "lu": lambda S, B: la.lu(S),
    "lu_solve": lambda S, B: la.lu_solve(la.lu_factor(S), B),
    "cholesky": lambda S, B: la.cholesky(S, lower=True),
    "cho_solve": lambda S, B: la.cho_solve(la.cho_factor(S, lower=True), B),
    "schur": lambda S, B: la.schur(S),
    "expm": lambda S, B: la.expm(S / 50),
    "sqrtm": lambda S, B: la.sqrtm(S),
    "null_space": lambda S, B: la.null_space(B.T),
    "norm": lambda S, B: la.norm(S, 1),
    "block_diag": lambda S, B: la.block_diag(S, B, 2.0),
    "toeplitz": lambda S, B: la.toeplitz(S[0], B[:3, 0]),
    "solve_sylvester": lambda S, B: la.solve_sylvester(S, S, S),
    "expit": lambda S, B: sp.expit(B),
    "xlogy": lambda S, B: sp.xlogy(S, 2.0),
    "out": lambda S, B: sp.expit(B, out=np.zeros((6, 2))),
    "sici": lambda S, B: sp.sici(B),
    "logsumexp": lambda S, B: sp.logsumexp(S, axis=1, keepdims=True),
    "logsumexp.weights": lambda S, B: sp.logsumexp(S, b=S, return_sign=True),
    "softmax": lambda S, B: sp.softmax(B, axis=1),
    "fft": lambda S, B: ft.fft(S, axis=0, overwrite_x=True),
    "dct": lambda S, B: ft.dct(B, type=3, norm="ortho"),
    "cdist": lambda S, B: di.cdist(S, B @ B.T, "minkowski", p=3.0),
    "cdist.default": lambda S, B: di.cdist(S, S),
    "pdist": lambda S, B: di.squareform(di.pdist(S, "cityblock")),
    "callback": lambda S, B: di.pdist(S, lambda a, b: float(abs(a - b).max())),
    "norm.pdf": lambda S, B: st.norm.pdf(B),
    "norm.logpdf": lambda S, B: st.norm.logpdf(B, 0.5, scale=S[0, 0]),
    "norm.sf": lambda S, B: norm.sf(B, loc=B[:, :1]),
    "norm.frozen": lambda S, B: norm(0.5, scale=2).logcdf(B),
    "expon.cdf": lambda S, B: st.expon.cdf(S, scale=3),
    "gamma.pdf": lambda S, B: st.gamma.pdf(S, abs(S[0]), 1, 2),
    "gamma.frozen": lambda S, B: st.gamma(a=abs(S[0]), scale=2).pdf(S),
    "beta.ppf": lambda S, B: st.beta.ppf(abs(B) / 9, 2, b=3),
    "uniform.isf": lambda S, B: st.uniform.isf(abs(B) / 9, -1, 3),
    "t.logsf": lambda S, B: st.t.logsf(B, df=4),
    "chi2.sf": lambda S, B: st.chi2.sf(abs(S), 3),
    "poisson.pmf": lambda S, B: st.poisson.pmf(np.arange(8), abs(S[0, 0])),
    "binom.logpmf": lambda S, B: st.binom.logpmf(S.astype(int) % 5, 9, 0.25),
    "multivariate_normal.pdf": lambda S, B: st.multivariate_normal.pdf(B.T, np.zeros(6), S),
    "multivariate_normal.logpdf": lambda S, B: st.multivariate_normal.logpdf(B.T, cov=S),
    "multivariate_normal.frozen": lambda S, B: st.multivariate_normal(B[:, 0], S).pdf(B.T) + B[0],
    "complex": lambda S, B: la.solve(S + 1j * np.eye(6), B),
}


def parts(x):
    return list(x) if isinstance(x, tuple) else [x]


def same(found, wanted):
    assert len(parts(found)) == len(parts(wanted))
    for f, w in zip(parts(found), parts(wanted), strict=True):
        assert type(f) is type(w)
        assert np.asarray(f).dtype == np.asarray(w).dtype and np.shape(f) == np.shape(w)
        assert np.asarray(f).tobytes() == np.asarray(w).tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_scipys_cold_and_warm(name):
    wanted = CALLS[name](S.copy(), B.copy())
    given = S.copy(), B.copy()
    with lima.session(exactness="bitwise"):
        for _ in range(2):
            same(lima.traced(CALLS[name])(*given), wanted)
    assert given[0].tobytes() == S.tobytes() and given[1].tobytes() == B.tobytes()


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("callback", "norm")])
def test_a_call_has_lineage_and_is_computed_again(name, tmp_path):
    record = lima.traced(CALLS[name]).lineage(S, B)
    assert "scipy." in record.log()
    lima.save(tmp_path / "log", record)
    given = {leaf.name: {"S": S, "B": B}[leaf.name] for leaf in record.leaves if leaf.name}
    again = lima.recompute(lima.load_log(tmp_path / "log"), given)
    arrays = [p for p in parts(CALLS[name](S, B)) if isinstance(p, (np.ndarray, np.generic))]
    again = list(again.values()) if isinstance(again, dict) else [again]
    same(tuple(map(np.asarray, again)), tuple(map(np.asarray, arrays)))


def test_the_program_imports_what_it_needs(tmp_path):
    def work(S, B):
        return cho_solve(cho_factor(S), expit(B))

    record = lima.traced(work).lineage(S, B)
    lima.save(tmp_path / "log", record)
    for leaf in record.leaves:
        np.save(tmp_path / f"{leaf.digest.hex()}.npy", {"S": S, "B": B}[leaf.name])
    text = lima.to_python(lima.load_log(tmp_path / "log"))
    assert "import scipy.linalg\n" in text and "import scipy.special\n" in text
    (tmp_path / "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "program.py", "."], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "results.npz")
    assert found[found.files[0]].tobytes() == work(S, B).tobytes()


def test_a_log_is_read_where_nobody_has_imported_scipy(tmp_path):
    lima.save(tmp_path / "log", lima.traced(lambda: la.inv(np.eye(3) * 4.0)).lineage())
    code = (
        "import lima, sys; assert 'scipy' not in sys.modules;"
        "print(lima.recompute(lima.load_log('log')).sum())"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(Path(lima.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "0.75", done.stderr


def test_factorisations_are_computed_once():
    def path(X, y):
        return [cho_solve(cho_factor(X.T @ X), X.T @ y) for _ in range(3)]

    big = rng.standard_normal((3000, 80))
    with lima.session() as s:
        found = lima.traced(path)(big, big[:, 0])
        assert s.stats.hits >= 4
        assert lima.traced(path)(big, big[:, 0])[2].tobytes() == found[2].tobytes()
        assert s.stats.function_hits == 1
    assert found[0].tobytes() == path(big, big[:, 0])[0].tobytes()


def test_errors_are_scipys():
    for call in (lambda S: la.cholesky(-S), lambda S: la.solve(S, S[:2]), lambda S: la.inv(S[:2])):
        with pytest.raises(Exception) as wanted:
            call(S)
        with pytest.raises(type(wanted.value)) as found:
            lima.traced(call)(S)
        assert str(found.value) == str(wanted.value)


def test_different_parameters_are_different_results():
    big = rng.standard_normal((200, 200))
    with lima.session():
        f = lima.traced(lambda a, lower: la.solve_triangular(a, a[0], lower=lower))
        assert f(big, True).tobytes() != f(big, False).tobytes()
        g = lima.traced(lambda a, norm: scipy.fft.fft(a, norm=norm))
        assert g(big, None).tobytes() != g(big, "ortho").tobytes()
        h = lima.traced(lambda a, b: (sp.xlogy(a, b), sp.xlog1py(a, b), sp.rel_entr(a, b)))
        big = abs(big)
        p = lima.traced(lambda a, loc, scale: norm.pdf(a, loc, scale))
        cases = [(0, 1), (1, 1), (0, 2), (0.0, 1), (np.float32(0.5), 1)]
        for loc, scale in cases * 2:
            assert p(big, loc, scale).tobytes() == norm.pdf(big, loc, scale).tobytes()
        q = lima.traced(lambda a: (st.gamma.pdf(a, 2), st.gamma.cdf(a, 2), st.erlang.pdf(a, 2)))
        wanted = st.gamma.pdf(abs(big), 2), st.gamma.cdf(abs(big), 2), st.erlang.pdf(abs(big), 2)
        same(q(abs(big)), wanted)
        for found, wanted in zip(h(big, big), (sp.xlogy, sp.xlog1py, sp.rel_entr), strict=True):
            assert found.tobytes() == wanted(big, big).tobytes()


def test_outside_of_traced_code_scipy_is_plain():
    @lima.traced
    def work(S):
        return la.inv(S)

    work(S)
    assert type(la.inv(S)) is np.ndarray and isinstance(la, types.ModuleType)
    assert OPS["scipy.linalg.inv"].kernel is not la.inv
