"""Lineage logs of SystemDS: read, recomputed to what was written, reconstructed, refused."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lima
from lima.cli import main
from lima.graph import topological
from lima.op import OPS
from lima.record import Lineage, loads
from lima.systemds import Source, recognised
from lima.systemds.table import REFUSED, TABLE
from lima.systemds.text import MAX_STEPS

DATA = Path(__file__).parent / "data" / "systemds"
EXAMPLES = sorted(path.parent.name for path in DATA.glob("*/out.csv.lineage"))
MORE = sorted(f"{path.parent.name}/{path.stem}" for path in DATA.glob("3[0-2]*/*.csv.lineage"))
"""Several logs of one script."""
EIGEN, WRONG, FROZEN = "16_pca_eigen", "14_while_cg_dedup", "33_mini_batch_dedup"
COMPLETE = [name for name in EXAMPLES if name not in (EIGEN, WRONG, FROZEN)]

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
    assert len(EXAMPLES) == 11 and len(MORE) == 25


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


def test_saved_for_other_inputs(tmp_path):
    """What is given, and sizes that the data decide, become part of the log that is written."""
    body = [scalar(5, "rows", "STRING"), "(6) (I) rmempty (0) (5)", "(7) (I) tsmm (6)"]
    record = loads(log_text(*body, "(8) (I) + (7) (3)", "(9) (I) nrow (6)", "(10) (I) + (8) (9)"))
    holes = A * (A[:, :1] < 4)
    path = lima.save(tmp_path / "s.lima", record, leaf_data=True, inputs={"A": holes, "S": S})
    wanted = holes[[0, 2]].T @ holes[[0, 2]] + S + 2
    assert np.array_equal(lima.recompute(lima.load_log(path)), wanted)
    lima.save(path, record, inputs={"A": holes, "S": S})
    assert lima.load_log(path) == record.bound({"A": holes, "S": S})
    with pytest.raises(lima.ReplayError, match=r"'S\.csv'"):
        lima.save(path, record, leaf_data=True, inputs={"A": holes})


def test_what_is_missing_has_an_identity():
    """Lineages that differ below a value that the log does not tell are not equal."""
    line = "(5) (I) eigen (0)\n(6) (I) rev (5)\n"
    record = loads(f"{read_line(0, 'A')}\n{line}")
    assert record == loads(f"{read_line(0, 'A')}\n{line}")
    assert record != loads(f"{read_line(0, 'B')}\n{line}")
    assert record.bound({"A": A}) != record.bound({"A": B})


def test_the_program_reads_well():
    text = lima.to_python(lima.load_log(log_of("02_read_matmul_solve")))
    assert "def program(X, y):" in text
    for line in ("= X.T @ X", "= np.diagflat(v2)", "= X.T @ y", "np.linalg.solve(v4, v5)"):
        assert line in text


@pytest.mark.parametrize("name", MORE)
def test_logs_of_scripts_that_write_several_results(name):
    record, file = lima.load_log(DATA / f"{name}.lineage"), DATA / name
    refused = {"w_pca": "eigen: has several", "j_order": "rsort: the log", "k_rand": "seed 7"}
    if file.stem in refused:
        with pytest.raises(lima.ReplayError, match=refused[file.stem]):
            lima.recompute(record)
        return
    found, wanted = np.atleast_2d(lima.recompute(record)), np.loadtxt(file, delimiter=",", ndmin=2)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12 * np.nanmax(np.abs(wanted)))
    whole, data = record.given({})
    again = program_of(record)(*[data[leaf.digest.hex()] for leaf in whole.leaves])
    assert np.array_equal(np.atleast_2d(again), found, equal_nan=True)


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
    with pytest.warns(lima.ReplayWarning, match="values after an iteration"):
        lima.to_python(record)
    assert not close(found, matrix(WRONG, "out.csv"))


def test_patches_of_a_simplified_first_iteration_are_cautioned():
    with pytest.warns(lima.ReplayWarning, match="loop SB6 reads input 0 of its iterations"):
        record = lima.load_log(log_of(FROZEN))
    with pytest.warns(lima.ReplayWarning, match="numbers of the first iteration"):
        found = lima.recompute(record)
    assert not close(found, matrix(FROZEN, "out.csv"))


@complete
def test_no_caution_without_need(name):
    assert not lima.load_log(log_of(name)).cautions


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


# ------------------------------------------------------------------------------- opcodes

A = np.array([[1.5, -2.0, 0.0], [4.0, 4.0, -1.25], [0.5, -0.5, 2.5], [7.0, 3.0, 3.0]])
B = np.array([[2.0, 3.0, -1.0], [1.0, 0.5, 4.0], [-3.0, 2.0, 2.0], [2.0, -2.0, 1.0]])
V = np.array([[2.0], [1.0], [3.0], [1.0]])
S = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 5.0]])
FILES = {"A": A, "B": B, "V": V, "S": S}


def read_line(k: int, name: str) -> str:
    more = "°false°MATRIX°csv°-1°-1°-1°-1°copy°false°,°true°0.0°"
    return f"({k}) (C) CP°createvar°pREADxxx°{name}.csv{more}"


def log_text(*body: str) -> str:
    """A log that reads the matrices as (0) to (3), as far as they are used, then these lines."""
    words = " ".join(line.partition(") (I) ")[2] for line in body)
    heads = [read_line(k, name) for k, name in enumerate(FILES) if f"({k})" in words]
    return "\n".join([*heads, *body]) + "\n"


def run(*body: str, **inputs):
    record = loads(log_text(*body))
    names = {leaf.name for leaf in record.leaves}
    arrays = files_of(body) | inputs
    found = lima.recompute(record, arrays)
    bound = record.given(arrays)[0]
    again = program_of(bound)(*[arrays[leaf.name] for leaf in bound.leaves])
    assert np.array_equal(np.asarray(again), np.asarray(found), equal_nan=True)
    assert names <= {*arrays}
    return found


def files_of(body) -> dict[str, np.ndarray]:
    return {name: a for name, a in FILES.items() if f"°{name}.csv°" in log_text(*body)}


def scalar(k: int, value: str, kind: str = "INT64") -> str:
    return f"({k}) (L) {value}·SCALAR·{kind}·true"


TWO, HALF = scalar(10, "2"), scalar(11, "0.5", "FP64")
MEANING = {
    "+": ("+ (0) (1)", A + B),
    "-": ("- (0) (2)", A - V),
    "*": ("* (0) (1)", A * B),
    "/": ("/ (0) (1)", A / B),
    "^": ("^ (1) (10)", B**2),
    "%%": ("%% (0) (1)", np.fmod(A, B)),
    "%/%": ("%/% (0) (1)", np.trunc(A / B)),
    "min": ("min (0) (1)", np.minimum(A, B)),
    "max": ("max (0) (11)", np.maximum(A, 0.5)),
    "*2": ("*2 (0) (10)", A * 2),
    "^2": ("^2 (0) (10)", A * A),
    "1-*": ("1-* (0) (1)", 1 - A * B),
    "-*": ("-* (0) (10) (1)", A - 2 * B),
    "+*": ("+* (0) (10) (1)", A + 2 * B),
    "n+": ("n+ (0) (1) (0) (2)", A + B + A + V),
    "n*": ("n* (0) (1) (0)", A * B * A),
    "nmin": ("nmin (0) (1) (2)", np.minimum(np.minimum(A, B), V)),
    "nmax": ("nmax (0) (1)", np.maximum(A, B)),
    ">": ("> (0) (1)", (A > B) * 1.0),
    "<": ("< (0) (1)", (A < B) * 1.0),
    ">=": (">= (0) (10)", (A >= 2) * 1.0),
    "<=": ("<= (0) (1)", (A <= B) * 1.0),
    "==": ("== (0) (1)", (A == B) * 1.0),
    "!=": ("!= (0) (1)", (A != B) * 1.0),
    "&&": ("&& (0) (1)", (A != 0) * 1.0),
    "||": ("|| (0) (1)", np.ones((4, 3))),
    "xor": ("xor (0) (1)", (A == 0) * 1.0),
    "!": ("! (0)", (A == 0) * 1.0),
    "ifelse": ("ifelse (0) (10) (11)", np.where(A != 0, 2.0, 0.5)),
    "exp": ("exp (0)", np.exp(A)),
    "sqrt": ("sqrt (2)", np.sqrt(V)),
    "log": ("log (2)", np.log(V)),
    "floor": ("floor (0)", np.floor(A)),
    "ceil": ("ceil (0)", np.ceil(A)),
    "abs": ("abs (0)", np.abs(A)),
    "sign": ("sign (0)", np.sign(A)),
    "round": ("round (0)", np.floor(A + 0.5)),
    "sin": ("sin (0)", np.sin(A)),
    "cos": ("cos (0)", np.cos(A)),
    "tan": ("tan (0)", np.tan(A)),
    "sinh": ("sinh (0)", np.sinh(A)),
    "cosh": ("cosh (0)", np.cosh(A)),
    "tanh": ("tanh (0)", np.tanh(A)),
    "asin": ("asin (11)", np.arcsin(0.5)),
    "acos": ("acos (11)", np.arccos(0.5)),
    "atan": ("atan (0)", np.arctan(A)),
    "sigmoid": ("sigmoid (0)", 1 / (1 + np.exp(-A))),
    "sprop": ("sprop (0)", A * (1 - A)),
    "isna": ("isna (0)", np.zeros((4, 3))),
    "isnan": ("isnan (0)", np.zeros((4, 3))),
    "replace": ("replace (0) (11) (10)", np.where(A == 0.5, 2.0, A)),
    "uaktrace": ("uaktrace (3)", np.trace(S)),
    "uarimax": ("uarimax (0)", np.array([[1.0], [2.0], [3.0], [1.0]])),
    "uarimin": ("uarimin (0)", np.array([[2.0], [3.0], [2.0], [3.0]])),
    "tak+*": ("tak+* (0) (1) (0)", np.sum(A * B * A)),
    "tack+*": ("tack+* (0) (1) (2)", np.sum(A * B * V, 0, keepdims=True)),
    "ucumk+": ("ucumk+ (0)", np.cumsum(A, 0)),
    "ucum*": ("ucum* (0)", np.cumprod(A, 0)),
    "ucummin": ("ucummin (0)", np.minimum.accumulate(A, 0)),
    "ucummax": ("ucummax (0)", np.maximum.accumulate(A, 0)),
    "nrow": ("nrow (0)", 4.0),
    "ncol": ("ncol (0)", 3.0),
    "length": ("length (0)", 12.0),
    "ba+*": ("ba+* (0) (3)", A @ S),
    "mmchain": ("mmchain (3) (3)", S.T @ (S @ S)),
    "solve": ("solve (3) (3)", np.linalg.solve(S, S.copy())),
    "inverse": ("inverse (3)", np.linalg.inv(S)),
    "cholesky": ("cholesky (3)", np.linalg.cholesky(S)),
    "det": ("det (3)", np.linalg.det(S)),
    "r'": ("r' (0)", A.T),
    "rev": ("rev (0)", A[::-1]),
    "rdiag": ("rdiag (2)", np.diagflat(V)),
    "cbind": ("cbind (0) (2) (1)", np.hstack([A, V, B])),
    "rbind": ("rbind (0) (3)", np.vstack([A, S])),
    "castdtm": ("castdtm (11)", np.array([[0.5]])),
    "castvtd": ("castvtd (10)", 2.0),
    "castvti": ("castvti (17)", -2.0),
    "castvtb": ("castvtb (10)", 1.0),
    "ctableexpand": ("ctableexpand (12) (2) (13)", np.eye(3)[[1, 0, 2, 0]]),
    "rexpand": ("rexpand (2) (10) (18)", np.array([[0.0, 1], [1, 0], [0, 0], [1, 0]])),
    "rmempty": ("rmempty (0) (14) (15)", A[[1, 3]]),
    **{
        f"{op}{name}": (f"{op}{name} (0)", function(A, **axis))
        for op, axis in (
            ("ua", {}),
            ("uar", {"axis": 1, "keepdims": True}),
            ("uac", {"axis": 0, "keepdims": True}),
        )
        for name, function in {
            "k+": np.sum,
            "+": np.sum,
            "sqk+": lambda a, **k: np.sum(a * a, **k),
            "mean": np.mean,
            "min": np.min,
            "max": np.max,
            "var": lambda a, **k: np.var(a, ddof=1, **k),
            "*": np.prod,
        }.items()
    },
}
"""Opcode -> a line that uses it, and the value."""

LITERALS = [
    TWO, HALF, scalar(12, "seq(1, -1)", "STRING"), scalar(13, "1.0", "FP64"),
    scalar(14, "rows", "STRING"), scalar(17, "-2.5", "FP64"), scalar(18, "cols", "STRING"),
]  # fmt: skip


@pytest.mark.parametrize("opcode", MEANING)
def test_what_an_opcode_means(opcode):
    line, wanted = MEANING[opcode]
    before = [text for text in LITERALS if text[:4] in line]
    if "(15)" in line:
        before += ["(15) (I) == (2) (16)"]
        before.insert(0, scalar(16, "1"))
    found = run(*before, f"(20) (I) {line}")
    assert np.shape(found) == np.shape(wanted)
    assert np.asarray(found).dtype == np.float64
    np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-15)


def test_every_opcode_is_tested():
    elsewhere = {"tsmm", "rshape", "rightIndex", "leftIndex", "castdts"}
    assert set(MEANING) | elsewhere == set(TABLE)
    assert not set(TABLE) & set(REFUSED)


def literals(**values: int) -> list[str]:
    return [scalar(int(k[1:]), str(v)) for k, v in values.items()]


def test_places_count_from_one_and_keep_two_axes():
    places = literals(_5=2, _6=3, _7=1)
    found = run(*places, "(20) (I) rightIndex (0) (5) (6) (7) (7)")
    assert np.array_equal(found, A[1:3, :1])
    size = "(19) (I) ncol (0)"
    found = run(places[0], places[2], size, "(20) (I) rightIndex (0) (5) (5) (7) (19)")
    assert np.array_equal(found, A[1:2])
    found = run(*places, "(20) (I) leftIndex (0) (7) (5) (6) (5) (6)")
    wanted = A.copy()
    wanted[1:3, 1:3] = 1
    assert np.array_equal(found, wanted)
    places = [*places[1:], scalar(8, "4")]
    found = run(*places, "(20) (I) leftIndex (0) (2) (7) (8) (6) (6)")
    wanted = A.copy()
    wanted[:, 2:] = V
    assert np.array_equal(found, wanted)


def test_places_that_the_data_decide():
    """`X[, k]` with a computed k: its value is computed when the log is recomputed."""
    body = [
        "(4) (I) rev (2)",
        scalar(5, "1"),
        "(6) (I) rightIndex (4) (5) (5) (5) (5)",
        "(7) (I) castdts (6)",
        scalar(8, "4"),
        "(20) (I) rightIndex (0) (5) (8) (7) (7)",
    ]
    assert np.array_equal(run(*body), A[:, :1])
    assert np.array_equal(run(*body, V=V[[2, 1, 0, 2]]), A[:, 2:])


def test_sizes_that_the_data_decide():
    """What `removeEmpty` leaves decides which product `tsmm` was, and what `nrow` gives."""
    body = [
        *(scalar(5, "1"), scalar(6, "rows", "STRING")),
        *("(7) (I) == (2) (5)", "(8) (I) rmempty (0) (6) (7)", "(9) (I) tsmm (8)"),
        *("(10) (I) nrow (8)", "(11) (I) + (9) (10)", "(12) (I) + (11) (3)"),
    ]
    kept = A[[1, 3]]
    assert np.array_equal(run(*body), kept.T @ kept + 2 + S)
    assert np.array_equal(run(*body, V=np.ones((4, 1))), A.T @ A + 4 + S)


def test_margins_of_remove_empty():
    text = [scalar(5, "cols", "STRING"), "(6) (I) uacsqk+ (0)"]
    keep = ["(7) (I) > (6) (8)"]
    found = run(*text, scalar(8, "20"), *keep, "(20) (I) rmempty (0) (5) (7)")
    assert np.array_equal(found, A[:, (A * A).sum(0) > 20])
    found = run(*text[:1], "(6) (I) - (0) (0)", "(7) (I) cbind (0) (6)", "(20) (I) rmempty (7) (5)")
    assert np.array_equal(found, A)


def test_scalars_and_matrices_of_one_element():
    half = scalar(5, "0.5", "FP64")
    assert run(half, "(6) (I) castdtm (5)", "(20) (I) castdts (6)") == 0.5
    assert run("(5) (I) uak+ (0)", "(20) (I) castdts (5)") == A.sum()
    assert run("(5) (I) r' (2)", "(6) (I) ba+* (5) (2)", "(20) (I) castdts (6)") == 15.0
    assert run(scalar(5, "2"), scalar(6, "3"), "(20) (I) + (5) (6)") == 5.0
    assert run(scalar(5, "TRUE", "BOOLEAN"), scalar(6, "3"), "(20) (I) ifelse (5) (6) (5)") == 3.0


def test_diagonals():
    assert np.array_equal(run("(20) (I) rdiag (3)"), np.diagonal(S)[:, None])
    body = ["(5) (I) tsmm (0)", "(6) (I) rdiag (5)", "(7) (I) ba+* (1) (6)"]
    assert np.array_equal(run(*body), B @ np.diagonal(A.T @ A)[:, None])


@pytest.mark.parametrize(("byrow", "order"), [("TRUE", "C"), ("false", "F")])
def test_reshape(byrow, order):
    body = [*literals(_5=2, _6=6), scalar(7, " ", "STRING"), scalar(8, byrow, "BOOLEAN")]
    found = run(*body, "(20) (I) rshape (0) (5) (6) (7) (8)")
    assert np.array_equal(found, A.reshape((2, 6), order=order))
    body[0] = scalar(5, "-1")
    again = run(*body, "(20) (I) rshape (0) (5) (6) (7) (8)")
    assert np.array_equal(again, found)


def test_replace_of_nan():
    body = [scalar(5, "NaN", "FP64"), scalar(6, "7")]
    found = run(*body, "(20) (I) replace (0) (5) (6)", A=np.where(A == 4, np.nan, A))
    assert np.array_equal(found, np.where(A == 4, 7, A))


def test_the_last_of_equal_extremes():
    """As in SystemDS; NumPy takes the first one."""
    same = np.ones((2, 3))
    assert np.array_equal(run("(20) (I) uarimax (0)", A=same), [[3.0], [3.0]])
    assert np.array_equal(run("(20) (I) uarimin (0)", A=same), [[3.0], [3.0]])


def test_places_of_extremes_pass_over_nan():
    holes = np.array([[1.0, np.nan, 3.0], [np.nan, 2.0, 1.0]])
    assert np.array_equal(run("(20) (I) uarimax (0)", A=holes), [[3.0], [2.0]])
    assert np.array_equal(run("(20) (I) uarimin (0)", A=holes), [[1.0], [3.0]])


def test_nothing_left_by_remove_empty_is_a_row_of_zeros():
    body = [scalar(5, "9"), scalar(6, "rows", "STRING"), "(7) (I) > (2) (5)"]
    body += ["(8) (I) rmempty (0) (6) (7)", "(9) (I) + (8) (5)"]
    assert np.array_equal(run(*body), np.full((1, 3), 9.0))
    assert np.array_equal(run(*body, V=np.array([[10.0], [0], [0], [10]])), A[[0, 3]] + 9)


def test_the_table_of_a_row():
    body = [TWO, scalar(14, "rows", "STRING"), "(20) (I) rexpand (2) (10) (14)"]
    assert np.array_equal(run(*body), [[0.0, 1, 0, 1], [1, 0, 0, 0]])


def test_weights_of_a_table():
    start = [scalar(5, "seq(1, -1)", "STRING"), "(6) (I) ctableexpand (5) (2) (2)"]
    assert np.array_equal(run(*start), np.eye(3)[[1, 0, 2, 0]] * V)


# ------------------------------------------------------------------------------- matrices made


def rand(k, rows, columns, low, high, sparsity="1.0", seed="-1", pdf="uniform"):
    sizes = "°".join(f"{n}·SCALAR·INT64·true" for n in (rows, columns))
    return (
        f"({k}) (C) CP°rand°{sizes}°1000°{low}°{high}°{sparsity}°{seed}°{pdf}°1.0°2°xxx·MATRIX·FP64"
    )


@pytest.mark.parametrize(
    ("value", "name"),
    [("0", "zeros"), ("0.0", "zeros"), ("1", "ones"), ("-2", "full"), ("1.5E-3", "full")],
)
def test_constant_matrices(value, name):
    record = loads(rand(7, 3, 2, value, value))
    assert np.array_equal(lima.recompute(record), np.full((3, 2), float(value)))
    assert record.find(name)


def test_sequences():
    def seq(first, last, step):
        ends = "°".join(f"{v}·SCALAR·INT64·true" for v in (first, last, step))
        return f"(7) (C) CP°seq°-1°1°1000°{ends}°xxx·MATRIX·FP64"

    assert np.array_equal(lima.recompute(loads(seq(1, 4, 1))), [[1.0], [2.0], [3.0], [4.0]])
    assert np.array_equal(lima.recompute(loads(seq(3, 0, 1))), [[3.0], [2.0], [1.0], [0.0]])
    assert np.array_equal(lima.recompute(loads(seq(0, 1, 0.4))), [[0.0], [0.4], [0.8]])
    with pytest.raises(lima.LogError, match="line 1: there is no sequence"):
        loads(seq(0, 1, 0))


@pytest.mark.parametrize(
    "line",
    [
        rand(7, 2, 2, "0", "1", seed="42"),
        rand(7, 2, 2, "1", "1", sparsity="0.5", seed="42"),
        rand(7, 2, 2, "1", "1", pdf="poisson", seed="42"),
    ],
)
def test_draws_are_refused_unless_given(line):
    record = loads(f"{line}\n(8) (I) uak+ (7)\n")
    other = loads(f"{line.replace('CP°', 'SPARK°')}\n(8) (I) uak+ (7)\n")
    with pytest.raises(lima.ReplayError, match="what SPARK computes is not read"):
        lima.recompute(other)
    for use in (lima.recompute, lima.to_python):
        with pytest.raises(lima.ReplayError, match=r"seed 42\); its value may .* 'item_7'"):
            use(record)
    assert lima.recompute(record, {"item_7": np.ones((2, 2))}) == 4.0


def test_matrices_that_the_log_does_not_hold():
    record = loads("(7) (L) -1·MATRIX·FP64·false\n(8) (I) rev (7)\n")
    with pytest.raises(lima.ReplayError, match="a matrix that the log names but does not hold"):
        lima.recompute(record)


def test_other_instructions_are_refused():
    record = loads("(7) (C) CP°sample°10°5°false°42°1000°xxx\n(8) (I) uak+ (7)\n")
    with pytest.raises(lima.ReplayError, match="sample is not an instruction"):
        lima.recompute(record)


# ------------------------------------------------------------------------------- X'X or XX'


def test_the_side_of_a_product_follows_from_shapes():
    assert np.array_equal(run("(5) (I) tsmm (0)", "(6) (I) + (5) (3)"), A.T @ A + S)
    assert np.array_equal(run("(5) (I) tsmm (0)", "(6) (I) ba+* (5) (0)"), A @ A.T @ A)
    # of two, each by what is done with it
    body = ["(5) (I) tsmm (0)", "(6) (I) tsmm (1)", "(7) (I) ba+* (5) (1)", "(8) (I) ba+* (7) (6)"]
    assert np.array_equal(run(*body), A @ A.T @ B @ (B.T @ B))


def test_a_side_that_only_sizes_tell():
    """The number of columns of one product decides about a place, and so about another one."""
    body = [
        *("(4) (I) tsmm (0)", "(5) (I) + (4) (3)", "(6) (I) ncol (4)", scalar(7, "1")),
        *("(8) (I) rightIndex (5) (7) (6) (7) (6)", "(9) (I) tsmm (1)", "(10) (I) + (9) (8)"),
    ]
    assert np.array_equal(run(*body), A.T @ A + S + B.T @ B)


def test_a_matrix_of_one_element_is_no_operand_of_a_matrix():
    """As in `cor`: S / (s' s) with a row vector s."""
    body = ["(5) (I) uack+ (0)", "(6) (I) tsmm (5)", "(7) (I) tsmm (0)", "(8) (I) / (7) (6)"]
    sums = A.sum(0, keepdims=True)
    assert np.array_equal(run(*body, "(9) (I) ba+* (8) (3)"), (A.T @ A) / (sums.T @ sums) @ S)


def test_the_metadata_of_the_result_tell_the_side(tmp_path):
    path = tmp_path / "out.csv.lineage"
    path.write_text(log_text("(5) (I) tsmm (0)"), "utf-8")
    np.savetxt(tmp_path / "A.csv", A, delimiter=",")
    with pytest.raises(lima.ReplayError, match="both fit, 4 x 4 and 3 x 3"):
        lima.recompute(lima.load_log(path))
    for size, wanted in ((3, A.T @ A), (4, A @ A.T)):
        (tmp_path / "out.csv.mtd").write_text(f'{{"rows": {size}, "cols": {size}}}')
        assert np.array_equal(lima.recompute(lima.load_log(path)), wanted)
    (tmp_path / "out.csv.mtd").write_text('{"rows": 7, "cols": 7}')
    with pytest.raises(lima.LogError, match="line 2: 3 or 4 is not 7"):
        lima.load_log(path)


@pytest.mark.parametrize("body", [["(5) (I) tsmm (3)", "(6) (I) + (5) (3)"], ["(5) (I) tsmm (0)"]])
def test_ambiguous_products_are_refused(body):
    record = loads(log_text(*body))
    with pytest.raises(lima.ReplayError, match="does not say whether it was t") as error:
        lima.recompute(record, files_of(body))
    assert "item_5" in str(error.value)
    found = lima.recompute(record, files_of(body) | {"item_5": S @ S})
    assert np.array_equal(found, S @ S + S if len(body) == 2 else S @ S)


def test_weighted_chains_are_refused():
    with pytest.raises(lima.ReplayError, match="mmchain does not say"):
        run("(5) (I) rbind (3)", "(6) (I) mmchain (3) (5) (3)")


# ------------------------------------------------------------------------------- loops


def loop(literal: str = "false", extra: str = "", patch: str = "") -> str:
    """Two iterations of `A = A * i`, as SystemDS folds them."""
    return (
        f"{read_line(0, 'A')}\n(5) (L) 1·SCALAR·INT64·{literal}\n(6) (D) dedup_my_A_SB3_0 (0) (5)\n"
        f"(7) (L) 2·SCALAR·INT64·{literal}\n(8) (D) dedup_my_A_SB3_0 (6) (7)\n\n"
        f"patch_my_A_SB3_0\n(20) (C) IN#0\n(21) (C) IN#1\n{patch}(22) (I) * (20) (21)\n{extra}"
    )


def test_folded_loops_are_written_out():
    assert np.array_equal(lima.recompute(loads(loop()), {"A": A}), A * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not loads(loop()).cautions


def test_what_is_known_to_go_wrong_in_folded_loops():
    changed = "\npatch_i_SB3_0\n(30) (C) IN#1\n(31) (L) 1·SCALAR·INT64·true\n(32) (I) + (30) (31)\n"
    (text,) = loads(loop(extra=changed)).cautions
    assert "loop SB3 changes i" in text and "line 2" in text
    assert not loads(loop(extra=changed.replace("SB3", "SB4"))).cautions
    assert not loads(loop("true", extra=changed)).cautions
    line = rand(23, 4, 3, "0.5", "0.5")
    made = loop(patch=f"{line}\n").replace("* (20) (21)", "+* (23) (20) (21)")
    (text,) = loads(made).cautions
    assert "patch_my_A_SB3_0 stands for 2 iterations" in text and "line 10" in text


def test_a_patch_that_does_not_read_what_varies():
    """As SystemDS writes it where the first iteration was simplified before it was recorded."""
    (text,) = loads(loop().replace("(21) (C) IN#1", "(21) (L) 1·SCALAR·INT64·true")).cautions
    assert "no patch of the loop SB3 reads input 1" in text


def test_a_draw_in_a_loop_stands_for_many_values():
    line = rand(23, 4, 3, "0", "1", seed="7")
    made = loop(patch=f"{line}\n").replace("* (20) (21)", "+* (23) (20) (21)")
    with pytest.raises(lima.ReplayError, match=r"seed 7\); \(23\) in line 10: rand") as error:
        lima.recompute(loads(made), {"A": A})
    assert "item_23" not in str(error.value)
    with pytest.raises(lima.ReplayError, match="no input is named 'item_23'"):
        lima.recompute(loads(made), {"A": A, "item_23": A})
    with pytest.warns(lima.ReplayWarning, match="of the first one only"):
        found = lima.recompute(loads(made), {"item_8": A})
    assert np.array_equal(found, A)


def test_bits_of_the_debugger_are_passed_over():
    text = log_text("(5) (I) tsmm (0) [0]", "(6) (I) + (5) (3) [4611686018427387904]")
    assert np.array_equal(lima.recompute(loads(text), {"A": A, "S": S}), A.T @ A + S)


# ------------------------------------------------------------------------------- files


def files_log(line: str, folder: Path, *body: str):
    path = folder / "out.csv.lineage"
    path.write_text("\n".join([line, *body]) + "\n", "utf-8")
    return lima.load_log(path)


def createvar(path: str, kind: str, rest: str = "-1°-1°-1°-1°copy") -> str:
    return f"(0) (C) CP°createvar°pREADX°{path}°false°MATRIX°{kind}°{rest}°"


CSV = "-1°-1°-1°-1°copy°{}°{}°true°{}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1,2\n3,4\n", createvar("X.csv", "csv", CSV.format("false", ",", "0.0"))),
        ("a;b\n1;2\n3;4\n", createvar("X.csv", "csv", CSV.format("true", ";", "0.0"))),
        ("1,2\n3,\n", createvar("X.csv", "csv", CSV.format("false", ",", "4.0"))),
        ("1::2\n3::4\n", createvar("X.csv", "csv", CSV.format("false", "::", "0.0"))),
        ("1 1 1.0\n1 2 2.0\n2 1 3\n2 2 4\n", createvar("X.csv", "text", "2°2°1000°4°copy")),
        (
            "%%MatrixMarket matrix coordinate real general\n% made\n2 2 4\n1 1 1\n1 2 2\n2 1 3\n2 2 4",
            createvar("X.csv", "mm"),
        ),
        (
            "%%MatrixMarket matrix array integer general\n2 2\n1\n3\n2\n4\n",
            createvar("X.csv", "mm"),
        ),
    ],
)
def test_files_beside_the_log(text, line, tmp_path):
    (tmp_path / "X.csv").write_text(text)
    record = files_log(line, tmp_path, "(1) (I) r' (0)")
    assert np.array_equal(lima.recompute(record), [[1.0, 3.0], [2.0, 4.0]])


