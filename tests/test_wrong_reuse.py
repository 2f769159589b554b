"""The wrong results and hangs of the reference system, in their NumPy form, with the right answers.

Each program is run plain, then traced twice in one session (the second run meets a warm cache), and
must give the plain program's bits. Names W1 ... W17 are those of the project's list of defects.
"""

import threading

import numpy as np
import pytest

import lima
import lima.numpy

RNG = np.random.default_rng(2021)
SQUARE = RNG.standard_normal((60, 60))
TALL = RNG.standard_normal((300, 40))


def w1_gram_left_and_right(X):
    return X.T @ X, X @ X.T


def w4_product_of_appended_rows(X, D, Y):
    return X @ Y, np.vstack([X, D]) @ Y


def w5_columns_of_a_product(X, B, C):
    V = B @ C
    return X @ V, X @ V[:, 2:6]


def w6_product_of_a_changed_operand(X, V):
    return X @ V[:, :6], (X + 5) @ V[:, :4]


def w7_outputs_of_one_call(C):
    w, v = np.linalg.eigh(C + C.T)
    q, r = np.linalg.qr(C)
    return 3 * w, 3 * v, 2 * q, 2 * r


def w8_chains_of_the_same_shape(X, w, v):
    return X.T @ (w * (X @ v)), X.T @ ((X @ v) - w)


def w9_sort_parameters(x):
    up = np.sort(x, axis=0)
    down = -np.sort(-x, axis=0)
    across = np.sort(x, axis=1)
    stable = np.argsort(x, axis=0, kind="stable")
    return up + 1, down + 1, across + 1, stable, np.argsort(x, axis=1)


def w3_all_parts_of_a_concatenation(F1, F2, F3):
    G = F1.T @ F1
    Z = np.vstack([F1, F2, F3])
    return G, Z.T @ Z


