"""Lines of the user's program in logs: written, read, no part of the lineage, never trusted."""

from __future__ import annotations

import re
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

import lima
from lima import origins, places
from lima.log import Log, lines, parse
from lima.node import Node, Spec, leaf
from lima.places import Line, noted
from lima.record import loads

DATA = np.random.default_rng(0).standard_normal((40, 40))


def program(text, file="model.py"):
    """The module that a text is, as if it stood in a file."""
    module = types.ModuleType("model")
    module.__dict__.update(np=np, DATA=DATA, lima=lima)
    exec(compile(text, file, "exec"), module.__dict__)
    return module


STRAIGHT = """
def fit(X):
    gram = X.T @ X
    return np.linalg.solve(gram + 1.0,
                           X[:, 0])
"""

LOOP = """
def ranks(A, rounds):
    x = lima.array(np.ones(40), name="x")
    for k in range(rounds):
        if k % 3:
            x = A @ x + 2.0
        else:
            x = A @ x + 1.0
        x = x / 2.0
    return x
"""


def traced(text, name, *args, **options):
    with lima.session(lines="all"):
        X = lima.array(DATA, name="X")
        return lima.lineage(result=getattr(program(text, **options), name)(X, *args))


def at(record):
    return {(n.spec.op, n.line.line) for n in record.nodes if n.line is not None}


def test_a_log_with_lines(tmp_path):
    record = traced(STRAIGHT, "fit")
    path = lima.save(tmp_path / "fit.lima", record, lines=True)
    text = path.read_text()
    assert text.startswith(record.log()) and text == record.log(lines=True)
    rest = text.removeprefix(record.log()).splitlines()
    assert rest[:3] == [
        "lines 1",
        'l1 = "model.py", 3, "fit"',
        'l2 = "model.py", 4, "fit"',
    ]
    again = lima.load_log(path)
    assert at(again) == at(record) and ("matmul", 3) in at(again)
    assert again == record and again.log() == record.log() and again.log(lines=True) == text
    assert "fit (model.py:3)" in str(lima.explain(again))
    table = again.table()
    assert table["line"][table["op"].index("matmul")] == 3
    assert ("model.py", 4, "fit") in lima.sql(
        path, "SELECT DISTINCT file, line, function FROM nodes"
    )
    assert np.array_equal(lima.recompute(again, {"X": DATA}), lima.recompute(record, {"X": DATA}))


def test_lines_of_a_loop_are_streams():
    record = traced(LOOP, "ranks", 300)
    text = record.log(lines=True)
    assert text.startswith("lima-log 2") and len(text) < len(record.log()) + 600
    again = loads(text)
    assert again.folded is not None and "times(" in text[text.index("\nlines 1") :]
    assert again == record
    assert again.log(lines=True) == text
    found = lima.sql(
        loads(text), "SELECT line, count(*) FROM nodes WHERE op='matmul' GROUP BY line"
    )
    assert list(found) == [(6, 200), (8, 100)]


def test_the_lineage_is_written_alike_with_other_lines():
    first = traced(STRAIGHT, "fit")
    second = traced("\n\n" + STRAIGHT, "fit", file="/elsewhere/other.py")
    assert first.log() == second.log() and first.log(lines=True) != second.log(lines=True)
    assert first == second and not lima.diff(first, second)


def test_which_of_equal_nodes_came_first_does_not_matter():
    x = leaf(np.ones(3), "x")
    names = [noted(Line("b.py", 9, "f")), noted(Line("a.py", 12, "g")), 0]

    def made(*order):
        nodes = [Node(Spec("sin"), (x,)) for _ in order]
        for node, k in zip(nodes, order, strict=True):
            node.place = names[k]
        return Log({f"r{k}": node for k, node in enumerate(nodes)}, {}, {})

    texts = {"".join(lines(made(*order), True)) for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2))}
    assert len(texts) == 1 and '"a.py", 12' in texts.pop()


def test_without_lines_there_is_no_section():
    with lima.session(lines="none"):
        record = lima.lineage(lima.array(np.full(3, 0.375), name="x") + 1.0)
    assert record.log(lines=True) == record.log()


def test_names_that_do_not_print_are_escaped():
    node = Node(Spec("sin"), (leaf(np.ones(3)),))
    node.place = noted(Line("a\x1b[31m\n\udcff.py", 3, "f"))
    text = "".join(lines(Log({"r": node}, {}, {}), True))
    found = parse(text.splitlines(keepends=True)).outputs["r"].line
    assert found == Line("a\\x1b[31m\\n\\udcff.py", 3, "f")


def test_lines_that_are_read_are_bounded(monkeypatch):
    monkeypatch.setattr(origins, "noted", lambda line: 0)  # as where there is no room
    again = loads(traced(STRAIGHT, "fit").log(lines=True))
    assert at(again) == set()
    assert places.line_of(0) is None


