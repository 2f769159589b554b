"""Arrays of a stored call that are read when their elements are wanted, and not before."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import lima
from lima import objects, store, unread
from lima.objects import MAPPED_BYTES
from lima.store import Store

X = np.random.default_rng(23).standard_normal((400, 410))
assert X.nbytes > MAPPED_BYTES


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def calls_alone_are_stored(monkeypatch):
    """Whatever they take; operations by themselves would be found as such."""
    monkeypatch.setattr(store, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(store, "SECONDS_A_BYTE", 0.0)
    monkeypatch.setattr(lima.sessions, "CALL_SECONDS", 0.0)
    monkeypatch.setattr(Store, "offer", lambda *args: False)


@pytest.fixture
def reads(monkeypatch):
    """The large parts that are read."""
    seen = []
    plain = objects.read

    def read(part, folder):
        if part.nbytes >= MAPPED_BYTES:
            seen.append(part.name)
        return plain(part, folder)

    monkeypatch.setattr(objects, "read", read)
    return seen


@lima.traced
def many(X):
    shifted = X + 1.0
    return {
        "sorted": np.sort(X, axis=0),
        "sums": np.cumsum(shifted, axis=1),
        "turned": np.ascontiguousarray(np.linalg.qr(X, mode="r").T),
        "wide": np.asfortranarray(np.sort(shifted, axis=1)),
        "n": X.shape[0],
    }


FOLDERS = []


def spoil():
    for folder in FOLDERS:
        for file in (folder / "objects").iterdir():
            raw = bytearray(file.read_bytes())
            raw[-1] ^= 1
            file.write_bytes(raw)


def remove():
    for folder in FOLDERS:
        for file in (folder / "objects").iterdir():
            file.unlink()


def forget():
    """As `gc` of another process, or its making room, may clear away entry, files and lineage."""
    remove()
    for folder in FOLDERS:
        with Store(folder) as opened:
            opened.catalog.change(lambda w: w.execute("DELETE FROM entries"))
            opened.catalog.change(lambda w: w.execute("DELETE FROM parts"))
            opened.catalog.change(lambda w: w.execute("DELETE FROM nodes"))


def nothing():
    pass


HAPPENS = [nothing]


def happens():
    """What another program does meanwhile."""
    HAPPENS[0]()


def none(X):
    return many(X)["n"]


def one(X):
    found = many(X)
    happens()
    return found["sums"][3] * 2.0


def two(X):
    found = many(X)
    happens()
    return found["turned"].copy(), np.asarray(found["wide"] * 2.0)


def writes(X):
    found = many(X)
    happens()
    X[0] = 7.0
    return found["sums"] + 0.0, X.sum()


def changes(X):
    found = many(X)
    happens()
    found["sums"] += 1.0
    return found["sums"] + many(X)["sums"]


def waits(X):
    found = many(X * 2.0 - 1.0)
    happens()
    return found["sums"][:, 1].copy()


def again(X):
    first = many(X)["sums"]
    a = first[0].copy()
    del first
    happens()
    return a + many(X)["sums"][0]


def returns(X):
    found = many(X)
    happens()
    return found


def parts(X):
    """A call that is found in memory, whose arrays nobody has read yet."""
    many(X)
    happens()
    return many(X)["sorted"][2].copy()


PROGRAMS = [one, two, writes, changes, waits, again, returns, parts]


def run(path, function, *args, **options):
    traced = lima.traced(function)
    with lima.session(store=path, exactness="bitwise", **options) as session:
        found = traced(*args)
    return found, session


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        same(tuple(a.values()), tuple(b.values()))
    elif isinstance(a, np.ndarray | np.generic):
        assert (a.dtype, a.shape, a.strides) == (b.dtype, b.shape, b.strides)
        assert a.tobytes() == b.tobytes()
        assert not isinstance(a, np.ndarray) or a.flags.writeable == b.flags.writeable
    else:
        assert a == b


def plainly(function, *args):
    """What NumPy gives."""
    scope = function.__globals__
    traced = scope["many"]
    scope["many"] = traced.__wrapped__
    try:
        return function(*args)
    finally:
        scope["many"] = traced


@pytest.fixture
def filled(path, monkeypatch):
    """A store that has the calls of `many`, and nothing else."""
    monkeypatch.setitem(globals(), "HAPPENS", [nothing])
    monkeypatch.setitem(globals(), "FOLDERS", [path])
    run(path, lambda X: many(X)["n"] + many(X * 2.0 - 1.0)["n"], X.copy())
    many.cache_clear()
    return path


def test_only_what_is_wanted_is_read(filled, reads):
    for function, count in ((none, 0), (one, 1), (two, 2), (returns, 4)):
        del reads[:]
        found, session = run(filled, function, X.copy())
        same(found, plainly(function, X.copy()))
        assert len(reads) == count, function.__name__
        assert session.stats.store_hits >= 1


def test_arguments_of_what_is_read_are_not_computed(filled, reads):
    found, session = run(filled, waits, X.copy())
    same(found, plainly(waits, X.copy()))
    assert len(reads) == 1
    assert session.stats.computed <= 1  # the copy


def test_plain_code_gets_arrays_that_were_compared(filled, reads):
    """There is no other moment for it."""
    with lima.session(store=filled, exactness="bitwise"):
        found = many(X.copy())
    same(found, many.__wrapped__(X.copy()))
    assert len(reads) == 4


@pytest.mark.parametrize("fault", [nothing, spoil, remove, forget])
@pytest.mark.parametrize("function", PROGRAMS)
def test_what_goes_or_breaks_meanwhile_is_computed(function, fault, filled):
    plain = plainly(function, X.copy())
    HAPPENS[0] = fault
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, _ = run(filled, function, X.copy())
    same(found, plain)
    told = [w for w in caught if issubclass(w.category, lima.StoreWarning)]
    assert len(told) <= 1
    assert told or fault is not spoil or function is changes
    assert not told or fault is not nothing
    HAPPENS[0] = nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lima.StoreWarning)  # of what was read before it broke
        found, _ = run(filled, function, X.copy())
    same(found, plain)


def test_what_rules_had_a_part_in_is_read_at_once(path, reads):
    """Its bits are not those that its recipe would give."""

    def grams(X):
        G = X.T @ X
        return G, np.hstack([X, X[:, :1]]).T @ np.hstack([X, X[:, :1]])

    inner = lima.traced(grams)

    def first(X):
        return inner(X)[0].shape[0]

    for _ in range(2):
        traced = lima.traced(first)
        del reads[:]
        inner.cache_clear()
        with lima.session(store=path) as session:
            assert traced(X.copy()) == 410
    assert session.stats.store_hits >= 1
    assert len(reads) == 1 or not session.stats.partial


def test_a_recipe_that_is_long_for_its_array_is_not_read(filled, reads, monkeypatch):
    monkeypatch.setattr(unread, "BYTES_A_NODE", 1 << 30)
    found, _ = run(filled, one, X.copy())
    same(found, plainly(one, X.copy()))
    assert len(reads) == 4


def test_a_recipe_that_begins_elsewhere_is_not_followed(path, reads):
    """With an array that the call was not given: plain code may have written it since."""
    GIVEN = X * 3.0

    def adds(X):
        return np.sort(X + GIVEN, axis=0), X.shape[0]

    inner = lima.traced(adds)
    for count in (0, 1):
        del reads[:]
        inner.cache_clear()
        with lima.session(store=path, exactness="bitwise"):
            traced = lima.traced(lambda X, more=count: inner(X)[1] + more)
            assert traced(X.copy()) == 400 + count
        assert len(reads) == count, inner.cache_info()


def test_records_of_older_versions_are_read_at_once(filled, reads, monkeypatch):
    monkeypatch.setattr(unread, "_waiting", lambda text: [])
    found, _ = run(filled, one, X.copy())
    same(found, plainly(one, X.copy()))
    assert len(reads) == 4


def test_lineage_is_that_of_the_operations(filled):
    traced = lima.traced(one)
    with lima.session(store=filled, exactness="bitwise"):
        lineage = traced.lineage(X)
        text = lineage.log()
        assert "cumsum" in text
        assert "read(" not in text
        found = lima.recompute(lineage, {"X": X})
    same(found, plainly(one, X.copy()))


# --------------------------------------------------------------------------- arrays set apart


def apart_of(path):
    """A store in which an array of a call is set apart, and what `find` gives of it."""
    opened = Store(path)
    calls = [opened.find(bytes.fromhex(row.key)) for row in opened.ls()]
    found = max(calls, key=lambda call: len(call.parts))
    part = max(found.parts, key=lambda part: part.nbytes)
    key = bytes(16)
    one = found._replace(key=key, kind="one", parts=(part,))
    opened.set_apart(one, found)
    return opened, one, found


def test_an_array_set_apart_is_found_by_its_own_digest(filled):
    opened, one, _ = apart_of(filled)
    with opened:
        assert opened.find(one.key) == one
        assert opened.read(one).shape == one.parts[0].form.shape


@pytest.mark.parametrize("dearer", [False, True], ids=["the same entry", "as another call has it"])
def test_one_that_has_gone_is_not_asked_for_again(filled, dearer):
    """And the call goes that it was a part of, so that it can be stored again."""
    opened, one, call = apart_of(filled)
    with opened, warnings.catch_warnings():
        warnings.simplefilter("ignore", lima.StoreWarning)
        asked = one._replace(seconds=one.seconds * 2) if dearer else one
        remove()
        assert opened.read(asked) is None
        assert opened.find(one.key) is None
        assert opened.find(call.key, now=True) is None


def test_arrays_of_two_environments_are_kept_apart(filled):
    """Of which a session with `environment="any"` may read both."""
    opened, one, call = apart_of(filled)
    other = max((p for p in call.parts if p != one.parts[0]), key=lambda part: part.nbytes)
    with opened:
        first = opened.read(one)
        second = opened.read(one._replace(env=b"other", parts=(other,)))
        assert first.tobytes() != second.tobytes()
        assert opened.read(one) is first
