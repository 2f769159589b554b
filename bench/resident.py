"""Peak memory: a program whose results do not fit the budget of its session.

``python -m bench.resident [--budget MB]`` makes results of 8 MB, many more than the budget holds,
and asks for some of them again; with lima and without, each in a process of its own. What lima
takes at most beside the plain program should be the budget, and a little for itself.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import lima

ROOT = Path(__file__).parents[1]
RESULTS = 100


def smooth(X: Any, k: int) -> Any:
    """A result of 8 MB that takes long enough to be worth keeping."""
    return X @ (np.eye(1000) + k)


def program(work: Any, X: Any) -> float:
    total = 0.0
    for turn in range(3):
        for k in range(RESULTS):
            if turn == 0 or k % 3 == 0:
                total += float(work(X, k)[0, 0])
    return total


def peak() -> float:
    """The most memory that this process has had, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def child(how: str, budget: int) -> dict[str, float]:
    X = np.random.default_rng(0).standard_normal((1000, 1000))
    smooth(X, 0)
    before = peak()
    if how == "plain":
        total = program(smooth, X)
        return {"before": before, "peak": peak(), "total": total}
    options: dict[str, Any] = {"memory": f"{budget}MB", "spill": how == "spill"}
    traced = lima.traced(smooth)
    with lima.session(**options) as s:
        total = program(traced, X)
        held = s.stats.bytes / 1e6
    return {"before": before, "peak": peak(), "total": total, "held": held}


def main() -> None:
    """Show the peaks."""
    parser = argparse.ArgumentParser(prog="python -m bench.resident", description=__doc__)
    parser.add_argument("--budget", type=int, default=100, metavar="MB")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.budget)))
        return
    plain = 0.0
    for how in ("plain", "cache", "spill"):
        command = [sys.executable, "-m", "bench.resident", "--child", how]
        command += ["--budget", str(options.budget)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        plain = found["peak"] if how == "plain" else plain
        more = found["peak"] - plain
        held = f", {found['held']:.0f} MB held at the end" if "held" in found else ""
        print(f"{how:6} peak {found['peak']:7.0f} MB, {more:+6.0f} MB beside plain{held}")


if __name__ == "__main__":
    main()
