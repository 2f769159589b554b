"""Whole scripts, unchanged, with NumPy traced in them: the work behind `lima run`."""

from __future__ import annotations

import builtins
import functools
import io
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lima.frame import Frame, Look, _frame
from lima.twin import twin_of

PACKAGE = Path(__file__).parent


def run_script(path: str | os.PathLike[str], args: Sequence[str] = ()) -> dict[str, Any]:
    """Run a script as `python path args...` does, with NumPy traced in it; returns its globals.

    In the script, and in modules of the user's that it imports (those outside of the standard
    library and of `site-packages`), the NumPy names mean traced twins. Nothing in the script has to
    know of lima, and what it prints looks as ever. The session in force is used. In threads that
    the script starts, only operations on arrays that are traced already are traced.

    What the script raises comes through, SystemExit included; so does OSError for a file that
    cannot be read.

    >>> import lima, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "twice.py"
    >>> _ = path.write_text("import numpy as np; print(np.ones(2) * 2)")
    >>> found = lima.run_script(path)
    [2. 2.]
    """
    file = os.path.abspath(path)
    with io.open_code(file) as source:
        code: CodeType = compile(source.read(), file, "exec", dont_inherit=True)
    module = _main_module(file)
    with ExitStack() as stack:
        stack.enter_context(_process_as_of(file, [os.fspath(path), *args], module))
        stack.enter_context(_numpy_is_traced())
        stack.enter_context(_inside_a_traced_call())
        exec(code, vars(module))
    return vars(module)


def _main_module(file: str) -> ModuleType:
    module = ModuleType("__main__")
    module.__file__ = file
    module.__loader__ = SourceFileLoader("__main__", file)
    module.__dict__["__builtins__"] = builtins
    return module


@contextmanager
def _process_as_of(file: str, argv: list[str], module: ModuleType) -> Iterator[None]:
    """`sys` as a script finds it; modules of the user's that it loads are forgotten afterwards."""
    old_argv, old_path = sys.argv, list(sys.path)
    before = dict(sys.modules)
    sys.argv = argv
    sys.modules["__main__"] = module
    if not sys.flags.safe_path:
        sys.path.insert(0, os.path.dirname(file))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = old_argv, old_path
        for name, loaded in list(sys.modules.items()):
            if name not in before and is_users_file(getattr(loaded, "__file__", None)):
                del sys.modules[name]
        sys.modules["__main__"] = before["__main__"]


@contextmanager
def _numpy_is_traced() -> Iterator[None]:
    """Imports of NumPy that stand in the user's files give twins."""
    plain = builtins.__import__

    @functools.wraps(plain)
    def importing(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        found = plain(name, globals, locals, fromlist, level)
        if name.partition(".")[0] == "numpy" and level == 0 and globals is not None:
            return twin_of(found) if is_users_file(globals.get("__file__")) else found
        return found

    builtins.__import__ = importing
    try:
        yield
    finally:
        builtins.__import__ = plain


@contextmanager
def _inside_a_traced_call() -> Iterator[None]:
    token = _frame.set(Frame(None))
    look, Look.as_numpy = Look.as_numpy, True
    try:
        yield
    finally:
        Look.as_numpy = look
        _frame.reset(token)


@functools.lru_cache(maxsize=4096)
def is_users_file(file: str | None) -> bool:
    """Whether a module's file is the user's: neither installed, nor Python's, nor lima's own."""
    if not file:
        return False
    path = Path(os.path.realpath(file))
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(home) for home in _homes_of_others())


@functools.cache
def _homes_of_others() -> tuple[Path, ...]:
    folders = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    folders.append(str(PACKAGE))
    return tuple(Path(os.path.realpath(folder)) for folder in folders if folder)
