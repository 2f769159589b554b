"""Imports go down the layers, and `import lima` is cheap.

The table below is the layer table of `docs/architecture.md` as data. The files are read, not
imported, so the test sees every import whether or not its line ever runs.
"""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(importlib.util.find_spec("lima").origin).parent

LAYERS = (
    (
        "errors", "formats", "frame", "trials", "tasks", "nesting", "pattern", "cost", "places", "loops", "short_rows",
        "columns", "tall", "narrow", "buffers", "streams",
    ),
    ("node", "graph", "config", "stats", "walk", "pure", "progress", "packed", "steps", "spools", "winding"),
    ("homes", "bytecode", "classes", "printing", "code"),
    ("op",),
    ("ops",),
    (
        "entries", "policies", "flight", "spill", "cache", "leaves", "gates", "environment", "literal", "scan",
        "segments", "patches", "reading", "unfolding", "origins", "log", "systemds", "behind", "known", "folder", "trouble", "objects", "catalog", "ancestry",
        "writing", "upkeep", "alive", "leases", "turns", "remotes", "exchange", "second", "placeholders", "plainly", "store", "histories",
    ),
    ("values", "herds", "sessions", "fusion", "row_passes", "row_blocks", "forcing", "passes", "pieces", "rewrite", "runtime", "ledger"),
    (
        "handle", "labels", "page", "spans", "owned", "outlined", "named", "spelled", "variables", "looped", "source", "queries", "folding", "pictures", "drawing",
        "exports", "reaching", "record", "side_by_side", "sql", "replay", "aligned", "compare", "verification", "nonfinite",
    ),
    (
        "writes", "outs", "on_copies", "barriers", "others", "calls", "indexing", "operators", "flat", "in_place", "records", "methods", "array", "stand_in", "drawn", "draws", "helpers",
        "sparse", "sparse_calls", "factors",
    ),
    ("constants", "boxes", "frames", "tree", "conversions", "twin", "keys"),
    ("outside", "vectorized", "iterators", "asides", "frame_copies", "unread", "kept", "terms", "lasting", "look", "function", "block"),
    ("transport", "processes", "parfor"),
    ("api", "explained", "nearest", "ask", "script", "what_if", "numpy"),
    ("integrations", "cli", "demo", "__main__"),
)  # fmt: skip
"""Modules and packages of lima, lowest layer first. A name may import those of lower rows only."""

