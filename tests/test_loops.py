"""Loops in logs and programs: written once, read back to the same digests, computed to the bit.

Bodies are generated: several values that go round, branches, inner loops of varying length, draws,
writes, views, values that grow, early ends. Each is run by plain NumPy too.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_log import LEAF, X, node, signed
from test_replay import assert_bits, run_program

import lima
from lima import compare
from lima import log as log_module
from lima.errors import LogError
from lima.log import Log, parse
from lima.node import Node, Spec, leaf
from lima.patches import SMALL, program_of
from lima.reading import items_of
from lima.record import Lineage, loads
from lima.streams import Times, counted, length, numbered, pattern, repeats, values
from lima.unfolding import MAX_NODES

RNG = np.random.default_rng(5)
DATA = {"A": RNG.normal(size=(5, 5)) / 3, "x": RNG.normal(size=5), "y": RNG.normal(size=5)}


def plain_log(lineage):
    """The log with one line for each node."""
    whole = log_module.program_of
    log_module.program_of = lambda nodes, outputs: None
    try:
        return lineage.log()
    finally:
        log_module.program_of = whole


def assert_folds(outputs, wanted=None):
    """The log gives the nodes of the plain one, and everything computes the same bits."""
    lineage = Lineage(outputs)
    text = lineage.log()
    again, plain = loads(text), loads(plain_log(lineage))
    assert again == plain == lineage
    assert [n.digest for n in again.nodes] == [n.digest for n in lineage.nodes]
    assert again.log() == plain.log() == text
    used = {one.name: DATA[one.name] for one in lineage.leaves}
    found = lima.recompute(again, used)
    found = found if type(found) is dict else {"result": found}
    ran = run_program(lineage.to_python(), used)
    for (name, value), made in zip(found.items(), ran if len(outputs) > 1 else (ran,)):
        assert_bits(made, value)
        if wanted is not None:
            assert_bits(value, wanted[name])
    return text


# ------------------------------------------------------------------------------- generated bodies

STEPS = {
    "scale": lambda s, k, i, j, g: s.__setitem__(i, s[i] * 0.5 + s[j]),
    "product": lambda s, k, i, j, g: s.__setitem__(i, s["A"] @ s[i]),
    "sine": lambda s, k, i, j, g: s.__setitem__(i, np.sin(s[j])),
    "rate": lambda s, k, i, j, g: s.__setitem__(i, s[i] - 0.1 / (k + 1)),
    "integer": lambda s, k, i, j, g: s.__setitem__(i, s[i] + (7 * k) % 5),
    "swap": lambda s, k, i, j, g: s.update({i: s[j], j: s[i]}),
    "turn": lambda s, k, i, j, g: s.__setitem__(i, s[j][::-1]),
    "shift": lambda s, k, i, j, g: s.__setitem__(i, np.concatenate([s[i], s[j][:1]])[1:]),
    "write": lambda s, k, i, j, g: _write(s, k, i),
    "seeded": lambda s, k, i, j, g: s.__setitem__(
        i, s[i] + np.random.default_rng(k % 4).normal(size=5)
    ),
    "draw": lambda s, k, i, j, g: s.__setitem__(i, s[i] - g.uniform(size=5)),
    "inner": lambda s, k, i, j, g: _inner(s, 4 + k % 3, i, j),
    "branch": lambda s, k, i, j, g: _branch(s, k, i, j),
    "carried": lambda s, k, i, j, g: s["w"].__setitem__(k % 5, s[i][0] * 0.5),
    "read": lambda s, k, i, j, g: s.__setitem__(i, s["w"] * 0.5 + s[j]),
    "seen": lambda s, k, i, j, g: s.__setitem__(i, s["w"][::-1]),
    "through": lambda s, k, i, j, g: s["w"][1:4].__setitem__(k % 3, s[j][1]),
    "grow": lambda s, k, i, j, g: s.__setitem__("l", np.concatenate([s["l"], s[i][:1]])),
}


def _write(s, k, i):
    made = s[i] + 0.0
    made[k % 5] = 0.25
    s[i] = made


def _inner(s, rounds, i, j):
    for _ in range(rounds):
        s[i] = np.tanh(s[i]) + 0.125
        s[j] = s[j] * 0.5 - s[i]


def _branch(s, k, i, j):
    if k * k % 7 < 2:
        s[i] = np.cos(s[i])
    elif k * k % 5 < 2:
        s[j] = np.maximum(s[j], s[i]) * 0.5
        s[i] = s[i] - s[j]


def work(A, x, y, steps, rounds, stop):
    """A loop over steps; it ends early in the round `stop`."""
    s = {"A": A, 0: x, 1: y, 2: x + y, "l": x, "w": x.copy()}
    g = np.random.default_rng(11)
    for k in range(rounds):
        for n, (name, i, j) in enumerate(steps):
            STEPS[name](s, k, i, j, g)
            if k == stop and n == len(steps) // 2:
                return s[0], s[1], s[2], s["l"], s["w"]
    return s[0], s[1], s[2], s["l"], s["w"]


traced = lima.traced(work)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 2), st.integers(0, 2)),
        min_size=1,
        max_size=6,
    ),
    st.integers(8, 40),
    st.integers(0, 60),
)
def test_generated_loops(steps, rounds, stop):
    with lima.disabled():
        wanted = work(*DATA.values(), steps, rounds, stop)
    made = traced(*[lima.array(a, name=n) for n, a in DATA.items()], steps, rounds, stop)
    names = ("p", "q", "r", "l", "w")
    nodes = lima.lineage(**dict(zip(names, made))).outputs
    assert_folds(nodes, dict(zip(names, wanted)))


@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(30, 200))
def test_random_sequences(seed, kinds, count):
    """Operations in no order at all, which read any nodes before them."""
    draw = random.Random(seed)
    nodes = [leaf(DATA["x"], "x"), leaf(DATA["y"], "y")]
    for _ in range(count):
        op = draw.choice(["add", "subtract", "maximum", "multiply", "sin", "tanh"][:kinds])
        inputs = [draw.choice(nodes[-4:]), draw.choice((draw.choice(nodes), 0.5, 2))]
        nodes.append(node(op, *inputs[: 1 if op in ("sin", "tanh") else 2]))
    assert_folds({"last": nodes[-1], "middle": nodes[len(nodes) // 2]})


# ------------------------------------------------------------------------------- what is written


def body_of(text):
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [line for line in lines if "leaf(" not in line][1:-1]


A, Y, Z = leaf(DATA["A"], "A"), leaf(DATA["x"], "x"), leaf(DATA["y"], "y")


def test_a_loop_is_written_once():
    last = Y
    for _ in range(50):
        last = node("add", node("multiply", node("matmul", A, last), 0.85), 0.15)
    text = assert_folds({"rank": last})
    assert text.startswith("lima-log 2\n")
    assert body_of(text) == [
        "patch p1",
        "%3 = matmul(%1, %2/5)",
        "%4 = multiply(%3, 0.85)",
        "%5 = add(%4, 0.15)",
        "run times(50, p1)",
        "rank = %5",
    ]


def test_what_varies_is_a_stream():
    last = Y
    for epoch in range(3):
        for k in range(0, 40, 2):
            last = node("assign", last, float(epoch), index=slice(k, k + 2))
            last = node("add", last, 1)
    text = assert_folds({"last": last})
    assert "$1 = times(20, 0.0), times(20, 1.0), times(20, 2.0)" in text
    assert "$2 = times(3, range(0, 40, 2))\n$3 = times(3, range(2, 42, 2))" in text
    assert "%2 = assign(%1/3, $1, index=slice($2, $3, None))" in text


def test_whole_floats_are_progressions():
    last = Y
    for k in range(60):
        last = node("add", node("multiply", last, 0.5), float(k % 20) - 3.0)
    text = assert_folds({"last": last})
    assert "$1 = times(3, range(-3.0, 17.0, 1.0))" in text
    for k in range(40):
        last = node("add", node("multiply", last, 0.5), (0.0, -0.0)[k % 2])
    assert "-0.0" in assert_folds({"last": last})


def test_a_branch_that_changes_a_literal_is_a_stream_that_repeats():
    y = lima.array(np.array([0.2, 0.8]), name="y")
    for k in range(300):
        y = y * (0.5 if k % 3 == 0 else 0.25)
    assert "$1 = times(100, 0.5, 0.25, 0.25)" in lima.lineage(y).log()


def test_two_values_back():
    a, b = Y, node("add", Y, 1.0)
    for _ in range(40):
        a, b = b, node("sin", node("add", a, b))
    assert "%3 = add(%1/2/4~1, %2/4)" in assert_folds({"b": b})


def test_branches_are_patches_of_their_own():
    last = best = Y
    for k in range(60):
        last = node("matmul", A, last)
        if k * k % 7 == 1:
            best = node("maximum", best, last)
        last = node("tanh", last)
    text = assert_folds({"last": last, "best": best})
    assert sum(line.startswith("%") for line in text.splitlines()) < 12
    source = Lineage({"last": last, "best": best}).to_python()
    assert "for path in [" in source and "if path == 'p1':" in source


def test_the_program_has_a_loop():
    last = Y
    for k in range(50):
        last = node("add", node("multiply", node("matmul", A, last), 0.85), float(k % 2))
    source = Lineage({"rank": last}).to_python()
    body = source.partition('    """\n')[2].partition("\n\n")[0]
    assert body.splitlines() == [
        "    rank = x",
        "    for p1_1 in [*25 * [0.0, 1.0]]:",
        "        v1 = A @ rank  # (5,)",
        "        v2 = v1 * 0.85  # (5,)",
        "        rank = v2 + p1_1  # (5,)",
        "    return rank",
    ]


