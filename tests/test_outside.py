"""Functions of SciPy without a row: right, named by `explain`, and their callbacks are traced."""

import numpy as np
import pytest
from eager import eager
from same import same
from scipy import ndimage, signal, stats
from scipy.optimize import minimize
from scipy.stats import norm

import lima
from lima import outside

rng = np.random.default_rng(5)
A, B = rng.normal(size=(6, 4)), rng.normal(size=(4, 4))
T = np.arange(6.0)


def inputs():
    return A.copy(), A[0].copy(), A[:, 0].copy()


class Quadratic:
    """A callable object with data."""

    def __init__(self, centre):
        self.centre = centre

    def __call__(self, x):
        return ((x - self.centre) ** 2).sum()

    def slope(self, x):
        return 2 * (x - self.centre)


def scaled(x, k, a):
    return k * ((x - a) ** 2).sum()


def residuals(p, A, w):
    r = A @ p
    r -= w
    return r


def kept(x, v, seen):
    seen.append(x)
    return ((x - v) ** 2).sum()


def overwriting(y, t):
    y *= 1.0
    return -y


def as_optimised(found):
    return found.x, found.fun, found.nfev, found.success, found.message


# Each line is an expression of A (6 × 4), v (4) and w (6).
CALLS = """
as_optimised(minimize(lambda x: ((x - v) ** 2).sum(), np.zeros(4)))
as_optimised(minimize(lambda x: ((x - v) ** 2).sum(), v * 0, jac=lambda x: 2 * (x - v), method="BFGS"))
as_optimised(optimize.minimize(lambda x, a: ((x - a) ** 2).sum(), np.zeros(4), args=(v,), method="Nelder-Mead"))
as_optimised(optimize.minimize(lambda x: ((A @ x - w) ** 2).sum(), v, method="L-BFGS-B", bounds=[(0, 1)] * 4))
as_optimised(minimize(Quadratic(v), np.zeros(4), jac=Quadratic(v).slope))
as_optimised(minimize(functools.partial(scaled, a=v), np.zeros(4), args=(3.0,)))
as_optimised(minimize(lambda x: (x ** 2).sum(), v, constraints={"type": "eq", "fun": lambda x: x.sum() - w[0]}))
as_optimised(minimize(lambda x: ((x - v) ** 2).sum(), v + 1, callback=lambda x: None))
as_optimised(minimize(np.linalg.norm, v))
(lambda seen: (minimize(kept, v * 0, args=(v, seen)).x, seen))([])
optimize.minimize_scalar(lambda x: (x - v[0]) ** 2).x
optimize.root(lambda x: x ** 3 - v, np.ones(4)).x
optimize.fsolve(lambda x: x ** 3 - v, np.ones(4))
optimize.brentq(lambda x: x ** 3 - abs(v[0]), 0, 5)
optimize.brentq(lambda x: np.tanh(x) - 0.3, 0, 5, full_output=True)[0]
optimize.newton(lambda x: x ** 2 - abs(v[0]), 1.0)
optimize.newton(lambda x: x ** 2 - abs(v), np.ones(4))
optimize.curve_fit(lambda x, a, b: a * x + b, w, 2 * w + 1)
optimize.curve_fit(lambda x, a, b: a * np.exp(-b * x), abs(w), np.exp(-abs(w)), p0=[1, 1])[0]
optimize.curve_fit(lambda x, *p: p[0] * x, w, w, p0=[2.0])[0]
optimize.least_squares(lambda p: A @ p - w, np.zeros(4)).x
optimize.least_squares(residuals, np.zeros(4), args=(A, w)).x
optimize.leastsq(lambda p: A @ p - w, np.zeros(4))[0]
optimize.nnls(A, w)
optimize.linear_sum_assignment(A)
optimize.approx_fprime(v, lambda x: (x ** 2).sum())
optimize.differential_evolution(lambda x: (x ** 2).sum(), [(-1, 1)] * 2, rng=1, maxiter=3).x
optimize.minimize(lambda x: 1 / 0, v)
optimize.minimize(lambda x: (A @ x).foo, v)
optimize.brentq(lambda x: x + 10, 0, 1)
interpolate.interp1d(T, w)([0.5, 1.5])
interpolate.CubicSpline(T, w)(abs(v)) + v
interpolate.PchipInterpolator(T, w)(v ** 2).sum()
interpolate.splev([0.5, 2.5], interpolate.splrep(T, w))
interpolate.RegularGridInterpolator((T, T[:4]), A)([[1.5, 2.5]])
interpolate.griddata(A[:, :2], w, A[:2, :2] * 0.5)
signal.convolve(w, v)
signal.lfilter([1.0, 0.5], [1.0, v[0]], w)
signal.filtfilt(*signal.butter(1, 0.2), np.tile(w, 4))
signal.find_peaks(w)
signal.welch(np.tile(w, 10), nperseg=8)
signal.detrend(w, overwrite_data=False)
signal.windows.hann(6) * w
signal.hilbert(w)
ndimage.gaussian_filter(A, 1.0)
ndimage.gaussian_filter(A, 1.0, output=A)
(ndimage.gaussian_filter(A, 1.0, output=A) is A, A.sum())
ndimage.generic_filter(A, lambda x: x.max() - x.min(), size=3)
ndimage.label(A > 0)
ndimage.map_coordinates(A, [[0.5, 1.5], [1.0, 2.0]])
integrate.quad(lambda x: np.exp(-(x ** 2)) * v[0], 0, np.inf)
integrate.solve_ivp(lambda t, y: -y * v, (0, 1), v).y
integrate.odeint(overwriting, v, np.linspace(0, 1, 5))
integrate.cumulative_trapezoid(A)
scipy.spatial.KDTree(A).query(A[:2], k=2)
stats.zscore(A)
stats.spearmanr(A)
stats.linregress(v, v ** 2)
stats.ttest_ind(v, w)
stats.describe(A)
stats.kstest(v, norm.cdf)
stats.gaussian_kde(w)(v)
stats.norm.fit(w)
norm.expect(lambda x: x ** 2)
stats.norm.interval(0.9, loc=v)
norm(v).mean()
norm.pdf(v, loc=T[:3])
norm.pdf(v, nothing=1)
stats.gamma.pdf(v)
""".strip().splitlines()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", CALLS)
def test_a_call_is_scipys(text):
    scope = {k: v for k, v in globals().items() if not k.startswith(("test_", "__"))}
    exec(f"def call(A, v, w):\n    return {text}", scope)
    same(scope["call"], inputs)