SIBLINGS = {
    ("tasks", "errors"), ("trials", "frame"), ("function", "asides"), ("asides", "kept"), ("function", "look"), ("look", "kept"), ("processes", "transport"), ("parfor", "processes"),
    ("cli", "demo"), ("__main__", "cli"),
    ("policies", "entries"), ("spill", "entries"), ("spill", "objects"), ("cache", "spill"), ("flight", "entries"), ("flight", "policies"), ("flight", "cache"),
    ("cache", "entries"), ("cache", "flight"), ("cache", "policies"), ("literal", "environment"),
    ("systemds", "leaves"), ("scan", "literal"), ("log", "literal"), ("log", "scan"),
    ("patches", "segments"), ("reading", "scan"), ("reading", "patches"), ("unfolding", "scan"), ("unfolding", "reading"),
    ("unfolding", "patches"), ("log", "patches"), ("log", "reading"), ("log", "unfolding"), ("log", "origins"), ("origins", "literal"), ("origins", "patches"), ("origins", "reading"), ("origins", "scan"),
    ("ancestry", "reading"), ("ancestry", "origins"), ("ledger", "sessions"),
    ("herds", "values"), ("forcing", "herds"), ("runtime", "herds"),
    ("log", "environment"), ("sessions", "values"), ("forcing", "values"),
    ("forcing", "sessions"), ("fusion", "values"), ("forcing", "fusion"), ("forcing", "row_blocks"), ("row_blocks", "row_passes"), ("row_passes", "fusion"), ("row_passes", "values"), ("row_blocks", "values"), ("row_blocks", "sessions"), ("passes", "values"), ("passes", "sessions"), ("passes", "fusion"), ("passes", "forcing"),
    ("rewrite", "passes"), ("pieces", "values"), ("rewrite", "values"), ("rewrite", "pieces"),
    ("rewrite", "forcing"), ("runtime", "pieces"), ("runtime", "rewrite"), ("runtime", "values"), ("runtime", "sessions"),
    ("runtime", "forcing"), ("source", "spelled"), ("source", "looped"), *[(name, "owned") for name in "spelled looped source".split()], ("source", "named"), ("source", "queries"), ("spans", "handle"), ("outlined", "spans"), ("outlined", "owned"), ("source", "spans"), ("source", "outlined"), ("looped", "spelled"), ("looped", "variables"), ("variables", "spelled"), ("record", "source"), ("replay", "record"),
    ("replay", "source"), ("array", "calls"), ("array", "flat"), ("array", "in_place"), ("array", "records"), ("in_place", "calls"), ("in_place", "writes"), ("in_place", "outs"), ("stand_in", "calls"), ("flat", "calls"), ("calls", "writes"), ("barriers", "on_copies"), ("barriers", "writes"), *[(name, "barriers") for name in "array calls draws factors flat in_place indexing sparse sparse_calls stand_in".split()], ("calls", "outs"), ("outs", "writes"), ("array", "writes"), ("indexing", "writes"), ("draws", "writes"), ("array", "indexing"), ("array", "operators"), ("operators", "calls"), ("indexing", "calls"), ("draws", "calls"), ("draws", "drawn"), ("draws", "records"), ("twin", "array"),
    ("packed", "node"), ("steps", "node"), ("steps", "packed"), ("steps", "stats"), ("spools", "node"), ("spools", "stats"), ("spools", "steps"), ("winding", "node"), ("winding", "spools"), ("graph", "node"), ("spools", "graph"), ("winding", "graph"),
    ("array", "methods"), ("others", "barriers"), ("calls", "others"), ("methods", "others"), *[("methods", name) for name in "barriers calls in_place indexing operators records writes".split()],
    ("bytecode", "homes"), ("code", "homes"), ("code", "bytecode"), ("code", "classes"), ("printing", "bytecode"), ("function", "kept"), ("function", "outside"), ("function", "vectorized"), ("function", "iterators"), ("kept", "frame_copies"),
    ("tree", "boxes"), ("tree", "twin"), ("twin", "conversions"), ("tree", "keys"), ("tree", "frames"), ("keys", "frames"), ("keys", "constants"),
    ("sparse", "calls"), ("sparse", "sparse_calls"), ("sparse_calls", "calls"), ("sparse_calls", "draws"), ("factors", "calls"), ("factors", "sparse_calls"),
    ("block", "function"),
    ("queries", "handle"), ("sql", "labels"), ("side_by_side", "aligned"), ("side_by_side", "drawing"), ("side_by_side", "folding"),
    ("compare", "side_by_side"), ("compare", "folding"), ("sql", "queries"), ("sql", "record"), ("queries", "labels"), ("record", "queries"), ("compare", "record"), ("compare", "labels"),
    ("folding", "labels"), ("pictures", "folding"), ("pictures", "labels"), ("pictures", "queries"),
    ("drawing", "folding"), ("drawing", "labels"), ("drawing", "page"), ("drawing", "pictures"),
    ("record", "drawing"), ("record", "pictures"), ("record", "folding"), ("record", "exports"), ("exports", "labels"), ("exports", "queries"),
    ("compare", "aligned"), ("aligned", "labels"), ("ask", "api"), ("api", "explained"), ("explained", "nearest"), ("verification", "labels"), ("verification", "queries"),
    ("verification", "record"), ("verification", "replay"), ("nonfinite", "labels"),
    ("nonfinite", "record"), ("nonfinite", "replay"),
    ("catalog", "objects"), ("catalog", "known"), ("ancestry", "catalog"), ("ancestry", "objects"), ("ancestry", "log"),
    ("writing", "objects"), ("writing", "ancestry"), ("writing", "behind"),
    ("writing", "catalog"), ("writing", "trouble"), ("upkeep", "objects"), ("upkeep", "catalog"),
    ("upkeep", "ancestry"), ("upkeep", "log"), ("upkeep", "store"), ("store", "folder"),
    ("store", "trouble"), ("store", "objects"), ("store", "catalog"), ("store", "writing"),
    ("placeholders", "upkeep"), ("placeholders", "store"), ("plainly", "objects"),
    ("kept", "unread"), ("terms", "unread"), ("lasting", "unread"), ("terms", "kept"), ("lasting", "kept"), ("lasting", "terms"), ("lasting", "look"), ("function", "lasting"),
    ("exchange", "objects"), ("exchange", "ancestry"), ("exchange", "catalog"), ("exchange", "remotes"), ("exchange", "upkeep"), ("exchange", "store"),
    ("second", "exchange"), ("second", "catalog"), ("second", "remotes"), ("second", "behind"), ("second", "trouble"), ("second", "store"), ("second", "objects"),
    ("store", "exchange"), ("store", "remotes"), ("store", "second"),
    ("leases", "alive"), ("leases", "catalog"), ("leases", "trouble"), ("turns", "cache"), ("turns", "leases"),
    ("store", "leases"), ("store", "turns"), ("store", "upkeep"), ("store", "entries"), ("store", "environment"),
}  # fmt: skip
"""(importer, imported) within one row: the exceptions."""

PUBLIC_ONLY = frozenset(LAYERS[-1])
"""These know of lima what a user knows: the names in `lima.__all__`."""

LAZY = frozenset(
    "numba scipy rich typer pandas dask sklearn networkx joblib loky cloudpickle concurrent"
    " multiprocessing fsspec".split()
)
"""Packages that may be imported inside a function: optional, or too slow to load with lima."""