def test_seeds_are_kept_apart():
    """A log that froze the seed of the first round would give other numbers."""
    total = Y
    for k in range(40):
        state = Node(Spec("default_rng", (("seed", k),), 0), ())
        draw = Node(Spec("Generator.normal", (("size", (5,)),), 1), (state,))
        total = node("add", total, node("output", draw, index=0))
    wanted = DATA["x"]
    for k in range(40):
        wanted = wanted + np.random.default_rng(k).normal(size=5)
    assert "seed=$1" in assert_folds({"t": total}, {"t": wanted})


def test_literals_of_other_types_are_not_one():
    """`1`, `1.0`, `True` and -0.0 are told apart in a stream."""
    last = Y
    for k in range(60):
        last = node("add", last, (1, 1.0, 0.0, -0.0, np.float64(1.0), 2**70)[k % 6])
    assert_folds({"last": last})


def test_small_lineages_stay_plain():
    last = Y
    for _ in range(SMALL - 2):
        last = node("sin", last)
    assert Lineage({"x": last}).log().startswith("lima-log 1\n")


def test_results_inside_loops_and_unnamed_rounds():
    rounds = [Y]
    for _ in range(50):
        rounds.append(node("tanh", node("matmul", A, rounds[-1])))
    stacked = node("stack", *rounds[1::5])
    assert_folds({"tenth": rounds[10], "last": rounds[-1], "all": stacked})


