"""Values that memory has no room for: on disk while the session lasts, if that pays."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import spill
from lima.cache import Cache
from lima.kept import Kept, Record
from lima.node import leaf
from lima.spill import PREFIX, Spill

KB = 1 << 10


@pytest.fixture(autouse=True)
def silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error", lima.StoreWarning)
        yield


def cache(tmp_path, budget=100 * KB, policy="lru", disk=1 << 20):
    made = Cache(budget, policy)
    made.spill = Spill(str(tmp_path), disk)
    return made


def put(cache, k, value=None, seconds=1.0):
    value = np.full(20 * KB // 8, float(k)) if value is None else value
    return cache.put(b"%d" % k, value, seconds=seconds)


def files(tmp_path):
    return list(tmp_path.rglob("*.bin"))


def test_evicted_values_come_back(tmp_path):
    c = cache(tmp_path)
    for k in range(10):
        put(c, k)
    assert len(c) < 6 and len(files(tmp_path)) == 10 - len(c)
    for _ in range(2):
        for k in range(10):
            entry = c.get(b"%d" % k)
            assert (entry.value == k).all() and not entry.value.flags.writeable
            assert entry.seconds == 1.0
            c.check()
    assert c.stats.bytes <= c.budget
    assert c.stats.hits["operation"] == 20 and c.stats.misses["operation"] == 0
    c.spill.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_back_is_not_written_again(tmp_path):
    c = cache(tmp_path)
    for k in range(10):
        put(c, k)
    for _ in range(3):
        for k in range(10):
            c.get(b"%d" % k)
    assert c.spill.written == 10
    assert len(files(tmp_path)) == 10


def test_what_is_read_back_has_its_history(tmp_path):
    c = cache(tmp_path)
    put(c, 0)
    for _ in range(3):
        c.get(b"0")
    for k in range(1, 10):
        put(c, k)
    entry = c.get(b"0")
    assert entry.sights >= 4 and entry.evicted == 1 and entry.hits == 1
    assert c.ghost(b"0") is None


VALUES = {
    "C": np.arange(4096.0).reshape(64, 64).copy(),
    "F": np.asfortranarray(np.arange(4096.0).reshape(64, 64)),
    "F of three axes": np.asfortranarray(np.arange(4096.0).reshape(16, 16, 16)),
    "complex": np.arange(4096) * 1j,
    "big-endian": np.arange(4096, dtype=">i4"),
    "bool": np.arange(40960) % 3 == 0,
    "text": np.array([f"{k}" for k in range(4096)]),
    "dates": np.arange(4096).astype("M8[D]"),
    "records": np.zeros(4096, [("a", "i2"), ("b", "f8")]),
    "a scalar array": (np.array(3.5), np.arange(4096.0)),
    "a tuple": (np.arange(4096.0), np.float64(2.5), np.arange(3)),
    "a named tuple": np.linalg.eigh(np.diag(np.arange(60.0))),
    "a draw": (np.arange(4096.0), {"state": {"state": 2**100, "inc": 3}, "key": np.arange(9)}),
    "nothing and something": (np.empty((0, 3)), np.arange(4096.0)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_they_were(name, tmp_path):
    value = VALUES[name]
    c = cache(tmp_path, 80 * KB)
    assert put(c, 0, value)
    for k in range(1, 6):
        put(c, k)
    assert c.peek(b"0") is None
    found = c.get(b"0").value
    assert type(found) is type(value)
    pairs = zip(found, value, strict=True) if isinstance(value, tuple) else [(found, value)]
    for a, b in pairs:
        assert type(a) is type(b)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.strides) == (b.dtype, b.shape, b.strides)
            assert a.tobytes() == b.tobytes() and not a.flags.writeable and a.base is None
        elif isinstance(a, np.generic):
            assert a == b
    c.check()


@pytest.mark.parametrize(
    "value",
    [3.5, [np.arange(4096.0)], {"a": np.arange(4096.0)}, (1, (np.arange(4096.0),))],
    ids=["a number", "a list", "a dict", "nested"],
)
def test_what_cannot_be_put_together_is_dropped(value, tmp_path):
    c = cache(tmp_path, 40 * KB)
    put(c, 0, value)
    for k in range(1, 6):
        put(c, k)
    assert c.get(b"0") is None


def test_cheap_values_are_dropped(tmp_path):
    c = cache(tmp_path)
    for k in range(10):
        put(c, k, seconds=0.9e-3)
    assert files(tmp_path) == [] and c.spill.written == 0


def test_the_measured_speed_decides(tmp_path):
    s = Spill(str(tmp_path), 1 << 20)
    assert s.pays(10.0, 1000)
    s._write_speed, s._read_speed = 1e8, 2e8
    assert s.pays(1.6 + 2e-3, 100_000_000)
    assert not s.pays(1.4, 100_000_000)
    before = s._write_speed
    file = s._write(np.zeros(1 << 20))
    assert s._write_speed != before
    before = s._read_speed
    s._read(file)
    assert s._read_speed != before
    s.close()


def test_the_disk_has_a_budget_of_its_own(tmp_path):
    c = cache(tmp_path, disk=61 * KB)
    for k in range(12):
        put(c, k)
    assert len(files(tmp_path)) == 3
    assert sum(p.stat().st_size for p in files(tmp_path)) == c.spill.bytes <= 61 * KB
    assert c.get(b"0") is None
    c.clear()
    assert files(tmp_path) == [] and c.spill.bytes == 0


def test_a_value_larger_than_the_disk_is_dropped(tmp_path):
    c = cache(tmp_path, disk=10 * KB)
    for k in range(6):
        put(c, k)
    assert files(tmp_path) == []


def test_an_evicted_key_goes_from_disk_as_well(tmp_path):
    c = cache(tmp_path)
    for k in range(10):
        put(c, k)
    c.evict(b"0")
    assert c.get(b"0") is None
    c.resize(1)
    assert len(c) == 0 and len(files(tmp_path)) == 9
    assert (c.get(b"3").value == 3).all()


def spoil(file):
    raw = bytearray(file.read_bytes())
    raw[7] ^= 1
    file.write_bytes(raw)


FAULTS = {
    "changed": spoil,
    "missing": Path.unlink,
    "cut off": lambda p: os.truncate(p, 100),
    "empty": lambda p: p.write_bytes(b""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_file_is_a_miss_and_a_warning(name, tmp_path):
    c = cache(tmp_path)
    for k in range(10):
        put(c, k)
    for file in files(tmp_path):
        FAULTS[name](file)
    with pytest.warns(lima.StoreWarning, match="computed again"):
        assert c.get(b"0") is None
    assert c.get(b"0") is None
    put(c, 0)
    assert (c.get(b"0").value == 0).all()
    c.check()


def test_a_full_disk_is_no_error(tmp_path, monkeypatch):
    c = cache(tmp_path)
    for k in range(7):
        put(c, k)
    held = len(files(tmp_path))

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill.os, "write", full)
    with pytest.warns(lima.StoreWarning, match="No space left"):
        put(c, 7)
    for k in range(8, 12):
        put(c, k)
    assert len(files(tmp_path)) == held
    assert (c.get(b"0").value == 0).all()
    c.check()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    c = cache(tmp_path / "file")
    with pytest.warns(lima.StoreWarning, match="nothing is spilled"):
        for k in range(10):
            put(c, k)
    c.spill.close()


def test_records_of_calls_come_back(tmp_path):
    record = Record(1.0)
    arrays = [np.arange(2000.0), np.ones((3, 700), order="F")]
    record.kept = [Kept(leaf(a), a) for a in arrays] + [Kept(leaf(np.float64(3)), np.float64(3))]
    c = cache(tmp_path, 60 * KB)
    put(c, 0, record)
    for k in range(1, 5):
        put(c, k)
    found = c.get(b"0").value
    assert found is not record
    for a, b in zip(found.kept, record.kept, strict=True):
        assert a.node is b.node and np.array_equal(a.data, b.data)


def work(k):
    return np.linalg.inv(np.eye(150) * (k + 1.0)) @ np.eye(150)


def test_a_session_spills(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "OVERHEAD", 0.0)
    monkeypatch.setattr(Spill, "pays", lambda self, seconds, nbytes: True)
    traced = lima.traced(work)
    with lima.session(memory="1MB", spill=tmp_path / "scratch") as s:
        for _ in range(2):
            for k in range(20):
                assert np.array_equal(traced(k), work(k))
        assert s.cache.spill.read_back > 0
        assert s.stats.bytes <= 1_000_000
        s.cache.check()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_options():
    with lima.session() as s:
        assert s.cache.spill is None
    with lima.session(spill=True, spill_bytes="5MB") as s:
        assert s.cache.spill.budget == 5_000_000
    with lima.session(spill=False) as s:
        assert s.cache.spill is None


PROGRAM = """
import os, sys, numpy as np
from lima.cache import Cache
from lima.spill import Spill
c = Cache(50_000, "lru")
c.spill = Spill(sys.argv[1], 1 << 20)
for k in range(10):
    c.put(b"%d" % k, np.zeros(2000), seconds=1.0)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(spill.fcntl is None, reason="needs locks of files")
