"""Lineage logs of SystemDS: read, recomputed to what was written, reconstructed, refused."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import lima
from lima.cli import main
from lima.record import loads

DATA = Path(__file__).parent / "data" / "systemds"
EXAMPLES = sorted(folder.name for folder in DATA.iterdir() if folder.is_dir())
EIGEN, WRONG = "16_pca_eigen", "14_while_cg_dedup"
COMPLETE = [name for name in EXAMPLES if name not in (EIGEN, WRONG)]

complete = pytest.mark.parametrize("name", COMPLETE)


def log_of(name: str) -> Path:
    return DATA / name / "out.csv.lineage"


def matrix(name: str, file: str) -> np.ndarray:
    return np.loadtxt(DATA / name / file, delimiter=",", ndmin=2)


def inputs_of(name: str) -> dict[str, np.ndarray]:
    return {path.stem: matrix(name, path.name) for path in DATA.joinpath(name).glob("[Xy].csv")}


def close(found, wanted) -> bool:
    """Equal but for the order of sums; the reference adds in double the precision."""
    scale = np.abs(wanted).max()
    return found.shape == wanted.shape and np.abs(found - wanted).max() <= 1e-13 * scale


# ------------------------------------------------------------------------------- the examples


def test_the_examples_are_there():
    assert len(EXAMPLES) == 8


@complete
def test_recomputed_from_the_files_beside_the_log(name):
    record = lima.load_log(log_of(name))
    assert close(lima.recompute(record), matrix(name, "out.csv"))


@complete
def test_recomputed_from_inputs(name, tmp_path):
    """The log alone, in an empty folder, with the matrices given in any of their names."""
    path = shutil.copy(log_of(name), tmp_path)
    wanted = matrix(name, "out.csv")
    record = lima.load_log(path)
    assert close(lima.recompute(record, inputs_of(name)), wanted)
    by_file = {f"{key}.csv": value for key, value in inputs_of(name).items()}
    assert close(lima.recompute(record, by_file), wanted)
    with pytest.raises(lima.ReplayError, match=r"'X.csv'.*not beside the log.*input 'X'"):
        lima.recompute(record)


@complete
def test_other_inputs_give_what_the_program_would(name):
    """A log records no data: what is given stands for what was read."""
    record = lima.load_log(log_of(name))
    other = {key: np.cos(value) for key, value in inputs_of(name).items()}
    found = lima.recompute(record, other)
    program = program_of(record)
    assert np.array_equal(found, program(*[other[leaf.name] for leaf in record.leaves]))
    assert not close(found, matrix(name, "out.csv"))


def program_of(record):
    space = {"__name__": "reconstructed"}
    exec(lima.to_python(record), space)
    return space["program"]


@complete
def test_reconstructed_as_a_program(name):
    record = lima.load_log(log_of(name))
    inputs = inputs_of(name)
    found = program_of(record)(*[inputs[leaf.name] for leaf in record.leaves])
    assert np.array_equal(found, lima.recompute(record))


@complete
def test_tracing_the_program_gives_the_same_lineage(name):
    record = lima.load_log(log_of(name))
    inputs = inputs_of(name)
    with lima.session(exactness="bitwise"):
        found = lima.traced(program_of(record))(*[inputs[leaf.name] for leaf in record.leaves])
        assert np.array_equal(found, lima.recompute(record))
        assert lima.lineage(found).digest() == record.digest()


@complete
def test_in_the_grammar_of_lima(name):
    """Written again, the lineage is an ordinary log, which needs no files of its own kind."""
    record = lima.load_log(log_of(name))
    again = loads(record.log())
    assert again == record
    assert again.environment == {"system": "SystemDS"}
    inputs = {leaf.name: inputs_of(name)[leaf.name] for leaf in record.leaves}
    assert np.array_equal(lima.recompute(again, inputs), lima.recompute(record))
    assert "operations on X" in str(lima.explain(record))


def test_saved_with_its_data(tmp_path):
    record = lima.load_log(log_of("02_read_matmul_solve"))
    path = lima.save(tmp_path / "beta.lima", record, leaf_data=True)
    assert close(lima.recompute(lima.load_log(path)), matrix("02_read_matmul_solve", "out.csv"))


def test_the_program_reads_well():
    text = lima.to_python(lima.load_log(log_of("02_read_matmul_solve")))
    assert "def program(X, y):" in text
    for line in ("= X.T @ X", "= np.diagflat(v2)", "= X.T @ y", "np.linalg.solve(v4, v5)"):
        assert line in text


# ------------------------------------------------------------------------------- refusals


def test_eigen_and_rsort_are_refused():
    record = lima.load_log(log_of(EIGEN))
    for use in (lima.recompute, lima.to_python):
        with pytest.raises(lima.ReplayError) as error:
            use(record)
        for words in ("eigen: has several results", "rsort: the log does not say", "'item_41'"):
            assert words in str(error.value)
    assert "asarray(unique(" in record.log()


def test_values_stand_for_what_the_log_does_not_tell():
    """With the vectors and the order of the values the result is the one that was written."""
    X, record = matrix(EIGEN, "X.csv"), lima.load_log(log_of(EIGEN))
    S = (X - X.mean(0)) / X.std(0, ddof=1)
    values, vectors = np.linalg.eigh(S.T @ S / 39 - 40 / 39 * S.mean(0)[:, None] * S.mean(0))
    order = 1.0 + np.argsort(-values)
    assert close(
        lima.recompute(record, {"item_41": vectors, "item_45": order}),
        matrix(EIGEN, "out.csv"),
    )
    with pytest.raises(lima.ReplayError, match="rsort"):
        lima.recompute(record, {"item_41": vectors})


def test_a_log_that_recorded_something_else_is_cautioned():
    with pytest.warns(lima.ReplayWarning, match="the loop SB15 changes i, nr"):
        record = lima.load_log(log_of(WRONG))
    with pytest.warns(lima.ReplayWarning, match="values after an iteration"):
        found = lima.recompute(record)
    assert not close(found, matrix(WRONG, "out.csv"))


@complete
def test_no_caution_without_need(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lima.recompute(lima.load_log(log_of(name)))


def test_command_line(capsys, tmp_path):
    assert main(["recompute", str(log_of("02_read_matmul_solve"))]) == 0
    assert "float64[8, 1]" in capsys.readouterr().out
    assert main(["log", str(log_of(EIGEN))]) == 0
    assert "has several results" in capsys.readouterr().out
    assert main(["recompute", str(log_of(EIGEN))]) == 1
    assert "'item_45'" in capsys.readouterr().err
    assert main(["to-python", str(log_of("12_parfor")), "-o", str(tmp_path / "p.py")]) == 0
    assert main(["recompute", str(log_of(WRONG))]) == 0
    assert capsys.readouterr().err.count("lima: warning: the loop SB15") == 1