def test_the_order_of_work_does_not_matter():
    def loop(nodes):
        last, found = Y, []
        for k in range(40):
            last = nodes("add", nodes("multiply", last, 0.5), float(k))
            found.append(last)
        return found

    forward = loop(node)
    again = loop(node)
    assert Lineage({"a": forward[-1]}).log() == Lineage({"a": again[-1]}).log()


@pytest.mark.slow
def test_a_million_operations(tmp_path):
    last = Y
    for _ in range(500_000):
        last = node("add", node("multiply", last, 0.5), 1.0)
    lineage = Lineage({"x": last})
    path = tmp_path / "long.lima"
    lima.save(path, lineage)
    assert path.stat().st_size < 2000
    again = lima.load_log(path)
    assert again.digest() == last.digest.hex() and len(again) == 1_000_001
    (found,) = lima.recompute(again, {"x": DATA["x"]}).values()
    wanted = DATA["x"]
    for _ in range(500_000):
        wanted = wanted * 0.5 + 1.0
    assert_bits(found, wanted)


# ------------------------------------------------------------------------------- questions


def rank(rounds, rate=0.85, odd=None):
    last = Y
    for k in range(rounds):
        last = node("multiply", node("matmul", A, last), 0.5 if k == odd else rate)
    return Lineage({"rank": last})


