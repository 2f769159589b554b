"""The store on disk: what one process computed another finds, and no fault of a disk is a fault."""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import tomllib
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import behind, cli, folder, known, objects, store, writing
from lima.node import Node, Spec, leaf
from lima.objects import MAPPED_BYTES, Broken
from lima.store import Store

RNG = np.random.default_rng(17)
SMALL = RNG.standard_normal((120, 40))
LARGE = MAPPED_BYTES // 8 + 1000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def everything_is_worth_it(monkeypatch):
    """What is stored must not depend on how fast this machine is."""
    monkeypatch.setattr(store, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(store, "SECONDS_A_BYTE", 0.0)


@pytest.fixture(autouse=True)
def silence():
    """A warning that a test does not expect is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", lima.StoreWarning)
        yield


def node(k: object) -> Node:
    return Node(Spec("sqrt"), (leaf(np.float64(zlib.crc32(repr(k).encode())), "x"),))


def put(opened: Store, key: object, value: object, seconds: float = 1.0, wrap=None) -> bytes:
    assert opened.offer(node(key), value, seconds, wrap)
    opened.flush()
    return node(key).digest


def got(opened: Store, key: bytes, wrap=None) -> object:
    found = opened.find(key)
    return None if found is None else opened.read(found, wrap)


def inverse(X):
    return np.linalg.inv(X.T @ X)


def run(path, function=inverse, *args, **options):
    """What a traced function returns in a session of its own, its store hits and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with lima.session(store=path, **options) as session:
            found = lima.traced(function)(*(args or (SMALL.copy(),)))
        told = [str(w.message) for w in caught if issubclass(w.category, lima.StoreWarning)]
    return found, session.stats.store_hits, told


def same_bits(a, b):
    assert type(a) is type(b)
    assert (a.dtype, a.shape, a.strides) == (b.dtype, b.shape, b.strides)
    assert a.tobytes() == b.tobytes()


def files(path):
    return sorted((path / "objects").iterdir(), key=lambda p: p.stat().st_size)


# --------------------------------------------------------------------------- hits

PROGRAM = """
import sys, numpy as np, lima
from lima import store
store.LEAST_SECONDS = store.SECONDS_A_BYTE = 0.0
X = np.random.default_rng(3).standard_normal((900, 200))

@lima.traced
def model(X):
    G = X.T @ X
    values, vectors = np.linalg.eigh(G)
    return np.linalg.inv(G), values, vectors, np.linalg.slogdet(G), np.asfortranarray(X @ G)

with lima.session(store=sys.argv[1], reuse="partial") as s:  # no whole calls
    found = model(X)
print(s.stats.store_hits, s.stats.computed)
G = X.T @ X
values, vectors = np.linalg.eigh(G)
plain = np.linalg.inv(G), values, vectors, np.linalg.slogdet(G), np.asfortranarray(X @ G)
for a, b in zip((*found[:3], *found[3], found[4]), (*plain[:3], *plain[3], plain[4])):
    assert type(a) is type(b) and a.dtype == b.dtype and a.strides == b.strides, (a, b)
    assert a.tobytes() == b.tobytes()
    assert type(a) is not np.ndarray or a.flags.writeable
"""


def test_another_process_finds_what_the_first_computed(path):
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, path],
            env={**os.environ, "PYTHONPATH": str(Path(lima.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "StoreWarning" not in done.stderr
        said.append(tuple(map(int, done.stdout.split())))
    assert said[0][0] == 0
    assert said[1][0] >= 4
    assert said[1][1] < said[0][1]


def test_a_hit_has_numpys_bits_and_belongs_to_the_caller(path):
    plain = inverse(SMALL)
    for hits in (0, 1):
        found, stored, told = run(path)
        same_bits(found, plain)
        assert found.flags.writeable
        assert told == []
        assert (stored > 0) == hits
        found[:] = 0  # does no harm to the next


def test_explain_counts_a_stored_result_as_a_hit(path):
    run(path)
    with lima.session(store=path):
        X = lima.array(SMALL)
        found = np.linalg.inv(X.T @ X)
        np.asarray(found)
        assert lima.explain(found).counts()["hit"] >= 1


def test_what_differs_in_any_parameter_is_not_a_hit(path):
    def decompose(X, mode):
        return np.linalg.qr(X, mode=mode)

    for mode in ("reduced", "complete", "r"):
        plain = np.linalg.qr(SMALL, mode=mode)
        for _ in range(2):
            found, _, _ = run(path, decompose, SMALL, mode)
            for a, b in zip(np.atleast_1d(*found), np.atleast_1d(*plain)):
                assert a.tobytes() == b.tobytes()


def test_inputs_of_what_is_needed_are_neither_computed_nor_read(path):
    A = RNG.standard_normal((400, 400))

    def chain(A):
        B = A @ A  # as large as what is mapped
        return np.linalg.inv(B)[0]

    plain = chain(A)
    run(path, chain, A)
    with Store(path) as opened:
        product = next(row for row in opened.ls() if row.operation.startswith("matmul"))
        found = opened.find(bytes.fromhex(product.key))
        (path / "objects" / f"{found.parts[0].name.hex()}.npy").unlink()
    found, hits, told = run(path, chain, A)
    same_bits(found, plain)
    assert hits >= 1
    assert told == []  # nobody wanted to read it


def test_a_result_that_waits_is_computed_where_its_file_has_gone(path):
    A = RNG.standard_normal((400, 400))

    def product(A):
        return A @ A

    run(path, product, A)
    for file in files(path):
        file.unlink()
    found, hits, told = run(path, product, A)
    same_bits(found, A @ A)
    assert (hits, len(told)) == (0, 1)
    assert "missing" in told[0]


def test_an_argument_that_is_written_while_a_result_waits(path):
    A = RNG.standard_normal((400, 400))

    def write(A):
        B = A @ A
        A[:] = 1
        return B, A

    plain = write(A.copy())
    for _ in range(2):
        given = A.copy()
        found, _, _ = run(path, write, given)
        same_bits(found[0], plain[0])
        same_bits(given, plain[1])


def test_derived_results_are_not_stored(path):
    A, b = RNG.standard_normal((3000, 60)), RNG.standard_normal((3000, 1))

    def grown(A, b):
        first = A.T @ A
        both = np.hstack([A, b])
        return first, np.linalg.inv(both.T @ both)

    rounding, _, _ = run(path, grown, A, b, exactness="rounding")
    bitwise, _, told = run(path, grown, A, b, exactness="bitwise")
    plain = grown(A, b)
    assert told == []
    for a, p in zip(bitwise, plain):
        same_bits(a, p)
    np.testing.assert_allclose(rounding[1], plain[1], rtol=1e-6)


def test_without_a_store_there_is_none():
    with lima.session() as session:
        assert session.store is None


# --------------------------------------------------------------------------- values

BIG = np.arange(float(LARGE))
VALUES = {
    "c": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "turned": np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0).copy("K"),
    "turned by name": np.zeros((4, 2, 3), "f4").transpose(1, 0, 2).copy("K"),
    "zero-dimensional": np.array(2.5),
    "empty": np.zeros((0, 3)),
    "empty large": np.zeros((5, 0, 2), "F"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j, np.nan]),
    "long": np.arange(5, dtype=np.longdouble),
    "big-endian": np.arange(600, dtype=">i4"),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"a\0", b""]),
    "time": np.array(["2024-01-01", "NaT"], "M8[D]"),
    "duration": np.arange(3).astype("m8[25s]"),
    "number": np.float32(1.5),
    "flag": np.bool_(True),
    "signed zeros": np.array([0.0, -0.0, np.nan]),
    "line": np.arange(2000.0).reshape(1, 2000),
    "column": np.arange(2000.0).reshape(2000, 1),
    "large": BIG,
    "large fortran": np.asfortranarray(BIG[: 2 * (LARGE // 2)].reshape(-1, 2)),
    "large turned": BIG[: 6 * (LARGE // 6)].reshape(3, 2, -1).transpose(2, 0, 1).copy("K"),
    "pair": (np.arange(3.0), np.int64(7)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_they_were(name, path):
    value = VALUES[name]
    with Store(path) as opened:
        key = put(opened, name, value)
    with Store(path) as opened:
        found = got(opened, key)
        pairs = zip(found, value) if name == "pair" else [(found, value)]
        for a, b in pairs:
            same_bits(a, b)
            if isinstance(a, np.ndarray):
                assert not a.flags.writeable
                assert a.flags.aligned == b.flags.aligned
        assert opened.verify() == []


def test_a_named_tuple_comes_back_as_one(path):
    value = np.linalg.slogdet(np.eye(3))
    with Store(path) as opened:
        key = put(opened, "named", value, wrap=type(value))
        assert got(opened, key, type(value)) == value
        assert type(got(opened, key, type(value))) is type(value)


class Mine(np.ndarray):
    pass


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, None], dtype=object),
        (np.zeros(2), np.array([{}], dtype=object)),
        np.zeros(3, [("a", "f8"), ("b", "O")]),
        np.zeros(3, [("a", "f8")]),
        np.void(b"abc"),
        np.zeros(3).view(Mine),
        np.ma.masked_array([1.0], [True]),
        "text",
        [np.zeros(2)],
        {"a": 1},
        np.zeros(10)[::2],
        np.broadcast_to(np.zeros(3), (4, 3)),
        np.linalg.slogdet(np.eye(2)),  # of an operation that gives another kind of tuple
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_no_file_holds_exactly_is_refused(value, path):
    with Store(path) as opened:
        assert not opened.offer(node("refused"), value, 1.0)
        opened.flush()
        assert opened.info()["entries"] == 0


def test_what_no_other_process_can_ask_for_is_not_stored(path):
    with Store(path) as opened:
        one_of_a_kind = leaf(np.array([object()], dtype=object))
        opened.offer(Node(Spec("sqrt"), (one_of_a_kind,)), np.zeros(3), 1.0)
        opened.flush()
        assert opened.info()["entries"] == 0


def test_a_lineage_out_of_proportion_is_not_stored(path):
    x = node("long")
    for _ in range(200_000):
        x = Node(Spec("sqrt"), (x,))
    with Store(path) as opened:
        opened.offer(x, np.zeros(3), 1e-3)
        opened.flush()
        assert opened.info()["entries"] == 0


def test_cheap_results_are_not_stored(path, monkeypatch):
    monkeypatch.undo()
    with Store(path) as opened:
        assert not opened.offer(node("cheap"), np.zeros(3), 1e-4)
        assert not opened.offer(node("cheap"), np.zeros(1 << 20), 2e-3)
        assert opened.offer(node("dear"), np.zeros(3), 1.0)


def test_what_waits_to_be_written_is_bounded(path, monkeypatch):
    with Store(path) as opened:
        go = threading.Event()
        opened.writer.behind.work = lambda item: go.wait(60)
        monkeypatch.setattr(behind, "MAX_HELD", 1000)
        taken = [opened.offer(node(k), np.zeros(100), 1.0) for k in range(5)]
        go.set()
        assert taken[0]
        assert not all(taken)


# --------------------------------------------------------------------------- faults of files


def flip(file, place=-1):
    raw = bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)


def replace_by(make):
    def fault(file):
        file.unlink()
        make(file)

    return fault


def lie(file):
    """A header that promises far more than there is."""
    raw = file.read_bytes()
    file.write_bytes(re.sub(rb"\((40+), 40+\), \}  ", rb"(9\1, \1), } ", raw, count=1))


FAULTS = {
    "a bit": flip,
    "a bit of the header": lambda f: flip(f, 20),
    "cut off": lambda f: os.truncate(f, f.stat().st_size - 8),
    "emptied": lambda f: os.truncate(f, 0),
    "longer": lambda f: f.write_bytes(f.read_bytes() + b"more"),
    "zeros": lambda f: f.write_bytes(bytes(f.stat().st_size)),
    "huge": lambda f: os.truncate(f, 1 << 40),
    "missing": Path.unlink,
    "a folder": replace_by(Path.mkdir),
    "a link": replace_by(lambda f: f.symlink_to("/dev/zero")),
    "a pipe": replace_by(os.mkfifo),
    "a lie": lie,
}


@pytest.mark.parametrize("size", [40, 400], ids=["read", "mapped"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_file_is_a_miss_and_one_warning(name, size, path):
    X = RNG.standard_normal((500, size))
    plain = inverse(X)
    run(path, inverse, X)
    for file in files(path):
        FAULTS[name](file)
    with Store(path) as opened:
        assert opened.verify()
    found, hits, told = run(path, inverse, X)
    same_bits(found, plain)
    assert hits == 0
    assert len(told) >= 1
    with Store(path) as opened:
        opened.gc()
        assert opened.verify() == []
    run(path, inverse, X)
    found, hits, told = run(path, inverse, X)
    same_bits(found, plain)
    assert hits >= 1
    assert told == []


def sql(path, *statements):
    with sqlite3.connect(path / "index.sqlite") as opened:
        for statement in statements:
            opened.execute(*(statement if isinstance(statement, tuple) else (statement,)))
    opened.close()


def without_log(path):
    """Let SQLite take what is in its log into the index, and delete the log."""
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert not (path / "index.sqlite-wal").exists()


def scramble(path):
    raw = bytearray((path / "index.sqlite").read_bytes())
    for place in range(4096, len(raw), 7):
        raw[place] ^= 0x55
    (path / "index.sqlite").write_bytes(raw)


EVIL = b"../../../../etc/hosts"
INDEX_FAULTS = {
    "no index": lambda p: (p / "index.sqlite").write_bytes(b"no index" * 1000),
    "emptied": lambda p: os.truncate(p / "index.sqlite", 0),
    "cut off": lambda p: os.truncate(p / "index.sqlite", 8192),
    "scrambled": scramble,
    "a newer version": lambda p: sql(p, "PRAGMA user_version=99"),
    "another program's": lambda p: sql(p, "PRAGMA application_id=5"),
    "a trigger": lambda p: sql(
        p, "CREATE TRIGGER t AFTER INSERT ON nodes BEGIN DELETE FROM entries; END"
    ),
    "a view": lambda p: sql(
        p, "DROP TABLE parts", "CREATE VIEW parts AS SELECT * FROM entries, nodes"
    ),
    "exchanged keys": lambda p: sql(
        p,
        "UPDATE parts SET key = zeroblob(16) || key",
        "UPDATE entries SET key = zeroblob(16) || key",
    ),
    "a path for a digest": lambda p: sql(p, ("UPDATE parts SET object = ?", (EVIL,))),
    "text for a digest": lambda p: sql(p, ("UPDATE parts SET object = ?", (EVIL.decode(),))),
    "exchanged objects": lambda p: sql(
        p, "UPDATE parts SET object = (SELECT max(object) FROM parts), inline = NULL"
    ),
    "another form": lambda p: sql(p, """UPDATE parts SET form='["|O",[1],[8],false]'"""),
    "a wrong shape": lambda p: sql(p, "UPDATE parts SET form=replace(form, '40', '80')"),
    "no parts": lambda p: sql(p, "DELETE FROM parts"),
    "other types": lambda p: sql(p, "UPDATE entries SET seconds='x', height='y', parts='z'"),
    "nothing but nulls": lambda p: sql(
        p, "UPDATE parts SET object=NULL, nbytes=NULL, form=NULL, inline=NULL, seal=NULL"
    ),
    "numbers": lambda p: sql(p, "UPDATE parts SET object=1, nbytes=-1, form=2, inline=3, seal=4"),
}


@pytest.fixture
def logs(monkeypatch):
    """As if each process were killed in the end: what it wrote is in SQLite's log."""
    monkeypatch.setattr("lima.catalog.Catalog._leaves_log", lambda self: True)


@pytest.mark.parametrize("log", [True, False], ids=["log", "no log"])
@pytest.mark.parametrize("name", INDEX_FAULTS)
def test_a_broken_index_is_a_miss(name, log, path, logs):
    plain = inverse(SMALL)
    run(path)
    if not log:
        without_log(path)
    INDEX_FAULTS[name](path)
    for _ in range(2):
        found, _, _ = run(path)
        same_bits(found, plain)
    assert cli.main(["store", "gc", str(path)]) in (0, 1)


LOG_FAULTS = {
    "emptied": lambda f: os.truncate(f, 0),
    "cut off": lambda f: os.truncate(f, f.stat().st_size // 2),
    "missing": Path.unlink,
    "zeros": lambda f: f.write_bytes(bytes(f.stat().st_size)),
    "noise": lambda f: f.write_bytes(RNG.bytes(f.stat().st_size)),
    "a bit": flip,
    "a bit of the header": lambda f: flip(f, 20),
}


@pytest.mark.parametrize("half", [True, False], ids=["half", "whole"])
@pytest.mark.parametrize("name", LOG_FAULTS)
def test_a_broken_log_of_the_index_is_a_miss(name, half, path, logs):
    """What a session leaves in SQLite's log, all of it or on top of an index, may be lost."""
    plain = inverse(SMALL)
    if half:
        run(path, inverse, SMALL + 1)
        without_log(path)
    run(path)
    LOG_FAULTS[name](path / "index.sqlite-wal")
    for _ in range(2):
        found, _, _ = run(path)
        same_bits(found, plain)
    assert cli.main(["store", "gc", str(path)]) in (0, 1)


def test_who_only_looks_does_not_wait_for_the_disk(path, monkeypatch):
    log = path / "index.sqlite-wal"
    run(path)
    assert not log.exists()  # values were written
    for hits in range(1, 3):
        assert run(path)[1] >= 1
        assert log.stat().st_size > 0
        with Store(path) as opened:
            assert opened.catalog._writer is None
            assert {row.hits for row in opened.ls()} >= {hits}
    monkeypatch.setattr("lima.catalog.SHORT_LOG", 0)
    assert run(path)[1] >= 1
    assert not log.exists()


def test_a_digest_is_sixteen_bytes_and_nothing_else():
    for name in (EVIL, EVIL[:16].decode(), b"", None, 7, bytearray(16)):
        with pytest.raises(Broken):
            objects.file_name(name)
    assert objects.file_name(EVIL[:16]) == EVIL[:16].hex() + ".npy"


class Bomb:
    def __reduce__(self):
        return (os._exit, (3,))


def test_a_pickle_is_never_read(path):
    """Not even where everything about it has been forged."""
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    raw = stream.getvalue()
    for form in ('["|O", [1], [8], false]', '["<f8", [1], [8], false]'):
        name = store.xxh3_128_digest(raw)
        try:
            part = objects.Part(name, len(raw), objects.read_form(form), raw)
        except Broken:
            continue
        with pytest.raises(Broken):
            objects.read(part, path)
    sources = Path(store.__file__).parent.glob("*.py")
    texts = {p.name: p.read_text("utf-8") for p in sources}
    for name in (
        "store",
        "objects",
        "catalog",
        "ancestry",
        "upkeep",
        "behind",
        "folder",
        "writing",
    ):
        assert "import pickle" not in texts[f"{name}.py"]
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(b"no pickle")  # the module is there, and was not needed


def test_a_full_disk_stops_the_writing_with_one_warning(path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(objects, "write", full)
    A = RNG.standard_normal((100, 100))
    found, _, told = run(path, inverse, A)
    same_bits(found, inverse(A))
    assert len(told) == 1
    assert "No space left" in told[0]


def test_a_full_index_stops_the_writing_with_one_warning(path, monkeypatch):
    def full(*args):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(writing, "insert", full)
    found, _, told = run(path)
    same_bits(found, inverse(SMALL))
    assert len(told) == 1


def test_a_store_that_cannot_be_written_is_read(path, monkeypatch):
    run(path)
    before = {p: p.stat().st_mtime_ns for p in files(path)}
    monkeypatch.setattr(folder.os, "access", lambda p, mode: mode != os.W_OK)
    found, hits, told = run(path)
    same_bits(found, inverse(SMALL))
    assert hits >= 1
    assert told == []
    run(path, inverse, SMALL + 1)
    assert {p: p.stat().st_mtime_ns for p in files(path)} == before


@pytest.mark.parametrize("make", [Path.write_text, None], ids=["a file", "another folder"])
def test_what_is_no_store_is_left_alone(make, path):
    if make is not None:
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "thesis.txt").write_text("mine")
    found, _, told = run(path)
    same_bits(found, inverse(SMALL))
    assert len(told) == 1
    left = path if make is not None else path / "thesis.txt"
    assert left.read_text() == "mine"
    assert make is not None or len(list(path.iterdir())) == 1
    with pytest.raises(lima.StoreError):
        Store(path)


def test_links_inside_a_store_are_refused(path, tmp_path):
    Store(path).close()
    (path / "objects").rmdir()
    (path / "objects").symlink_to(tmp_path)
    with pytest.raises(lima.StoreError, match="link"):
        Store(path)


def test_a_network_mount_is_refused_with_advice(tmp_path, monkeypatch):
    table = tmp_path / "mounts"
    table.write_text(
        "1 0 0:1 / / rw shared:1 - ext4 /dev/a rw\n"
        f"2 1 0:2 / {tmp_path}/far\\040away rw - nfs4 server:/x rw\n"
    )
    assert folder.mounted_as(tmp_path / "far away" / "store", str(table)) == "nfs4"
    assert folder.mounted_as(tmp_path / "near", str(table)) == "ext4"
    assert folder.mounted_as(tmp_path, str(tmp_path / "none")) == ""
    monkeypatch.setattr(folder, "mounted_as", lambda path: "nfs4")
    with pytest.raises(lima.StoreError, match="disk of this machine"):
        Store(tmp_path / "store")


def test_the_folder_is_private_and_marked(path):
    Store(path).close()
    assert path.stat().st_mode & 0o777 == 0o700
    assert (
        (path / "CACHEDIR.TAG")
        .read_text()
        .startswith("Signature: 8a477f597d28d172789f06886806bc55")
    )
    assert (path / ".gitignore").read_text() == "*\n"


# --------------------------------------------------------------------------- environments


def test_values_of_another_environment_are_not_used(path, monkeypatch):
    run(path)
    facts = store.numeric()
    monkeypatch.setattr(store, "numeric", lambda: {**facts, "threads": "77"})
    _, hits, _ = run(path)
    assert hits == 0
    _, hits, _ = run(path)  # its own
    assert hits >= 1


def test_any_environment_is_used_if_the_user_says_so(path, monkeypatch):
    run(path)
    facts = store.numeric()
    monkeypatch.setattr(store, "numeric", lambda: {**facts, "numpy": "1.0"})
    _, hits, _ = run(path, environment="any")
    assert hits >= 1


def test_what_was_made_of_foreign_values_is_not_taken_for_own(path, monkeypatch):
    def gram(X):
        return X.T @ X

    run(path, gram)
    facts = store.numeric()
    monkeypatch.setattr(store, "numeric", lambda: {**facts, "numpy": "1.0"})
    _, hits, _ = run(path, environment="any")  # the inverse of a foreign product
    assert hits == 1
    _, hits, _ = run(path)
    assert hits == 0


def test_a_change_of_threads_amid_a_session_ends_its_use(path, monkeypatch):
    facts = store.numeric()
    with Store(path) as opened:
        key = put(opened, "a", np.arange(3.0))
        monkeypatch.setattr(store, "numeric", lambda: {**facts, "threads": "77"})
        assert opened.find(key) is None
        assert not opened.offer(node("b"), np.zeros(3), 1.0)


def test_what_is_computed_after_a_change_of_threads_is_not_for_others(path, monkeypatch):
    facts = store.numeric()
    with Store(path) as opened:
        put(opened, "a", np.arange(3.0))
        monkeypatch.setattr(store, "numeric", lambda: {**facts, "threads": "77"})
        assert opened.find(node("a").digest) is None
        monkeypatch.setattr(store, "numeric", lambda: facts)
        assert got(opened, put(opened, "b", np.arange(4.0))) is None
        assert got(opened, node("a").digest) is not None
    with Store(path) as opened:
        assert opened.find(node("b").digest) is None


# --------------------------------------------------------------------------- budget, upkeep


def test_the_budget_holds_and_the_dearest_stay(path):
    size = 100_000
    with Store(path, budget=10 * size) as opened:
        for k in range(30):
            put(opened, k, np.full(size // 8 - 100, float(k)), seconds=10.0 if k % 10 == 0 else 0.1)
        facts = opened.info()
        assert facts["bytes"] <= 10 * size
        assert facts["bytes of files"] <= 10 * size
        left = {row.key for row in opened.ls()}
        assert {node(k).digest.hex() for k in (0, 10, 20)} <= left
        assert opened.verify() == []


def test_what_is_used_outlives_what_is_not(path):
    size = 100_000
    with Store(path, budget=5 * size) as opened:
        kept = put(opened, "used", np.full(size // 8 - 100, 0.5), seconds=1.0)
        for k in range(40):
            put(opened, k, np.full(size // 8 - 100, float(k)), seconds=1.0)
            assert got(opened, kept) is not None, k
            opened.flush()


def test_equal_values_share_a_file(path):
    value = np.arange(5000.0)
    with Store(path) as opened:
        one, other = put(opened, "one", value.copy()), put(opened, "other", value.copy())
        assert opened.info()["files"] == 1
        opened.catalog.change(lambda w: store.forget(w, one, opened.env))
        opened.gc()
        assert got(opened, other) is not None
        assert opened.info()["files"] == 1


def test_gc_takes_what_nobody_refers_to(path):
    with Store(path) as opened:
        put(opened, "a", np.arange(5000.0))
        (path / "objects" / f"{bytes(16).hex()}.npy").write_bytes(bytes(1000))
        (path / "aside" / "left-behind").write_bytes(bytes(500))
        (path / "objects" / "not-ours.txt").write_text("kept")
        cleared = opened.gc()
        assert (cleared.entries, cleared.nbytes) == (0, 1500)
        assert (path / "objects" / "not-ours.txt").exists()
        assert opened.gc(budget=0).entries == 1
        assert opened.info()["nodes"] == 0
        key = put(opened, "a", np.arange(5000.0))  # its lineage as well, once more
        assert "sqrt" in opened.log(key.hex())


def test_lineage_is_found_without_the_values(path):
    run(path)
    for file in files(path):
        file.unlink()
    with Store(path) as opened, lima.session():
        key = next(row.key for row in opened.ls() if row.operation.startswith("linalg.inv"))
        told = opened.log(key[:12])
        assert told == opened.log(key)
        record = lima.record.loads(told)
        result = lima.recompute(record, {record.leaves[0].digest.hex(): SMALL})
        same_bits(result, inverse(SMALL))
        for wrong in ("zz", "00" * 16, ""):
            if wrong or len(opened.ls()) > 1:
                with pytest.raises(lima.StoreError):
                    opened.log(wrong)


@pytest.mark.parametrize(
    "fault",
    ["inputs = 5", "inputs = zeroblob(7)", "text = NULL", "text = 'import os'", "inputs = digest"],
)
def test_damaged_lineage_is_told(fault, path):
    run(path)
    sql(path, f"UPDATE nodes SET {fault}")
    with Store(path) as opened:
        for row in opened.ls():
            with pytest.raises(lima.StoreError):
                opened.log(row.key)


# --------------------------------------------------------------------------- processes


def value_of(k):
    """The one right value for `k`, of a size that goes to a file, and is mapped now and then."""
    return np.full(1000 + (LARGE if k % 16 == 0 else 0), float(k))


def write_for_ever(path, seed, report):
    order = random.Random(seed)
    opened = Store(path)
    while True:
        k = order.randrange(200)
        opened.offer(node(k), value_of(k), 1.0)
        opened.flush()
        os.write(report, b".")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_writers_may_be_killed_at_any_moment(path):
    """Readers never see a broken value, and what was written before stays."""
    order = random.Random(5)
    reader = Store(path)
    seen: set[int] = set()
    for turn in range(30):
        hears, speaks = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(hears)
                write_for_ever(path, turn, speaks)
            finally:
                os._exit(1)
        os.close(speaks)
        for _ in range(order.randrange(1, 6)):
            os.read(hears, 1)
            for k in order.sample(range(200), 20):
                found = got(reader, node(k).digest)
                if found is not None:
                    same_bits(found, value_of(k))
                    seen.add(k)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(hears)
    assert seen
    for k in seen:
        same_bits(got(reader, node(k).digest), value_of(k))
    assert reader.verify() == []
    reader.gc()
    facts = reader.info()
    assert facts["bytes of files"] == facts["bytes"]
    assert list((path / "aside").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_the_store_of_its_parent(path):
    with Store(path) as opened:
        put(opened, "before", np.arange(2000.0))
        child = os.fork()
        if child == 0:
            ok = False
            try:
                ok = np.array_equal(got(opened, node("before").digest), np.arange(2000.0))
                put(opened, "child", np.arange(3000.0))
            finally:
                os._exit(0 if ok else 1)
        put(opened, "parent", np.arange(4000.0))
        _, status = os.waitpid(child, 0)
        assert status == 0
        same_bits(got(opened, node("child").digest), np.arange(3000.0))
        same_bits(got(opened, node("parent").digest), np.arange(4000.0))
        assert opened.verify() == []


def test_two_sessions_at_once(path):
    plain = inverse(SMALL)
    with lima.session(store=path) as one, lima.session(store=path) as other:
        with Store(path) as third:
            same_bits(np.asarray(inverse(lima.array(SMALL))), plain)
            other.store.flush()
            assert third.ls()
            third.gc(budget=0)
        assert one.store.ls() == []


def test_what_another_adds_is_seen_after_a_while(path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(known, "monotonic", lambda: now[0])
    with Store(path) as one, Store(path) as other:
        for k in range(3):
            assert one.find(node(k).digest) is None
            put(other, k, np.arange(3.0))
            assert other.find(node(k).digest) is not None
            now[0] += 2 * known.LAG
            assert one.find(node(k).digest) is not None
        monkeypatch.setattr(known, "MAX_KEYS", 2)
        assert one.find(node(3).digest) is None
        put(other, 3, np.arange(3.0))
        now[0] += 2 * known.LAG
        assert one.find(node(3).digest) is not None
        put(other, 4, np.arange(3.0))
        assert one.find(node(5).digest) is None
        put(other, 5, np.arange(3.0))
        assert one.find(node(5).digest) is not None  # too many to know


def test_upkeep_sees_what_another_has_just_added(path):
    with Store(path) as one, Store(path) as other:
        assert one.find(node(0).digest) is None
        put(other, 1, np.arange(3.0))
        assert one.verify() == []
        assert one.gc().entries == 0
        assert len(other.ls()) == 1


def test_threads_of_several_stores_write_and_read_at_once(path):
    stores = [Store(path) for _ in range(3)]
    wrong = []

    def work(opened, seed):
        order = random.Random(seed)
        for _ in range(40):
            k = order.randrange(60)
            found = got(opened, node(k).digest)
            if found is not None and found.tobytes() != value_of(k).tobytes():
                wrong.append(k)
            opened.offer(node(k), value_of(k), 1.0)

    threads = [threading.Thread(target=work, args=(s, k)) for k, s in enumerate(stores * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for opened in stores:
        opened.flush()
    assert wrong == []
    assert stores[0].verify() == []
    assert sum(s.written for s in stores) >= stores[0].info()["entries"] > 0


# --------------------------------------------------------------------------- options, commands


def test_options_come_from_the_environment_and_the_project(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.lima]\nstore = "here"\nstore_bytes = "5MB"\n')
    with lima.session() as session:
        assert session.store.path == tmp_path / "here"
        assert session.store.budget == 5_000_000
    monkeypatch.setenv("LIMA_STORE", str(path))
    with lima.session() as session:
        assert session.store.path == path
    with lima.session(store=None) as session:
        assert session.store is None
    with pytest.raises(lima.ConfigError):
        lima.session(environment="other").__enter__()


def test_the_default_session_writes_before_the_process_ends(path):
    program = (
        "import numpy as np, lima\nfrom lima import store\nstore.LEAST_SECONDS = 0.0\n"
        "x = lima.array(np.eye(300))\nnp.asarray(np.linalg.inv(x))\n"
    )
    environment = {
        **os.environ,
        "LIMA_STORE": str(path),
        "PYTHONPATH": str(Path(lima.__file__).parents[1]),
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    with Store(path) as opened:
        assert [row.operation for row in opened.ls()] == ["linalg.inv(%1)"]


def test_a_program_without_a_store_does_not_load_sqlite():
    code = "import sys, lima\nwith lima.session(): pass\nprint('sqlite3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_commands(path, capsys, monkeypatch):
    run(path)
    assert cli.main(["store", "info", str(path)]) == 0
    assert "entries" in capsys.readouterr().out
    assert cli.main(["store", "ls", str(path)]) == 0
    listed = capsys.readouterr().out
    assert "linalg.inv" in listed
    key = next(line for line in listed.splitlines() if "linalg.inv" in line).split()[0]
    assert cli.main(["store", "log", str(path), key]) == 0
    assert capsys.readouterr().out.startswith("lima-log 1")
    assert cli.main(["store", "verify", str(path)]) == 0
    capsys.readouterr()
    flip(files(path)[-1])
    assert cli.main(["store", "verify", str(path)]) == 1
    assert "changed" in capsys.readouterr().out
    monkeypatch.setenv("LIMA_STORE", str(path))
    assert cli.main(["store", "gc"]) == 0
    assert cli.main(["store", "verify"]) == 0
    assert cli.main(["store", "gc", "--max-bytes", "0"]) == 0
    with Store(path) as opened:
        assert opened.ls() == []


def test_commands_make_no_store(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("LIMA_STORE", raising=False)
    assert cli.main(["store", "info", str(tmp_path / "none")]) == 1
    assert cli.main(["store", "info"]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert list(tmp_path.iterdir()) == []


def test_gc_begins_anew_where_the_index_is_beyond_use(path, capsys):
    run(path)
    without_log(path)
    scramble(path)
    (path / "index.sqlite").write_bytes(b"no index" * 1000)
    assert cli.main(["store", "gc", str(path)]) == 0
    with Store(path) as opened:
        assert (opened.ls(), opened.info()["files"]) == ([], 0)


@pytest.mark.parametrize(
    "text",
    [
        '[tool.lima]\nmemory = "3MB"\n',
        '[tool]\nlima.memory = "3MB"\n',
        'tool.lima.memory = "3MB"\n',
        'tool = {lima = {memory = "3MB"}}\n',
        '[ "tool" . \'lima\' ]\nmemory = "3MB"\n',
        '["t\\u006fol".lima]\nmemory = "3MB"\n',
        '[tool."li\\u006da"]\nmemory = "3MB"\n',
        '[project]\nname = "a"\n\n[ tool ]\n[tool.lima]\nmemory = "3MB"\n',
        '\ttool . lima . memory = "3MB"\n',
    ],
)
def test_options_are_found_however_they_are_spelled(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIMA_MEMORY", raising=False)
    (tmp_path / "pyproject.toml").write_text(text)
    assert tomllib.loads(text)["tool"]["lima"] == {"memory": "3MB"}
    assert lima.config.Config.load().memory == 3_000_000
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lima"\n[tool.other]\nmemory = 1\n')
    assert lima.config.Config.load().memory != 3_000_000
