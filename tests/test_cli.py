"""The `lima` command: each command, its errors (one line, an exit status), and whole scripts."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import cli

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(lima.__file__).parents[1])}


def started(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The outcome of `python <arguments>` in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def log(tmp_path):
    """A self-contained log of one result, `gram`, of one leaf, `X`."""
    X = lima.array(np.arange(6.0).reshape(3, 2), name="X")
    return lima.save(tmp_path / "gram.lima", gram=X.T @ X, leaf_data=True)


# --------------------------------------------------------------------------- usage and errors


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    kind = "compiled" if lima.__compiled__ else "interpreted"
    assert capsys.readouterr().out == f"lima {lima.__version__} ({kind})\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command(arguments, capsys):
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("demo", "run", "log", "to-python", "recompute"))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["demo", "--nonsense"], 2, "--nonsense"),
        (["run"], 2, "Missing argument"),
        (["run", "missing.py"], 1, "missing.py: no such file"),
        (["run", "."], 1, "is no file"),
        (["log", "missing.lima"], 1, "missing.lima: No such file"),
        (["recompute", "x.lima", "--input", "X"], 2, "write NAME=x.npy"),
        (["to-python", "broken.lima"], 1, "line 1"),
        (["log", "binary.lima"], 1, "line 1"),
        (["demo", "--dir", "broken.lima"], 1, "broken.lima: File exists"),
    ],
)
def test_errors_are_one_line_and_a_status(arguments, status, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("broken.lima").write_text("import os\n")
    Path("binary.lima").write_bytes(b"\xff\xfe\x00")
    assert cli.main(arguments) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("lima: error: ")
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_python_m_lima_is_the_command(log):
    done = started("-m", "lima", "log", str(log.with_name("missing")))
    assert done.returncode == 1
    assert done.stderr.startswith("lima: error: ")
    assert "Traceback" not in done.stderr


# --------------------------------------------------------------------------- logs


def test_log_is_printed_as_it_was_written(log, capsys):
    assert cli.main(["log", str(log)]) == 0
    assert capsys.readouterr().out == log.read_text()


def test_a_changed_log_is_refused(log, capsys):
    log.write_text(log.read_text().replace("matmul", "divide"))
    assert cli.main(["log", str(log)]) == 1
    assert re.search(r"lima: error: line \d+: ", capsys.readouterr().err)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a shell")
def test_a_reader_that_stops_reading_is_no_error(tmp_path):
    x = lima.array(np.ones(1), name="x")
    for k in range(20_000):  # more text than a pipe holds
        x = x + 1.0 / (k + 1)
    long = lima.save(tmp_path / "long.lima", x=x)
    command = f"'{sys.executable}' -m lima log '{long}' | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "lima-log 2\n"
    assert done.stderr == ""


@pytest.mark.parametrize("to_file", [True, False])
def test_to_python(log, tmp_path, to_file, capsys):
    program = tmp_path / "program.py"
    assert cli.main(["to-python", str(log), *(["-o", str(program)] if to_file else [])]) == 0
    if not to_file:
        program.write_text(capsys.readouterr().out)
    assert "lima" not in program.read_text().replace(f"{log}", "")
    out = tmp_path / "out.npz"
    done = started(str(program), f"{log}.data", str(out))
    assert done.returncode == 0, done.stderr
    X = np.arange(6.0).reshape(3, 2)
    assert np.array_equal(np.load(out)["gram"], X.T @ X)


def test_recompute(log, tmp_path, capsys):
    out = tmp_path / "again.npz"
    assert cli.main(["recompute", str(log), "-o", str(out)]) == 0
    X = np.arange(6.0).reshape(3, 2)
    assert np.array_equal(np.load(out)["gram"], X.T @ X)
    shown = capsys.readouterr()
    assert "gram (the bits that were logged): float64[2, 2]" in shown.out
    assert "35." in shown.out
    assert shown.err == ""


def test_recompute_from_given_inputs(tmp_path, capsys):
    X = np.arange(4.0)
    path = lima.save(tmp_path / "sum.lima", total=lima.array(X, name="X").sum())
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", X + 1)
    (tmp_path / "z.npy").write_text("no array")
    given = f"--input=X={tmp_path}"
    assert cli.main(["recompute", str(path), f"{given}/x.npy"]) == 0
    assert "total (the bits that were logged): float64 6.0" in capsys.readouterr().out

    for arguments, said in (
        ([], "leaf 'X'"),
        ([f"{given}/y.npy"], "other elements"),
        ([f"{given}/z.npy"], "z.npy"),
        ([f"--input=Y={tmp_path}/x.npy"], "'Y'"),
    ):
        assert cli.main(["recompute", str(path), *arguments]) == 1
        said_now = capsys.readouterr().err
        assert said in said_now
        assert said_now.count("\n") == 1


def test_recompute_keeps_any_name_of_a_result(tmp_path):
    x = lima.array(np.ones(2), name="x")
    path = lima.save(tmp_path / "odd.lima", file=x + 1, leaf_data=True)
    assert cli.main(["recompute", str(path), "-o", str(tmp_path / "odd.npz")]) == 0
    assert np.load(tmp_path / "odd.npz")["file"].tolist() == [2.0, 2.0]


# --------------------------------------------------------------------------- scripts

HELPER = """
import numpy as np
from numpy.linalg import solve

OFFSETS = np.arange(3.0)