def test_a_difference_in_every_round_is_one_place():
    found = compare.diff(rank(100), rank(100, 0.9))
    assert (found.total, found.places, len(found)) == (100, 1, 1)
    assert found.first.kind == "literal" and found.first.rounds == (1, 100, 100)
    assert str(found).startswith("100 differences in 1 place\n")
    assert "in 100 rounds of a loop, the first is 1, the last 100" in str(found)


def test_a_difference_in_one_round_names_it():
    found = compare.diff(rank(100), rank(100, odd=70))
    assert (found.total, found.places) == (1, 1)
    assert "in round 71 of a loop" in str(found)


def test_loops_of_other_length():
    found = compare.diff(rank(100), rank(103))
    assert found.first.kind == "rounds"
    assert (found.first.then, found.first.now) == ("100 of matmul, multiply", "103")
    assert compare.diff(rank(100), loads(rank(100).log())).total == 0


def test_explain_counts_rounds():
    last = lima.array(DATA["x"], name="x")
    for _ in range(100):
        last = np.sin(last * 0.5)
    text = str(lima.explain(last))
    assert "100 × sin()" in text and len(text.splitlines()) < 12


# ------------------------------------------------------------------------------- streams


@given(st.lists(st.integers(-3, 3), max_size=60))
def test_patterns_round_trip(numbers):
    from lima.scan import Scanner

    if not numbers:
        return
    for made in (numbers, [float(n) for n in numbers], [n / 2 for n in numbers]):
        items = items_of(Scanner(pattern(made, repr)))
        assert list(map(repr, values(items))) == list(map(repr, made))
        assert length(items) == len(numbers)


@given(st.lists(st.integers(0, 2), max_size=80), st.integers(1, 9))
def test_repeats_are_repetitions(keys, saved):
    at = 0
    for one in repeats(numbered(keys), saved):
        assert one.start >= at and one.rounds >= 3 and (one.rounds - 1) * one.period >= saved
        first = keys[one.start : one.start + one.period]
        assert keys[one.start : one.end] == first * one.rounds
        at = one.end


def test_counting_does_not_write_out():
    far = [Times(10**15, (Times(10**15, ("p1", "p2")), "p1")), range(10**15)]
    assert length(far) == 2 * 10**30 + 10**15 + 10**15
    assert counted(far[:1]) == {"p1": 10**30 + 10**15, "p2": 10**30}


# ------------------------------------------------------------------------------- bad logs

BODY = [LEAF, "patch p1", "%2 = add(%1/3, 1.0)", "%3 = multiply(%2, 0.5)"]


