"""Lineage logs of Apache SystemDS, read as lineage of lima.

`parse` reads the text, `Source` translates it with the inputs that there are. The grammar and what
is supported are described in `docs/log-format.md`.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lima import leaves
from lima.errors import ReplayError
from lima.node import Node
from lima.systemds.files import Read, Unreadable, located, metadata, read, size_in
from lima.systemds.measure import Measure
from lima.systemds.table import Missing
from lima.systemds.text import FIRST, Item, Step, Text, parse
from lima.systemds.translate import Inputs, Translation

__all__ = ["ENVIRONMENT", "Source", "recognised"]

ENVIRONMENT = {"system": "SystemDS"}
"""What such a log tells of the environment: nothing but what wrote it."""


def recognised(line: str) -> bool:
    """Whether a log that begins with `line` is one of SystemDS.

    >>> recognised("(2) (I) tsmm (0)"), recognised("lima-log 1")
    (True, False)
    """
    return FIRST.match(line) is not None


class _Files(Inputs):
    """Files beside the log, read once, and what is given in their place by the caller."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.found: dict[Read, np.ndarray[Any, Any] | str] = {}
        self.names: dict[str, str] = {}  # of a path: how its leaf is called
        self.owners: dict[str, str] = {}  # of such a name: the path
        self.lasts: Counter[str] = Counter()  # last parts of paths
        self.given: dict[str, np.ndarray[Any, Any]] = {}
        self.items: frozenset[str] = frozenset()

    def with_given(self, given: Mapping[str, Any], items: frozenset[str]) -> _Files:
        """The same files, with arrays that stand for files or for single items."""
        made = _Files(self.folder)
        made.found, made.names = self.found, self.names
        made.owners, made.lasts = self.owners, self.lasts
        made.items = items
        made.given = {name: _matrix(name, value) for name, value in given.items()}
        known = {key for path in self.names for key in self.keys(path)} | items
        for name in made.given:
            if name not in known:
                files = ", ".join(sorted(self.names.values())) or "none"
                raise ReplayError(
                    f"no input is named {name!r}; the files that the log names are {files}, the "
                    "value of line '(7) ...' is the input 'item_7'"
                )
        return made

    def keys(self, path: str) -> list[str]:
        """Under which names the matrix of a file may be given."""
        last = PurePosixPath(path).name
        more = [path, last] if self.lasts[last] == 1 else [path]
        return [self.names[path], *(key for key in more if self.owners.get(key, path) == path)]

    def name_of(self, source: Read) -> str:
        path = source.path
        if path not in self.names:
            stem = PurePosixPath(path).stem or path
            wishes = itertools.chain((stem, path), (f"{path} {k}" for k in itertools.count(2)))
            name = next(wish for wish in wishes if wish not in self.owners)
            self.names[path], self.owners[name] = name, path
            self.lasts[PurePosixPath(path).name] += 1
        return self.names[path]

    def of_item(self, name: str | None) -> np.ndarray[Any, Any] | None:
        return self.given.get(name) if name is not None else None

    def of_file(self, source: Read) -> np.ndarray[Any, Any]:
        for key in self.keys(source.path):
            if key in self.given:
                return self.given[key]
        found = self.found.get(source)
        if found is None:
            try:
                found = read(self.folder, source)
            except Unreadable as error:
                found = str(error)
            self.found[source] = found
        if type(found) is str:
            name = self.names[source.path]
            reason = f"the file {source.path!r}: {found}; give it as the input {name!r}"
            raise Missing(reason, self._shape(source))
        return found  # type: ignore[return-value]

    def _shape(self, source: Read) -> tuple[int | None, int | None]:
        """The size of a file that is not there: from the log, or from its metadata."""
        if source.rows >= 0 and source.columns >= 0:
            return source.rows, source.columns
        try:
            facts = metadata(located(self.folder, f"{source.path}.mtd").with_suffix(""))
        except Unreadable:
            return None, None
        return size_in(facts, "rows"), size_in(facts, "cols")