def test_symmetric_and_pattern_matrices(tmp_path):
    head = "%%MatrixMarket matrix coordinate"
    for kind, cells, wanted in (
        ("real symmetric", "1 1 5\n2 1 3", [[5, 3], [3, 0]]),
        ("real skew-symmetric", "2 1 3", [[0, -3], [3, 0]]),
        ("pattern general", "2 1", [[0, 0], [1, 0]]),
    ):
        (tmp_path / "X.mtx").write_text(f"{head} {kind}\n2 2 1\n{cells}\n")
        record = files_log(createvar("X.mtx", "mm"), tmp_path, "(1) (I) rev (0)")
        assert np.array_equal(lima.recompute(record), np.array(wanted)[::-1])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("1,2\n3,x\n", createvar("X.csv", "csv", CSV.format("false", ",", "0")), "could not"),
        ("1,2\n3\n", createvar("X.csv", "csv", CSV.format("false", ",", "0")), "be read as csv"),
        ("", createvar("X.csv", "csv"), "it is empty"),
        ("1,2\n", createvar("X.csv", "csv", "3°2°-1°-1°copy"), "it has 1 rows, the log says 3"),
        ("1 1 1\n", createvar("X.csv", "text"), "neither the log nor a .mtd file"),
        ("3 1 1\n", createvar("X.csv", "text", "2°2°-1°-1°copy"), "cell .3, 1. of a matrix"),
        ("1 1 1\n", createvar("X.csv", "text", "99999999°99999999°-1°-1°copy"), "a matrix of"),
        ("1 1 1\n", createvar("X.csv", "mm"), "expected a header of Matrix Market"),
        ("SEQ\0", createvar("X.csv", "binary"), "format 'binary' are not read"),
    ],
)
def test_files_that_cannot_be_read(text, line, said, tmp_path):
    (tmp_path / "X.csv").write_text(text)
    record = files_log(line, tmp_path, "(1) (I) rev (0)")
    with pytest.raises(lima.ReplayError, match=said) as error:
        lima.recompute(record)
    assert "give it as the input 'X'" in str(error.value)
    size = (3, 2) if "it has" in said else (2, 2)
    assert lima.recompute(record, {"X": np.ones(size)}).shape == size


