"""Random programs, plain and traced: ``python -m bench.fuzz [--programs N] [--seed S]``.

Every program runs with plain NumPy and then under lima in several ways. Results, arguments, module
globals and generators must agree to the last bit: elements, dtypes, shapes, strides, flags, which
results share memory, and which statements raised what. With `--rules` the programs cut, join and multiply
matrices, in sessions that use rules of partial reuse.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import random
import re
import sys
import tempfile
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import lima
import lima.numpy
from bench.effects import EFFECTS
from bench.programs import ARGUMENTS, HEAD, LARGEST, PRELUDE, Writer, targets_of
from bench.statements import STATEMENTS
from lima import leaves
from lima.node import leaf
from lima.op import OPS, clone

# --------------------------------------------------------------------------- programs


def source(lines: list[str]) -> str:
    """The text of a module with the program; every statement notes what it raises."""
    names = sorted({t for line in lines for t in targets_of(line)} - set(ARGUMENTS))
    body = [f"{name} = None" for name in names] + ["seen = []"]
    for k, line in enumerate(lines):
        body += [
            "try:",
            textwrap.indent(line, "    "),
            "except Exception as error:",
            f"    note(seen, {k}, error, {'] = ' in line})",
        ]
    kept = ", ".join(f'"{name}": {name}' for name in ["seen", *ARGUMENTS, *names])
    return "\n".join(
        [
            PRELUDE,
            NOTE,
            HEAD,
            *[textwrap.indent(text, "    ") for text in body],
            f"    return {{{kept}}}",
        ]
    )


NOTE = """
def note(seen, k, error, assigning):
    seen.append(k)
    seen.append(kind(error, assigning))


def kind(error, assigning):
    if assigning and isinstance(error, (TypeError, ValueError)):
        return "either"  # NumPy's choice depends on the types of array and item
    for c in type(error).__mro__:
        if c.__module__.split(".")[0] != "lima" and not c.__module__.startswith("numpy._core"):
            return c.__name__
"""


def load(text: str, traced: Any) -> dict[str, Any]:
    """A module's scope after running its text."""
    scope: dict[str, Any] = {"__name__": "fuzzed", "traced": traced}
    exec(_compiled(text), scope)
    return scope


@lru_cache(maxsize=8)
def _compiled(text: str) -> Any:
    return compile(text, "<fuzzed>", "exec")


SCALE = 1
"""How many times longer the axes of the arrays are; with 40, many are large enough to wait."""