def folded(*body):
    lines = signed(*body)
    return ["lima-log 2", *lines[1:]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([*BODY, "run times(1000000000000, p1)"], "line 6: the loops stand for 2000000000001 nodes"),
        ([*BODY, "run times(99999999, times(99999999, times(9, p1)))"], "line 6: the loops stand"),
        ([*BODY, "run p1", "y = %3~99999999999"], "line 8: operands reach back over"),
        ([*BODY, "run times(0, p1)"], "line 6: expected times(count"),
        ([*BODY, "run times(-3, p1)"], "line 6: expected times(count"),
        ([*BODY, "run times(2.5, p1)"], "line 6: expected times(count"),
        ([*BODY, "run " + "times(2, " * 200 + "p1" + ")" * 200], "line 6: expected at most 100"),
        ([*BODY, "run p2"], "line 6: expected a patch of a line above, found 'p2'"),
        ([*BODY, "run times(3, p1"], "line 6: expected ',' or ')'"),
        ([*BODY, "run range(0, 3, 1)"], "line 6: expected range(start, stop, step)"),
        ([*BODY, "run p1", "patch p1"], "line 7: expected every patch once"),
        ([*BODY, "y = %3"], "line 5: expected the run of the patch above"),
        ([LEAF, "patch p1", "run p1"], "line 4: expected the lines of the patch"),
        ([LEAF, "run p1"], "line 3: expected a patch of a line above"),
        ([LEAF, "patch p1", "%2 = add(%1/9, 1)", "run p1", "y = %2"], "line 5: %9 is read, which is no line"),
        ([LEAF, "patch p1", "%2 = add(%2, 1)", "run p1"], "line 5: %2 is read before it has a value"),
        ([LEAF, "patch p1", "%2 = add(%1~1, 1)", "run p1"], "line 5: %1~1 is read before"),
        ([LEAF, "patch p1", "%2 = add(%2/1, 1)"], "line 4: expected the numbers of lines in order"),
        ([LEAF, "patch p1", "%2 = add(%1, $1)", "run p1"], "line 5: expected 1 streams"),
        ([LEAF, "patch p1", "%2 = add(%1, $0)", "run p1"], "line 4: expected slots from $1 on"),
        ([LEAF, "patch p1", "%2 = add(%1, {1: $1})"], "line 4: expected slots as numbers"),
        ([LEAF, "patch p1", "%2 = add(%1, array($1))"], "line 4: array(...) is no constant"),
        ([LEAF, "%2 = add(%1, $1)"], "line 3: expected a value, found '$1' outside"),
        ([LEAF, "$1 = 3"], "line 3: expected a stream inside a patch"),
        (
            [LEAF, "patch p1", "%2 = add(%1, $1)", "$1 = 1, 2", "run times(3, p1)"],
            "line 6: $1 of p1 ends before its runs do",
        ),
        (
            [LEAF, "patch p1", "%2 = add(%1, $1)", "$1 = range(0, 9, 1)", "run p1", "y = %2"],
            "line 6: a stream of p1 has more values",
        ),
        (
            [LEAF, "patch p1", "%2 = add(%1, $1)", "$1 = range(0, 9, 0)"],
            "line 5: no progression",
        ),
        (
            [LEAF, "patch p1", "%2 = add(%1, $1)", "$2 = 1"],
            "line 5: expected stream $1, found $2",
        ),
        (
            [LEAF, "patch p1", "%2 = add(%1~$1, 1)", "$1 = 0.5", "run p1"],
            "line 6: expected counts of values",
        ),
        (
            [LEAF, "patch p1", "%2 = slice(%1, index=$1)", "$1 = @5", "run p1"],
            "line 6: @5 refers to none",
        ),
        (
            [LEAF, "patch p1", "%2 = leaf(dtype=$1, shape=(), layout=\"C\", digest=\"0\")",
             "$1 = \"O\"", "run p1"],
            "line 6: expected digest as 32",
        ),
        ([LEAF, "patch p1", "%2 = __import__(%1)", "run p1"], "line 5: unknown operation"),
        ([LEAF, "%2 = sin(%1/3)", "y = %2"], "line 3: expected a node of a line above"),
    ],
)  # fmt: skip
def test_bad_patches(body, message):
    with pytest.raises(LogError) as error:
        parse(folded(*body))
    assert message in str(error.value)


def test_patches_need_their_version():
    with pytest.raises(LogError, match="line 3"):
        parse(signed(*BODY, "run times(20, p1)", "y = %3"))


@given(st.data())
def test_changed_logs_are_refused_or_are_logs(data):
    """One changed character, its checksum made right: an error with a line, or a lineage."""
    last = Y
    for k in range(40):
        last = node("add", node("multiply", last, 0.5), float(k))
    lines = Lineage({"x": last}, environment={}).log().splitlines()[1:-1]
    row = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[row])))
    char = data.draw(st.sampled_from("0123456789%$~/,()pxrun times"))
    keep = data.draw(st.booleans())
    lines[row] = lines[row][:at] + char + lines[row][at + keep :]
    try:
        found = parse(folded(*lines))
    except LogError as error:
        assert str(error).startswith("line ")
        return
    assert isinstance(found, Log)


def test_the_limit_is_above_what_is_written():
    assert MAX_NODES >= 1 << 24


def test_nothing_repeats():
    assert program_of([X], {"x": X}) is None