# --------------------------------------------------------------------------- hostile sections

PLAIN = traced(STRAIGHT, "fit").log()
FOLDED = traced(LOOP, "ranks", 60).log()
RUNS = 20


def signed(log, *body, end=None):
    """A log with a section of these lines, rightly ended."""
    text = "".join(f"{line}\n" for line in body)
    count = sum(line.startswith("l") for line in body[1:])
    end = end or f'end lines={count} checksum="{xxh3_128_hexdigest(text.encode())}"\n'
    return log + text + end


L1 = 'l1 = "a.py", 1, "f"'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (["lines 2"], "expected 'lines 1', found version 2 .made by a newer lima"),
        (["lines 1", 'l2 = "a.py", 1, "f"'], "expected l1, found l2"),
        (["lines 1", 'l1 = "a.py", 1'], 'expected "file", line, "function"'),
        (["lines 1", 'l1 = "a.py", -1, "f"'], 'expected "file", line, "function"'),
        (["lines 1", 'l1 = "a.py", True, "f"'], 'expected "file", line, "function"'),
        (["lines 1", 'l1 = "a\\x1b", 1, "f"'], "characters that print"),
        (["lines 1", f'l1 = "{"a" * 5000}", 1, "f"'], "at most 4096 characters"),
        (["lines 1", L1, "%1 = l2"], "expected a line of the program such as l1, found 'l2'"),
        (["lines 1", L1, "%99 = l1"], "expected a line of the log, found %99"),
        (["lines 1", L1, "%0 = l1"], "expected a line of the log, found %0"),
        (["lines 1", L1, "%2/1 = l1"], "in order, each once"),
        (["lines 1", L1, "%1 = l1", "%1 = l1"], "expected every line once"),
        (["lines 1", L1, "%1 = l1, l1"], "%1 runs 1 times, found 2 lines for it"),
        (["lines 1", L1, "%1 = range(1, 2, 1)"], "expected range"),
        (["lines 1", L1, "%1 = l1", 'l2 = "a.py", 2, "f"'], "before what stands there"),
        (["lines 1", "lines 1"], "expected a line of the program or an end line|nothing"),
        (["lines 1", L1, "x = %1"], "expected a line of the program or an end line"),
    ],
)
def test_bad_sections(body, message):
    with pytest.raises(lima.LogError, match=rf"line \d+: .*(?:{message})"):
        loads(signed(PLAIN, *body))


def test_bad_sections_of_loops():
    patch = re.search(r"patch p1\n%(\d+)", FOLDED)[1]
    runs = int(re.search(r"run .*?times\((\d+), p1", FOLDED)[1])
    good = loads(signed(FOLDED, "lines 1", L1, f"%{patch} = times({runs}, l1)"))
    assert sum(node.line is not None for node in good.nodes) == runs
    for text in (f"times({runs + 1}, l1)", "l1, l0", f"times({1 << 61}, times({1 << 61}, l1))"):
        with pytest.raises(lima.LogError, match=f"%{patch} runs {runs} times"):
            loads(signed(FOLDED, "lines 1", L1, f"%{patch} = {text}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.rindex("end lines")], "it was cut off"),
        (lambda text: text.replace('"model.py"', '"muddle.py"'), "the lines above were changed"),
        (lambda text: text.replace("end lines=3", "end lines=9"), "expected lines=3"),
        (lambda text: text + "lines 1\n", "expected nothing after the end line"),
        (lambda text: text + "%1 = l1\n", "expected nothing after the end line"),
        (lambda text: text.replace("lines 1\n", "\n", 1), "expected nothing after the end line"),
    ],
)
def test_cut_and_changed_sections(change, message):
    text = traced(STRAIGHT, "fit").log(lines=True)
    with pytest.raises(lima.LogError, match=message):
        loads(change(text))


@given(st.data())
def test_mutated_sections_are_refused_or_mean_the_same_lineage(data):
    text = signed(FOLDED, "lines 1", L1, 'l2 = "b.py", 7, "g"', "%1/2 = l1", "%3 = l2")
    start = text.index("\nlines 1") + 1
    at = data.draw(st.integers(start, len(text) - 1))
    with_what = data.draw(
        st.sampled_from(["", "%", "l", "9", "\n", "times(", '"', "\x00", "/", "é"])
    )
    body = text[start:at] + with_what + text[at + data.draw(st.integers(0, 3)) :]
    body = body[: body.rindex("end lines")] if "end lines" in body else body
    try:
        found = loads(signed(FOLDED, *body.splitlines()))
    except lima.LogError as error:
        assert re.match(r"line \d+: ", str(error))
    else:
        assert found.log() == FOLDED
