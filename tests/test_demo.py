"""`lima demo` on a small part of its data and grids, and what it does when a promise is broken."""

from __future__ import annotations

import io
import os
import re

import numpy as np
import pytest
from rich.console import Console
from threadpoolctl import threadpool_limits

import lima
from lima import cli, demo
from lima.demo import programs, tables
from lima.demo.progress import Progressing

TRAIN, TEST = 3000, 1000
SMALL = {
    "logistic_grid": {
        "num_bins": (5,),
        "icpts": (0, 2),
        "regs": (1.0, 1e-3),
        "tol": 1e-3,
        "max_outer": 2,
        "max_inner": 3,
    },
    "linear_grid": {"num_bins": (5, 8), "icpts": (1, 2), "regs": (1.0, 1e-3), "num_folds": 3},
    "forward_selection": {
        "num_bins": 5,
        "icpts": (1,),
        "regs": (1.0, 1e-3),
        "max_features": 2,
        "threshold": 1e-3,
    },
}


@pytest.fixture(scope="module")
def data():
    """The first rows of both files."""
    whole = programs.load_examples("plain")["adult"].load()
    cut = [
        type(table)(*(column[:n].copy() for column in table))
        for table, n in ((whole.train, TRAIN), (whole.test, TEST))
    ]
    return whole._replace(train=cut[0], test=cut[1])


@pytest.fixture
def small(data, monkeypatch):
    """Both copies of the examples with little data and small grids."""
    copies = {label: programs.load_examples(label) for label in ("plain", "traced")}
    for modules in copies.values():
        monkeypatch.setattr(modules["adult"], "load", lambda: data)
        for name, grid in SMALL.items():
            monkeypatch.setattr(modules[name], "SUBSET", grid)
            monkeypatch.setattr(modules[name], "FULL", {**grid, "icpts": (1,)})
    return copies


def console(width: int = 100) -> Console:
    return Console(file=io.StringIO(), width=width)


def test_the_whole_demo(small, tmp_path, capsys):
    shown = console()
    with threadpool_limits(1):  # a busy machine would let the demo take fewer than the command
        demo.run(shown, folder=tmp_path / "new" / "folder")
    text = shown.file.getvalue()
    assert f"{TRAIN:,} rows" in text
    for program in programs.PROGRAMS:
        assert re.search(rf"{program.title} .* 0 +\n", text), text  # no difference
    assert "lecture" in text
    assert text.count("equal bits") == 3
    written = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert written == {
        "best_model.lima",
        "best_model.lima.data",
        "best_model.npz",
        "best_model.py",
    }
    record = lima.load_log(tmp_path / "new" / "folder" / "best_model.lima")
    assert record.uses("data.train.label")
    assert record.find("matmul")
    with threadpool_limits(1):
        assert cli.main(["recompute", str(tmp_path / "new" / "folder" / "best_model.lima")]) == 0
    assert "betas (the bits that were logged)" in capsys.readouterr().out


@pytest.mark.parametrize("program", programs.PROGRAMS, ids=lambda p: p.name)
def test_each_program_is_reused_and_has_the_same_bits(program, small, data):
    pair = programs.measure(console(), program, small["plain"], small["traced"], data, False)
    assert pair.difference == 0.0
    assert pair.stats.hits > 0
    assert pair.stats.barriers == 0
    assert all(type(value) is np.ndarray for value in pair.found.values())


def test_full_takes_the_full_grids(small, tmp_path, capsys):
    shown = console()
    demo.run(shown, full=True, folder=tmp_path)
    assert "hours" in shown.file.getvalue()
    rows = programs.measure(
        console(), programs.PROGRAMS[1], small["plain"], small["traced"], data_of(small), True
    ).found["table"]
    assert set(rows[:, 1]) == {1.0}


def data_of(small):
    return small["plain"]["adult"].load()


