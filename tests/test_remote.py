"""Stores that exchange what they have: whole, checked, and never more than a miss."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import cli, exchange, remotes, second, store
from lima.node import Node, Spec, leaf
from lima.store import Store

RNG = np.random.default_rng(29)
X = RNG.standard_normal((4000, 200))


@pytest.fixture(autouse=True)
def everything_is_worth_it(monkeypatch):
    """What is stored must not depend on how fast this machine is; no unexpected warning."""
    monkeypatch.setattr(store, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(store, "SECONDS_A_BYTE", 0.0)
    monkeypatch.setattr(second, "LATENCY", 0.0)
    monkeypatch.setattr(second, "SECONDS_A_BYTE", 0.0)
    monkeypatch.setattr(second, "MEASURED", 1 << 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error", lima.StoreWarning)
        yield


@pytest.fixture(scope="module")
def s3():
    """The address of a server on this machine that speaks as S3 does."""
    server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


def bucket(address, name, monkeypatch):
    """A new bucket of that server, for everybody in this process who asks for S3."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    system = pytest.importorskip("s3fs").S3FileSystem
    system.clear_instance_cache()
    system().mkdir(name)
    return f"s3://{name}"


@pytest.fixture(params=["folder", "file", "memory", "local", "s3"])
def where(request, tmp_path, monkeypatch):
    """A place to exchange at; those of fsspec where that is installed."""
    if request.param == "s3":
        name = "".join(c for c in tmp_path.name.lower() if c.isalnum())[-40:]
        return bucket(request.getfixturevalue("s3"), name, monkeypatch) + "/there"
    if request.param == "folder":
        return str(tmp_path / "there")
    if request.param == "file":
        return (tmp_path / "there").as_uri()
    fsspec = pytest.importorskip("fsspec")
    if request.param == "local":
        return "local://" + str(tmp_path / "there")
    fsspec.filesystem("memory").store.clear()
    return f"memory://{tmp_path.name}/there"


@lima.traced
def whiten(X):
    values, vectors = np.linalg.eigh(X.T @ X)
    return X @ (vectors / np.sqrt(values))


@lima.traced
def inverse(A):
    return np.linalg.inv(A.T @ A), np.linalg.slogdet(A.T @ A)


def run(path, **options):
    options = {"exactness": "bitwise", **options}
    with lima.session(store=path, **options) as s:
        found = (*inverse(X), whiten(X))
    return found, s


def filled(path):
    """A store with operations and calls."""
    run(path)
    return Store(path)


def is_plain(found) -> bool:
    plain = (*inverse.__wrapped__(X), whiten.__wrapped__(X))
    return found[1] == plain[1] and all(found[k].tobytes() == plain[k].tobytes() for k in (0, 2))


# --------------------------------------------------------------------------- push, pull, export