def test_explain_names_the_call():
    @lima.traced
    def work(A):
        return signal.convolve(A[0], A[1]) + A.sum()

    text = str(lima.explain(work(A)))
    assert "scipy.signal.convolve: no row" in text and "refused" in text


def test_operations_of_an_objective_are_reused_when_a_point_recurs(monkeypatch):
    monkeypatch.setattr(outside, "CHEAP", 0.0)
    big = rng.normal(size=(3000, 40))
    centre = rng.normal(size=40)

    def fit(X, start):
        return minimize(lambda b: ((X.T @ (X @ b - X @ centre)) ** 2).sum(), start, jac="2-point",
                        options={"maxiter": 1}).x  # fmt: skip

    with eager(reuse="operation") as s:
        found = lima.traced(fit)(big, np.zeros(40))
        computed = s.stats.computed
        again = lima.traced(fit)(big, np.zeros(40))
        assert s.stats.hits > computed > 0
    assert found.tobytes() == again.tobytes() == fit(big, np.zeros(40)).tobytes()


def test_whole_calls_with_callbacks_are_reused_and_never_stale():
    fit = lima.traced(lambda X, y: minimize(lambda b: ((X @ b - y) ** 2).sum(), np.zeros(4)).x)
    with eager() as s:
        for y in (A[:, 0], A[:, 1], A[:, 0], A[:, 0] + 1):
            assert fit(A, y).tobytes() == fit.__wrapped__(A, y).tobytes()
        assert s.stats.function_hits == 1


