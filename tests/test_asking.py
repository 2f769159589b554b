"""Questions to a lineage: `find`, `ancestors`, `seeds`, `table`, `tree`, and the commands."""

from __future__ import annotations

import numpy as np
import pytest

import lima
from lima import cli

X = np.random.default_rng(0).standard_normal((20, 3))


@lima.traced
def model(X, y, reg):
    rng = np.random.default_rng(7)
    noise = rng.standard_normal(X.shape[1])
    gram = X.T @ X
    beta = np.linalg.solve(gram + reg * np.eye(X.shape[1]), X.T @ y)
    return gram, beta, beta + noise


@pytest.fixture
def record():
    gram, beta, noisy = model(X, np.ones(20), 0.25)
    return lima.lineage(gram=gram, beta=beta, noisy=noisy)


def ops(nodes):
    return [node.spec.op for node in nodes]


# --------------------------------------------------------------------------- queries


def test_find(record):
    assert len(record.find("matmul")) == len(record.find(np.matmul)) == 2
    assert ops(record.find("linalg.*")) == ["linalg.solve"]
    assert ops(record.find(name="X")) == ["leaf"]
    assert ops(record.find(name="beta")) == ["linalg.solve"]
    assert record.find("matmul", name="beta") == []
    assert ops(record.find(where=lambda n: 0.25 in n.inputs)) == ["multiply"]
    assert len(record.find()) == len(record)
    assert record.find(print) == []


def test_ancestors_and_descendants(record):
    above = record.ancestors("gram")
    assert ops(above) == ["leaf", "transpose"]
    assert "linalg.solve" in ops(record.descendants("gram"))
    assert "linalg.solve" not in ops(record.ancestors("beta"))
    assert {n.digest for n in record.descendants("X")} & {
        n.digest for n in record.descendants("y")
    } == {n.digest for n in (*record.find("linalg.solve"), *record.descendants("beta"))} | {
        n.digest for n in record.find("matmul") if n.digest != record.outputs["gram"].digest
    }
    assert record.ancestors("X") == []
    assert record.descendants("noisy") == []


def test_every_way_of_meaning_a_node(record):
    node = record.outputs["gram"]
    wanted = record.descendants("gram")
    assert wanted and record.descendants(node) == wanted
    assert record.descendants(X) == record.descendants("X")
    computed = model(X, np.ones(20), 0.25)[0]
    assert record.descendants(computed) == wanted
    assert record.descendants(["gram", "X"]) == record.descendants("X")
    traced = lima.array(X)
    assert lima.lineage(traced.sum()).uses(traced)
    assert record.uses(X) and not record.uses(np.zeros(7)) and not record.uses("gram")
    with pytest.raises(lima.UnknownLineage, match="its results and leaves are gram, beta"):
        record.ancestors("nothing")
    with pytest.raises(lima.UnknownLineage, match="expected a name, a node or an array"):
        record.ancestors(3)


def test_between(record):
    found = ops(record.between("y", "beta"))
    assert found == ["leaf", "matmul", "linalg.solve"]
    assert record.between("beta", "y") == []


def test_seeds_and_literals(record):
    (seed,) = record.seeds()
    assert seed.spec.get("seed") == 7
    found = {(lit.node.spec.op, lit.place): lit.value for lit in record.literals()}
    assert found["multiply", 0] == 0.25
    assert found["default_rng", "seed"] == 7
    assert not any(op == "leaf" for op, _ in found)


def test_table(record):
    table = record.table()
    assert len({len(column) for column in table.values()}) == 1
    at = table["op"].index("linalg.solve")
    assert table["name"][at] == "beta" and table["dtype"][at] == "<f8" and table["shape"][at] == [3]
    product = table["op"].index("matmul")
    assert table["shape"][product] == [3, 3]
    assert table["op"][table["inputs"][product][0] - 1] == "transpose"
    assert set(table["outcome"]) <= {None, "computed", "hit", "partial", "refused"}
    seed = table["op"].index("default_rng")
    assert table["params"][seed] == "seed=7"


def test_shapes_in_a_table_are_those_of_the_values():
    x = lima.array(X, name="X")
    steps = {"a": x.T, "b": x[1:, ::2], "c": np.exp(x) > 1, "d": x.sum(axis=0), "e": x.reshape(-1)}
    record = lima.lineage(**steps)
    bare = lima.lineage(**steps)
    bare.checks.clear()
    for made in (record, bare):
        table = made.table()
        for name, value in steps.items():
            at = table["name"].index(name)
            if table["shape"][at] is not None:
                assert tuple(table["shape"][at]) == value.shape
                assert np.dtype(table["dtype"][at]) == value.dtype


def test_a_table_becomes_a_frame(record):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(record.table())
    assert len(frame) == len(record)


