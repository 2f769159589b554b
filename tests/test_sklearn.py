"""Estimators of scikit-learn on traced arrays: NumPy's answers, and work shared between fits."""

import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import lima
from bench.fuzz import stress

sklearn = pytest.importorskip("sklearn")

from sklearn import metrics  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.kernel_approximation import Nystroem  # noqa: E402
from sklearn.linear_model import (  # noqa: E402
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    RidgeCV,
)
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    MinMaxScaler,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC  # noqa: E402
from sklearn.utils import _array_api  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 12))
Y = X @ RNG.normal(size=12) + RNG.normal(size=300)
TWO = (Y > 0).astype(int)
THREE = np.digitize(Y, [-2, 2])


def pipeline(alpha=1.0):
    return make_pipeline(
        StandardScaler(), PCA(n_components=5, svd_solver="full"), Ridge(alpha, solver="svd")
    )


def grid(estimator, **values):
    return GridSearchCV(estimator, values, cv=3)


DISPATCHING = {
    "Ridge": (lambda: Ridge(0.5, solver="svd"), Y),
    "RidgeCV": (lambda: RidgeCV(alphas=[0.1, 1, 10]), Y),
    "RidgeClassifier": (lambda: RidgeClassifier(solver="svd"), TWO),
    "PCA, full": (lambda: PCA(5, svd_solver="full"), None),
    "PCA, covariance": (lambda: PCA(5, svd_solver="covariance_eigh", whiten=True), None),
    "PCA, randomized": (
        lambda: PCA(5, svd_solver="randomized", random_state=0, power_iteration_normalizer="QR"),
        None,
    ),
    "LogisticRegression": (lambda: LogisticRegression(), TWO),
    "LogisticRegression, three": (lambda: LogisticRegression(C=0.1), THREE),
    "LinearDiscriminantAnalysis": (lambda: LinearDiscriminantAnalysis(), THREE),
    "StandardScaler": (lambda: StandardScaler(), None),
    "MinMaxScaler": (lambda: MinMaxScaler(), None),
    "GaussianNB": (lambda: GaussianNB(), THREE),
    "PolynomialFeatures": (lambda: PolynomialFeatures(2), None),
    "Nystroem": (lambda: Nystroem(n_components=20, random_state=0), None),
    "pipeline": (pipeline, Y),
    "GridSearchCV": (lambda: grid(Ridge(solver="svd"), alpha=[0.1, 1, 10]), Y),
    "GridSearchCV, pipeline": (lambda: grid(pipeline(), ridge__alpha=[0.1, 1]), Y),
    "GridSearchCV, classifier": (lambda: grid(LogisticRegression(), C=[0.1, 1]), TWO),
}
"""Estimators that scikit-learn has written against the array API standard."""

COMPILED = {
    "RandomForestClassifier": (lambda: RandomForestClassifier(4, random_state=0), THREE),
    "SVC": (lambda: SVC(), TWO),
    "KNeighborsClassifier": (lambda: KNeighborsClassifier(), THREE),
    "Lasso": (lambda: Lasso(0.1), Y),
    "LinearRegression": (lambda: LinearRegression(), Y),
}
"""Estimators that hand their arrays to compiled code."""

OTHERS = {
    "KMeans": (lambda: KMeans(3, random_state=0, n_init=1), None),
    "Ridge, cholesky": (lambda: Ridge(0.5, solver="cholesky"), Y),
    "Ridge, saga": (lambda: Ridge(0.5, solver="saga", random_state=0), Y),
    "LogisticRegression, newton": (lambda: LogisticRegression(solver="newton-cholesky"), TWO),
}
"""Estimators that refuse what is no ndarray when dispatching is on."""


@contextmanager
def dispatching(names=_array_api._NUMPY_NAMESPACE_NAMES):
    """Dispatching on; with `names` empty, NumPy's arrays take the code of all other arrays."""
    before = os.environ.get("SCIPY_ARRAY_API")
    os.environ["SCIPY_ARRAY_API"] = "1"
    kept = _array_api._NUMPY_NAMESPACE_NAMES
    _array_api._NUMPY_NAMESPACE_NAMES = names
    try:
        with sklearn.config_context(array_api_dispatch=True), np.errstate(all="ignore"):
            yield
    finally:
        _array_api._NUMPY_NAMESPACE_NAMES = kept
        if before is None:
            del os.environ["SCIPY_ARRAY_API"]
        else:
            os.environ["SCIPY_ARRAY_API"] = before


