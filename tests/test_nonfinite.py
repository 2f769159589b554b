"""`lima.blame`: which operation first made a NaN or an infinity."""

from __future__ import annotations

import numpy as np
import pytest

import lima
from lima.nonfinite import Search, look

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture
def x():
    return lima.array(np.array([[1.0, 2.0], [-3.0, 4.0]]), name="x")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "c8", "c16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_look_finds_the_first(dtype, bad):
    a = np.ones((3, 4), dtype)
    assert look(a) is None
    a[2, 1] = bad
    assert look(a) == ("nan" if np.isnan(bad) else "inf", (2, 1))
    assert look(a.T)[1] == (1, 2)
    a[0, 3] = np.inf
    assert look(a)[0] == ("nan" if np.isnan(bad) else "inf")


def test_look_at_what_has_none():
    for value in (np.arange(3), np.array(["a"]), None, {"state": 1}, np.float64(1), np.zeros(0)):
        assert look(value) is None
    assert look(np.full(3, 1e308)) is None  # the sum overflows, the elements are finite
    assert look((np.ones(2), np.float64("nan"))) == ("nan", ())


def test_the_first_operation_is_blamed(x):
    found = lima.blame((np.log(x) * 2.0 + x).sum(axis=0) @ x)
    assert found and found.origin.spec.op == "log" and found.kind == "nan"
    assert found.index == (1, 0)
    assert [link.node.spec.op for link in found.path] == ["log", "multiply", "add", "sum", "matmul"]
    assert found.others == ()
    assert "nan at (1, 0) of log(·), which has finite operands" in str(found)


def test_an_infinity_that_becomes_nan(x):
    big = np.exp(x * 1000.0)
    found = lima.blame(big / big)
    assert (found.origin.spec.op, found.kind) == ("exp", "inf")
    assert [link.kind for link in found.path] == ["inf", "nan"]


def test_finite_results_blame_nobody(x):
    found = lima.blame(x + 1.0)
    assert not found and found.origin is None and str(found) == "all elements are finite"
    masked = np.where(np.isnan(np.log(x)), 0.0, 1.0)
    assert not lima.blame(masked)


def test_a_masked_nan_is_not_blamed(x):
    masked = np.nan_to_num(np.log(x))
    found = lima.blame(np.sqrt(masked - 5.0))
    assert found.origin.spec.op == "sqrt"


def test_data_and_literals_are_named():
    bad = lima.array(np.array([1.0, np.nan]), name="bad")
    found = lima.blame(bad * 2.0)
    assert found.origin.is_leaf and "bad" in str(found) and "is in the data" in str(found)
    x = lima.array(np.ones(2), name="x")
    found = lima.blame(x + np.inf)
    assert "was given the literal inf" in str(found)


def test_all_origins_are_listed(x):
    found = lima.blame(np.sqrt(x) + np.log(x))
    assert {found.origin.spec.op, *(n.spec.op for n in found.others)} == {"sqrt", "log"}


def test_an_operation_with_several_results():
    x = lima.array(np.full((2, 2), 1.0), name="x")
    a, b = np.divmod(x, 0.0)
    found = lima.blame(a + b)
    assert found.origin.spec.op == "divmod"


@pytest.mark.parametrize("kept", [(), ("exp",), ("log",), ("exp", "log"), ("exp", "log", "add")])
def test_values_that_are_known_are_not_computed(kept, x):
    """What a cache holds is looked at; what lies below it is computed only if it is not finite."""
    steps = {"exp": np.exp(x / 2.0)}
    steps["log"] = np.log(steps["exp"] - 1.0)
    steps["add"] = steps["log"] + steps["exp"]
    record = lima.lineage(steps["add"] * 2.0)
    values = {lima.lineage(steps[name]).outputs["result"].digest: name for name in kept}

    def known(node):
        name = values.get(node.digest)
        return None if name is None else np.asarray(steps[name])

    found = Search(record, {"x": np.asarray(x)}, known).blame(record.outputs["result"])
    assert found.origin.spec.op == "log" and found.index == (1, 0)
    assert [link.node.spec.op for link in found.path] == ["log", "add", "multiply"]
    # divide, exp, subtract, log, add, multiply
    computed = {"": 6, "exp": 4, "log": 5, "exp log": 3, "exp log add": 2}
    assert found.computed == computed[" ".join(kept)]


def test_files(tmp_path, x):
    y = np.log(x) + 1.0
    path = lima.save(tmp_path / "y.lima", y=y, z=x, leaf_data=True)
    assert lima.blame(lima.load_log(path).only("y")).origin.spec.op == "log"
    with pytest.raises(lima.UnknownLineage, match="one result"):
        lima.blame(path)
    with pytest.raises(lima.UnknownLineage, match="'w' is none of the results y, z"):
        lima.load_log(path).only("w")


def test_a_long_chain():
    start = x = lima.array(np.ones(2), name="x")
    for k in range(3000):
        x = x + (np.inf if k == 1500 else 1.0)
    found = lima.blame(x)
    assert start is not x
    assert len(found.path) == 1500 and len(str(found)) < 1000