HEAVY = ("numba", "llvmlite", "scipy", "rich", "typer", "click", "pandas", "sklearn")
"""Packages that `import lima` must not load."""

RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}


@dataclass(frozen=True)
class Import:
    """One imported name: where it stands, and what it asks for."""

    line: int
    module: str  # absolute, such as "lima.node" or "numpy"
    name: str | None  # of `from module import name`
    in_function: bool

    @property
    def part(self) -> str | None:
        """The row entry this import refers to, None for lima itself and for other packages."""
        head, _, rest = self.module.partition(".")
        if head != "lima":
            return None
        if rest:
            return rest.partition(".")[0]
        return self.name if self.name in RANK else None

    @property
    def of_lima(self) -> bool:
        return self.module.partition(".")[0] == "lima"


def modules() -> list[Path]:
    """Every file of lima proper; the examples shipped beside it are user programs."""
    return sorted(p for p in PACKAGE.rglob("*.py") if "_examples" not in p.parts)


def part_of(path: Path) -> str:
    """The entry of `LAYERS` that a file belongs to, "" for `lima/__init__.py`."""
    top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if top == "__init__" else top


def imports(tree: ast.AST, package: str) -> Iterator[Import]:
    """All imports of a parsed file of `package`, relative ones made absolute."""
    todo = [(tree, False)]
    while todo:
        node, inside = todo.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, None, inside)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = importlib.util.resolve_name("." * node.level + module, package)
            for alias in node.names:
                yield Import(node.lineno, module, alias.name, inside)
        inside |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        todo.extend((child, inside) for child in ast.iter_child_nodes(node))


def imports_of(path: Path) -> list[Import]:
    package = ".".join(("lima", *path.relative_to(PACKAGE).parts[:-1]))
    return list(imports(ast.parse(path.read_text("utf-8")), package))


def layer_fault(part: str, imported: Import, public: frozenset[str]) -> str | None:
    """What is wrong with `imported` in a file of `part`, or None."""
    target = imported.part
    if not imported.of_lima or target == part:
        return None
    if (part, target) in SIBLINGS:
        return None
    if part in PUBLIC_ONLY:
        if imported.module in {"lima", *(f"lima.{name}" for name in public)} and (
            imported.module != "lima" or imported.name in public | {None}
        ):
            return None
        return f"{imported.module}.{imported.name}: only the names in lima.__all__ may be used here"
    if target is None:
        return "lima itself: inner modules import each other by name"
    if target not in RANK:
        return f"lima.{target}: no layer; add it to LAYERS"
    if part == "":
        return None if target not in PUBLIC_ONLY else f"lima.{target}: above the package itself"
    if RANK[target] >= RANK[part]:
        return f"lima.{target}: layer {RANK[target]} from layer {RANK[part]}"
    return None


def public_names() -> frozenset[str]:
    """`lima.__all__` as it is written down by hand in `__init__.py`."""
    for node in ast.parse((PACKAGE / "__init__.py").read_text("utf-8")).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            return frozenset(ast.literal_eval(node.value))
    raise AssertionError("lima/__init__.py lists no __all__")


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    part, public = part_of(path), public_names()
    assert part == "" or part in RANK, f"{path.name} has no layer; add it to LAYERS"
    faults = [(i.line, layer_fault(part, i, public)) for i in imports_of(path)]
    assert not [f for f in faults if f[1]]


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_functions_import_only_what_is_slow_or_optional(path):
    inside = [i for i in imports_of(path) if i.in_function]
    assert not [i for i in inside if i.module.partition(".")[0] not in LAZY]


@pytest.mark.parametrize(
    ("part", "source", "fault"),
    [
        ("node", "from lima.errors import LimaError", None),
        ("node", "import lima.config", "layer 1 from layer 1"),
        ("node", "from lima.runtime import Session", "layer 6 from layer 1"),
        ("node", "from .runtime import Session", "layer 6 from layer 1"),
        ("node", "from . import runtime", "layer 6 from layer 1"),
        ("node", "def f():\n    from lima import runtime", "layer 6 from layer 1"),
        ("node", "import lima", "lima itself"),
        ("runtime", "import lima.nonsense", "no layer"),
        ("runtime", "import numpy.linalg", None),
        ("", "from lima.numpy import zeros", None),
        ("", "from lima.cli import main", "above the package"),
        ("cli", "from lima import session", None),
        ("cli", "from lima import demo", None),
        ("demo", "from lima import cli", "only the names"),
        ("cli", "from lima.runtime import Session", "only the names"),
        ("cli", "from lima import secret", "only the names"),
    ],
)
def test_the_rules_themselves(part, source, fault):
    (found,) = imports(ast.parse(source), "lima")
    said = layer_fault(part, found, frozenset({"session"}))
    assert (said is None) if fault is None else (fault in said)


def test_import_lima_is_light():
    code = f"import sys, lima; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        timeout=60,
    )
    assert done.stdout.strip() == "[]", done.stderr
