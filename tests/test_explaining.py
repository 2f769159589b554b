"""`lima.explain` and `lima explain`, of logs and of values in a store; commands over `STORE/KEY`."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import cli
from lima.catalog import SCHEMA

DATA = np.linalg.qr(np.random.default_rng(7).standard_normal((60, 20)))[0]


@lima.traced
def spectrum(X):
    gram = X.T @ X
    for _ in range(40):
        gram = gram @ gram * 1.0
    return np.linalg.eigvalsh(gram)


LINE = spectrum.__wrapped__.__code__.co_firstlineno


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of what `spectrum` computes, and a log of it with lines."""
    monkeypatch.setattr("lima.store.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("lima.store.SECONDS_A_BYTE", 0.0)
    with lima.session(store=tmp_path / "store", lines="all"):
        found = spectrum(DATA)
        lima.save(tmp_path / "spectrum.lima", found=found, lines=True)
    return tmp_path / "store"


@pytest.fixture
def key(store):
    with lima.Store(store) as opened:
        return next(row.key for row in opened.ls() if row.operation.startswith("linalg.eig"))


def told(capsys, *arguments, status=0):
    assert cli.main([str(one) for one in arguments]) == status
    shown = capsys.readouterr()
    return shown.err if status else shown.out


def test_a_log_tells_operations_and_lines_and_no_times(store):
    path = store.with_name("spectrum.lima")
    found = lima.explain(path)
    assert found.counts() == {"recorded": 83} and found.misses == []
    text = str(found)
    assert " ms" not in text and " s spent" not in text
    assert f"40 × matmul(alias=True)  spectrum (test_explaining.py:{LINE + 4})" in text
    table = found.table()
    assert table["times"] == [1, 1, 40, 40, 1] and set(table["seconds"]) == {None}
    assert table["line"] == [LINE + 2, LINE + 2, LINE + 4, LINE + 4, LINE + 5]
    assert table["shape"][0] == [20, 60] and table["dtype"][0] == "<f8"


def test_a_live_explanation_as_a_table():
    with lima.session():
        found = lima.explain(spectrum(DATA[:, :19]))
    table = found.table()
    assert "computed" in table["outcome"] and sum(table["times"]) == len(found.rows)
    assert all(seconds is not None for seconds in table["seconds"])


def test_a_value_of_a_store(store, key):
    record = lima.load_log(store / key[:10])
    assert record == lima.load_log(store.with_name("spectrum.lima")).only("found") or (
        record.digest() == lima.load_log(store.with_name("spectrum.lima")).digest()
    )
    assert {node.line.line for node in record.nodes if node.line} >= {LINE + 2, LINE + 4, LINE + 5}
    found = lima.explain(record)
    assert found.counts()["stored"] >= 1
    table = found.table()
    at = table["operation"].index("linalg.eigvalsh()")
    assert (table["outcome"][at], table["shape"][at]) == ("stored", [20])
    assert table["seconds"][at] > 0.0 and "0 uses" in table["why"][at]
    assert lima.verify(store / key, {"X": DATA})
    assert not lima.diff(store / key, store.with_name("spectrum.lima"))
    with lima.Store(store) as opened:  # looking at it was no use of it
        assert all(row.hits == 0 for row in opened.ls())


def test_the_table_of_nodes_of_a_store_has_lines(store):
    found = lima.sql(
        store, "SELECT DISTINCT line FROM nodes WHERE function = 'spectrum' ORDER BY 1"
    )
    assert [row[0] for row in found] == [LINE + 2, LINE + 4, LINE + 5]


def test_a_store_that_has_noted_no_line_has_no_table_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr("lima.store.LEAST_SECONDS", 0.0)
    lima.configure(lines="none")
    try:
        with lima.session(store=tmp_path / "store", lines="none"):
            np.linalg.inv(lima.array(np.random.default_rng(9).standard_normal((90, 90))))
    finally:
        lima.configure()
    with sqlite3.connect(tmp_path / "store" / "index.sqlite") as index:
        tables = {row[0] for row in index.execute("SELECT name FROM sqlite_schema")}
    index.close()
    assert "lines" not in tables and len(SCHEMA.split(";")) == 8
    with lima.Store(tmp_path / "store") as opened:
        assert set(lima.load_log(tmp_path / "store" / opened.ls()[0].key).table()["line"]) == {None}


@pytest.mark.parametrize(
    "change",
    [
        "line = 'x'",
        "line = -1",
        "function = NULL",
        "file = char(27)",
        "file = zeroblob(9)",
    ],
)
def test_damaged_lines_are_none(change, store, key):
    with sqlite3.connect(store / "index.sqlite") as index:
        index.execute(f"UPDATE lines SET {change}")
    index.close()
    assert set(lima.load_log(store / key).table()["line"]) == {None}
    assert lima.sql(store, "SELECT count(line) FROM nodes") == [(0,)]


def test_gc_takes_lines_that_nobody_refers_to(store):
    with lima.Store(store) as opened:
        opened.gc(0)
        assert opened.catalog.rows("SELECT count(*) FROM lines") == [(0,)]


def test_lines_of_what_is_noted_again_stay(store, tmp_path):
    before = lima.sql(store, "SELECT digest, line FROM nodes ORDER BY 1").table()
    with lima.session(store=store, lines="all"):
        X = lima.array(DATA, name="X")
        np.linalg.inv(X.T @ X)
    after = dict(lima.sql(store, "SELECT digest, line FROM nodes").table().items())
    known = dict(zip(after["digest"], after["line"], strict=True))
    assert all(known[d] == n for d, n in zip(before["digest"], before["line"], strict=True))


# --------------------------------------------------------------------------- commands


def test_explain_a_log(store, capsys):
    path = store.with_name("spectrum.lima")
    text = told(capsys, "explain", path)
    assert text == told(capsys, "explain", path, "found")
    lines = text.splitlines()
    assert lines[0] == "<Lineage of found: 84 nodes from X>" and lines[1].startswith(
        "made with lima"
    )
    assert lines[2].split() == ["times", "operation", "outcome", "shape", "dtype", "line"]
    assert f"spectrum (test_explaining.py:{LINE + 4})" in text
    assert "3 more rows; -n 5 shows all" in told(capsys, "explain", path, "-n", "2")
    rows = list(csv.DictReader(io.StringIO(told(capsys, "explain", path, "-f", "csv"))))
    assert [row["times"] for row in rows] == ["1", "1", "40", "40", "1"]
    assert json.loads(told(capsys, "explain", path, "--format", "json"))[0]["shape"] == [20, 60]


def test_explain_a_store(store, key, capsys):
    text = told(capsys, "explain", store)
    assert "call of " in text and key[:16] in text and "test_explaining.py:" in text
    by_key = told(capsys, "explain", store, key[:8])
    assert by_key == told(capsys, "explain", store / key[:8])
    assert "stored" in by_key and "0 uses" in by_key


def test_commands_take_a_value_of_a_store(store, key, capsys, tmp_path):
    value, log = store / key[:12], store.with_name("spectrum.lima")
    np.save(tmp_path / "X.npy", DATA)
    given = ("--input", f"X={tmp_path / 'X.npy'}")
    assert told(capsys, "show", value, "--lines", 1).startswith("<Lineage of result: 84 nodes")
    assert told(capsys, "log", value).startswith("lima-log 2")
    assert "\nlines 1\n" in told(capsys, "log", value, "--lines")
    assert "\nlines 1\n" not in told(capsys, "log", log)
    assert told(capsys, "log", log, "--lines") == log.read_text()
    assert told(capsys, "diff", value, log).startswith("the same lineage")
    assert told(capsys, "verify", value, *given) == "result: same\n"
    assert told(capsys, "recompute", value, *given).startswith("result (the bits that were logged)")
    assert "def program(X)" in told(capsys, "to-python", value)
    assert told(capsys, "query", value, "--op", "linalg.*", "--count") == "1\n"
    assert told(capsys, "export", value, "-f", "dot").startswith("digraph")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["explain", "{log}", "nope"], 1, "'nope' is none of the results found"),
        (["explain", "{store}", "zz"], 1, "'zz' is no digest"),
        (["explain", "{store}", "ffffffffffffffff"], 1, "is the beginning of no key"),
        (["show", "{store}"], 1, "holds the lineage of many values: name one by its key, such as"),
        (["explain", "missing"], 1, "missing: No such file"),
        (["explain", "missing", "name"], 1, "missing: No such file"),
        (["explain", "{log}", "-f", "xml"], 2, "'xml' is none of table, csv, json"),
        (["explain", "{log}", "-n", "0"], 2, "-n"),
        (["explain", "{store}/index.sqlite"], 1, "line 1"),
    ],
)
def test_errors(arguments, status, said, store, capsys):
    names = {"store": store, "log": store.with_name("spectrum.lima")}
    text = told(capsys, *[one.format(**names) for one in arguments], status=status)
    assert said in text and text.count("\n") == 1


def test_an_empty_store_says_so(tmp_path, capsys):
    lima.Store(tmp_path / "empty").close()
    assert "it is empty" in told(capsys, "show", tmp_path / "empty", status=1)
    assert told(capsys, "explain", tmp_path / "empty").startswith(str(Path(tmp_path / "empty")))