def test_nothing_outside_of_the_folder_is_read(tmp_path):
    inside = tmp_path / "logs"
    inside.mkdir()
    (tmp_path / "X.csv").write_text("1,2\n")
    for path in ("../X.csv", str(tmp_path / "X.csv"), "a/../../X.csv", "..", "x" * 5000, "\0"):
        record = files_log(createvar(path, "csv"), inside, "(1) (I) rev (0)")
        with pytest.raises(lima.ReplayError, match="not beside the log"):
            lima.recompute(record)
    (inside / "X.csv").write_text("5,6\n")  # the last part of the path is looked for here
    record = files_log(createvar("/data/X.csv", "csv"), inside, "(1) (I) rev (0)")
    assert np.array_equal(lima.recompute(record), [[5.0, 6.0]])


def test_frames_are_refused(tmp_path):
    line = createvar("X.csv", "csv").replace("MATRIX", "FRAME")
    with pytest.raises(lima.ReplayError, match="is a frame; only matrices are read"):
        lima.recompute(files_log(line, tmp_path, "(1) (I) rev (0)"))


def test_files_of_known_size_need_no_data_to_be_reconstructed(tmp_path):
    record = files_log(createvar("X.csv", "csv", "4°3°-1°-1°copy"), tmp_path, "(1) (I) rdiag (0)")
    assert np.array_equal(program_of(record)(A[:3]), [[1.5], [4.0], [2.5]])
    with pytest.raises(lima.ReplayError, match="not beside the log"):
        lima.recompute(record)
    (tmp_path / "X.csv.mtd").write_text('{"rows": 3, "cols": 1}')
    record = files_log(createvar("X.csv", "csv"), tmp_path, "(1) (I) rdiag (0)")
    assert np.array_equal(program_of(record)(A[:3, :1]), np.diagflat(A[:3, :1]))


