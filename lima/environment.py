"""The numeric environment: what can change the last bits of a result besides the program."""

from __future__ import annotations

import functools
import os
import platform
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
import threadpoolctl
from numpy.lib import introspect

from lima import node

NUMERIC = ("numpy", "blas", "threads", "machine", "simd", "byteorder")
"""The facts of `environment` that results depend on."""


def environment() -> dict[str, str]:
    """Versions of lima, Python, NumPy and BLAS, BLAS threads, machine, SIMD targets, byte order.

    Takes some tens of microseconds after the first call; neither SciPy nor Numba is imported.

    >>> facts = environment()
    >>> facts["numpy"] == np.__version__, set(NUMERIC) <= set(facts)
    (True, True)
    """
    facts = dict(_fixed())
    facts["threads"] = _threads()
    return facts


OR = " or "

_also: set[str] = set()
"""Numbers of BLAS threads that parallel loops of this process have had beside the program's."""


def recorded() -> dict[str, str]:
    """The `environment` that lineage of this process is of, for its logs.

    Once a parallel loop has run with another number of BLAS threads, what is in memory may be of
    either number. Then the fact "threads" says so, and bits that differ are no error.
    """
    facts = environment()
    facts["threads"] = OR.join(sorted({facts["threads"], *_also}))
    return facts


def note_threads(number: int) -> None:
    """Results of this process may be of another number of BLAS threads than it has."""
    _also.add(str(number))


def compiled() -> bool:
    """Whether the modules that every operation passes run as machine code (see `setup.py`).

    Interpreted, they do the same at two to three times the cost per operation.
    """
    return not str(node.__file__).endswith(".py")


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two environments and can change bits, as "numpy 2.0.1, now 2.1.0".

    A fact that `then` does not have counts as equal; one that it is not sure of, such as
    "1 or 2" threads (see `recorded`), does not.

    >>> differences({"threads": "2", "lima": "1"}, {"threads": "4", "lima": "2"})
    ['threads 2, now 4']
    """
    return [
        f"{key} {then[key]}, now {now.get(key, 'unknown')}"
        for key in NUMERIC
        if key in then and (then[key] != now.get(key) or OR in then[key])
    ]


def numeric() -> dict[str, str]:
    """What decides bits beside the program: the facts of `NUMERIC`, and versions of kernels.

    Values that outlive a process are those of one such environment.

    >>> sorted(set(numeric()) - set(NUMERIC))
    ['lima', 'scipy']
    """
    facts = environment()
    return {**{key: facts[key] for key in NUMERIC}, "lima": facts["lima"], "scipy": _scipy()}


@functools.cache
def _scipy() -> str:
    """The version of SciPy, which is not imported for that.

    Its own file says so. To look through what is installed takes ten times as long.
    """
    found = find_spec("scipy")
    if found is None or not found.origin:
        return "none"
    try:
        with open(os.path.join(os.path.dirname(found.origin), "version.py"), encoding="utf-8") as f:
            said = _SAID.search(f.read(10_000))
    except (OSError, UnicodeDecodeError):
        said = None
    return said[1] if said is not None else metadata.version("scipy")


_SAID = re.compile(r"""^version = ["']([^"'\s]+)["']""", re.MULTILINE)


@functools.cache
def _fixed() -> dict[str, str]:
    return {
        "lima": _version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": _blas(),
        "threads": "",
        "machine": f"{platform.system()} {platform.machine()}",
        "simd": _simd(),
        "byteorder": sys.byteorder,
    }


def _version() -> str:
    return str(getattr(sys.modules[__package__], "__version__", "unknown"))


class _Quick(threadpoolctl.ThreadpoolController):  # type: ignore[misc]
    """A controller that follows the links of libraries only whose names are those of a BLAS.

    A process has a hundred libraries loaded, and each takes several calls of the system.
    """

    def _make_controller_from_path(self, filepath: str, *rest: Any) -> Any:
        if _OF_BLAS.search(filepath.lower()):
            return super()._make_controller_from_path(filepath, *rest)
        return None


_OF_BLAS = re.compile("blas|blis|mkl|lapack")


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    quick = _Quick()
    found = [info["filepath"] for info in quick.info() if info["user_api"] == "blas"]
    if any("scipy.libs" not in path for path in found):
        return quick
    return threadpoolctl.ThreadpoolController()  # NumPy's has some other name


def _library() -> dict[str, object] | None:
    """The BLAS that NumPy calls. SciPy may have loaded one of its own beside it."""
    found = [info for info in _controller().info() if info["user_api"] == "blas"]
    found.sort(key=lambda info: "scipy.libs" in info["filepath"])
    return found[0] if found else None


def _blas() -> str:
    library = _library()
    if library is None:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    words = (library["internal_api"], library["version"], library.get("architecture"))
    return " ".join(str(word) for word in words if word)


def _threads() -> str:
    library = _library()
    return "unknown" if library is None else str(library["num_threads"])


def thread_budget() -> int:
    """Threads that lima's own kernels may take: as many as BLAS takes now.

    So `OPENBLAS_NUM_THREADS` and `threadpoolctl` limit both. Without a BLAS that tells, one for
    each processor that this process may run on.
    """
    told = _threads()
    if told.isdigit():
        return int(told)
    return processors()


def _simd() -> str:
    """The instruction sets that NumPy chose for typical loops on this processor."""
    loops = introspect.opt_func_info("^(add|exp|sin)$").values()
    return " ".join(sorted({loop["current"] for by_type in loops for loop in by_type.values()}))


# --------------------------------------------------------------------------- limits of threads

_limits: list[int] = []
_limiting = threading.Lock()
_limiter: list[Any] = []


@contextmanager
def blas_limited(threads: int) -> Iterator[None]:
    """Let BLAS take so many threads at most in the `with` block; it is a setting of the process.

    Blocks that run at the same time in several threads get the least of what they ask for, and the
    last to end restores what was before the first.
    """
    with _limiting:
        if not _limits:
            controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
            _limiter[:] = [controller, controller.limit(limits=threads)]
        _limits.append(threads)
        _limit(min(_limits))
    try:
        yield
    finally:
        with _limiting:
            _limits.remove(threads)
            if _limits:
                _limit(min(_limits))
            else:
                _limiter.pop().restore_original_limits()


def _limit(threads: int) -> None:
    for library in _limiter[0].lib_controllers:
        library.set_num_threads(threads)


def processors() -> int:
    """The processors that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