def test_what_is_pushed_can_be_pulled(where, tmp_path):
    with filled(tmp_path / "a") as a:
        entries = a.info()["entries"]
        moved = a.push(where)
        assert (moved.entries, moved.there, moved.left) == (entries, 0, 0)
        assert a.push(where)[::2] == (0, entries)
        rows, logs = a.ls(), [a.log(row.key) for row in a.ls()]
    with Store(tmp_path / "b") as b:
        assert b.pull(where).entries == entries
        assert b.pull(where)[::2] == (0, entries)
        assert b.verify() == []
        assert {row[:3] for row in b.ls()} == {row[:3] for row in rows}
        assert [b.log(row.key) for row in rows] == logs
    found, s = run(tmp_path / "b")
    assert is_plain(found)
    assert s.stats.computed == 0
    assert s.stats.store_hits > 0


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Nothing."""


@pytest.fixture
def served(tmp_path):
    """A folder, and the address under which a server on this machine hands out what is in it."""
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_export_can_be_pulled_from_a_web_server(served, tmp_path):
    folder, address = served
    with filled(tmp_path / "a") as a:
        moved, digest = a.export(folder)
    with Store(tmp_path / "b") as b:
        assert b.pull(address, digest).entries == moved.entries
        assert b.verify() == []
    found, s = run(tmp_path / "c", remote=address)  # to which nothing can be sent
    assert is_plain(found)
    assert s.stats.computed == 0
    (folder / "MANIFEST").unlink()
    for file in (folder / "objects").iterdir():
        file.write_bytes(b"something else" * 1000)
    with Store(tmp_path / "d") as d, pytest.warns(lima.StoreWarning, match="left out"):
        d.pull(address)
        assert d.verify() == []


def test_a_server_that_stops_costs_a_warning(s3, tmp_path, monkeypatch):
    address = bucket(s3, "stops", monkeypatch)
    with filled(tmp_path / "a") as a:
        a.push(f"{address}/there")
    system = pytest.importorskip("s3fs").S3FileSystem
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    system.clear_instance_cache()
    with pytest.warns(lima.StoreWarning, match="remote"):
        found, _ = run(tmp_path / "b", remote=f"{address}/there")
    assert is_plain(found)


def test_an_export_is_what_its_digest_says(tmp_path):
    with filled(tmp_path / "a") as a:
        moved, digest = a.export(tmp_path / "out")
        assert a.export(tmp_path / "out")[1] == digest
    with Store(tmp_path / "b") as b:
        assert b.pull(tmp_path / "out", digest).entries == moved.entries
    with Store(tmp_path / "c") as c, pytest.raises(lima.StoreError, match="another digest"):
        c.pull(tmp_path / "out", "0" * 64)
    (record, *_) = (tmp_path / "out" / "entries").iterdir()
    said = json.loads(record.read_text())
    record.write_text(json.dumps({**said, "seconds": said["seconds"] + 1}))
    told = pytest.warns(lima.StoreWarning, match="another digest than the list says")
    with Store(tmp_path / "d") as d, told:
        assert d.pull(tmp_path / "out", digest).left == 1


def test_export_goes_to_a_folder(tmp_path):
    with Store(tmp_path / "a") as a, pytest.raises(lima.StoreError):
        a.export("nowhere://bucket")


def test_pull_asks_for_a_list_where_it_is_given_a_digest(tmp_path):
    with filled(tmp_path / "a") as a, Store(tmp_path / "b") as b:
        a.push(tmp_path / "out")
        with pytest.raises(lima.StoreError, match="no MANIFEST"):
            b.pull(tmp_path / "out", "0" * 64)


def test_what_is_broken_is_not_pushed(tmp_path):
    with filled(tmp_path / "a") as a:
        file = max((tmp_path / "a" / "objects").iterdir(), key=lambda p: p.stat().st_size)
        raw = bytearray(file.read_bytes())
        raw[-1] ^= 1
        file.write_bytes(raw)
        assert a.push(tmp_path / "out").left >= 1
    with Store(tmp_path / "b") as b:
        b.pull(tmp_path / "out")
        assert b.verify() == []


def test_commands(tmp_path, capsys, monkeypatch):
    filled(tmp_path / "a").close()
    out = str(tmp_path / "out")
    assert cli.main(["store", "export", out, str(tmp_path / "a")]) == 0
    digest = capsys.readouterr().out.split()[-1]
    assert len(digest) == 64
    assert cli.main(["store", "pull", out, str(tmp_path / "b"), "--digest", digest]) == 0
    assert "values pulled" in capsys.readouterr().out
    monkeypatch.setenv("LIMA_STORE", str(tmp_path / "b"))
    assert cli.main(["store", "push", out]) == 0
    assert "0 values pushed" in capsys.readouterr().out
    monkeypatch.delenv("LIMA_STORE")
    assert cli.main(["store", "pull", out]) == 1


# --------------------------------------------------------------------------- behind a session


def test_a_session_on_another_machine_has_what_the_first_computed(where, tmp_path):
    found, s = run(tmp_path / "a", remote=where)
    assert s.store.second.sent > 0
    found, s = run(tmp_path / "b", remote=where)
    assert is_plain(found)
    assert s.stats.computed == 0
    assert s.store.second.brought == 2  # the calls: what they are made of is not asked for
    shutil.rmtree(tmp_path / "there", ignore_errors=True)
    found, s = run(tmp_path / "b")  # and now it is here
    assert is_plain(found)
    assert s.stats.computed == 0


def test_what_is_not_worth_the_way_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(second, "LATENCY", 1e9)
    _, s = run(tmp_path / "a", remote=tmp_path / "there")
    assert s.store.second.sent == 0
    with Store(tmp_path / "a") as a:
        a.push(tmp_path / "there")
    found, s = run(tmp_path / "b", remote=tmp_path / "there")
    assert is_plain(found)
    assert s.store.second.brought == 0


def test_values_of_another_environment_are_not_brought(tmp_path, monkeypatch):
    run(tmp_path / "a", remote=tmp_path / "there")
    numeric = store.numeric
    monkeypatch.setattr(store, "numeric", lambda: {**numeric(), "blas": "another"})
    _, s = run(tmp_path / "b", remote=tmp_path / "there")
    assert s.store.second.brought == 0
    _, s = run(tmp_path / "c", remote=tmp_path / "there", environment="any")
    assert s.store.second.brought > 0


def test_what_another_adds_is_seen_after_a_while(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(second, "monotonic", lambda: now[0])
    with Store(tmp_path / "b", remote=tmp_path / "there") as b:
        key = Node(Spec("sqrt"), (leaf(np.float64(2.0), "x"),))
        assert b.find(key.digest) is None
        with Store(tmp_path / "a", remote=tmp_path / "there") as a:
            assert a.offer(key, np.arange(2000.0), 1.0)
        assert b.find(key.digest) is None
        now[0] += 2 * second.RELIST
        assert b.find(key.digest) is None  # it is asked behind the program
        b.second.behind.flush()
        assert b.read(b.find(key.digest)).tobytes() == np.arange(2000.0).tobytes()


class Away:
    """A place on a machine that does not answer."""

    def __getattr__(self, name):
        def refuse(*args):
            raise RuntimeError("connection refused")

        return refuse


def test_a_place_that_does_not_answer_costs_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "place_of", lambda where: Away())
    with pytest.warns(lima.StoreWarning, match="connection refused") as told:
        found, s = run(tmp_path / "a", remote="s3://bucket")
    assert is_plain(found)
    assert len(told) == 1
    assert s.store.info()["entries"] > 0


def test_an_address_that_nobody_knows_costs_a_warning(tmp_path):
    with pytest.warns(lima.StoreWarning, match="no remote store"):
        found, _ = run(tmp_path / "a", remote="nowhere://bucket")
    assert is_plain(found)


def test_a_remote_needs_a_store(monkeypatch):
    with pytest.raises(lima.ConfigError, match="give store="), lima.session(remote="there"):
        pass
    monkeypatch.setenv("LIMA_REMOTE", "there")  # for programs that have one
    with lima.session() as s:
        assert s.store is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_goes_its_own_way(where, tmp_path):
    if where.startswith("memory"):
        pytest.skip("each process has a memory of its own")
    with filled(tmp_path / "b") as b:
        b.push(where)  # by threads and connections that the child does not have
    with Store(tmp_path / "a", remote=where) as a:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                key = Node(Spec("sqrt"), (leaf(np.float64(3.0), "x"),))
                a.offer(key, np.arange(2000.0), 1.0)
                a.flush()
                status = 0 if a.second.sent == 1 else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_fsspec_is_not_loaded_for_a_folder(tmp_path):
    code = (
        "import sys, lima\n"
        "with lima.session(store=sys.argv[1], remote=sys.argv[2]): pass\n"
        "print('fsspec' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a", tmp_path / "there"],
        env={**os.environ, "PYTHONPATH": str(Path(lima.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "False\n", done.stderr


# --------------------------------------------------------------------------- hostile places


@pytest.fixture
def hostile(tmp_path):
    """A place with one entry, its record, and where its array lies."""
    key = Node(Spec("sqrt"), (leaf(np.float64(2.0), "x"),))
    with Store(tmp_path / "a") as a:
        assert a.offer(key, np.arange(2000.0), 1.0)
        a.flush()
        a.push(tmp_path / "there")
    (record,) = (tmp_path / "there" / "entries").iterdir()
    (file,) = (tmp_path / "there" / "objects").iterdir()
    return key, record, file


def refused(tmp_path, key):
    """Neither pull nor a session takes the entry, and the store stays whole."""
    before = sorted(p for p in tmp_path.rglob("*") if "there" not in p.parts)
    before = [p for p in before if "a" in p.relative_to(tmp_path).parts[:1]]
    with Store(tmp_path / "b") as b:
        with pytest.warns(lima.StoreWarning, match="left out|not used any more"):
            assert b.pull(tmp_path / "there").entries == 0
        assert b.verify() == []
        assert b.info()["entries"] == b.info()["files"] == b.info()["nodes"] == 0
        assert list((tmp_path / "b" / "aside").iterdir()) == []
    with Store(tmp_path / "c", remote=tmp_path / "there") as c:
        with pytest.warns(lima.StoreWarning, match="left out|not used any more"):
            assert c.find(key.digest) is None
        assert c.second.usable
    now = [p for p in tmp_path.rglob("*") if p.relative_to(tmp_path).parts[0] == "a"]
    assert sorted(now) == before


def first(said):
    return said["parts"][0]


LIES = {
    "no json": lambda said: "{",
    "a number": lambda said: "7",
    "deep": lambda said: "[" * 100_000,
    "long numbers": lambda said: '{"format": ' + "9" * 100_000 + "}",
    "another format": lambda said: said.update(format="lima entry 9"),
    "another key": lambda said: said.update(key="00" * 16),
    "another environment": lambda said: said.update(facts='{"numpy": "9"}'),
    "facts of no text": lambda said: said.update(facts=7),
    "a kind of its own": lambda said: said.update(kind="pickle"),
    "time": lambda said: said.update(seconds=float("inf")),
    "no time": lambda said: said.update(seconds="1"),
    "height": lambda said: said.update(height=-1),
    "no parts": lambda said: said.update(parts=[]),
    "many parts": lambda said: said.update(parts=said["parts"] * 300),
    "another digest": lambda said: first(said).update(digest="00" * 32),
    "a path": lambda said: first(said).update(digest="../../../../etc/passwd"),
    "a path in digits": lambda said: first(said).update(digest="/" + first(said)["digest"][1:]),
    "another name": lambda said: first(said).update(name="00" * 16),
    "a long name": lambda said: first(said).update(name="00" * 17),
    "more bytes": lambda said: first(said).update(nbytes=10**9),
    "fewer bytes": lambda said: first(said).update(nbytes=4100),
    "bytes below nothing": lambda said: first(said).update(nbytes=-1),
    "a large form": lambda said: first(said).update(form='["<f8", [1000000000], [8], false]'),
    "objects": lambda said: first(said).update(form='["|O", [2000], [8], false]'),
    "strides": lambda said: first(said).update(form='["<f8", [2000], [800], false]'),
    "inline": lambda said: first(said).update(inline=base64.b64encode(b"x" * 16128).decode()),
    "inline of nothing": lambda said: first(said).update(inline="%%%"),
    "no lineage": lambda said: said.update(nodes=[]),
    "half a lineage": lambda said: said.update(nodes=said["nodes"][1:]),
    "another lineage": lambda said: said["nodes"][-1].__setitem__(5, "cos(%1)"),
    "another operation": lambda said: said["nodes"][-1].__setitem__(1, "cos"),
    "another name of a leaf": lambda said: said["nodes"][0].__setitem__(3, "y"),
    "rows that nobody asked for": lambda said: said.update(nodes=said["nodes"] * 2),
    "a circle": lambda said: said["nodes"][-1].__setitem__(4, said["key"]),
    "a call of nothing": lambda said: said["nodes"][-1].__setitem__(1, "(call)"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_lies_is_left_out(lie, hostile, tmp_path):
    key, record, _ = hostile
    said = json.loads(record.read_text())
    text = LIES[lie](said)
    record.write_text(text if isinstance(text, str) else json.dumps(said))
    refused(tmp_path, key)


def test_a_record_without_end_is_not_read(hostile, tmp_path, monkeypatch):
    key, record, _ = hostile
    monkeypatch.setattr(exchange, "MAX_RECORD", 1000)
    monkeypatch.setattr(second, "MAX_RECORD", 1000)
    record.write_text(record.read_text() + " " * 1000)
    refused(tmp_path, key)


def changed(file):
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)


def longer(file):
    file.write_bytes(file.read_bytes() + b"x")


def sparse(file):
    os.truncate(file, 1 << 40)


def linked(file):
    file.rename(file.with_name("moved"))
    file.symlink_to(file.with_name("moved"))


def folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("fault", [changed, longer, sparse, linked, folder, Path.unlink])
def test_a_file_that_is_not_what_was_promised_is_left_out(fault, hostile, tmp_path):
    key, _, file = hostile
    fault(file)
    refused(tmp_path, key)


class Growing(remotes.Folder):
    """A place whose files are longer than it said."""

    def pieces(self, name, most):
        self.asked = most
        yield from super().pieces(name, most)
        yield from (b"x" * 1000 for _ in range(1000))


def test_a_file_that_grows_is_left_out(hostile, tmp_path, monkeypatch):
    place = Growing(tmp_path / "there")
    _, record, _ = hostile
    with Store(tmp_path / "b") as b:
        key, env = exchange.key_of(record.name)
        plain = exchange.parsed(record.read_bytes(), key, env)
        with pytest.raises(lima.objects.Broken):
            exchange.take(b, place, plain)
        assert list((tmp_path / "b" / "objects").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "x.json",
        "00-00.json",
        f"{'0' * 32}-{'0' * 32}.npy",
        f"{'G' * 32}-{'0' * 32}.json",
    ],
)
def test_names_that_are_none_are_left_out(name):
    assert exchange.key_of(name) is None


@pytest.mark.parametrize("name", ["../x", "entries/../x.json", "objects//x.npy", "/etc/passwd", ""])
def test_a_place_writes_and_reads_under_names_of_its_own_alone(name, tmp_path):
    place = remotes.Folder(tmp_path)
    with pytest.raises(lima.StoreError, match="no name"):
        place.send(name, b"x")
    with pytest.raises(lima.StoreError, match="no name"):
        list(place.pieces(name, 1))