def test_names_of_inputs(tmp_path):
    first, second = createvar("a/X.csv", "csv"), createvar("b/X.csv", "csv").replace("(0)", "(1)")
    record = files_log(first, tmp_path, second, "(2) (I) - (0) (1)")
    one, two = np.full((2, 1), 5.0), np.full((2, 1), 2.0)
    assert np.array_equal(lima.recompute(record, {"X": one, "b/X.csv": two}), one - two)
    assert np.array_equal(lima.recompute(record, {"a/X.csv": one, "b/X.csv": two}), one - two)
    with pytest.raises(lima.ReplayError, match=r"no input is named 'X.csv'.* are X, b/X"):
        lima.recompute(record, {"X.csv": one})
    # a vector is a column, and numbers of any kind become doubles
    found = lima.recompute(record, {"X": np.array([5, 5]), "b/X.csv": [2, 2]})
    assert np.array_equal(found, one - two)
    for wrong in (np.ones((2, 2, 2)), np.array(["a"]), np.ones(2, complex)):
        with pytest.raises(lima.ReplayError, match="matrices of real numbers"):
            lima.recompute(record, {"X": wrong, "b/X.csv": two})
    with pytest.raises(lima.LogError, match="line 3: - of 2 x 1, 3 x 1: 2 is not 3"):
        lima.recompute(record, {"X": one, "b/X.csv": np.ones((3, 1))})


