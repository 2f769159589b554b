"""Lines of the user's program: which operations remember theirs, and where they are shown."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import lima
from lima import places

DATA = np.random.default_rng(0).standard_normal((300, 300))


def made(x):
    total = (x @ x).sum(axis=0)
    return total, sys._getframe().f_lineno - 1


def by_op(record):
    return {node.spec.op: node.line for node in record.nodes}


def test_heavy_operations_know_their_line():
    total, line = made(lima.array(DATA, name="x"))
    found = by_op(lima.lineage(total))
    assert found["matmul"] == found["sum"] == places.Line(__file__, line, "made")
    assert found["leaf"] is None
    assert f"made (test_lines.py:{line})" in str(lima.explain(total))


def test_large_operations_that_wait_know_their_line():
    x = lima.array(DATA, name="x")
    y = np.exp(x) + 1.0
    line = sys._getframe().f_lineno - 1
    found = by_op(lima.lineage(y))
    assert found["exp"].line == found["add"].line == line


def test_small_operations_know_theirs_if_asked_for():
    x = lima.array(np.ones(3), name="x")
    assert by_op(lima.lineage(x + 1.0))["add"] is None
    with lima.session(lines="all"):
        y = x[1:] + 1.0
        line = sys._getframe().f_lineno - 1
        assert by_op(lima.lineage(y))["add"].line == line
        with lima.session(lines="none"):
            pass  # one session that wants lines is enough
        assert by_op(lima.lineage(x + 2.0))["add"].line == sys._getframe().f_lineno
    assert by_op(lima.lineage(x + 3.0))["add"] is None


def test_none_are_recorded_if_nobody_wants_them():
    lima.configure(lines="none")
    try:
        with lima.session(lines="none"):
            total, _ = made(lima.array(DATA, name="x"))
            assert set(by_op(lima.lineage(total)).values()) == {None}
    finally:
        lima.configure()
    with pytest.raises(lima.ConfigError, match="choose one of large, all, none"):
        lima.session(lines="some").__enter__()


def test_lines_are_no_part_of_the_identity():
    x = lima.array(DATA, name="x")
    with lima.session(lines="none"):
        first = np.linalg.solve(x, x[:, 0])
    with lima.session(lines="all"):
        second = np.linalg.solve(x, x[:, 0])
    logs = lima.lineage(r=first), lima.lineage(r=second)
    assert logs[0] == logs[1] and logs[0].log() == logs[1].log()


def test_a_library_stands_for_the_line_that_called_it():
    library = types.ModuleType("library")
    text = "def gram(x):\n    return x.T @ x\n"
    exec(compile(text, "/usr/lib/python3/site-packages/library.py", "exec"), library.__dict__)
    x = lima.array(DATA, name="x")
    gram = library.gram(x)
    line = sys._getframe().f_lineno - 1
    assert by_op(lima.lineage(gram))["matmul"].line == line


def test_a_reused_call_shows_where_it_was_first_made():
    @lima.traced
    def gram(x):
        return x.T @ x

    with lima.session():
        gram(DATA)
        again = gram(DATA.copy())
        line = by_op(lima.lineage(again))["matmul"]
    assert (
        line.function.endswith("gram") and line.line == gram.__wrapped__.__code__.co_firstlineno + 2
    )


def test_a_log_has_no_lines_unless_asked(tmp_path):
    total, _ = made(lima.array(DATA, name="x"))
    path = tmp_path / "x.lima"
    lima.save(path, total=total)
    assert __file__ not in path.read_text()
    assert set(by_op(lima.load_log(path)).values()) == {None}
    assert set(lima.load_log(path).table()["line"]) == {None}


def test_tables_and_differences_have_lines():
    x = lima.array(DATA, name="x")
    first = np.linalg.solve(x * 2.0, x)
    second = np.linalg.solve(x * 3.0, x)
    line = sys._getframe().f_lineno - 1
    table = lima.lineage(second).table()
    at = table["op"].index("linalg.solve")
    assert (table["file"][at], table["line"][at]) == (__file__, line)
    assert table["function"][at] == "test_tables_and_differences_have_lines"
    text = str(lima.diff(first, second))
    assert f"test_lines.py:{line - 1}) | " in text and f"test_lines.py:{line})" in text


def test_rounds_of_a_loop_are_one_line_each():
    x = lima.array(DATA, name="x")
    with lima.session():  # one in which nobody has computed `x @ x` before
        for _ in range(100):
            x = x @ x * 1e-3
    text = str(lima.explain(x))
    assert "100 × matmul(" in text and "test_lines.py:" in text


def test_numbers_of_lines_are_bounded(monkeypatch):
    monkeypatch.setattr(places, "MOST", len(places._places))
    scope = {}
    exec(compile("def f(x):\n    return x @ x\n", "new.py", "exec"), scope)
    assert by_op(lima.lineage(scope["f"](lima.array(DATA))))["matmul"] is None
