"""`lima.verify`: the first result that is no longer what was logged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import lima
from lima import cli
from lima.record import write

X = np.random.default_rng(0).standard_normal((20, 3))
x = lima.array(X, name="X")


@pytest.fixture
def record():
    gram = x.T @ x
    return lima.lineage(inverse=np.linalg.inv(gram), gram=gram, total=x.sum())


def changed(record, *names):
    """The record, as if these results had come out with other bits."""
    for name in names:
        check = record.checks[name]
        record.checks[name] = dataclasses.replace(check, content="0" * 32)
    return record


def test_what_is_right(record):
    found = lima.verify(record)
    assert found and found.first is None and found.suspects == []
    assert [(r.name, r.status) for r in found.results] == [
        ("gram", "same"), ("inverse", "same"), ("total", "same")
    ]  # fmt: skip


def test_the_first_that_differs_is_named(record):
    found = lima.verify(changed(record, "inverse"))
    assert not found and found.first.name == "inverse"
    assert [node.spec.op for node in found.suspects] == ["linalg.inv"]
    assert "the first that differs is inverse, computed by\n  linalg.inv(·)" in str(found)
    assert lima.verify(changed(record, "gram")).first.name == "gram"


def test_results_without_checksum_are_said_to_be_unknown(record):
    del record.checks["gram"]
    found = lima.verify(record)
    assert found and "gram: not logged" in str(found)


def test_another_environment_is_named(record):
    record.environment["threads"] = "77"
    assert "another environment: threads 77" in str(lima.verify(record))


def test_data_that_changed(record, tmp_path):
    path = lima.save(tmp_path / "x.lima", record, leaf_data=True)
    with pytest.raises(lima.ReplayError, match="leaf 'X'"):
        lima.verify(path, {"X": X + 1})


def test_command(record, tmp_path, capsys):
    path = lima.save(tmp_path / "x.lima", record, leaf_data=True)
    assert cli.main(["verify", str(path)]) == 0
    assert "gram: same" in capsys.readouterr().out
    lie = tmp_path / "lie.lima"
    write(lie, changed(record, "inverse"), {record.leaves[0].digest: X})
    assert cli.main(["verify", str(lie)]) == 1
    shown = capsys.readouterr()
    assert "inverse: differs" in shown.out and not shown.err
    np.save(tmp_path / "other.npy", X + 1)
    assert cli.main(["verify", str(path), "--input", f"X={tmp_path / 'other.npy'}"]) == 1
    assert "has other elements" in capsys.readouterr().err


def test_blame_command(tmp_path, capsys):
    with np.errstate(all="ignore"):
        path = lima.save(tmp_path / "x.lima", a=np.sqrt(np.abs(x) - 9.0), b=x, leaf_data=True)
    assert cli.main(["blame", str(path), "--result", "a"]) == 0
    assert "of sqrt(" in capsys.readouterr().out
    assert cli.main(["blame", str(path)]) == 1
    assert cli.main(["blame", str(path), "--result", "zz"]) == 1
