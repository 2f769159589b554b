"""Lineages that are wound up in memory say what they say unwound, to every question."""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lima
import lima.numpy as lima_np
from lima.graph import topological
from lima.node import Node, Spec, leaf
from lima.packed import pack, unpack
from lima.spools import OPEN
from lima.winding import BOUND, WINDER

NEVER = 1 << 30


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = WINDER.samples, WINDER.shortest, WINDER.worth
    yield
    failed = WINDER.failed
    WINDER.samples, WINDER.shortest, WINDER.worth = before
    WINDER.restart(BOUND)
    assert failed is None, failed


def winding(wait: int, shortest: int = 8, samples: int = 2) -> None:
    """Wind up every `wait` operations from now on."""
    WINDER.samples, WINDER.shortest, WINDER.worth = samples, shortest, 1 << 20
    WINDER.restart(wait)


def node_of(x: Any) -> Node:
    return x._value.node


def wind_now(*results: Any) -> int:
    """Wind up what led to these results; returns how many nodes it was."""
    before = WINDER.wound
    OPEN.close()
    WINDER.wind([node_of(x) for x in results])
    return WINDER.wound - before


# --------------------------------------------------------------------------- programs


class Program:
    """A random loop with branches; `run` gives the same results whenever it is called."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.seed = seed
        self.rounds = draw.randint(30, 120)
        self.body = [self.step(draw, 2) for _ in range(draw.randint(2, 7))]
        self.held = draw.choice([0, 0, 3, 17])
        self.options: dict[str, Any] = draw.choice(
            [{"reuse": "none"}, {}, {"exactness": "guarded"}, {"lines": "all"}]
        )

    def step(self, draw: random.Random, depth: int) -> Any:
        kinds = "scale add mix slice leaf draw write swap sum gram number late float many".split()
        if depth:
            kinds += ["if", "if", "for"]
        kind = draw.choice(kinds)
        inner = []
        if kind in ("if", "for"):
            inner = [self.step(draw, depth - 1) for _ in range(draw.randint(1, 3))]
        return kind, draw.randint(2, 5), draw.choice([0.5, 0.25, -0.0, 1, 3]), inner

    def run(self) -> tuple[Any, list[Any]]:
        self.given: dict[str, Any] = {}
        self.rng = np.random.default_rng(self.seed)
        self.noise = lima_np.random.default_rng(self.seed)
        self.X = lima.array(np.arange(60.0).reshape(12, 5) / 60, name="X")
        self.x = lima.array(np.full(5, 0.4), name="x")
        self.y = self.x
        self.z = self.x * 2
        kept = []
        for k in range(self.rounds):
            for step in self.body:
                self.do(step, k)
            if self.held and k % self.held == 1:
                kept.append(self.y)
        return self.y + self.z, kept

    def do(self, step: Any, k: int) -> None:
        kind, m, c, inner = step
        if kind == "if":
            if k % m == 0:
                for one in inner:
                    self.do(one, k)
        elif kind == "for":
            for j in range(k % m):
                for one in inner:
                    self.do(one, j)
        else:
            getattr(self, f"do_{kind}")(m, c, k)

    def do_scale(self, m: int, c: float, k: int) -> None:
        self.y = self.y * c

    def do_add(self, m: int, c: float, k: int) -> None:
        self.y = c + self.y

    def do_mix(self, m: int, c: float, k: int) -> None:
        self.y, self.z = self.y + self.z, self.z - self.y * 0.5

    def do_slice(self, m: int, c: float, k: int) -> None:
        self.y = self.y + self.X[k % 7 : k % 7 + m].sum(axis=0) / m

    def do_leaf(self, m: int, c: float, k: int) -> None:
        noise = self.rng.standard_normal(5)
        self.given[leaf(noise).digest.hex()] = noise
        self.y = np.tanh(self.y) + noise

    def do_draw(self, m: int, c: float, k: int) -> None:
        self.z = self.z + self.noise.normal(size=5)

    def do_write(self, m: int, c: float, k: int) -> None:
        self.z = self.z.copy()
        self.z[k % 5] = c

    def do_swap(self, m: int, c: float, k: int) -> None:
        self.y, self.z = self.z, self.y

    def do_sum(self, m: int, c: float, k: int) -> None:
        self.y = self.y / (1.5 + (self.y * self.y).sum())

    def do_gram(self, m: int, c: float, k: int) -> None:
        rows = np.concatenate([self.X[:m], self.X[k % 9 : k % 9 + 2]])
        self.z = (rows.T @ rows)[0] + self.z * 0.125

    def do_number(self, m: int, c: float, k: int) -> None:
        self.y = self.y * 0.5 + k

    def do_late(self, m: int, c: float, k: int) -> None:
        self.y = np.where(self.y > 0.3, self.y, self.z)

    def do_float(self, m: int, c: float, k: int) -> None:
        self.z = self.z * (1 / (k + 1)) + np.float64(k % m)

    def do_many(self, m: int, c: float, k: int) -> None:
        self.y = np.linalg.qr(self.X[:5] + self.y)[1][0]


def asked(y: Any, kept: list[Any]) -> dict[str, Any]:
    """Answers to many questions about results."""
    lineage = lima.lineage(y, **{f"kept{k}": x for k, x in enumerate(kept)})
    explained = lima.explain(y)
    nodes = lineage.nodes
    return {
        "log": lineage.log(),
        "digests": [n.digest for n in nodes],
        "facts": [(n.height, n.name, n.place, n.inexact, n.spec.op) for n in nodes],
        "rows": explained.rows,
        "lines": explained.lines,
        "leaves": explained.leaves,
        "text": str(explained),
        "python": lineage.to_python(),
        "table": repr(lineage.table()) if hasattr(lineage, "table") else "",
        "between": [n.digest for n in lineage.ancestors("result")],
        "outcomes": [n.outcome for n in nodes],
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32))
def test_what_is_wound_up_says_the_same(seed: int) -> None:
    winding(NEVER)
    program = Program(seed)
    with lima.session(**program.options):
        y, kept = program.run()
        before = asked(y, kept)
        wound = wind_now(y, *kept)
        assert asked(y, kept) == before
        del program.y, program.z
        again = wind_now(y)
        assert wound + again or len(before["digests"]) < 60 or program.held
        assert asked(y, kept) == before


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([20, 61, 150]))
def test_winding_while_tracing_changes_nothing(seed: int, wait: int) -> None:
    found = []
    for bound in (NEVER, wait):
        winding(bound)
        program = Program(seed)
        with lima.session(**program.options):
            y, kept = program.run()
            lineage = lima.lineage(y, **{f"kept{k}": x for k, x in enumerate(kept)})
            again = lima.recompute(y, program.given)
            assert again.tobytes() == np.asarray(y).tobytes()
            found.append((lineage.log(), lineage.to_python(), np.asarray(y).tobytes(), lineage))
    assert found[0][:3] == found[1][:3]
    assert not lima.diff(found[0][3], found[1][3])


# --------------------------------------------------------------------------- memory


def chain(rounds: int) -> Any:
    a, y = lima.array(np.full((2, 2), 0.4), name="a"), lima.array(np.full(2, 0.4), name="y")
    for _ in range(rounds):
        y = 0.85 * (a @ y) + 0.15
    return y


def test_a_long_loop_takes_few_bytes_a_round() -> None:
    with lima.session(reuse="none"):
        chain(100)
        gc.collect()
        tracemalloc.start()
        try:
            y = chain(50_000)
            gc.collect()
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held / 50_000 <= 64
        assert peak / 50_000 <= 128
        assert len(lima.lineage(y)) == 150_002


def test_an_irregular_part_of_a_program_is_forgotten() -> None:
    """What does not repeat is looked at in longer stretches, and a loop after it as ever."""
    winding(128, shortest=16)
    WINDER.worth = 140
    draw = random.Random(5)
    ops = [np.sin, np.cos, np.tanh, np.abs, np.cbrt, np.negative, np.floor, np.arctan]
    with lima.session(reuse="none"):
        x = lima.array(np.full(2, 0.4), name="x")
        for _ in range(6000):
            f = draw.choice(ops)
            x = f(x) * draw.random() + draw.random() if draw.random() < 0.5 else f(x)
        longest = WINDER.wait
        assert longest > 128
        before = WINDER.wound
        for _ in range(6000):
            x = x * 0.5 + 0.25
    assert WINDER.wait == 128
    assert WINDER.wound - before > 8000


def test_what_was_made_again_goes_again() -> None:
    winding(100)
    with lima.session(reuse="none"):
        y = chain(2_000)
        lima.lineage(y).log()
        assert OPEN.spools
        chain(1)
        assert not OPEN.spools


def test_digests_are_told_without_the_whole_lineage() -> None:
    winding(NEVER)
    with lima.session(reuse="none"):
        expected = node_of(chain(1_000)).digest
        winding(100)
        y = chain(1_000)
        assert WINDER.wound > 2_000
        assert node_of(y).digest == expected
        assert not OPEN.spools


def test_a_node_that_somebody_holds_stays_the_same() -> None:
    winding(NEVER)
    with lima.session(reuse="none"):
        x = lima.array(np.full(2, 0.4), name="x")
        y = held = x
        for k in range(400):
            y = y * 0.5
            if k == 200:
                held = y
        assert wind_now(y) > 300
        assert any(node is node_of(held) for node in topological([node_of(y)]))


def test_folding_goes_on_while_others_walk() -> None:
    winding(40)
    with lima.session(reuse="none"):
        y = chain(300)
        expected = [n.digest for n in lima.lineage(y).nodes]
        wrong: list[Any] = []
        done = threading.Event()

        def walk() -> None:
            while not done.is_set():
                found = [n.digest for n in lima.lineage(y).nodes]
                if found != expected:
                    wrong.append(found)

        threads = [threading.Thread(target=walk) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            z = y
            for _ in range(120):
                z = z + 1.0
            node_of(z).digest
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong


# --------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 4, 8], [1 << 40, -5, 3], [(1 << 62) - 1, -(1 << 62) + 1, 0], [1 << 70, 2],
        [True, 1, False], [0.5, -0.0, float("inf")], [np.float64(0.1), np.float64(2.0)],
        [b"0" * 16, b"1" * 16], [None, "a", 1], ["a", "a"],
    ],
)  # fmt: skip
def test_columns_give_back_what_they_got(values: list[Any]) -> None:
    found = unpack(pack(values))
    assert [(type(x), repr(x)) for x in found] == [(type(x), repr(x)) for x in values]


def test_nan_keeps_its_bits() -> None:
    values = [np.float64(x) for x in np.array([0x7FF8000000000123, 0x3FF], np.int64).view("f8")]
    found = unpack(pack(values))
    assert [x.tobytes() for x in found] == [x.tobytes() for x in values]


def test_signed_zeros_and_types_of_literals_are_kept_apart() -> None:
    winding(NEVER)
    x = leaf(np.zeros(2), "x")
    node, expected = x, x
    for k in range(200):
        literal = [0.0, -0.0, 0, False, np.float64(0.0)][k % 5]
        node = Node(Spec("add"), (node, literal))
        expected = Node(Spec("add"), (expected, literal))
    WINDER.wind([node])
    assert WINDER.wound > 100
    assert node.digest == expected.digest
