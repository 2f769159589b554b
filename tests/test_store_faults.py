"""A disk that is full for good, and clocks that jump: the program goes on, and the store is mended.

The limit on the size of files is the system's own, so that every kind of write meets it: values,
the index, its log, and what is spilled.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import store, upkeep, writing
from lima.store import Store

PROGRAM = """
import resource, sys, warnings
import numpy as np, lima
from lima import store
store.LEAST_SECONDS = store.SECONDS_A_BYTE = 0.0
path, limit = sys.argv[1], int(sys.argv[2])

@lima.traced
def model(X):
    G = X.T @ X
    values, vectors = np.linalg.eigh(G)
    return np.linalg.inv(G), values, vectors, np.sort(X, axis=0), [np.linalg.inv(G + k) for k in range(9)]

def flat(x):
    return b"".join(flat(i) for i in x) if isinstance(x, (tuple, list)) else x.tobytes()

X = np.random.default_rng(3).standard_normal((900, 200))
plain = flat(model.__wrapped__(X))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    if limit >= 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with lima.session(store=path, exactness="bitwise", **eval(sys.argv[3])) as s:
        assert flat(model(X)) == plain
    with lima.session(store=path, exactness="bitwise", **eval(sys.argv[3])) as s:
        assert flat(model(X)) == plain
told = [w for w in caught if issubclass(w.category, lima.StoreWarning)]
print(len(told), s.stats.store_hits)
"""


def run(path: Path, limit: int, options: str = "{}") -> tuple[int, int]:
    """Warnings and hits of a process whose files may not grow beyond `limit` bytes; -1: any size."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(limit), options],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, hits = map(int, done.stdout.split())
    return told, hits


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files")
@pytest.mark.parametrize("filled", [False, True], ids=["an empty store", "a store with values"])
@pytest.mark.parametrize("limit", [0, 3000, 70_000, 330_000])
def test_a_disk_that_is_full_is_no_fault(limit, filled, tmp_path):
    path = tmp_path / "store"
    if filled:
        assert run(path, -1, "{'reuse': 'partial'}")[0] == 0
    told, _ = run(path, limit)
    assert told <= 2  # one for each session
    assert told == 2 or filled or limit > 100_000
    with Store(path) as opened:
        opened.verify()
        opened.gc()
        assert not opened.verify()
    assert run(path, -1)[0] == 0  # there is room again
    told, hits = run(path, -1)
    assert told == 0 and hits > 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files")
def test_what_cannot_be_spilled_is_computed_again(tmp_path):
    told, _ = run(tmp_path / "store", 1000, repr({"spill": str(tmp_path), "memory": "400KB"}))
    assert told <= 4


# --------------------------------------------------------------------------- clocks

YEARS = 3.0e8


def inverse(X):
    return np.linalg.inv(X.T @ X)


@pytest.mark.parametrize("jumps", [(0, -YEARS, YEARS), (YEARS, 0, -YEARS), (-YEARS, YEARS, 0)])
def test_clocks_may_jump(jumps, tmp_path, monkeypatch):
    """Between processes and within one: what was stored is found, and gc keeps what is in use."""
    monkeypatch.setattr(store, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(store, "SECONDS_A_BYTE", 0.0)
    matrices = [np.random.default_rng(k).standard_normal((60, 20)) for k in range(4)]
    now = [1.7e9]
    for module in (writing, upkeep):
        monkeypatch.setattr(module, "time", lambda: now[0])
    path = tmp_path / "store"
    with warnings.catch_warnings():
        warnings.simplefilter("error", lima.StoreWarning)
        for k, jump in enumerate(jumps):
            now[0] = 1.7e9 + jump
            with lima.session(store=path) as session:
                for X in matrices[: k + 2]:
                    assert lima.traced(inverse)(X).tobytes() == inverse(X).tobytes()
                    now[0] += jumps[-1] / 7
            assert session.stats.store_hits >= (k + 1 if k else 0)
            with Store(path) as opened:
                assert not opened.verify()
                opened.gc()
                assert len(opened.ls()) >= k + 2
