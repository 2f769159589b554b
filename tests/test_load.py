"""A store under load: the programs of `bench.load`, in small."""

from __future__ import annotations

import os

import pytest

from bench import load

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_writers_that_are_killed_do_no_harm(tmp_path):
    seen = load.kills(tmp_path / "store", writers=20, keys=60, readers=1)
    assert (seen.lost, seen.broken, seen.warnings, seen.faults, seen.left) == (0, 0, 0, 0, 0)
    assert seen.killed == 20


def test_each_call_of_a_herd_runs_once(tmp_path):
    """Calls of more than `turns.LEASE_SECONDS` on any machine: for shorter ones nobody waits."""
    seen = load.herd(tmp_path / "store", processes=3, threads=2, calls=6, size=900)
    assert seen["ran"] == seen["calls"]


def test_look_ups_and_puts_of_many_threads(tmp_path):
    seen = load.load(tmp_path / "store", processes=3, threads=2, probes=3000, puts=300)
    assert (seen["entries"], seen["puts"], seen["faults"]) == (300, 300, 0)
    assert seen["hits"] > 0