def ridge(X, y, reg):
    return solve(X.T @ X + reg * np.eye(X.shape[1]), X.T @ y)

def product(x):
    return x @ np.ones(3)
"""

SCRIPT = """
import sys
import numpy as np
import numpy.linalg as la
from numpy.random import default_rng

import helper

print(sys.argv[1:], __name__, sys.argv[0] == sys.argv[0].strip(), __file__)
rng = default_rng(1)
X = rng.normal(size=(4000, 40))
y = X @ np.ones(40)
for reg in (1.0, 2.0, 3.0):
    beta = helper.ridge(X, y, reg)
print(beta[:3], [beta.sum()], repr(beta[:2]), {"a": beta.max()}, helper.OFFSETS + 1, rng)
print(f"{la.norm(beta):.6f} {beta.argmax()} %.3f" % beta.min(), np.float32(1) * beta[:1])
print(isinstance(beta, np.ndarray), isinstance(beta.sum(), float), np.zeros(2) == 0)
counts = {}
for label in np.array([1, 2, 1]):
    counts[int(label)] = counts.get(int(label), 0) + 1
print(counts, np.arange(3).tolist())
beta[0] = 7
print(beta[0], file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def both(folder: Path, source: str, *args: str):
    """The outcomes of a script under Python and under `lima run`."""
    (folder / "main.py").write_text(source)
    return (
        started("main.py", *args, cwd=folder),
        started("-m", "lima", "run", "main.py", *args, cwd=folder),
    )


def without_report(text: str) -> str:
    head, report, _ = text.partition("\nlima run main.py: ")
    assert report
    return head


def test_an_unchanged_script_does_as_under_python(folder):
    plain, traced = both(folder, SCRIPT, "one", "--flag", "--version", "-o")
    assert plain.returncode == 0, plain.stderr
    assert traced.returncode == 0, traced.stderr
    assert traced.stdout == plain.stdout
    assert without_report(traced.stderr) == plain.stderr
    assert re.search(r"^hits +[1-9]", traced.stderr, re.MULTILINE)  # X'X and X'y


ENDINGS = {
    "status": ("import sys\nsys.exit(3)", 3),
    "nothing": ("raise SystemExit", 0),
    "message": ("import sys\nsys.exit('over')", 1),
    "error": ("1 / 0", 1),
    "shapes": ("import numpy as np, helper\nhelper.product(np.ones((2, 2)))", 1),
    "singular": ("import numpy as np\nnp.linalg.solve(np.zeros((2, 2)), np.ones(2))", 1),
    "chained": (
        "import numpy as np, helper\n"
        "try:\n    helper.product(np.ones(2))\n"
        "except ValueError as e:\n    raise RuntimeError('no') from e",
        1,
    ),
    "syntax": ("x = (", 1),
    "hook": ("import sys\nsys.excepthook = lambda *a: print('mine', a[1])\n1 / 0", 1),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_scripts_end_as_under_python(folder, name):
    source, status = ENDINGS[name]
    plain, traced = both(folder, source)
    assert plain.returncode == traced.returncode == status
    assert traced.stdout == plain.stdout
    assert without_report(traced.stderr).rstrip() == plain.stderr.rstrip()


def test_run_script_leaves_the_process_as_it_was(folder, capsys):
    before = sys.argv, list(sys.path), sys.modules["__main__"], builtins.__import__
    with lima.session() as session:
        found = lima.run_script(folder / "script.py", ["a"])
    assert (sys.argv, sys.path, sys.modules["__main__"], builtins.__import__) == before
    assert "helper" not in sys.modules
    assert session.stats.hits > 0
    assert type(found["beta"]) is lima.Array
    assert len(lima.lineage(found["y"]).find("matmul")) == 1
    assert repr(found["beta"]).startswith("Array(")  # looks like NumPy's in the script only
    capsys.readouterr()


def test_run_script_restores_after_an_error(folder):
    before = sys.argv, list(sys.path), sys.modules["__main__"], builtins.__import__
    (folder / "main.py").write_text("import helper\nhelper.nonsense")
    with pytest.raises(AttributeError, match="nonsense"):
        lima.run_script(folder / "main.py")
    assert (sys.argv, sys.path, sys.modules["__main__"], builtins.__import__) == before


def test_modules_of_others_stay_plain(folder, monkeypatch):
    """A library that the script imports keeps NumPy's own functions."""
    library = folder / "site-packages"
    library.mkdir()
    (library / "library.py").write_text("import numpy as np\nones = np.ones\n")
    (folder / "main.py").write_text(
        "import sys\n"
        "sys.path.append('site-packages')\n"
        "import library, numpy as np\n"
        "plain, mine = library.ones(2), np.ones(2)\n"
        "both = plain + mine\n"
    )
    monkeypatch.chdir(folder)
    found = lima.run_script("main.py")
    assert type(found["plain"]) is np.ndarray
    assert type(found["mine"]) is type(found["both"]) is lima.Array
    assert found["both"].tolist() == [2.0, 2.0]


def test_a_script_may_use_lima_itself(folder):
    (folder / "main.py").write_text(
        "import numpy as np, lima\n"
        "@lima.traced\n"
        "def gram(X):\n"
        "    return X.T @ X\n"
        "G = gram(np.eye(3))\n"
        "log = lima.lineage(G).log()\n"
    )
    found = lima.run_script(folder / "main.py")
    assert "matmul" in found["log"]
    assert "eye" in found["log"]
