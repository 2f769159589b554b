"""Random programs do under lima what they do under NumPy (`python -m bench.fuzz` runs many)."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bench import parts
from bench.fuzz import (
    MODES,
    check,
    found_again,
    generate,
    inputs,
    load,
    main,
    reduced,
    report,
    source,
)
from lima.op import OPS

pytestmark = pytest.mark.filterwarnings("ignore")


def write(choices, seed):
    return generate(choices, choices.randint(5, 40), seed)


@settings(
    max_examples=settings.default.max_examples // 2,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # `report` reduces what fails
)
@given(st.randoms(use_true_random=False), st.integers(0, 10_000))
def test_programs(choices, seed):
    lines = write(choices, seed)
    if check(lines, seed) is not None:
        pytest.fail(report(lines, seed), pytrace=False)


@pytest.mark.parametrize("start", range(0, 2000, 100))
def test_many_programs(start):
    """Two thousand programs, most of them short, each in one of the ways to run."""
    for seed in range(start, start + 100):
        choices = random.Random(seed)
        lines = generate(choices, choices.randint(5, 60 if seed % 10 == 0 else 18), seed)
        modes = (MODES[seed % len(MODES)],)
        if check(lines, seed, modes) is not None:
            pytest.fail(report(lines, seed, modes), pytrace=False)


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_programs_of_parts(start):
    """Matrices that are cut, joined and multiplied, in sessions that use rules."""
    used = Counter()
    for seed in range(start, start + 40):
        _, kinds, problem = parts.tried(seed)
        used += kinds
        assert problem is None, problem
    assert used["product-of-lines"] > 20


def test_a_wrong_rule_is_found(monkeypatch):
    lines = ["v0 = X.T @ X", "v1 = X[:, [0, 2]].T @ X[:, [0, 2]]"]
    assert parts.check(lines, 1) is None
    monkeypatch.setattr(
        OPS["lines"], "kernel", lambda a, rows, columns: a[: len(rows), : len(columns)]
    )
    assert "v1: " in parts.check(lines, 1)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_long_programs_in_every_way(start):
    for seed in range(start, start + 100):
        lines = generate(random.Random(seed), 60, seed)
        if check(lines, seed) is not None:
            pytest.fail(report(lines, seed), pytrace=False)


# --------------------------------------------------------------------------- the fuzzer itself


def test_programs_are_the_same_for_the_same_seed():
    assert write(random.Random(3), 3) == write(random.Random(3), 3) != write(random.Random(4), 4)


def test_most_statements_do_something():
    failed = total = 0
    for seed in range(20):
        lines = write(random.Random(seed), seed)
        scope = load(source(lines), lambda f: f)
        failed += len(scope["program"](**inputs(seed, scope))["seen"]) / 2
        total += len(lines)
    assert failed < total / 3


def test_a_wrong_result_is_found_and_reduced():
    """With a broken kernel in the place of one operation, its statement is what remains."""
    lines = write(random.Random(1), 1) + ["q = A.cumsum(axis=0)", "p = q * 2", "A[0] = 7"]
    assert check(lines, 1) is None
    row = OPS["cumsum"]
    kernel = row.kernel
    try:
        object.__setattr__(row, "kernel", lambda a, **options: kernel(a, **options) * 1.5)
        assert "result q" in check(lines, 1)
        short = reduced(lines, lambda some: "q:" in str(check(some, 1)))
        assert short == ["q = A.cumsum(axis=0)"]
        assert "cumsum" in report(lines, 1)
    finally:
        object.__setattr__(row, "kernel", kernel)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.__name__)
def test_every_way_to_run_traces(mode):
    row, made = OPS["matmul"], []

    def counting(*operands):
        made.append(operands)
        return np.matmul(*operands)

    object.__setattr__(row, "kernel", counting)  # rows are frozen
    try:
        list(mode(source(["v0 = A.T @ A", "v1 = v0 + 1"]), 1))
    finally:
        object.__setattr__(row, "kernel", np.matmul)
    assert made


def test_the_other_process_finds_what_is_stored(tmp_path):
    text, row = source(["v0 = A.T @ A"]), OPS["matmul"]
    first = found_again(text, 1, str(tmp_path))

    def failing(*operands):
        raise AssertionError("computed again")

    object.__setattr__(row, "kernel", failing)
    try:
        second = found_again(text, 1, str(tmp_path))
    finally:
        object.__setattr__(row, "kernel", np.matmul)
    assert not list(first.differences(second))


def test_command(capsys):
    assert main(["--programs", "2", "--seed", "5", "--quiet"]) == 0
    assert capsys.readouterr().out == "2 programs, 0 failed\n"