# ------------------------------------------------------------------------------- bad logs

READ = read_line(0, "A")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([READ, "(2) (I) tsmmm (0)"], "line 2: unknown opcode 'tsmmm'"),
        ([READ, "(2) (I) __import__ (0)"], "line 2: unknown opcode"),
        ([READ, "(2) (I) + (0)"], "line 2: + has 1 inputs, expected 2 to 2"),
        (["(2) (I) cbind"], "line 1: cbind has 0 inputs, expected 1 or more"),
        (
            [READ, "(0) (I) tsmm (0)"],
            "line 2: expected every item of a block once, found (0) again",
        ),
        ([READ, "(2) (I) + (0) (3)", "(3) (I) r' (2)"], "line 2: expected an item of a line above"),
        ([READ, "(2) (I) r' (2)"], "line 2: expected an item of a line above, found (2): a cycle"),
        ([READ, "(2) (X) r' (0)"], "line 2: expected an item such as"),
        ([READ, "(2) (I) r' (0"], "line 2: expected an opcode and its inputs"),
        ([READ, "(2) (I) r' (0) (x)"], "line 2: expected an opcode and its inputs"),
        ([READ, "2 (I) r' (0)"], "line 2: expected an item such as"),
        ([READ, "(2) (I) r' (0)", "(3) (L) 1·SCALAR·INT64·true"], "line 4: expected a line that"),
        (
            [READ, "(2) (I) r' (0)", "(3) (I) rev"],
            "line 4: expected a line that uses (2) of line 2",
        ),
        (["(2) (L) 1"], "line 1: expected value·SCALAR·TYPE·true"),
        (["(2) (L) x·SCALAR·INT64·true"], "line 1: expected a value of INT64"),
        (["(2) (L) 99999999999999999999·SCALAR·INT64·true"], "line 1: expected a value of INT64"),
        (["(2) (L) 1_0·SCALAR·FP64·true"], "line 1: expected a number, found '1_0'"),
        (["(2) (L) maybe·SCALAR·BOOLEAN·true"], "line 1: expected a value of INT64"),
        (["(2) (L) 1·SCALAR·INT64·perhaps"], "line 1: expected value·SCALAR"),
        (["(2) (L) a·SCALAR·STRING·true"], "line 1: the result is a text"),
        (["(2) (L) a·SCALAR·STRING·true", "(3) (I) + (2) (2)"], "line 2: + of a scalar, a scalar"),
        (["(2) (C) nonsense"], "line 1: expected an instruction"),
        (["(2) (C) CP°rand°8"], "line 1: expected 11 fields of rand, found 1"),
        ([rand(2, -1, 2, "0", "0")], "line 1: expected a number of rows or columns"),
        ([rand(2, 1, 2, "x", "0")], "line 1: expected a number, found 'x'"),
        (["(2) (C) CP°seq°1"], "line 1: expected 7 fields of seq"),
        (["(2) (C) CP°createvar°X"], "line 1: expected createvar°pREADxxx°"),
        ([createvar("X", "csv", "a°1°1°1°copy")], "line 1: expected a number of rows"),
        ([READ, "", "patch_p_SB1_0"], "line 4: expected an item, found the end of the block"),
        ([READ, "", "hello"], "line 3: expected a patch such as patch_p_SB8_0, found 'hello'"),
        (
            [READ, "", "patch_p_SB1_0", "(2) (C) IN#0", "", "patch_p_SB1_0"],
            "line 6: expected every",
        ),
        ([READ, "(2) (D) dedup_p_SB1_0 (0)"], "line 2: there is no patch_p_SB1_0 in the log"),
        ([READ, "(2) (D) p_SB1_0 (0)"], "line 2: expected dedup_VARIABLE_BLOCK_PATH"),
        (
            [READ, "(2) (D) dedup_p_SB1_0 (0)", "", "patch_p_SB1_0", "(3) (C) IN#1"],
            "line 5: IN#1 is none of the 1 inputs of (2) in line 2",
        ),
        (
            [READ, "(2) (D) dedup_p_S_0 (0)", "", "patch_p_S_0", "(3) (D) dedup_p_S_0"],
            "line 5: expected dedup_VARIABLE_BLOCK_PATH, in the trace only",
        ),
        (
            [*literals(_3=1), "(5) (I) rightIndex (3) (3) (3) (3) (3)"],
            "line 2: rightIndex of a scalar",
        ),
    ],
)
def test_bad_logs(body, message):
    with pytest.raises(lima.LogError) as error:
        loads("\n".join(body) + "\n")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (["(5) (I) ba+* (0) (1)"], "line 3: ba+* of 4 x 3, 4 x 3: 3 is not 4"),
        (["(5) (I) + (0) (3)"], "line 3: + of 4 x 3, 3 x 3: 4 is not 3"),
        (["(5) (I) rbind (0) (2)"], "line 3: rbind of 4 x 3, 4 x 1: 3 is not 1"),
        (["(5) (I) castdts (0)"], "line 2: castdts of 4 x 3: 4 is not 1"),
        (["(5) (I) tsmm (0)", "(6) (I) + (5) (2)", "(7) (I) castdts (6)"], "line 5: castdts of"),
        (
            [*literals(_4=1, _5=5), "(6) (I) rightIndex (0) (4) (5) (4) (4)"],
            "rows 1 to 5 of 4 do not exist",
        ),
        (
            [*literals(_4=0, _5=3), "(6) (I) rightIndex (0) (4) (5) (5) (5)"],
            "rows 0 to 3 do not exist",
        ),
        ([scalar(4, "0.5", "FP64"), "(6) (I) rightIndex (0) (4) (4) (4) (4)"], "a whole number"),
        ([scalar(4, "NaN", "FP64"), "(6) (I) rightIndex (0) (4) (4) (4) (4)"], "a whole number"),
        ([scalar(4, "top", "STRING"), "(6) (I) rmempty (0) (4)"], "expected rows or cols"),
        (
            [*literals(_4=-2, _5=-6), "(6) (I) rshape (0) (4) (5) (4) (4)"],
            "there is no matrix of -2 x -6",
        ),
        ([*literals(_4=5, _5=2), "(6) (I) rshape (0) (4) (5) (4) (4)"], "no matrix of 5 x 2"),
    ],
)
def test_shapes_that_do_not_fit(body, message):
    with pytest.raises(lima.LogError) as error:
        lima.recompute(loads(log_text(*body)), files_of(body))
    assert message in str(error.value)