def inputs(seed: int, scope: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a program, the same for the same seed; their layout depends on it."""
    rng = np.random.default_rng(seed)
    layout = random.Random(seed)
    two, three, four, five, six = (k * SCALE for k in (2, 3, 4, 5, 6))
    D = rng.normal(size=(five, four)).astype(layout.choice(["f8", "f4", "f8"]))
    C = layout.choice([np.asfortranarray, lambda a: np.repeat(a, 2, 1)[:, ::2], lambda a: a[::-1]])(
        rng.normal(size=(six, four))
    )
    D.setflags(write=layout.random() < 0.5)
    A = rng.normal(size=(six, four)).round(layout.choice([1, 17]))
    A.flat[3] = layout.choice([0.0, -0.0, np.nan, np.inf, 1.0])
    B = rng.normal(size=(four, four))
    v = rng.normal(size=four)
    w = rng.normal(size=six)
    return {
        "A": A,
        "B": B,
        "C": C,
        "D": D,
        "v": layout.choice([v, v, v, B[1], B.T[0], A[2]]),
        "w": w[::-1] if layout.random() < 0.5 else w,
        "k": rng.integers(-4, 9, four),
        "m": rng.random((six, four)) < 0.5,
        "z": rng.normal(size=three) + 1j * rng.normal(size=three),
        "rng": np.random.default_rng(seed),
        "box": scope["Box"](A if layout.random() < 0.3 else rng.normal(size=(two, three))),
        "pair": [rng.normal(size=(three, four)), layout.choice([A, A[1:], rng.normal(size=three)])],
        **_more(seed, scope),
    }


RECORD = np.dtype([("x", "f8"), ("y", "i4"), ("p", "f4", (2,))])


def _more(seed: int, scope: dict[str, Any]) -> dict[str, Any]:
    """Arguments of other kinds: records, dates, small integers, other floats, a held generator."""
    rng = np.random.default_rng(seed + 1)
    layout = random.Random(seed + 1)
    t = np.zeros(4 * SCALE, RECORD)
    t["x"], t["y"], t["p"] = rng.normal(size=t.size), rng.integers(0, 5, t.size), 1.5
    other = layout.choice(["f2", "g", "c8", "i1", ">f8", "f4", "u4", "F", "f2", "i2"])
    bits = layout.choice([np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
    return {
        "t": t,
        "d": np.datetime64("2024-01-30") + rng.integers(0, 99, 5 * SCALE),
        "u": rng.integers(0, 255, (3 * SCALE, 4 * SCALE)).astype("u1"),
        "e": rng.normal(size=(4 * SCALE, 4 * SCALE)).astype(other),
        "held": scope["Held"](np.random.Generator(bits(seed))),
    }


def generate(choices: Any, count: int, seed: int) -> list[str]:
    """A program of `count` statements."""
    return written(choices, count, seed)[0]


def written(choices: Any, count: int, seed: int) -> tuple[list[str], Counter[str]]:
    """A program, and how many statements of each kind it has."""
    scope = load(PRELUDE, lambda f: f)
    np.random.seed(seed)
    writer = Writer(choices, inputs(seed, scope), scope, LARGEST * SCALE**2)
    with np.errstate(all="ignore"):
        return writer.write(count, STATEMENTS + EFFECTS), writer.kinds


# --------------------------------------------------------------------------- what a run leaves


DEEPEST = 9
"""Containers in containers that are looked at; some hold themselves."""


def describe(x: Any, arrays: list[Any], seen: dict[int, int], depth: int = 0) -> Any:
    """`x` as data that can be compared, its arrays collected in `arrays`."""
    kind = type(x).__name__
    depth += 1
    if depth > DEEPEST:
        return "deep"
    if isinstance(x, lima.Array):
        a = x.__array__()
        x = a if a.ndim or a.dtype.hasobject or not a.dtype.isnative else a[()]
    if isinstance(x, np.ma.MaskedArray):
        return "masked", repr(x)
    if isinstance(x, np.ndarray):
        place = seen.get(id(x))  # of the caller's own arrays, which a result may be
        arrays.append(x)
        strides = x.strides if x.size > 1 else None
        flags = (x.flags.c_contiguous, x.flags.f_contiguous)
        writeable = x.flags.writeable
        return kind, x.dtype.str, x.shape, strides, flags, writeable, content(x, depth), place
    if isinstance(x, np.generic):
        return kind, x.dtype.str, repr(x), content(x)
    if isinstance(x, (list, tuple)):
        return kind, [describe(v, arrays, seen, depth) for v in x]
    if isinstance(x, dict):
        return "dict", [
            (describe(k, arrays, seen, depth), describe(v, arrays, seen, depth))
            for k, v in x.items()
        ]
    if isinstance(x, np.random.Generator):
        return "generator", _state(x.bit_generator.state)
    if isinstance(x, np.random.RandomState):
        return "generator", _state(x.get_state(legacy=False))
    if kind in ("Box", "Held"):
        return kind, [describe(v, arrays, seen, depth) for v in vars(x).values()]
    return kind, repr(x)


def _state(state: Any) -> Any:
    """A generator's state; printing the 624 words of some takes longer than a program."""
    if isinstance(state, dict):
        return [(name, _state(part)) for name, part in state.items()]
    return state.tobytes() if isinstance(state, np.ndarray) else repr(state)


def content(x: Any, depth: int = 0) -> Any:
    """All that an array or a scalar holds, without what lies between fields and elements."""
    if x.dtype.names is not None:
        parts = [content(x[name], depth) for name in x.dtype.names]
        return parts if x.dtype.hasobject else b"".join(parts)
    if x.dtype == object and x.ndim:
        return [describe(item, [], {}, depth) for item in x.flat]
    if x.dtype == object:  # what it holds may hold traced arrays, which look the same but in text
        return repr(bare(describe(x.item(), [], {}, depth))).encode()
    if x.dtype.hasobject or x.dtype.char in "gG":  # addresses, or padding
        return repr(x.tolist()).encode()
    return x.tobytes()


def arrays_of(arguments: dict[str, Any]) -> Iterator[Any]:
    """The arrays among the arguments."""
    for x in arguments.values():
        if isinstance(x, np.ndarray):
            yield x
        elif isinstance(x, list):
            yield from x
        elif hasattr(x, "a"):
            yield x.a


class Outcome:
    """What a run left: a description of each value, and which arrays share memory."""

    def __init__(self, result: Any, arguments: dict[str, Any], scope: dict[str, Any]) -> None:
        self.arrays: list[Any] = []
        values = {f"result {k}": v for k, v in result.items()}
        values |= {f"argument {k}": v for k, v in arguments.items()}
        values |= {name: scope[name] for name in ("PLAIN", "COUNTS")}
        self.values: dict[str, Any] = {}
        self.names: list[str] = []
        own = [*arrays_of(arguments), scope["PLAIN"], scope["COUNTS"]]
        seen = {id(a): place for place, a in enumerate(own)}
        for name, value in values.items():
            self.values[name] = describe(value, self.arrays, seen)
            self.names += [name] * (len(self.arrays) - len(self.names))
        self.values["np.random"] = _state(np.random.get_state(legacy=False))
        self.shared = set(sharing(self.arrays))

    def differences(self, other: Outcome, values_only: bool = False) -> Iterator[str]:
        for name, value in self.values.items():
            if name not in other.values:
                continue
            found = other.values[name]
            if values_only:
                value, found = bare(value), bare(found)
            if found != value:
                yield f"{name}: {shown(value, found)}"
        if not values_only and self.shared != other.shared and len(self.names) == len(other.names):
            for i, j in sorted(self.shared ^ other.shared):
                way = "shares" if (i, j) in self.shared else "does not share"
                yield f"{self.names[i]} {way} memory with {self.names[j]} in the plain run"


def sharing(arrays: list[Any]) -> Iterator[tuple[int, int]]:
    """The pairs that share memory: of all those whose first and last bytes leave it possible."""
    bounds = [(*np.lib.array_utils.byte_bounds(a), k) for k, a in enumerate(arrays) if a.size]
    reaching: list[tuple[int, int]] = []
    for low, high, k in sorted(bounds):
        reaching = [(end, i) for end, i in reaching if end > low]
        for _, i in reaching:
            if np.shares_memory(arrays[i], arrays[k]):
                yield min(i, k), max(i, k)
        reaching.append((high, k))


def bare(value: Any) -> Any:
    """A description without what only a plain array has: strides, flags, identity."""
    if isinstance(value, tuple) and len(value) == 8:
        return value[1], value[2], bare(value[6])
    if isinstance(value, tuple) and isinstance(
        value[-1], bytes
    ):  # a scalar, or an array of no axes
        return value[1], (), value[-1]
    if isinstance(value, (list, tuple)):
        return [bare(v) for v in value]
    return value


FIELDS = ("class", "dtype", "shape", "strides", "contiguity", "writeable", "bits", "identity")


def shown(value: Any, found: Any) -> str:
    """The part in which two descriptions differ."""
    if isinstance(value, tuple) and isinstance(found, tuple) and len(value) == len(found) == 8:
        parts = [
            f"{field} {elements(v, value)} -> {elements(f, found)}"
            for field, v, f in zip(FIELDS, value, found)
            if v != f
        ]
        return "; ".join(parts)
    if isinstance(value, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(value) == len(found):
            pairs = [(v, f) for v, f in zip(value, found) if v != f]
            return "; ".join(f"[{shown(v, f)}]" for v, f in pairs)
    return f"{str(value)[:200]} -> {str(found)[:200]}"


def elements(part: Any, value: Any) -> str:
    dtype = np.dtype(value[1])
    if isinstance(part, bytes) and dtype.kind not in "OV" and dtype.char not in "gG":
        return str(np.frombuffer(part, dtype)[:12].tolist())
    return str(part)


# --------------------------------------------------------------------------- ways to run


@contextmanager
def stress() -> Iterator[None]:
    """Whatever has more than one element waits, every operation probes, everything is kept."""
    limits = [(row, row.small, row.at_once) for row in OPS.values()]
    with ExitStack() as stack:
        for module in [m for name, m in sys.modules.items() if name.startswith("lima.")]:
            for name in EAGER.keys() & vars(module).keys():
                stack.enter_context(mock.patch.object(module, name, EAGER[name]))
        try:
            for row, _, _ in limits:
                row.small = row.at_once = 1
            yield
        finally:
            for row, small, at_once in limits:
                row.small, row.at_once = small, at_once


EAGER: dict[str, Any] = {
    "FUSED": 1,
    "MIN_EFFORT": -1,
    "MIN_SECONDS": -1.0,
    "CALL_SECONDS": -1.0,
    "KEEP_SECONDS": -1.0,
    "worth_keeping": lambda *args, **kwargs: True,
    "LEAST_SECONDS": -1.0,
    "SECONDS_A_BYTE": 0.0,
}
"""Limits of what is worth probing and keeping, for `stress`."""


def run(
    scope: dict[str, Any],
    function: Any,
    seed: int,
    namespace: bool = False,
    handles: bool = False,
    look: Callable[[Any], None] = lambda result: None,
) -> Outcome:
    """One run with fresh arguments, and what it leaves; then everything it left is spoiled.

    namespace  the generator is one of `lima.numpy`
    handles    so are the arrays
    look       is shown what the program returns, before it is spoiled
    """
    arguments = inputs(seed, scope)
    np.random.seed(seed)
    if namespace:
        arguments["rng"] = lima.numpy.random.default_rng(seed)
        held = arguments["held"]
        held.rng = lima.numpy.random.Generator(held.rng.bit_generator)
    if handles:
        arguments = traced_arguments(arguments)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = function(**arguments)
        look(result)
    outcome = Outcome(result, arguments, scope)
    for a in outcome.arrays:
        if type(a) is np.ndarray and a.flags.writeable and a.dtype.kind in "fiucb":
            a[...] = 77
    for name in ("PLAIN", "COUNTS"):
        scope[name].setflags(write=True)  # whatever the program did
    scope["PLAIN"][...] = np.arange(12.0).reshape(3, 4) / 7
    scope["COUNTS"][...] = [3, 1, 2]
    return outcome


def traced_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments, as traced arrays where those have the same flags."""
    made: dict[int, Any] = {}
    others = list(arrays_of(arguments))

    def traced(x: Any) -> Any:
        if not isinstance(x, np.ndarray) or not x.flags.writeable or not x.flags.forc:
            return x
        if x.dtype.names:
            return x
        if any(x is not a and np.may_share_memory(x, a) for a in others):
            return x
        return made.setdefault(id(x), lima.array(x))

    arguments["box"].a = traced(arguments["box"].a)
    arguments["pair"][:] = map(traced, arguments["pair"])
    return {name: traced(x) for name, x in arguments.items()}


Mode = Callable[[str, int], Iterator[tuple[str, Outcome]]]


def traced_runs(text: str, seed: int) -> Iterator[tuple[str, Outcome]]:
    """Cold and warm in one session."""
    scope = load(text, lima.traced)
    function = lima.traced(scope["program"])
    with lima.session(memory="200MB", exactness="bitwise"):
        for which in ("cold", "warm", "warmer"):
            yield which, run(scope, function, seed)


def stressed_runs(text: str, seed: int) -> Iterator[tuple[str, Outcome]]:
    """As `traced_runs` where everything waits and is kept; then by operations alone."""
    with stress():
        for which, outcome in traced_runs(text, seed):
            yield f"stressed {which}", outcome
        scope = load(text, lima.traced)
        function = lima.traced(reuse="operation")(scope["program"])
        with lima.session(memory="200MB", exactness="bitwise", reuse="operation"):
            for which in ("cold", "warm"):
                yield f"stressed operations {which}", run(scope, function, seed)


def untouched_runs(text: str, seed: int) -> Iterator[tuple[str, Outcome]]:
    """Without reuse."""
    scope = load(text, lima.traced)
    with lima.session(reuse="none", exactness="bitwise"):
        yield "reuse none", run(scope, lima.traced(scope["program"]), seed)


def small_runs(text: str, seed: int) -> Iterator[tuple[str, Outcome]]:
    """With a cache of a few entries, so that values go at any time."""
    scope = load(text, lima.traced)
    with stress(), lima.session(memory="8KB", policy="lru", exactness="bitwise"):
        function = lima.traced(scope["program"])
        for which in ("cold", "warm"):
            yield f"small cache {which}", run(scope, function, seed)


SET_IN_PLAIN = re.compile(r"^ *[dt]\[-?\d+\] = v", re.MULTILINE)
"""Into a plain array of dates or records NumPy puts no traced scalar: a limit of `lima.numpy`."""


def namespace_runs(text: str, seed: int) -> Iterator[tuple[str, Outcome]]:
    """Without decorators: `lima.numpy` in the place of NumPy, and arguments that are traced."""
    scope = load(text.replace("import numpy as np", "import lima.numpy as np"), lambda f: f)
    if SET_IN_PLAIN.search(text) is not None:
        return
    with lima.session(memory="200MB", exactness="bitwise"):
        yield "lima.numpy", run(scope, scope["program"], seed, True)
        yield "lima.numpy, traced arguments", run(scope, scope["program"], seed, True, True)


def recomputed_runs(text: str, seed: int) -> Iterator[tuple[str, Outcome]]:
    """With `lima.numpy`; then every result again, from its log and as a program: the same bits."""
    if SET_IN_PLAIN.search(text) is not None:
        return
    scope = load(text.replace("import numpy as np", "import lima.numpy as np"), lambda f: f)
    for a in (*arrays_of(inputs(seed, scope)), scope["PLAIN"], scope["COUNTS"]):
        if not a.dtype.hasobject:
            kept = np.asarray(a).copy(order="K")
            leaves.hold(leaf(kept).digest, kept)
    problems: list[str] = []

    def check_logs(result: Any) -> None:
        found = {name: x for name, x in result.items() if _can_be_logged(x)}
        try:
            problems.extend(_recomputed(found))
        except lima.ReplayError as error:
            if "cannot hold" not in str(error):
                problems.append(str(error))
            for name, x in found.items():
                with suppress(lima.ReplayError):
                    problems.extend(_recomputed({name: x}))

    with lima.session(memory="200MB", exactness="bitwise"):
        outcome = run(scope, scope["program"], seed, True, True, check_logs)
    if problems:
        raise AssertionError("; ".join(problems))
    yield "logged", outcome


def _can_be_logged(x: Any) -> bool:
    """Whether `x` has a lineage of which somebody still has the leaves: none was written since."""
    if not isinstance(x, lima.Array) or x.dtype.hasobject or x.dtype.names is not None:
        return False
    found = [leaves.find(node.digest) for node in lima.lineage(x=x).leaves]
    return all(data is not None and not np.asarray(data).dtype.hasobject for data in found)


def _recomputed(results: dict[str, Any]) -> Iterator[str]:
    """What goes wrong when results are computed again from their log, written and read."""
    log = lima.lineage(**results)
    data = {node.digest.hex(): leaves.find(node.digest) for node in log.leaves}
    with tempfile.TemporaryDirectory() as folder:
        path = lima.save(Path(folder) / "x.lima", log)
        found = lima.recompute(lima.load_log(path), data)
    yield from _differing(results, found)
    scope: dict[str, Any] = {"__name__": "written"}
    exec(compile(log.to_python(), "written", "exec"), scope)
    made = scope["program"](*[clone(data[node.digest.hex()]) for node in log.leaves])
    made = made if len(results) > 1 else (made,)
    yield from _differing(results, dict(zip(results, made, strict=True)), " as a program")


def _differing(
    results: dict[str, Any], found: dict[str, Any], how: str = " from a log"
) -> Iterator[str]:
    for name, x in results.items():
        again, wanted = np.asarray(found[name]), np.asarray(x)
        if (again.dtype, again.shape) != (wanted.dtype, wanted.shape):
            yield f"{name}{how}: {wanted.dtype}{wanted.shape} -> {again.dtype}{again.shape}"
        elif wanted.dtype.char not in "gG" and again.tobytes() != wanted.tobytes():
            yield f"{name}{how}: {wanted.ravel()[:8]} -> {again.ravel()[:8]}"


def stored_runs(text: str, seed: int) -> Iterator[tuple[str, Outcome]]:
    """With a store; then in another process on the same store, which finds there what it can."""
    scope = load(text, lima.traced)
    with tempfile.TemporaryDirectory() as folder:
        with stress(), lima.session(store=folder, exactness="bitwise"):
            yield "with a store", run(scope, lima.traced(scope["program"]), seed)
        yield "in another process", _neighbour().submit(found_again, text, seed, folder).result()


def found_again(text: str, seed: int, folder: str) -> Outcome:
    """What runs in the other process."""
    scope = load(text, lima.traced)
    with stress(), lima.session(store=folder, exactness="bitwise"):
        outcome = run(scope, lima.traced(scope["program"]), seed)
    outcome.arrays.clear()
    return outcome


@lru_cache
def _neighbour() -> ProcessPoolExecutor:
    """Another process, which lives as long as this one."""
    pool = ProcessPoolExecutor(1, get_context("spawn"), _set_scale, (SCALE,))
    atexit.register(pool.shutdown)
    return pool


MODES: tuple[Mode, ...] = (
    traced_runs,
    stressed_runs,
    untouched_runs,
    small_runs,
    namespace_runs,
    recomputed_runs,
    stored_runs,
)


def check(lines: list[str], seed: int, modes: tuple[Mode, ...] = MODES) -> str | None:
    """What goes wrong when the program runs under lima; None if nothing does."""
    text = source(lines)
    scope = load(text, lambda f: f)
    plain = run(scope, scope["program"], seed)
    for mode in modes:
        try:
            for which, outcome in mode(text, seed):
                found = list(plain.differences(outcome, mode in (namespace_runs, recomputed_runs)))
                if found:
                    return f"{which}:\n  " + "\n  ".join(found[:8])
        except Exception as error:
            return f"{mode.__name__}: {type(error).__name__}: {error}"
    return None


def reduced(lines: list[str], fails: Callable[[list[str]], bool]) -> list[str]:
    """The program without the statements that the failure does not need."""
    size = len(lines) // 2
    while size:
        k = 0
        while k < len(lines):
            shorter = lines[:k] + lines[k + size :]
            if fails(shorter):
                lines = shorter
            else:
                k += size
        size //= 2
    return lines


def report(lines: list[str], seed: int, modes: tuple[Mode, ...] = MODES) -> str:
    """A failing program, made as short as it goes, and what goes wrong."""
    lines = reduced(lines, lambda some: check(some, seed, modes) is not None)
    return "\n".join([f"inputs({seed})", *lines, str(check(lines, seed, modes))])


def tried(seed: int) -> tuple[int, Counter[str], str | None]:
    """One program: its kinds of statements, and a report if it went wrong."""
    choices = random.Random(seed)
    lines, kinds = written(choices, choices.randint(5, 60), seed)
    return seed, kinds, report(lines, seed) if check(lines, seed) is not None else None


def main(arguments: list[str] | None = None) -> int:
    """Run random programs; the exit status is 1 if one went wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--programs", type=int, default=1000, metavar="N", help="how many (1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first program")
    parser.add_argument("--failures", type=int, metavar="N", help="stop after N")
    parser.add_argument("--scale", type=int, default=1, metavar="K", help="longer axes (1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes (1)")
    parser.add_argument("--rules", action="store_true", help="programs for rules (`bench.parts`)")
    parser.add_argument("--quiet", action="store_true", help="no progress, no counts")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.programs)
    trial = importlib.import_module("bench.parts").tried if options.rules else tried
    failures = done = 0
    kinds: Counter[str] = Counter()
    with ExitStack() as stack:
        if options.jobs > 1:
            pool = ProcessPoolExecutor(
                options.jobs, get_context("spawn"), _set_scale, (options.scale,)
            )
            results = stack.enter_context(pool).map(trial, seeds, chunksize=8)
        else:
            _set_scale(options.scale)
            results = map(trial, seeds)
        for seed, found, problem in results:
            done += 1
            kinds += found
            if problem is not None:
                failures += 1
                print(f"--- program {seed}\n{problem}\n", flush=True)
            if done % 500 == 0 and not options.quiet:
                print(f"{done} programs, {failures} failed", file=sys.stderr, flush=True)
            if failures and failures == options.failures:
                break
    if not options.quiet:
        print(
            f"{kinds.total()} statements: " + ", ".join(f"{n} {k}" for k, n in kinds.most_common())
        )
    print(f"{done} programs, {failures} failed")
    return 1 if failures else 0


def _set_scale(scale: int) -> None:
    globals()["SCALE"] = scale


if __name__ == "__main__":
    sys.exit(main())