def test_accuracies_are_shares_of_right_predictions(small, data):
    """The table's figures against predictions made here from the betas of the best model."""
    modules = small["plain"]
    with lima.disabled():
        found = modules["logistic_grid"].main(data, **SMALL["logistic_grid"])
        bins, icpt, _, train, test = found["best"]
        X, X_test = modules["adult"].binned_design(data, int(bins))
    for design, label, accuracy in (
        (X, data.train.label, train),
        (X_test, data.test.label, test),
    ):
        extended = np.hstack([design, np.ones((len(design), int(icpt > 0)))])
        positive = (extended @ found["betas"])[:, 0] > 0
        assert np.mean(positive == label) == accuracy
    shown = console()
    tables.print_accuracies(shown, found)
    expected = rf"{100 * train:.2f} +{100 * test:.2f} +90\.07"
    assert re.search(expected, shown.file.getvalue())


# --------------------------------------------------------------------------- broken promises


def test_another_bit_is_a_failure(small, tmp_path, monkeypatch, capsys):
    plain = small["plain"]["linear_grid"].main

    def wrong(*args, **kwargs):
        found = plain(*args, **kwargs)
        return {**found, "betas": np.nextafter(found["betas"], np.inf)}

    monkeypatch.setattr(small["traced"]["linear_grid"], "main", wrong)
    assert cli.main(["demo", "--dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert re.match(r"lima: error: linear grid.*betas with lima: other bits.*e-", error)
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"x": np.zeros(2, np.float32)}, "float32 (2,) instead of float64 (2,)"),
        ({"x": np.zeros(3)}, "(3,) instead of"),
        ({"x": -np.zeros(2)}, "other bits"),
        ({"y": np.zeros(2)}, "results ['y'] with lima"),
    ],
)
def test_results_are_compared_to_the_bit(found, said):
    with pytest.raises(demo.CheckFailed, match=re.escape(said)):
        programs.compare(found, {"x": np.zeros(2)}, "program")


def test_not_a_number_equals_itself():
    assert programs.compare({"x": np.array([np.nan, 1])}, {"x": np.array([np.nan, 1])}, "p") == 0.0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import lima", "lima"),
        ("raise SystemExit('broken')", "broken"),
        ("raise SystemExit(1)", "no message"),
    ],
)
def test_a_rebuilt_program_that_fails(source, said, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(source)
    with pytest.raises(demo.CheckFailed, match=said):
        demo.run_alone(program, tmp_path, tmp_path / "out.npz", 1)


def test_a_rebuilt_program_with_other_bits_is_a_failure(tmp_path, monkeypatch):
    @lima.traced
    def total(X):
        return X.sum(axis=0)

    X = np.random.default_rng(0).normal(size=(50, 3))
    betas = total(X)
    demo.rebuild(console(), betas, tmp_path, 1)
    right = lima.to_python
    monkeypatch.setattr(lima, "to_python", lambda x: right(x).replace("np.sum", "np.max"))
    with pytest.raises(demo.CheckFailed, match="other bits"):
        demo.rebuild(console(), betas, tmp_path, 1)


def test_missing_examples_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(lima, "__file__", str(tmp_path / "lima" / "__init__.py"))
    with pytest.raises(demo.CheckFailed, match="example programs are missing"):
        programs.load_examples("plain")


# --------------------------------------------------------------------------- progress and threads


def test_progress_says_how_much_is_left(monkeypatch):
    clock = iter([0.0, 50.0, 100.0, 130.0])
    monkeypatch.setattr("lima.demo.progress.perf_counter", lambda: next(clock))
    shown = console()
    with Progressing(shown, "grid", [1.0, 1.0, 6.0]) as progress:
        progress(1)
        progress(2)
    assert shown.file.getvalue().splitlines() == [
        "grid: 1 of 3 settings, about 6 min left",
        "grid: 2 of 3 settings, about 5 min left",
        "grid: 130.00 s",
    ]


def test_settings_are_weighted_by_their_columns():
    grid = {"num_bins": (10, 20), "icpts": (0, 1), "regs": (1.0,)}
    weights = programs.Program("p", "p", 2.0).weights(grid, {10: 3, 20: 5})
    assert weights == [9.0, 9.0, 25.0, 25.0]


@pytest.mark.parametrize("load", [0.0, 50.0])
def test_threads_are_limited(load, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load), raising=False)
    with programs.limited_threads() as threads:
        assert load == 0.0 or threads == 1
        assert 1 <= threads <= programs.MAX_THREADS
        facts = lima.lineage(lima.array(np.ones(1))).environment
        assert facts["threads"] in (str(threads), "unknown")