def test_loops_that_explode_are_refused():
    calls = [f"({k}) (D) dedup_p_SB1_0 ({k - 1})" for k in range(1, 3001)]
    patch = ["(0) (C) IN#0", *(f"({k}) (I) r' ({k - 1})" for k in range(1, 1500))]
    with pytest.raises(lima.LogError, match=f"make more than {MAX_STEPS} items"):
        loads("\n".join([READ, *calls, "", "patch_p_SB1_0", *patch]) + "\n")


def test_a_chain_of_100_000_items():
    lines = [READ, *(f"({k}) (I) rev ({k - 1})" for k in range(1, 100_001))]
    record = loads("\n".join(lines) + "\n")
    assert len(record) == 100_001


def test_other_systems_are_not_taken_for_it():
    assert recognised("(0) (C) CP°createvar") and not recognised("%1 = leaf()")
    for text in ("", "\n", "(0) I tsmm", "0 (C) x"):
        with pytest.raises(lima.LogError, match=r"^line 1: expected"):
            loads(text)


LOGS = {name: log_of(name).read_text("utf-8").splitlines() for name in EXAMPLES}
PIECES = [
    *("(0)", "(9", "(5) (I) ", "(C)", "(L)", "(D)", "IN#0", "IN#7", "dedup_", "patch_p_SB8_0", "°"),
    *("·", "-1", "0", "1", "NaN", "1e999", "9" * 25, "true", "false", "CP°rand°", "r'", "tsmm"),
    *("+", "rightIndex", "leftIndex", "nrow", "castdts", "cbind", "solve", "rdiag", "\n", "\n\n"),
    *("\x00", "\ud800", "é", "rmempty", "STRING", "MATRIX", "../", "\r"),
]