def test_plain_arrays_in_one_buffer_meet_the_symmetric_kernel():
    """`X.T @ X` rounds differently from `X.T @ X.copy()`; `lima.numpy` is given plain arrays."""
    for n in range(3, 40):
        X = np.random.default_rng(n).standard_normal((n, n // 2 + 1)).astype("f4")
        with lima.session():
            for other in (X, X.copy(), X[:]):
                got = lima.numpy.matmul(X.T, other)
                assert np.asarray(got).tobytes() == np.matmul(X.T, other).tobytes()


CASES = [
    (w1_gram_left_and_right, (SQUARE,)),
    (w3_all_parts_of_a_concatenation, (TALL, TALL[:50] + 1, TALL[:70] * 2)),
    (w4_product_of_appended_rows, (TALL, RNG.standard_normal((50, 40)), SQUARE[:40])),
    (w5_columns_of_a_product, (TALL, SQUARE[:40], SQUARE[:, :30])),
    (w6_product_of_a_changed_operand, (TALL, SQUARE[:40, :30])),
    (w7_outputs_of_one_call, (SQUARE,)),
    (w8_chains_of_the_same_shape, (TALL, RNG.standard_normal(300), RNG.standard_normal(40))),
    (w9_sort_parameters, (SQUARE,)),
]


def assert_same(got, wanted):
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        assert type(g) is type(w)
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert g.tobytes() == w.tobytes()


@pytest.mark.parametrize("reuse", ["none", "operation", "hybrid"])
@pytest.mark.parametrize(("program", "args"), CASES, ids=lambda x: getattr(x, "__name__", ""))
def test_right_cold_and_warm(program, args, reuse, monkeypatch):
    monkeypatch.setattr("lima.runtime.MIN_EFFORT", 0)  # look up everything, however small
    wanted = program(*args)
    traced = lima.traced(program)
    with lima.session(reuse=reuse):
        for _ in range(3):
            assert_same(traced(*args), wanted)


@pytest.mark.parametrize("reuse", ["operation", "hybrid"])
def test_w2_w12_parts_read_from_files(tmp_path, reuse):
    """Gram of X, then of X with rows (columns) appended that were read from a file."""
    np.save(tmp_path / "x.npy", TALL)
    np.save(tmp_path / "d.npy", TALL[:80] * 3)
    np.savetxt(tmp_path / "e.csv", np.ones((300, 2)) * 7, delimiter=",")

    @lima.traced
    def gram(*parts, axis):
        Z = np.concatenate(parts, axis=axis)
        return Z.T @ Z

    X, D = np.load(tmp_path / "x.npy"), np.load(tmp_path / "d.npy")
    E = np.loadtxt(tmp_path / "e.csv", delimiter=",")
    with lima.session(reuse=reuse):
        for _ in range(2):
            for parts, axis in (((X,), 0), ((X, D), 0), ((X, E), 1), ((X, np.ones((300, 1))), 1)):
                Z = np.concatenate(parts, axis=axis)
                assert gram(*parts, axis=axis).tobytes() == (Z.T @ Z).tobytes()


@pytest.mark.parametrize("reuse", ["none", "operation", "hybrid"])
def test_w10_random_functions_are_not_frozen(reuse):
    @lima.traced
    def unseeded(n, use):
        return np.random.default_rng().random(n) if use else np.zeros(n)

    @lima.traced
    def called(f, n):
        return f(n)

    with lima.session(reuse=reuse):
        a, b = unseeded(2000, True), unseeded(2000, True)
        assert not np.array_equal(a, b)
        np.random.seed(5)
        first, second = (called(np.random.rand, 2000) for _ in range(2))
        np.random.seed(5)
        assert np.array_equal(first, np.random.rand(2000))
        assert np.array_equal(second, np.random.rand(2000))


@pytest.mark.parametrize("reuse", ["none", "operation", "hybrid"])
def test_w11_a_file_that_was_written_again(tmp_path, reuse):
    path = tmp_path / "a.npy"

    @lima.traced
    def total_of_file():
        return np.load(path).sum(axis=0)

    with lima.session(reuse=reuse):
        for k in range(3):
            np.save(path, np.full((200, 50), float(k)))
            assert np.array_equal(total_of_file(), np.full(50, 200.0 * k))
            assert lima.read(path).sum() == 10000.0 * k


def test_w13_an_operation_that_raises_releases_who_waits():
    singular = np.zeros((80, 80))
    meet = threading.Barrier(8)
    errors = []

    @lima.traced
    def solve(A, b):
        return np.linalg.solve(A, b)

    with lima.session():

        def work():
            meet.wait(timeout=60)
            try:
                solve(singular, np.ones(80))
            except np.linalg.LinAlgError as error:
                errors.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in threads)
        assert len(errors) == 8
        assert np.allclose(solve(np.eye(80), np.ones(80)), 1)


def test_w16_each_iteration_has_its_own_seed():
    @lima.traced
    def walk(steps):
        total = np.zeros(500)
        for k in range(steps):
            total = total + np.random.default_rng(k).standard_normal(500)
        return total

    wanted = walk.__wrapped__(4)
    with lima.session():
        got = walk(4)
        assert got.tobytes() == wanted.tobytes()
        record = lima.lineage(got)
        seeds = {node.spec.get("seed") for node in record.find("default_rng")}
        assert seeds == {0, 1, 2, 3}
        assert lima.recompute(record).tobytes() == wanted.tobytes()


def test_w17_a_function_that_prints_prints_every_time(capsys):
    @lima.traced
    def chatty(X):
        print("working")  # noqa: T201
        return X.T @ X

    with lima.session():
        for _ in range(3):
            chatty(TALL)
    assert capsys.readouterr().out == "working\n" * 3


def unaligned(a):
    """The same elements, one byte from where they should lie."""
    memory = np.zeros(sum(a.strides) * max(a.shape) + 1, np.uint8)
    made = np.ndarray(a.shape, a.dtype, memory, 1, a.strides)
    made[...] = a
    return made


UNALIGNED = {
    "a vector": (lambda a: a.reshape(-1), lambda x: np.sum(x)),
    "rows": (lambda a: a, lambda x: np.sum(x)),
    "columns": (np.asfortranarray, lambda x: np.sum(x)),
    "every other column": (lambda a: a[:, ::2], lambda x: np.add.reduce(x, axis=None)),
    "long doubles": (lambda a: np.asfortranarray(a.astype("g")), lambda x: np.sum(x)),
}


@pytest.mark.parametrize("name", UNALIGNED)
def test_what_is_not_aligned_is_added_up_in_another_order(name, tmp_path):
    form, function = UNALIGNED[name]
    a = form(RNG.standard_normal((300, 200)))
    b = unaligned(a)
    assert b.strides == a.strides and not b.flags.aligned
    wanted = [function(x) for x in (a, b)]
    with lima.session(exactness="bitwise") as session:
        session.cache.worth = session.call_seconds = -1.0
        traced = lima.traced(function)
        for _ in range(2):
            assert [traced(x) for x in (a, b)] == wanted
        assert traced.cache_info().hits == 2
        path = lima.save(tmp_path / "log", traced.lineage(b), leaf_data=True)
        log = lima.load_log(path)
        assert lima.recompute(log) == wanted[1]
        assert lima.recompute(log, inputs={"x": b.copy()}) == wanted[1]
