"""Unusual and hostile arguments of traced functions: a right result or a clear error, never a stale hit."""

import threading

import numpy as np
import pytest

import lima

X = np.random.default_rng(3).standard_normal((200, 30))


@lima.traced
def gram(X):
    return X.T @ X


@lima.traced
def total(x):
    return np.sum(x, axis=0)


def same(got, wanted):
    got, wanted = np.asarray(got), np.asarray(wanted)
    return (got.dtype, got.shape) == (wanted.dtype, wanted.shape) and (
        wanted.dtype.hasobject or got.tobytes() == wanted.tobytes()
    )


@pytest.mark.parametrize(
    "x",
    [
        X, X[::2], X[:, ::-1], np.asfortranarray(X), X[:0], X[:, :0], X.astype(np.float32), X.astype(complex),
        X.astype(">f8"), np.where(X > 1, np.nan, X), np.zeros((0, 0)), np.arange(12).reshape(3, 4), X > 0,
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)  # fmt: skip
def test_any_layout_and_dtype_has_the_plain_bits(x):
    wanted = gram.__wrapped__(x)
    read_only = x.copy()
    read_only.setflags(write=False)
    with lima.session():
        for _ in range(3):
            assert same(gram(x), wanted)
        assert same(gram(read_only), read_only.T @ read_only)


def test_object_arrays_are_right_and_never_hit():
    x = np.array([1, "a", None, 2.5], dtype=object)
    with lima.session() as s:
        assert total(np.array([1, 2, 3], dtype=object)) == 6
        for _ in range(2):
            with pytest.raises(TypeError):
                total(x)
        assert s.stats.function_hits == 0


def test_wrong_shapes_and_arguments_raise_as_plain_does():
    with lima.session():
        for _ in range(2):
            with pytest.raises(ValueError):
                lima.traced(lambda a, b: a @ b)(X, X)
            with pytest.raises(TypeError):
                gram(X, X)
            with pytest.raises(TypeError):
                gram()
            with pytest.raises(np.exceptions.AxisError):
                lima.traced(lambda a: a.sum(axis=5))(X)
            with pytest.raises(IndexError):
                lima.traced(lambda a: a[500])(X)


def test_unknown_objects_and_open_files_are_no_keys(tmp_path):
    path = tmp_path / "log.txt"
    seen = []
    with open(path, "w") as file, lima.session() as s:

        @lima.traced
        def noted(x):
            file.write("x")
            return x * 2

        @lima.traced
        def with_object(x, thing):
            seen.append(thing)
            return x + 1

        for _ in range(3):
            assert same(noted(X), X * 2)
            assert same(with_object(X, object()), X + 1)
            assert same(with_object(X, threading.Lock()), X + 1)
            assert same(lima.traced(lambda x, options: x * options["k"])(X, {"k": 3}), X * 3)
        assert s.stats.function_hits <= 2
    assert path.read_text() == "xxx"
    assert len(seen) == 6


def test_types_of_scalars_are_told_apart():
    @lima.traced
    def add(x, k):
        return x + k

    ints = np.arange(2000, dtype=np.float32)
    scalars = [1, 1.0, True, np.float64(1), np.float32(1), np.int64(1), -0.0, 0.0, complex(1)]
    with lima.session():
        for _ in range(2):
            for k in scalars:
                assert same(add(ints, k), ints + k)
                assert np.array_equal(np.signbit((add(ints, k)).real), np.signbit((ints + k).real))


def test_a_global_that_changes_in_place():
    weights = np.ones(30)

    @lima.traced
    def weighted(X):
        return X @ weights

    with lima.session():
        for k in range(4):
            weights[:] = k
            assert same(weighted(X), X @ weights)


def test_writing_into_a_result_leaves_the_next_hit_alone():
    with lima.session():
        first = gram(X)
        wanted = first.copy()
        first[:] = 7
        second = gram(X)
        assert second.flags.writeable
        assert same(second, wanted)
        assert not np.shares_memory(first, second)


def test_arguments_written_in_place_are_written_on_a_hit_too():
    @lima.traced
    def scale(x):
        x *= 2
        return x.sum()

    with lima.session():
        for _ in range(3):
            x = np.arange(5000.0)
            assert scale(x) == 2 * np.arange(5000.0).sum()
            assert same(x, 2 * np.arange(5000.0))


@pytest.mark.parametrize("bad", [lambda: (yield 1), "not a function", 3, type("C", (), {})])
def test_what_cannot_be_traced_is_refused(bad):
    with pytest.raises(lima.TracingError):
        lima.traced(bad)


@pytest.mark.parametrize(
    "options", [{"memory": "lots"}, {"reuse": "all"}, {"policy": "fifo"}, {"colour": 1}]
)
def test_unknown_options_are_refused(options):
    with pytest.raises(lima.ConfigError), lima.session(**options):
        pass


def test_eight_threads_get_the_same_and_compute_once():
    A = np.random.default_rng(0).standard_normal((20_000, 60))  # dear for its size: kept at once
    wanted = A.T @ A
    meet, results = threading.Barrier(8), []
    with lima.session() as s:

        def work():
            meet.wait(timeout=60)
            results.append(gram(A))

        threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert len(results) == 8
        assert all(same(r, wanted) for r in results)
        assert s.stats.computed == 1


@pytest.mark.parametrize("use", [
    lambda a, deep: np.add(a, deep), lambda a, deep: a + deep, lambda a, deep: np.sum(a, axis=deep),
    lambda a, deep: np.stack(deep), lambda a, deep: np.stack([a, deep]), lambda a, deep: a[deep],
])  # fmt: skip
def test_nesting_deeper_than_the_stack_is_an_error(use):
    deep = ()
    for _ in range(100_000):
        deep = (deep,)
    with lima.session(), pytest.raises((RecursionError, ValueError, IndexError, TypeError)):
        np.asarray(lima.traced(lambda a: use(a, deep))(np.ones(3)))


def test_a_list_that_holds_itself_is_an_error():
    endless = []
    endless.append(endless)

    def use(a):
        return np.add(a, endless)

    with lima.session(), pytest.raises((RecursionError, ValueError, TypeError)):
        np.asarray(lima.traced(use)(np.ones(3)))
