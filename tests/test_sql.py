"""Questions in SQL to lineages, logs and stores."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest

import lima
from lima import cli

X = np.random.default_rng(0).standard_normal((200, 30))


@lima.traced
def model(X, y, reg):
    noise = np.random.default_rng(7).standard_normal(X.shape[1])
    beta = np.linalg.solve(X.T @ X + reg * np.eye(X.shape[1]), X.T @ y)
    return beta, beta + noise


@pytest.fixture
def record():
    with lima.session():
        beta, noisy = model(X, np.ones(200), 0.25)
        return lima.lineage(beta=beta, noisy=noisy)


def test_the_tables_are_the_lineage(record):
    found = lima.tables(record)
    table = record.table()
    nodes = lima.sql(found, "SELECT * FROM nodes ORDER BY id").table()
    for key in ("id", "op", "dtype", "outcome", "seconds", "file", "line", "function", "digest"):
        assert nodes[key] == table[key], key
    assert nodes["shape"] == [None if s is None else str(s) for s in table["shape"]]
    edges = lima.sql(found, "SELECT id, input FROM edges ORDER BY id, place")
    wanted = [(k, i) for k, items in zip(table["id"], table["inputs"], strict=True) for i in items]
    assert list(edges) == wanted
    literals = lima.sql(found, "SELECT op, place, value FROM literals JOIN nodes USING (id)")
    assert ("multiply", 0, 0.25) in list(literals)
    params = [(n.spec.op, k) for n in record.nodes for k, _ in n.spec.params]
    shown = lima.sql(found, "SELECT op, p.name FROM parameters p JOIN nodes USING (id)")
    assert sorted(shown) == sorted((o, k) for o, k in params if o != "leaf" and k != "alias")
    assert list(lima.sql(found, "SELECT name, value FROM seeds")) == [("seed", 7)]
    names = lima.sql(found, "SELECT name, kind FROM names ORDER BY kind, name")
    assert list(names) == [("X", "leaf"), ("y", "leaf"), ("beta", "result"), ("noisy", "result")]
    facts = dict(lima.sql(found, "SELECT name, value FROM environment"))
    assert facts == record.environment


def test_questions(record):
    heavy = lima.sql(record, "SELECT op, count(*) AS n FROM nodes GROUP BY op HAVING n > 1")
    assert heavy.columns == ("op", "n") and ("matmul", 2) in list(heavy)
    above = lima.sql(
        record,
        "WITH RECURSIVE up(id) AS (SELECT id FROM names WHERE name = :result UNION "
        "SELECT input FROM edges JOIN up USING (id)) "
        "SELECT nodes.name FROM up JOIN nodes USING (id) WHERE op = 'leaf' ORDER BY 1",
        {"result": "beta"},
    )
    assert list(above) == [("X",), ("y",)]
    assert lima.sql(record, "SELECT ?", (5,)) == [(5,)]
    assert lima.sql(record, "SELECT 1 WHERE 0") == []
    assert lima.sql(record, "SELECT 1 WHERE 0").table() == {"1": []}


def test_printing(record):
    text = str(lima.sql(record, "SELECT id, op, seconds FROM nodes WHERE op = 'linalg.solve'"))
    assert text.splitlines()[0].split() == ["id", "op", "seconds"] and "linalg.solve" in text
    many = lima.sql(
        record,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) "
        "SELECT i, '<b>' AS t, NULL AS none FROM n",
    )
    assert len(many) == 50 and str(many).endswith("... 10 more rows")
    assert "&lt;b&gt;" in many._repr_html_() and "10 more rows" in many._repr_html_()
    assert many[0] == (1, "<b>", None) and len(many[:3]) == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC op FROM nodes", "syntax error"),
        ("SELECT op FROM node", "the tables are nodes, edges"),
        ("SELECT operation FROM nodes", r"nodes\(id, op, name"),
        ("DELETE FROM nodes", "can only be read"),
        ("DROP TABLE nodes", "can only be read"),
        ("INSERT INTO names VALUES ('a', 1, 'b')", "can only be read"),
        ("CREATE TEMP TABLE t (a)", "can only be read"),
        ("ATTACH 'other.db' AS other", "can only be read"),
        ("PRAGMA query_only=OFF", "can only be read"),
        ("SELECT load_extension('x')", "can only be read|no such function"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT ?", "binding"),
        ("", "expected a question"),
        ("SELECT '\0", "unrecognized|null|syntax"),
    ],
)
def test_what_is_refused(record, query, message):
    with pytest.raises(lima.QueryError, match=message):
        lima.sql(record, query)
    assert issubclass(lima.QueryError, ValueError)


def test_long_values_and_odd_ones():
    x = lima.array(np.ones(3), name="x")
    huge = np.linspace(0, 1, 500)
    record = lima.lineage(r=np.where(x > 0, 1 << 70, x), s=x * huge[:3], t=x + True)
    found = lima.sql(record, "SELECT value, typeof(value) FROM literals ORDER BY id")
    assert all(kind in ("integer", "real", "text") for _, kind in found)


def test_a_log_with_patches_is_streamed(tmp_path):
    x = lima.array(np.ones(4), name="start")
    for k in range(300):
        x = np.sqrt(x + 1.0 + k % 3)
    path = tmp_path / "loop.lima"
    lima.save(path, x=x)
    record = lima.load_log(path)
    assert record.folded is not None
    found = lima.tables(record)
    assert record._outputs is None  # it was not unfolded
    plain = lima.tables(lima.lineage(x=x))
    for query in (
        "SELECT digest, op, name, height FROM nodes ORDER BY digest",
        "SELECT a.digest, place, b.digest FROM edges JOIN nodes a ON a.id = edges.id "
        "JOIN nodes b ON b.id = input ORDER BY 1, 2",
        "SELECT digest, place, value FROM literals JOIN nodes USING (id) ORDER BY 1, 2",
        "SELECT names.name, kind, digest FROM names JOIN nodes USING (id) ORDER BY 1, 2",
    ):
        assert lima.sql(found, query) == lima.sql(plain, query)
    assert lima.sql(
        path, "SELECT shape, dtype FROM nodes JOIN names USING (id) WHERE kind = 'result'"
    ) == [("[4]", "<f8")]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr("lima.store.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("lima.store.SECONDS_A_BYTE", 0.0)
    rng = np.random.default_rng(1)
    data = rng.standard_normal((700, 300))
    with lima.session(store=tmp_path / "store"):

        @lima.traced
        def spectrum(X):
            return np.linalg.eigvalsh(X.T @ X)

        @lima.traced
        def leading(X):  # a call with several results, and draws
            noise = np.random.default_rng(3).standard_normal(X.shape)
            return np.linalg.svd(X + noise, full_matrices=False)[2][:2]

        spectrum(data), leading(data)
    return tmp_path / "store"


def test_a_store(store):
    found = lima.sql(
        store,
        "SELECT op, stored.dtype, stored.shape, stored.nbytes > 0, stored.seconds > 0, created "
        "FROM stored JOIN nodes USING (id)",
    )
    assert ("linalg.eigvalsh", "<f8", "[300]", 1, 1) in [row[:5] for row in found]
    assert all(row[5].startswith("20") for row in found)
    with lima.Store(store) as opened:
        tables = lima.tables(opened)
    edges = lima.sql(
        tables,
        "SELECT a.op, b.op FROM edges JOIN nodes a ON a.id = edges.id JOIN nodes b ON b.id = input",
    )
    assert ("linalg.eigvalsh", "matmul") in list(edges) and ("transpose", "leaf") in list(edges)
    assert lima.sql(tables, "SELECT name FROM names") == [("X",)]


def test_a_store_that_is_damaged(store, tmp_path):
    with sqlite3.connect(store / "index.sqlite") as index:
        index.execute("UPDATE nodes SET text='nonsense(' WHERE op='matmul'")
    index.close()
    with pytest.raises(lima.QueryError, match="its index is damaged"):
        lima.sql(store, "SELECT 1")
    with pytest.raises(lima.StoreError, match="there is no store"):
        lima.sql(tmp_path, "SELECT 1")


def test_command(tmp_path, store, capsys, record):
    from lima.record import write

    path = tmp_path / "x.lima"
    write(path, record)
    assert cli.main(["query", str(path), "SELECT op FROM nodes WHERE op LIKE 'linalg.%'"]) == 0
    assert capsys.readouterr().out == "op\n------------\nlinalg.solve\n"
    assert cli.main(["query", str(path), "SELECT name, value FROM seeds", "-f", "csv"]) == 0
    assert capsys.readouterr().out == "name,value\nseed,7\n"
    assert cli.main(["query", str(store), "SELECT count(*) AS n FROM stored", "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["n"] >= 1
    assert cli.main(["query", str(store), "--op", "linalg.*"]) == 0
    found = capsys.readouterr().out.split()
    assert {"linalg.svd", "linalg.eig"} <= {word[:10] for word in found}
    assert cli.main(["query", str(store), "--uses", "X", "--count"]) == 0
    assert int(capsys.readouterr().out) > 5
    assert cli.main(["query", str(path), "SELECT absent FROM nodes"]) == 1
    assert "no such column: absent; there are nodes(id, op" in capsys.readouterr().err
    assert cli.main(["query", str(path), "SELECT 1", "-f", "xml"]) == 2
