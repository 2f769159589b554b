"""`lima.diff`: the first places where two results part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lima
from lima.compare import diff
from lima.node import Node, Ref, Spec, Unique, leaf
from lima.record import Lineage

X = leaf(np.arange(6.0).reshape(3, 2), "X")
Y = leaf(np.ones((3, 2)), "Y")


def node(op: str, *inputs, **params) -> Node:
    return Node(Spec(op, tuple(params.items())), inputs)


def of(*nodes: Node) -> Lineage:
    return Lineage({f"out{k}": n for k, n in enumerate(nodes)})


def kinds(a: Node, b: Node) -> list[str]:
    return [found.kind for found in diff(of(a), of(b))]


# --------------------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        (node("add", X, 1.0), node("add", X, 2.0), "literal"),
        (node("add", X, 1.0), node("add", X, 1), "literal"),
        (node("add", X, 0.0), node("add", X, -0.0), "literal"),
        (node("add", X, float("nan")), node("add", X, 1.0), "literal"),
        (node("sum", X, axis=0), node("sum", X, axis=1), "parameter"),
        (node("sum", X), node("sum", X, axis=1), "parameter"),
        (node("sin", X), node("cos", X), "operation"),
        (node("sin", X), node("sin", Y), "data"),
        (node("add", X, Y), node("add", X, 1.0), "operand"),
        (node("subtract", X, Y), node("subtract", Y, X), "order"),
        (node("subtract", X, 1.0), node("subtract", 1.0, X), "order"),
        (node("hstack", X, X), node("hstack", X, X, Y), "count"),
        (node("matmul", X, X), node("matmul", X, X, alias=True), "memory"),
        (node("default_rng", seed=1), node("default_rng", seed=2), "seed"),
        (node("add", X, Y), Y, "operation"),
        (node("sin", X), X, "operation"),
        (X, node("sin", X), "operation"),
        (node("add", X, Unique()), node("add", X, Unique()), "literal"),
        (Node(Spec("sin"), (X,)), Node(Spec("sin", version=2), (X,)), "version"),
    ],
)
def test_each_kind_alone(a, b, kind):
    for deep in (lambda n: n, lambda n: node("exp", node("multiply", n, Y))):
        assert kinds(deep(a), deep(b)) == [kind]
        assert kinds(deep(b), deep(a)) == [kind]
        assert str(diff(of(deep(a)), of(deep(b))))


def test_equal_lineage_says_so():
    found = diff(of(node("sin", X)), of(node("sin", X)))
    assert not found and found.total == 0 and found.first is None
    assert str(found) == "the same lineage: 2 nodes"


def test_names_of_data_do_not_matter_but_the_content_does():
    same, other = leaf(np.ones((3, 2))), leaf(np.zeros((3, 2)))
    assert not kinds(node("sin", Y), node("sin", same))
    assert kinds(node("sin", Y), node("sin", other)) == ["data"]
    (found,) = diff(of(leaf(np.ones(2), "a")), of(leaf(np.zeros(2), "a")))
    assert found.now == "other elements"
    turned = leaf(np.asfortranarray(np.ones((3, 2))), "Y")
    (found,) = diff(of(Y), of(turned))
    assert "layout F" in found.now


# --------------------------------------------------------------------------- alignment


def test_one_operation_more_is_one_difference():
    plain = node("exp", node("add", node("sin", X), 1.0))
    more = node("exp", node("negative", node("add", node("sin", X), 1.0)))
    for a, b in ((plain, more), (more, plain)):
        (found,) = diff(of(a), of(b))
        assert found.kind == "operation"
        assert "negative" in f"{found.then} {found.now}"


def test_what_lies_below_one_operation_more_is_still_compared():
    plain = node("exp", node("add", node("sin", X), 1.0))
    more = node("exp", node("negative", node("add", node("sin", X), 2.0)))
    assert kinds(plain, more) == ["literal", "operation"]


def test_another_operation_on_the_same_operands_hides_nothing_below():
    a = node("add", node("multiply", X, 2.0), Y)
    b = node("subtract", node("multiply", X, 3.0), Y)
    assert kinds(a, b) == ["literal", "operation"]


def test_the_earliest_comes_first():
    a, b = X, X
    for k in range(10):
        a, b = node("add", a, float(k)), node("add", b, float(k) + (k in (3, 7)))
    found = diff(of(a), of(b))
    assert [d.then for d in found] == ["3.0", "7.0"]
    assert found.first.path[-1].operation == "add" and len(found.first.path) == 6
    assert [d.then for d in diff(of(a), of(b), 1)] == ["3.0"]
    assert diff(of(a), of(b), 1).total == 2
    assert len(diff(of(a), of(b), 0)) == 1
    assert "2 differences, the first 1" in str(diff(of(a), of(b), 1))


def test_the_path_leads_from_the_result_to_the_nodes():
    a = node("exp", node("add", Y, node("sin", node("multiply", X, 2.0))))
    b = node("exp", node("add", Y, node("sin", node("multiply", X, 3.0))))
    (found,) = diff(of(a), of(b))
    at = a
    for step in found.path:
        assert at.spec.op == step.operation
        at = at.inputs[step.input]
    assert at is found.a
    assert "out0 < exp[0] < add[1] < sin[0]" in str(found)


def test_results_are_paired_by_name():
    a = Lineage({"p": node("sin", X), "q": node("cos", X)})
    b = Lineage({"q": node("cos", Y), "r": node("sin", X)})
    assert sorted(d.kind for d in diff(a, b)) == ["data", "output", "output"]


def test_environment_and_bits():
    sin = node("sin", X)
    here, there = Lineage({"s": sin}), Lineage({"s": sin}, environment={"threads": "77"})
    (found,) = diff(there, here)
    assert found.kind == "environment" and found.then == "threads 77"
    checks = [lima.lineage(s=lima.array(np.full(2, v))).checks["s"] for v in (1.0, 2.0)]
    (found,) = diff(*(Lineage({"s": sin}, checks={"s": c}) for c in checks))
    assert found.kind == "bits"


# --------------------------------------------------------------------------- size


def long_chain(start: Node, steps: int, last: float) -> Node:
    spec = Spec("add")
    for _ in range(steps):
        start = Node(spec, (start, 1.0))
    return Node(spec, (start, last))


def test_a_long_chain():
    a, b = long_chain(X, 100_000, 1.0), long_chain(Y, 100_000, 2.0)
    found = diff(of(a), of(b))
    assert [d.kind for d in found] == ["data", "literal"]
    assert len(found.first.path) == 100_001
    assert len(str(found)) < 1000


def test_each_pair_once_where_paths_are_many():
    a, b = node("sin", X), node("sin", Y)
    for _ in range(200):  # 2 ** 200 paths
        a, b = node("add", a, a), node("add", b, b)
    assert kinds(a, b) == ["data"]


def test_unlike_graphs_take_linear_time():
    a = b = X
    befores = [(X, X)]
    for k in range(3000):  # neighbours change places: any two nodes could be paired
        (p, q), (r, s) = befores[-1], befores[max(k - 1, 0)]
        a, b = node("add", p, node("sin", r)), node("add", node("sin", s), q)
        befores.append((a, b))
    assert diff(of(a), of(b))


# --------------------------------------------------------------------------- what users give


def test_results_lineages_and_files(tmp_path):
    @lima.traced
    def ridge(A, y, reg):
        return np.linalg.solve(A.T @ A + reg * np.eye(A.shape[1]), A.T @ y)

    A, y = np.random.default_rng(0).standard_normal((20, 3)), np.ones(20)
    one, two = ridge(A, y, 0.1), ridge(A, y, 0.2)
    found = lima.diff(one, two)
    assert [d.kind for d in found] == ["literal"] and found.first.then == "0.1"
    paths = [lima.save(tmp_path / f"{k}.lima", beta=b) for k, b in enumerate((one, two))]
    assert str(lima.diff(*paths)) == str(lima.diff(str(paths[0]), lima.lineage(beta=two)))
    assert not lima.diff(paths[0], one)


def test_what_has_no_lineage_is_refused():
    with pytest.raises(lima.UnknownLineage):
        lima.diff(3, np.ones(2))


def test_references_in_parameters():
    spec = [Spec("add", (("where", Ref(2)),), 2)]
    a = Node(spec[0], (X, 1.0, leaf(np.ones(2, bool), "m")))
    b = Node(spec[0], (X, 1.0, leaf(np.zeros(2, bool), "m")))
    assert kinds(a, b) == ["data"]


# --------------------------------------------------------------------------- any two graphs

OPS = ("add", "subtract", "multiply")
CHOICES = st.lists(
    st.tuples(st.sampled_from(OPS), st.integers(0, 5), st.integers(0, 5), st.booleans()),
    min_size=1,
    max_size=12,
)


def graph(choices) -> Node:
    made = [X, Y]
    for op, i, k, literal in choices:
        other = float(k) if literal else made[-1 - k % len(made)]
        made.append(node(op, made[-1 - i % len(made)], other))
    return made[-1]


@given(CHOICES, CHOICES)
def test_lineages_differ_exactly_where_digests_do(first, second):
    a, b = graph(first), graph(second)
    found = diff(of(a), of(b))
    assert bool(found) == (a.digest != b.digest)
    for one in found:
        at = a
        for step in one.path:
            assert at.spec.op == step.operation
            at = at.inputs[step.input]
        assert at is one.a
        assert one.a.digest != one.b.digest


@given(CHOICES, st.integers(0, 11), st.sampled_from(OPS))
def test_one_change_is_found(choices, at, op):
    changed = list(choices)
    at %= len(changed)
    changed[at] = (op, *changed[at][1:])
    a, b = graph(choices), graph(changed)
    found = diff(of(a), of(b))
    assert bool(found) == (a.digest != b.digest)
    if found:
        assert [one.kind for one in found] == ["operation"]


def test_environments_that_may_be_of_the_same_two_numbers_of_threads_are_one():
    one, two = (lima.lineage(lima.array(np.ones(3)) * 2.0) for _ in range(2))
    for record in (one, two):
        record.environment["threads"] = "1 or 2"
    assert not lima.diff(one, two)
    two.environment["threads"] = "4"
    assert [d.kind for d in lima.diff(one, two)] == ["environment"]
