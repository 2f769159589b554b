"""NumPy's own tests under lima: ``python -m bench.numpy_suite [MODULE ...]``.

Every module of tests runs twice, in processes of its own: plain, and with the names that it got
from NumPy bound to the traced ones of `lima.numpy`. What passes plain and fails traced is listed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import types
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

MODULES = tuple(
    """
    _core.tests.test_numeric _core.tests.test_multiarray _core.tests.test_umath
    _core.tests.test_ufunc _core.tests.test_indexing _core.tests.test_shape_base
    _core.tests.test_einsum _core.tests.test_item_selection _core.tests.test_function_base
    _core.tests.test_mem_overlap _core.tests.test_errstate _core.tests.test_indexerrors
    _core.tests.test_nep50_promotions _core.tests.test_umath_complex _core.tests.test_half
    _core.tests.test_regression _core.tests.test_scalarmath _core.tests.test_datetime
    _core.tests.test_arrayobject _core.tests.test_array_coercion
    lib.tests.test_function_base lib.tests.test_arraysetops lib.tests.test_nanfunctions
    lib.tests.test_index_tricks lib.tests.test_shape_base lib.tests.test_twodim_base
    lib.tests.test_arraypad lib.tests.test_histograms lib.tests.test_polynomial
    lib.tests.test_stride_tricks lib.tests.test_type_check lib.tests.test_ufunclike
    lib.tests.test_packbits lib.tests.test_regression
    lib.tests.test_recfunctions lib.tests.test_arrayterator lib.tests.test_mixins
    lib.tests.test_array_utils lib.tests.test_utils lib.tests.test_format lib.tests.test_loadtxt
    lib.tests.test_io
    linalg.tests.test_linalg linalg.tests.test_regression linalg.tests.test_deprecations
    fft.tests.test_pocketfft fft.tests.test_helper
    random.tests.test_generator_mt19937 random.tests.test_generator_mt19937_regressions
    random.tests.test_random random.tests.test_randomstate random.tests.test_seed_sequence
    random.tests.test_smoke random.tests.test_regression random.tests.test_direct
    random.tests.test_randomstate_regression
    """.split()
)
"""Modules of NumPy's tests, below `numpy`."""


REASONS = {
    "asks for a type by identity": r"type\(.*\) is |DESIRED: <class|is <class|is <module|is np\.|"
    r"isinstance|__class__| is Array\(| is array\(|is traced|is <traced|is <ufunc|subok|interning|"
    r"is np\.(True|False)_|__text_signature__|descriptor '\w+' for",
    "counts references": r"refcount|_refcount|check_reference|references should|gc\.|weakref|"
    r"cleanup_with_refs|memory_leak|pre_cnt|refc_start|getsizeof",
    "hands out memory": r"buffer|bytes-like|ndarray input|_aligned_zeros|flat\.__array__|"
    r"order_mismatch|__array_interface__|__array_struct__|ctypes|memoryview|"
    r"\.data\b|__array_wrap__|no pointer|tofile|fromfile",
    "subclasses ndarray": r"subclass|view\((type=)?[A-Z]\w*\)|np\.matrix|recarray|ndarray\)|MyArr|"
    r"np\.ma\b|masked|__array_finalize__",
    "functions of records that write, or give views": r"assign_fields|recursive_fill|"
    r"structured_to_unstructured|stack_arrays",
    "a list is an array": r"the provided empty sequence|diff\(x, n=0\) is x",
    "gives an array to C code": r"Cannot convert Array|__array__ method not producing|"
    r"must be a numpy array|\bbase\b|"
    r"array_indexing|iterator|nditer|argument 1 must be numpy\.ndarray|operator\.concat|by concat",
    "sets dtype, strides or size in place": r"resize\(|has no setter|setflags|strides =|dtype =",
    "a hit repeats no warning": r"DID NOT WARN|Emitted warnings",
    "refuses what NumPy deprecates": r"Deprecat|read-only|_warn_on_write",
    "objects made before, or in threads": r"contig_req_out|TestThread|pickle|__setstate__|repr\(",
    "holds Python objects": r"dtype=object|dtype object|object_|Decimal|\bobject\(|dtype=\"O\"|'O'",
}
"""Why a test of NumPy's cannot pass, by what its text or its error says."""


LEFT_OUT = {
    "test_xerbla_override": "forks; its child does not end when C code refuses a traced array",
    "incref_elide": "C code that takes any object for an array, and ends the process",
    "test_sort_degraded": "views half a million deep, each of which knows the way to its array",
}
"""Tests that are run neither plain nor traced, and why."""


MEMORY = 6_000_000_000
"""Bytes that a process may ask for: some tests want more, and fail in both runs."""


LONGEST = 900
"""Seconds after which a module is given up, if nothing else is asked for."""


class Watch:
    """A plugin of pytest: binds the modules of the tests, and notes how each test ended."""

    def __init__(self, traced: bool) -> None:
        self.traced = traced
        self.found: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: Any) -> None:
        if not self.traced:
            return
        for module in {item.module for item in session.items}:
            bind(module)
        for item in session.items:
            if hasattr(item, "callspec"):
                item.callspec.params.update(
                    {name: bound(value) for name, value in item.callspec.params.items()}
                )

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.found.setdefault(report.nodeid, [report.outcome, _message(report)])
            if report.outcome == "failed":
                self.found[report.nodeid] = [report.outcome, _message(report)]