@pytest.mark.parametrize("density", [lambda x: norm.pdf(x), lambda x: stats.norm(0, 2).cdf(x)])
def test_whole_calls_with_densities_are_reused(density):
    traced = lima.traced(density)
    with eager():
        for _ in range(2):
            assert traced(A).tobytes() == density(A).tobytes()
        assert traced(A + 1).tobytes() == density(A + 1).tobytes()
        assert traced.cache_info().hits == 1, traced.cache_info().refusal


def test_a_callback_gets_what_plain_code_gets():
    seen = []

    @lima.traced
    def work(v):
        def objective(x):
            seen.append((isinstance(x, np.ndarray), x.dtype, x.shape, x.flags.writeable))
            return (x**2).sum()

        return minimize(objective, v).x

    work(A[0])
    assert set(seen) == {(True, np.dtype(float), (4,), True)}


@pytest.mark.parametrize(("cheap", "last"), [(10.0, np.ndarray), (0.0, lima.Array)])
def test_callbacks_that_do_not_pay_are_left_plain(cheap, last, monkeypatch):
    monkeypatch.setattr(outside, "CHEAP", cheap)
    kinds = []

    @lima.traced
    def work(A):
        return ndimage.generic_filter(A, lambda x: kinds.append(type(x)) or x.sum(), size=3)

    image = rng.normal(size=(10, 10))
    plain = ndimage.generic_filter(image, np.sum, size=3)
    assert work(image).tobytes() == plain.tobytes()
    assert kinds[0] is lima.Array and kinds[-1] is last


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
@pytest.mark.parametrize("frozen", [False, True])
def test_random_variates_leave_the_generator_where_scipy_does(make, frozen):
    def draw(generator):
        first = generator.normal()
        x = norm(2).rvs(3, generator) if frozen else norm.rvs(2, size=3, random_state=generator)
        return first, x, generator.normal()

    def own(seed):
        return draw(make(seed))

    plain, traced = make(3), make(3)
    wanted = draw(plain)
    with lima.session():
        for found in (lima.traced(draw)(traced), lima.traced(own)(3), lima.traced(own)(3)):
            assert [np.asarray(f).tobytes() for f in found] == [
                np.asarray(w).tobytes() for w in wanted
            ]
    assert traced.normal() == plain.normal()


def test_random_variates_of_the_global_generator():
    def draw(n):
        return norm.rvs(size=n), np.random.rand()

    np.random.seed(5)
    wanted = [draw(3), draw(3)]
    np.random.seed(5)
    with lima.session():
        found = [lima.traced(draw)(3), lima.traced(draw)(3)]
    assert [f[0].tolist() for f in found] == [w[0].tolist() for w in wanted]
    assert [f[1] for f in found] == [w[1] for w in wanted]


def test_outside_of_traced_code_scipy_is_plain():
    lima.traced(lambda v: minimize(lambda x: (x**2).sum(), v).x)(A[0])
    found = minimize(lambda x: (x**2).sum(), A[0])
    assert type(found.x) is np.ndarray and type(norm.pdf(A)) is np.ndarray
    assert isinstance(norm, stats.rv_continuous) and isinstance(norm(2).mean(), float)


def test_names_mean_one_twin_however_many_functions_are_traced():
    """Each traced function binds the names of its module again."""
    text = """
from numpy import sort, zeros
from numpy.linalg import solve
from scipy.linalg import lu_factor
from scipy.signal import welch
from scipy.sparse import hstack
from scipy.stats import norm
"""
    scope = {"__name__": "with_names"}
    exec(text, scope)
    bound = []
    for k in range(4):
        exec(f"def use{k}(x): return x * {k}", scope)
        lima.traced(scope[f"use{k}"])(np.ones(3))
        bound.append({n: id(x) for n, x in scope.items() if not n.startswith(("_", "use"))})
    assert bound[0] == bound[1] == bound[-1]
    assert not hasattr(scope["welch"]._plain, "_plain")