@given(st.data())
def test_mutated_logs_are_refused_or_read(data):
    """A Lineage or a LogError, whatever stands in the log; with the files that it names beside it."""
    name = data.draw(st.sampled_from(EXAMPLES))
    body = list(LOGS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        if not body:
            break  # all of it was dropped
        at = data.draw(st.integers(0, len(body) - 1))
        action = data.draw(
            st.sampled_from(["edit", "edit", "edit", "drop", "twice", "swap", "cut"])
        )
        if action == "edit":
            line = body[at]
            start = data.draw(st.integers(0, len(line)))
            stop = data.draw(st.integers(start, min(len(line), start + 12)))
            piece = data.draw(st.sampled_from(["", *PIECES]) | st.text(max_size=3))
            body[at] = line[:start] + piece + line[stop:]
        elif action == "swap":
            other = data.draw(st.integers(0, len(body) - 1))
            body[at], body[other] = body[other], body[at]
        else:
            body[at:] = {"drop": body[at + 1 :], "twice": body[at : at + 1] + body[at:]}.get(
                action, body[at : at + 1]
            )
    lines = iter("\n".join(body).split("\n"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source = Source.read(lines, log_of(name))
            record = Lineage({"result": source.root}, foreign=source)
            text = record.log()
    except lima.LogError as error:
        assert str(error).startswith("line ")
        return
    assert loads(text) == record
    assert all(n.spec.op in (*OPS, "leaf", "output") for n in topological([source.root]))