def _matrix(name: str, value: Any) -> np.ndarray[Any, Any]:
    """A given value as SystemDS would have it: a scalar or a matrix of doubles."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.ndim > 2:
        raise ReplayError(
            f"the input {name!r} has shape {array.shape} and dtype {array.dtype}: SystemDS has "
            "matrices of real numbers"
        )
    array = array.astype(np.float64, copy=False)
    return array[:, None] if array.ndim == 1 else array


class Source:
    """A log of SystemDS with the inputs that were found or given.

    root      the node of its result
    missing   why the result cannot be computed: one reason for every gap in the log
    absent    which files are not there, where nothing but their data is needed
    cautions  why the log may have recorded something else than what ran
    arrays    data of the leaves, by digest
    """

    def __init__(self, text: Text, folder: Path | None, name: str | None) -> None:
        self.text = text
        self.steps: list[Step] = text.steps()
        self.items = frozenset(s.given for s in self.steps if s.given is not None)
        facts = _facts_of_result(folder, name)
        self.expected = (size_in(facts, "rows"), size_in(facts, "cols"))
        self.cautions = tuple(_cautions(text))
        self._translate(_Files(folder))

    @classmethod
    def read(cls, lines: Iterable[str], path: Path | None = None) -> Source:
        """The log that these lines spell, lying at `path`. Raises LogError."""
        folder, name = (None, None) if path is None else (path.parent, path.name)
        return cls(parse(lines), folder, name)

    def _translate(self, files: _Files, measure: Measure | None = None) -> None:
        self.files = files
        made = Translation(self.steps, files, self.expected, measure)
        self.root: Node = made.root
        self.missing, self.absent = tuple(made.missing), tuple(made.absent)
        self.arrays, self.unsure = made.arrays, made.unsure
        for digest, array in self.arrays.items():
            leaves.seen(digest, array)

    def bound(self, given: Mapping[str, Any]) -> Source:
        """The same log with values for files (by name or path) and items (`item_7`).

        Raises ReplayError for a name that the log does not have or a value that is no matrix,
        LogError where a value does not fit.
        """
        return self._again(self.files.with_given(given, self.items), None) if given else self

    def measured(self) -> Source:
        """The same log, with sizes that depend on the data, where there are any."""
        return self._again(self.files, Measure()) if self.missing or self.unsure else self

    def _again(self, files: _Files, measure: Measure | None) -> Source:
        made = Source.__new__(Source)
        made.text, made.steps, made.items = self.text, self.steps, self.items
        made.expected, made.cautions = self.expected, self.cautions
        made._translate(files, measure)
        return made

    def check(self, absent: bool = False) -> None:
        """Raise ReplayError where the log does not say how the result is computed.

        With `absent`, also where the matrix of a file is missing.
        """
        missing = self.missing + (self.absent if absent else ())
        if missing:
            more = len(missing) - 3
            rest = f" (and {more} more)" if more > 0 else ""
            text = "; ".join(missing[:3])
            raise ReplayError(f"this log of SystemDS does not carry enough: {text}{rest}")


def _facts_of_result(folder: Path | None, name: str | None) -> dict[str, Any]:
    """The metadata of `out.csv` for a log `out.csv.lineage`."""
    if folder is None or name is None or not name.endswith(".lineage"):
        return {}
    return metadata(folder / name.removesuffix(".lineage"))


def _cautions(text: Text) -> Iterator[str]:
    """What is known to go wrong in logs whose loops were folded by SystemDS."""
    calls = Counter(item.name for item in text.trace.items if item.kind == "D")
    for name, count in calls.items():
        patch = text.patches[name]
        fills = [i for i in patch.items if i.kind == "C" and not i.name.startswith("IN#")]
        if count > 1 and any("°rand°" in i.name or "°seq°" in i.name for i in fills):
            yield (
                f"patch_{name} stands for {count} iterations and makes a matrix in line "
                f"{fills[0].line}: SystemDS recorded the numbers and the seed of the first one only"
            )
    loops: defaultdict[str, list[Item]] = defaultdict(list)
    for item in text.trace.items:
        if item.kind == "D":
            loops[_parts(item.name)[1]].append(item)
    changed: defaultdict[str, set[str]] = defaultdict(set)
    patches: defaultdict[str, list[str]] = defaultdict(list)
    for name in text.patches:
        changed[_parts(name)[1]].add(_parts(name)[0])
        patches[_parts(name)[1]].append(name)
    for block, items in loops.items():
        read = {i.name for name in patches[block] for i in text.patches[name].items}
        unread = _varying(items, read)
        if unread is not None:
            yield (
                f"no patch of the loop {block} reads input {unread} of its iterations, though it "
                "varies: the patches may hold numbers of the first iteration"
            )
        lost = sorted(changed[block] - {_parts(item.name)[0] for item in items})
        line = _changing(text, items) if lost else None
        if line is not None:
            yield (
                f"the loop {block} changes {', '.join(lost)}; SystemDS records such scalars with "
                f"their values after an iteration, not before it (such as in line {line})"
            )


def _parts(name: str) -> list[str]:
    """Variable, loop and path of a patch such as `p_SB8_0`."""
    return name.rsplit("_", 2)


def _varying(calls: list[Item], read: set[str]) -> int | None:
    """The first input that differs between iterations and is none of those that are read."""
    for k in range(max(len(call.inputs) for call in calls)):
        if f"IN#{k}" not in read:
            places = {call.inputs[k] for call in calls if k < len(call.inputs)}
            if len(places) > 1:
                return k
    return None


def _changing(text: Text, calls: list[Item]) -> int | None:
    """The first line of a scalar variable that goes into patches which read it, and changes."""
    holes = {
        name: {i.name for i in text.patches[name].items if i.kind == "C"}
        for name in {call.name for call in calls}
    }
    first: dict[int, int] = {}
    seen: defaultdict[int, set[str]] = defaultdict(set)
    for call in calls:
        for k, place in enumerate(call.inputs):
            item = text.trace.items[place]
            bound = item.kind == "L" and item.name.endswith("·false")
            if bound and f"IN#{k}" in holes[call.name]:
                first.setdefault(k, item.line)
                seen[k].add(item.name)
    alone = len(calls) == 1
    return min((first[k] for k in first if alone or len(seen[k]) > 1), default=None)