def test_tree(record):
    text = record.tree()
    assert text.startswith("gram = %") and "beta = %" in text
    assert "linalg.solve(%" in text and "(above)" in text
    assert "..." in record.tree(depth=1)
    assert record.tree(limit=3).count("\n") == 3


def test_a_long_chain_is_walked():
    x = lima.array(np.ones(2), name="x")
    for _ in range(20_000):
        x = x + 1.0
    record = lima.lineage(x)
    assert len(record.ancestors("result")) == 20_000
    assert len(record.between("x", "result")) == 20_001
    assert len(record.tree(depth=None)) < 200 * 800
    assert len(record.table()["id"]) == 20_001


def test_an_array_that_a_rule_derived_is_found_in_its_lineage():
    data = np.random.default_rng(1).standard_normal((3000, 50))
    with lima.session(exactness="rounding") as session:
        x, more = lima.array(data, name="x"), lima.array(data[:, :2] * 2, name="more")
        x.T @ x
        both = np.hstack([x, more])
        product = both.T @ both
        product.sum()
        assert session.stats.partial  # otherwise this tests nothing
        record = lima.lineage(product)
        assert record.uses(product)
        assert record.ancestors(product) == record.ancestors("result")


# --------------------------------------------------------------------------- the command line


@pytest.fixture
def logs(tmp_path):
    paths = []
    for reg in (0.25, 0.5):
        gram, beta, _ = model(X, np.ones(20), reg)
        path = tmp_path / f"{reg}.lima"
        inputs = {"X": X, "y": np.ones(20)}
        paths.append(str(lima.save(path, gram=gram, beta=beta, leaf_data=True, inputs=inputs)))
    return paths


def ran(capsys, *arguments):
    status = cli.main(list(arguments))
    shown = capsys.readouterr()
    assert not shown.err
    return status, shown.out


def test_show(logs, capsys):
    status, text = ran(capsys, "show", logs[0])
    assert status == 0 and "gram = %" in text and "linalg.solve" in text
    assert ran(capsys, "show", logs[0], "--lines", "2")[1].count("\n") == 4


def test_diff(logs, capsys):
    status, text = ran(capsys, "diff", *logs)
    assert status == 1 and "literal: 0.25 | 0.5" in text
    status, text = ran(capsys, "diff", logs[0], logs[0])
    assert status == 0 and "the same lineage" in text


def test_query(logs, capsys):
    assert ran(capsys, "query", logs[0], "--op", "linalg.*")[1].count("\n") == 1
    assert ran(capsys, "query", logs[0], "--op", "matmul", "--count") == (0, "2\n")
    text = ran(capsys, "query", logs[0], "--uses", "y", "--led-to", "beta")[1]
    assert text.count("\n") == 1 and "matmul" in text
    assert cli.main(["query", logs[0], "--uses", "Z"]) == 1
    assert "nothing that 'Z' means" in capsys.readouterr().err


# --------------------------------------------------------------------------- why not
#
# A norm by singular values takes fifty times as long as what is always kept, and is one number.


def test_explain_names_the_edge_that_differs():
    data = np.random.default_rng(3).standard_normal((600, 90))

    @lima.traced
    def largest(X, reg):
        return np.linalg.norm(X.T @ X + reg * np.eye(X.shape[1]), 2)

    with lima.session():
        largest(data, 0.125)
        found = lima.explain(largest(data, 0.5))
        (miss,) = [m for m in found.misses if m.node.spec.op == "linalg.norm"]
        (difference,) = miss.differences
        assert (difference.kind, difference.then, difference.now) == ("literal", "0.125", "0.5")
        assert "literal: 0.125 | 0.5" in str(found)


def test_explain_has_nothing_to_say_where_nothing_is_near():
    data = np.random.default_rng(4).standard_normal((300, 40))

    @lima.traced
    def largest(X):
        return np.linalg.norm(X.T @ X, 2)

    with lima.session():
        found = lima.explain(largest(data))
        assert found.misses == [] and "not reused" not in str(found)
        other = lima.explain(largest(data + 1))
        kinds = [d.kind for m in other.misses for d in m.differences]
        assert set(kinds) <= {"data"}


def test_explain_says_what_was_evicted():
    data = np.random.default_rng(5).standard_normal((400, 200))

    @lima.traced
    def largest(X, shift):
        return np.linalg.norm(X.T @ X + shift, 2)

    with lima.session() as session:
        largest(data, 1.0)
        session.cache.resize(0)
        session.cache.resize(100_000_000)
        found = lima.explain(largest(data, 1.0))
        found.misses
    reasons = {m.node.spec.op: m.reason for m in found.misses}
    assert reasons["linalg.norm"] == "was kept before, and had been evicted"