def _message(report: Any) -> str:
    """What the report of a failed test shows of the test itself, and its error.

    The lines of lima's that the error passed say nothing of the test.
    """
    if report.outcome != "failed":
        return ""
    entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", ())
    shown = [e for e in entries if _is_of_tests(e)]
    lines = [line for e in shown for line in e.lines if line[:2] != "E "]
    errors = [line for line in report.longreprtext.splitlines() if line[:2] == "E "]
    return "\n".join([*lines[-60:], *errors])[-3000:] if shown else report.longreprtext[-3000:]


def _is_of_tests(entry: Any) -> bool:
    place = getattr(entry, "reprfileloc", None)
    return place is not None and "tests" in Path(place.path).parts


def bind(module: types.ModuleType) -> None:
    """Let the names that a module has from NumPy mean the traced ones of `lima.numpy`."""
    for owner in [module, *(c for c in vars(module).values() if isinstance(c, type))]:
        if owner is module or owner.__module__ == module.__name__:
            for name, value in list(vars(owner).items()):
                if owner is not module and name.startswith("__"):
                    continue  # methods that a decorator made, such as those of a dataclass
                if getattr(value, "__module__", None) == module.__name__:
                    continue  # the tests' own functions and classes
                made = bound(value)
                if made is not value:
                    setattr(owner, name, made)


def bound(x: Any) -> Any:
    """The traced twin of a module or callable of NumPy, inside lists, tuples and dicts too."""
    from lima.draws import TracedGenerator
    from lima.numpy.namespace import always
    from lima.twin import is_numpy

    if type(x) in (np.random.Generator, np.random.RandomState):
        return TracedGenerator(x, always=True)
    if isinstance(x, types.ModuleType):
        return always(x) if x.__name__.partition(".")[0] == "numpy" else x
    if type(x) in (list, tuple):
        made = [bound(item) for item in x]
        return x if all(m is item for m, item in zip(made, x)) else type(x)(made)
    if type(x) is dict:
        return {key: bound(item) for key, item in x.items()}
    return always(x) if is_numpy(x) else x


def child(
    name: str, traced: bool, select: str | None, longest: float = LONGEST
) -> dict[str, list[str]]:
    """How the tests of a module end, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "found.json"
        command = [sys.executable, "-m", "bench.numpy_suite", "--child", name, "--to", str(target)]
        command += ["--traced"] if traced else []
        command += ["-k", select] if select else []
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=longest,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"": ["crashed", f"stopped after {longest} seconds"]}
        if not target.exists():
            return {"": ["crashed", f"status {done.returncode}: {done.stderr[-2000:]}"]}
        found: dict[str, list[str]] = json.loads(target.read_text())
        return found


def run_here(name: str, traced: bool, select: str | None, target: Path) -> None:
    import pytest

    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ["NPY_AVAILABLE_MEM"] = f"{MEMORY // 4 / 1e9} GB"
    watch = Watch(traced)
    path = Path(np.__file__).parent.joinpath(*name.split(".")).with_suffix(".py")
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={path.parents[2]}"]
    others = f"not ({' or '.join(LEFT_OUT)})"
    options += ["-k", f"({select}) and {others}" if select else others]
    options += ["-o", "faulthandler_timeout=100", "-v"]
    pytest.main([*options, str(path)], plugins=[watch])
    target.write_text(json.dumps(watch.found))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.numpy_suite", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="as in `lib.tests.test_x`")
    parser.add_argument("-k", metavar="EXPR", help="tests, as pytest selects them")
    parser.add_argument("--longest", type=float, default=LONGEST, metavar="SECONDS",
                        help=f"for a module, plain or traced ({LONGEST})")  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="with the errors")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        run_here(options.child, options.traced, options.k, options.to)
        return 0
    everything: dict[str, Any] = {}
    for name in options.modules or MODULES:
        plain = child(name, False, options.k, options.longest)
        traced = child(name, True, options.k, options.longest)
        passed = [t for t, (outcome, _) in plain.items() if outcome == "passed"]
        lost = {t: traced.get(t, ["missing", traced.get("", ["", ""])[1]]) for t in passed}
        lost = {t: (why(t, v[1]), v[1]) for t, v in lost.items() if v[0] != "passed"}
        everything[name] = {"passed": len(passed), "lost": lost}
        print(line_for(name, len(passed), lost), flush=True)
        for test, (reason, text) in lost.items() if options.verbose else ():
            print(f"  {test.partition('::')[2]}: {reason}\n    {_error_in(text)}")
        if options.json:
            options.json.write_text(json.dumps(everything, indent=1))
    total = {t: v for found in everything.values() for t, v in found["lost"].items()}
    print(line_for("all", sum(found["passed"] for found in everything.values()), total))
    return 1 if UNKNOWN in {reason for reason, _ in total.values()} else 0


UNKNOWN = "to be looked at"


def why(test: str, text: str) -> str:
    """The reason for which a test fails when traced."""
    for reason, pattern in REASONS.items():
        if re.search(pattern, test + text):
            return reason
    return UNKNOWN


def _error_in(text: str) -> str:
    return next((line for line in text.splitlines() if line.startswith("E ")), "")


def line_for(name: str, passed: int, lost: dict[str, tuple[str, str]]) -> str:
    """The counts of a module in one line."""
    counts = Counter(reason for reason, _ in lost.values())
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
    return f"{name}: {passed} pass, {passed - len(lost)} traced" + (f" ({reasons})" if lost else "")


if __name__ == "__main__":
    sys.exit(main())
