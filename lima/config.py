"""Options: their names, defaults, and where they come from.

Order: argument, environment (`LIMA_MEMORY=2GB`), `[tool.lima]` of the nearest pyproject.toml,
default. `LIMA_DISABLE=1` turns tracing off altogether.
"""

from __future__ import annotations

import functools
import os
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lima.errors import ConfigError
from lima.pattern import CLASSES

REUSE = ("none", "operation", "full", "partial", "hybrid", "estimate")
CHOICES = {"reuse": REUSE, "exactness": CLASSES, "environment": ("same", "any"),
           "lines": ("large", "all", "none")}  # fmt: skip
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip


def parse_bytes(value: int | float | str) -> int:
    """Bytes from a number or from text such as "500MB", "2 GiB".

    >>> parse_bytes("1.5kB"), parse_bytes("2GiB"), parse_bytes(1000)
    (1500, 2147483648, 1000)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        size = float(value)
    else:
        match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", str(value))
        unit = UNITS.get(match[2].upper()) if match else None
        try:
            size = float(match[1]) * unit if match and unit else -1.0
        except ValueError:
            size = -1.0
    if not 0 <= size < 2**62:
        raise ConfigError(f"{value!r} is no size: give bytes or text such as '500MB' or '2GiB'")
    return int(size)


def parse_threads(value: int | str) -> int:
    """A number of threads; 0 stands for as many as BLAS takes.

    >>> parse_threads("4")
    4
    """
    number = int(value) if str(value).isdecimal() else -1
    if number < 0 or isinstance(value, bool):
        raise ConfigError(f"threads={value!r}: give a whole number, 0 for as many as BLAS takes")
    return number


TEMPORARY = "temporary"
"""The value of `spill` that stands for the system's folder for temporary files."""


def parse_spill(value: Any) -> str:
    """A folder, `TEMPORARY`, or "" for none.

    >>> parse_spill(True), parse_spill("0"), parse_spill("scratch")
    ('temporary', '', 'scratch')
    """
    text = str(value).lower() if isinstance(value, bool | None) else os.fspath(value)
    if text.lower() in ("", "0", "false", "no", "none"):
        return ""
    return TEMPORARY if text.lower() in ("1", "true", "yes") else os.path.expanduser(text)


@dataclass(frozen=True, slots=True)
class Config:
    """The options of a session."""

    memory: int = 2 * 10**9
    policy: str = "cost-size"
    reuse: str = "hybrid"
    exactness: str = "rounding"
    strict: bool = False
    aside: bool = True
    threads: int = 0
    store: str = ""
    store_bytes: int = 10**10
    environment: str = "same"
    remote: str = ""
    lines: str = "large"
    spill: str = ""
    spill_bytes: int = 10**10

    @classmethod
    def load(cls, **options: Any) -> Config:
        """Options from arguments, environment and pyproject.toml, in this order."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ConfigError(f"unknown option {unknown[0]!r}; the options are {', '.join(known)}")
        values = {**_from_pyproject(known), **_from_environment(known), **options}
        for name in ("strict", "aside"):
            if isinstance(values.get(name), str):
                values[name] = values[name].lower() not in ("0", "false", "no", "")
        for name in {"memory", "store_bytes", "spill_bytes"} & set(values):
            values[name] = parse_bytes(values[name])
        if "store" in values:
            values["store"] = os.path.expanduser(os.fspath(values["store"] or ""))
        values["remote"] = os.fspath(values.get("remote") or "")
        if options.get("remote") and not values.get("store"):
            raise ConfigError("remote= is a second level behind a store: give store= as well")
        if "spill" in values:
            values["spill"] = parse_spill(values["spill"])
        if "threads" in values:
            values["threads"] = parse_threads(values["threads"])
        for name, allowed in CHOICES.items():
            if values.get(name, allowed[0]) not in allowed:
                raise ConfigError(f"{name}={values[name]!r}: choose one of {', '.join(allowed)}")
        return cls(**values)

    def summary(self) -> str:
        """The options on one line."""
        return ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))


def _from_environment(known: list[str]) -> dict[str, Any]:
    found = {name: os.environ.get(f"LIMA_{name.upper()}") for name in known}
    return {name: value for name, value in found.items() if value}


def _from_pyproject(known: list[str]) -> dict[str, Any]:
    path = _nearest_pyproject()
    if path is None:
        return {}
    try:
        tools = _tools(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):  # not ours to judge
        return {}
    table = tools.get("lima", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.lima is {table!r}, no table of options")
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ConfigError(f"{path}: unknown option {unknown[0]!r} in [tool.lima]")
    return dict(table)


@functools.lru_cache(maxsize=4)
def _tools(path: Path, _changed: int) -> Any:
    """What a pyproject.toml says of tools; sessions are opened more often than it changes.

    Most say nothing of lima, which is seen without parsing them.
    """
    text = path.read_text("utf-8")
    return tomllib.loads(text).get("tool") if _OF_LIMA.search(text) else None


_OF_LIMA = re.compile(
    r"""tool["']?[ \t]*\.[ \t]*["']?lima|^[ \t]*\[[ \t]*["']?tool["']?[ \t]*\]"""
    r"""|^[ \t]*["']?tool["']?[ \t]*=|\\[uUx]""",
    re.MULTILINE,
)
"""Whatever a table of lima's can stand under: `[tool.lima]`, `[tool]`, `tool = {`; or escapes."""


def _nearest_pyproject() -> Path | None:
    try:
        here = Path.cwd()
    except OSError:  # the folder is gone
        return None
    paths = (folder / "pyproject.toml" for folder in (here, *here.parents))
    return next((path for path in paths if path.is_file()), None)