def answers(make, x, y):
    """What was learned, and what it says of the data it learned from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = make().fit(x) if y is None else make().fit(x, y)
        found = dict(learned(estimator))
        for name in ("predict", "transform", "predict_proba", "decision_function"):
            if hasattr(estimator, name):
                found[name] = getattr(estimator, name)(x)
        if y is not None:
            found["score"] = estimator.score(x, y)
    return found


def learned(estimator):
    parts = [step for _, step in getattr(estimator, "steps", ())]
    if hasattr(estimator, "best_estimator_"):
        parts.append(estimator.best_estimator_)
        yield "best", estimator.cv_results_["mean_test_score"]
    for k, part in enumerate(parts):
        for name, value in learned(part):
            yield f"{k}.{name}", value
    for name, value in vars(estimator).items():
        if name.endswith("_") and isinstance(value, (np.ndarray, float)) and "time" not in name:
            yield name, value


def traced(y):
    return None if y is None else lima.array(y)


def assert_same_bits(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        ours = np.asarray(found[name])
        assert ours.dtype == np.asarray(value).dtype, name
        np.testing.assert_array_equal(ours, value, err_msg=name)


def check_dispatch(make, y):
    """Twice the same bits as NumPy's arrays by the same code, and close to NumPy's own code."""
    with dispatching(set()):
        wanted = answers(make, X, y)
    near = answers(make, X, y)
    with dispatching(), lima.session(exactness="bitwise"):
        x, target = lima.array(X), traced(y)
        for _ in range(2):
            found = answers(make, x, target)
            assert_same_bits(found, wanted)
        assert (np.asarray(x) == X).all()
    for name, value in near.items():
        np.testing.assert_allclose(np.asarray(found[name]), value, rtol=1e-6, atol=1e-9)
    return found


# --------------------------------------------------------------------------- answers


@pytest.mark.parametrize("name", DISPATCHING)
def test_answers_with_dispatch(name):
    found = check_dispatch(*DISPATCHING[name])
    for part in ("coef_", "predict", "transform", "components_", "theta_"):
        if part in found:
            assert type(found[part]) is lima.Array, part


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.skipif(not lima.__compiled__, reason="only a class of C has buffers")
def test_compiled_estimators_with_dispatch(name):
    check_dispatch(*COMPILED[name])


@pytest.mark.parametrize("name", DISPATCHING | COMPILED | OTHERS)
def test_answers_without_dispatch(name):
    make, y = (DISPATCHING | COMPILED | OTHERS)[name]
    wanted = answers(make, X, y)
    with lima.session():
        x, target = lima.array(X), traced(y)
        for _ in range(2):
            assert_same_bits(answers(make, x, target), wanted)


@pytest.mark.parametrize("name", OTHERS)
def test_refusals_with_dispatch_are_errors(name):
    make, y = OTHERS[name]
    with dispatching(), pytest.raises((TypeError, ValueError, BufferError)):
        answers(make, lima.array(X), traced(y))


def test_scipy_imported_with_the_switch_on():
    """The switch is read when SciPy is imported, so another process has to try it."""
    code = "import test_sklearn as t\nfor c in t.DISPATCHING.values(): t.check_dispatch(*c)"
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arguments_that_are_written():
    plain, x = X.copy(), lima.array(X)
    with dispatching():
        StandardScaler(copy=False).fit_transform(plain)
        view = x[:, :3]
        StandardScaler(copy=False).fit_transform(x)
    assert (np.asarray(x) == plain).all() and (np.asarray(view) == plain[:, :3]).all()


def test_metrics():
    with dispatching():
        scores = LogisticRegression().fit(X, TWO).predict_proba(X)[:, 1]
        s, t, y, p = map(lima.array, (scores, TWO, Y, Y + 1))
        for score, arguments, theirs in (
            (metrics.roc_auc_score, (t, s), (TWO, scores)),
            (metrics.log_loss, (t, s), (TWO, scores)),
            (metrics.accuracy_score, (t, s > 0.5), (TWO, scores > 0.5)),
            (metrics.f1_score, (t, s > 0.5), (TWO, scores > 0.5)),
            (metrics.r2_score, (y, p), (Y, Y + 1)),
            (metrics.mean_squared_error, (y, p), (Y, Y + 1)),
        ):
            assert score(*arguments) == pytest.approx(score(*theirs), rel=1e-12), score.__name__


# --------------------------------------------------------------------------- reuse

WIDE = np.random.default_rng(1).normal(size=(2000, 60))
GOAL = WIDE.sum(axis=1)


def outcomes(result):
    return {what.partition("(")[0]: how for what, how, _, _ in lima.explain(result).rows}


@pytest.mark.parametrize(
    ("make", "shared"),
    [
        (lambda alpha: Ridge(alpha, solver="svd"), {"linalg.svd"}),
        (lambda alpha: RidgeCV(alphas=[alpha, 2 * alpha]), {"linalg.eigh"}),
        (lambda alpha: make_pipeline(StandardScaler(), Ridge(alpha, solver="svd")), {"linalg.svd"}),
    ],
    ids=["Ridge", "RidgeCV", "pipeline"],
)
def test_a_fit_with_another_penalty_shares_the_factorisation(make, shared):
    with dispatching(), lima.session() as s:
        x, y = lima.array(WIDE, name="x"), lima.array(GOAL, name="y")
        make(1.0).fit(x, y)
        before = s.stats.hits
        second = make(2.0).fit(x, y)
        fitted = getattr(second, "steps", [("", second)])[-1][1]
        how = outcomes(fitted.coef_)
        assert all(how[operation] == "hit" for operation in shared)
        assert s.stats.hits - before >= 4


PAIR = (WIDE[:, 0] > 0).astype(int)
KINDS = np.digitize(WIDE[:, 0], [-0.5, 0.5])

AGAIN = {
    "RidgeClassifier": (lambda p: RidgeClassifier(p, solver="svd"), (1.0, 2.0), PAIR, "linalg.svd"),
    "PCA": (lambda p: PCA(p, svd_solver="full"), (3, 5), None, "linalg.svd"),
    # SciPy's minimiser calls back with traced arrays only as long as that pays, so not its products
    "LogisticRegression": (lambda p: LogisticRegression(C=p), (1.0, 1.0), PAIR, "unique"),
    "LinearDiscriminantAnalysis": (
        lambda p: LinearDiscriminantAnalysis(n_components=p), (1, 2), KINDS, "linalg.svd",
    ),
    "StandardScaler": (lambda p: StandardScaler(with_mean=p), (True, False), None, "sum"),
    "MinMaxScaler": (lambda p: MinMaxScaler((0, p)), (1, 2), None, "max"),
    "GaussianNB": (lambda p: GaussianNB(var_smoothing=p), (1e-9, 1e-8), KINDS, "var"),
    "Nystroem": (
        lambda p: Nystroem(n_components=30, gamma=0.1, random_state=p), (0, 0), None, "linalg.svd",
    ),
    "PolynomialFeatures, Ridge": (
        lambda p: make_pipeline(PolynomialFeatures(2), Ridge(p, solver="svd")),
        (1.0, 2.0), GOAL, "linalg.svd",
    ),
    "scaler, PCA, Ridge": (pipeline, (1.0, 2.0), GOAL, "linalg.svd"),
    "GridSearchCV, classifier": (
        lambda p: grid(LogisticRegression(), C=p), ([1.0], [1.0, 0.5]), PAIR, "unique",
    ),
}  # fmt: skip
"""Estimators with two values of a parameter, and an operation that their fits have in common."""


def used(estimator, x, y):
    """What a fitted estimator makes of the data that it was fitted to."""
    estimator = estimator.fit(x) if y is None else estimator.fit(x, y)
    return (getattr(estimator, "transform", None) or estimator.predict)(x)


@pytest.mark.parametrize("name", AGAIN)
def test_a_second_fit_reuses_what_it_shares_with_the_first(name):
    make, (first, second), y, shared = AGAIN[name]
    wide = WIDE[:, :12] if "Polynomial" in name else WIDE
    with dispatching():
        with lima.session(exactness="bitwise", reuse="none"):
            wanted = used(make(second), lima.array(wide), traced(y))
        with stress(), lima.session(exactness="bitwise") as s:  # all is kept, however fast
            x, target = lima.array(wide), traced(y)
            used(make(first), x, target)
            before = s.stats.hits
            found = used(make(second), x, target)
            assert s.stats.hits - before >= 4
            steps = [(what.partition("(")[0], how) for what, how, *_ in lima.explain(found).rows]
            assert (shared, "hit") in steps
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def test_a_grid_shares_the_work_of_its_folds():
    with dispatching(), lima.session() as s:
        x, y = lima.array(WIDE), lima.array(GOAL)
        grid(Ridge(solver="svd"), alpha=[1.0]).fit(x, y)
        once = s.stats.computed
        before = s.stats.hits
        grid(Ridge(solver="svd"), alpha=[2.0, 3.0, 4.0]).fit(x, y)
        assert s.stats.hits - before > 20
        assert s.stats.computed - once < 3 * once


def test_components_are_found_once():
    with dispatching(), lima.session():
        x = lima.array(WIDE)
        PCA(5, svd_solver="covariance_eigh").fit(x)
        found = PCA(9, svd_solver="covariance_eigh").fit(x)
        assert outcomes(found.components_)["linalg.eigh"] == "hit"


def test_cross_validation_of_plain_results():
    with dispatching():
        wanted = cross_val_score(Ridge(solver="svd"), X, Y, cv=3)
        found = cross_val_score(Ridge(solver="svd"), lima.array(X), lima.array(Y), cv=3)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
