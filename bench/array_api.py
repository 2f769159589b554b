"""The public suite of the array API standard: ``python -m bench.array_api --suite PATH``.

PATH is a checkout of data-apis/array-api-tests with its submodule, whose requirements are
installed. The suite runs for NumPy, for `lima.numpy` and for the namespace of lima's arrays; the
command prints how many tests passed and failed, and names those that lima fails and NumPy does not,
not even with ten times the examples. The exit status is 1 if there are any.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

PLAIN = "numpy"
TRACED = ("lima.numpy", "lima.numpy.array_api")
VERSION = "2025.12"
"""The standard that is asked for; without it the suite takes what the module claims."""

Outcomes = dict[str, str]
"""What became of each test: passed, failed or skipped."""


def run(module: str, tests: Sequence[str], options: argparse.Namespace, more: int = 1) -> Outcomes:
    """Files or tests of the suite, in a process of its own, with `more` times the examples."""
    here = str(Path(__file__).resolve().parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {
        "ARRAY_API_TESTS_MODULE": module,
        "ARRAY_API_TESTS_VERSION": options.version,
        "PYTHONPATH": os.pathsep.join(paths),
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}"]
        command += ["-p", "no:cacheprovider", "--disable-deadline", "--derandomize"]
        command += [f"--max-examples={options.max_examples * more}", *tests]
        done = subprocess.run(command, cwd=options.suite, env=env, capture_output=True, text=True)
        if not report.exists():
            raise SystemExit(f"{module}: {tests} could not be run\n{done.stdout}\n{done.stderr}")
        found = outcomes(ET.parse(report).getroot())
    if options.verbose and "failed" in found.values():
        print(done.stdout)
    return found


def outcomes(report: ET.Element) -> Outcomes:
    """The outcome of each test in a report of pytest."""
    found = {}
    for case in report.iter("testcase"):
        kinds = {part.tag for part in case}
        path, _, group = (case.get("classname") or "").partition(".")[2].partition(".")
        name = "::".join(
            [f"array_api_tests/{path}.py", *filter(None, [group]), case.get("name") or ""]
        )
        failed = kinds & {"failure", "error"}
        found[name] = "failed" if failed else "skipped" if "skipped" in kinds else "passed"
    return found


def line(name: str, found: Outcomes) -> str:
    """Counts of one file, or of all, for one module."""
    counts = Counter(found.values())
    return f"{name:<24}" + "".join(f"{counts[k]:>6} {k}" for k in ("passed", "failed", "skipped"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.array_api", description=__doc__)
    parser.add_argument("--suite", type=Path, required=True, metavar="PATH", help="the checkout")
    parser.add_argument("--max-examples", type=int, default=100, metavar="N", help="a test (100)")
    parser.add_argument("--version", default=VERSION, help=f"of the standard ({VERSION})")
    parser.add_argument("--only", nargs="+", metavar="FILE", help="files, such as test_fft.py")
    parser.add_argument("--verbose", action="store_true", help="what pytest says of failures")
    options = parser.parse_args(arguments)
    folder = options.suite / "array_api_tests"
    files = options.only or sorted(path.name for path in folder.glob("test_*.py"))
    if not files:
        parser.error(f"no tests in {folder}")
    total: dict[str, Outcomes] = {module: {} for module in (PLAIN, *TRACED)}
    for file in files:
        print(file)
        for module, known in total.items():
            found = run(module, [f"array_api_tests/{file}"], options)
            known |= found
            print(line(f"  {module}", found), flush=True)
    print("all")
    for module, found in total.items():
        print(line(f"  {module}", found))
    return max(report(total[PLAIN], module, total[module], options) for module in TRACED)


def report(plain: Outcomes, module: str, traced: Outcomes, options: argparse.Namespace) -> int:
    """Print the failures of lima alone; 1 if there are any.

    Which examples a test meets is chance: a failure is NumPy's too if more examples show it.
    """
    alone = [n for n, k in traced.items() if k == "failed" and plain.get(n) != "failed"]
    if alone:
        again = run(PLAIN, alone, options, more=10)
        alone = [n for n in alone if again.get(n) != "failed"]
    alone += [f"{name} (not run)" for name in sorted(plain.keys() - traced.keys())]
    print(f"failed by {module} alone: {len(alone)}", *alone, sep="\n  ")
    return 1 if alone else 0


if __name__ == "__main__":
    sys.exit(main())
