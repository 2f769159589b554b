"""The documentation is true: its programs run, its links lead somewhere, its files are in order.

* Every ```` ```python ```` block of the README and of `docs/*.md` is executed, page by page.
* Every example in a docstring of lima is executed and its output compared.
* Every public name has a docstring, and every public function and class an example in it.

The pages are not part of the installed package, so this file reads them from the checkout.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import lima

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

FENCE = re.compile(r"^(?P<ticks>`{3,}|~{3,})\s*(?P<language>[^\s`]*)")
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
NOT_RUN = {"", "py", "python3", "pycon", "ipython", "ipython3", "Python"}
"""Fences that look like code that runs, and would not be run."""

COMMANDS = ("pip install . && lima demo", "pip install '.[test]' && pytest")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fenced(lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Fenced blocks of a Markdown page: index of their first inner line, language, inner lines."""
    start, ticks, language = 0, "", ""
    for index, line in enumerate(lines):
        if not ticks and (match := FENCE.match(line)):
            start, ticks, language = index + 1, match["ticks"], match["language"]
        elif ticks and line.startswith(ticks) and not line.strip(ticks[0]).strip():
            yield start, language, lines[start:index]
            ticks = ""
    assert not ticks, f"a block opened in line {start} is never closed"


def program(text: str) -> str:
    """The Python blocks of a page, each at its own line number, so that tracebacks point at it."""
    lines = text.splitlines()
    code = [""] * len(lines)
    for start, language, block in fenced(lines):
        if language == "python":
            code[start : start + len(block)] = block
    return "\n".join(code).rstrip() + "\n" if any(code) else ""


# ------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("page", [p for p in PAGES if program(p.read_text("utf-8"))], ids=page_id)
def test_blocks_of_a_page_run(page, tmp_path):
    """In an interpreter of its own: what a page shows must not depend on what ran before."""
    script = tmp_path / f"{page.stem}.py"
    script.write_text(program(page.read_text("utf-8")), "utf-8")
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(lima.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{page_id(page)}:\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_fences_say_what_they_are(page):
    blocks = fenced(page.read_text("utf-8").splitlines())
    assert not [
        (start, f"```{language}: write ```python (it is run) or ```text")
        for start, language, _ in blocks
        if language in NOT_RUN
    ]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files(page):
    targets = [m["target"].partition("#")[0] for m in LINK.finditer(page.read_text("utf-8"))]
    local = [t for t in targets if t and "://" not in t and not t.startswith("mailto:")]
    assert not [t for t in local if not (page.parent / t).exists()]


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_has_the_two_commands(command):
    assert command in (ROOT / "README.md").read_text("utf-8")


def test_programs_keep_line_numbers():
    page = "text\n```python\nx = 1\n```\n```text\nx = 2\n```\n~~~python\nprint(x)\n~~~\n"
    assert program(page) == "\n\nx = 1\n\n\n\n\n\nprint(x)\n"
    assert program("no code\n```text\n1/0\n```") == ""
    with pytest.raises(AssertionError, match="never closed"):
        program("```python\nx = 1")


def test_fragments_are_of_a_known_kind():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"]
    kinds = "|".join(row["directory"] for row in config["type"])
    names = {path.name for path in (ROOT / config["directory"]).iterdir()} - {"README.md"}
    assert not {n for n in names if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({kinds})\.md", n)}


# -------------------------------------------------------------------------------- docstrings


def module_names() -> list[str]:
    """All modules of lima; the examples shipped beside it are user programs."""
    found = pkgutil.walk_packages(lima.__path__, "lima.")
    names = (m.name for m in found if "_examples" not in m.name)
    return ["lima", *(name for name in names if not name.endswith("__main__"))]


def run_examples(test: doctest.DocTest) -> list[str]:
    """Reports of the examples of one docstring that print something else than it says."""
    reports: list[str] = []
    with lima.session():
        doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=reports.append)
    return reports


@pytest.mark.parametrize("name", module_names())
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    given = {**vars(module), "lima": lima, "np": np}
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, name, globs=given)
    reports = [line for test in tests for line in run_examples(test)]
    assert not reports, "".join(reports)


def needs_example(thing: object) -> bool:
    """Functions and classes do; modules, constants and exceptions need only say what they are."""
    is_error = isinstance(thing, type) and issubclass(thing, BaseException)
    return callable(thing) and not is_error and not isinstance(thing, ModuleType)


@pytest.mark.parametrize("name", [n for n in lima.__all__ if n != "__version__"])
def test_public_names_are_documented(name):
    thing = getattr(lima, name)
    text = inspect.getdoc(thing)
    assert text, f"lima.{name} has no docstring"
    if needs_example(thing):
        assert doctest.DocTestParser().get_examples(text), f"lima.{name} has no example"


def test_a_wrong_example_is_reported():
    text = ">>> 1 + 1\n3\n"
    test = doctest.DocTestParser().get_doctest(text, {}, "wrong", None, 0)
    assert "Expected:" in "".join(run_examples(test))