def test_what_a_killed_process_left_is_deleted(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(lima.__file__).parents[1])},
    ) as child:
        assert child.stdout.readline() == "ready\n"
        (other,) = tmp_path.glob(f"{PREFIX}*")
        mine = cache(tmp_path)
        for k in range(10):
            put(mine, k)
        assert other.exists()  # it lives
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert other.exists()
    after = cache(tmp_path)
    for k in range(10):
        put(after, k)
    assert not other.exists()
    assert (mine.get(b"0").value == 0).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_and_leaves_the_files_alone(tmp_path):
    c = cache(tmp_path)
    for k in range(10):
        put(c, k)
    before = len(files(tmp_path))
    child = os.fork()
    if not child:
        good = False
        try:
            good = all((c.get(key).value == int(key)).all() for key in list(c.spill._table))
            c.spill.close()
        finally:
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(files(tmp_path)) == before
    assert (c.get(b"0").value == 0).all()


def test_threads(tmp_path):
    c = cache(tmp_path, disk=300 * KB)
    wrong = []

    def use(seed):
        try:
            mix(np.random.default_rng(seed))
        except BaseException as error:
            wrong.append(error)
            raise

    def mix(rng):
        for _ in range(600):
            k = int(rng.integers(25))
            entry = c.get(b"%d" % k)
            if entry is None:
                put(c, k)
            elif not (entry.value == k).all():
                wrong.append(k)

    threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lima.StoreWarning)
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert wrong == []
    c.check()
    assert sum(p.stat().st_size for p in files(tmp_path)) == c.spill.bytes


def test_a_folder_that_goes_is_told_once(tmp_path):
    c = cache(tmp_path)
    for k in range(10):
        put(c, k)
    shutil.rmtree(c.spill._folder)
    with pytest.warns(lima.StoreWarning, match="nothing is spilled any more") as told:
        assert [c.get(b"%d" % k) for k in range(5)] == [None] * 5
        for k in range(20):
            put(c, k)
    assert len(told) == 1
    assert len(c.spill) == c.spill.bytes == 0
    c.check()


@pytest.mark.parametrize("moment", ["before the folder is made", "amid a write"])
def test_nothing_is_left_of_a_session_that_ends_while_it_spills(moment, tmp_path, monkeypatch):
    c = cache(tmp_path)
    step = "_home" if moment == "before the folder is made" else "_write"
    plain = getattr(Spill, step)

    def ends(self, *args):
        if step == "_home":
            self.close()
            return plain(self)
        made = plain(self, *args)
        self.close()
        return made

    c.spill.pays(1.0, 1)  # measures
    monkeypatch.setattr(Spill, step, ends)
    for k in range(10):
        put(c, k)
    assert list(tmp_path.iterdir()) == []
    assert len(c.spill) == 0
    c.check()


def test_a_relative_path_is_that_of_the_beginning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    c = cache("here")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for k in range(10):
        put(c, k)
    assert len(files(tmp_path / "here")) > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_is_not_stopped_by_a_thread_that_spilled():
    held, finish = threading.Event(), threading.Event()
    with lima.session(spill=True) as s:

        def hold():
            with s.cache.spill._lock, s.cache.spill._first:
                held.set()
                assert finish.wait(60)

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        assert held.wait(60)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            signal.alarm(60)
            s.clear()
            s.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        finish.set()
        thread.join(60)
