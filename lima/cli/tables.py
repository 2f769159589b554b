"""Tables on a terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

WIDEST = 72
"""Characters of a cell on a terminal."""


def plain(table: Mapping[str, Sequence[Any]]) -> str:
    """Columns side by side, numbers to the right; a column without values is left out.

    >>> print(plain({"n": [1, 20], "none": [None, None], "name": ["a", None]}))
     n  name
    --  ----
     1  a
    20
    """
    columns = []
    for name, values in table.items():
        if any(value is not None for value in values):
            texts = [_cell(value) for value in values]
            right = all(value is None or type(value) in (int, float) for value in values)
            width = max(map(len, (name, *texts)))
            put = str.rjust if right else str.ljust
            columns.append([put(text, width) for text in (name, "-" * width, *texts)])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if type(value) in (int, float):
        return f"{value:,}" if type(value) is int else f"{value:.4g}"
    text = " ".join(str(value).split())
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def _csv(table: Mapping[str, Sequence[Any]]) -> str:
    out = io.StringIO()
    rows = zip(*table.values(), strict=True)
    csv.writer(out, lineterminator="\n").writerows([list(table), *rows])
    return out.getvalue().rstrip("\n")


def _json(table: Mapping[str, Sequence[Any]]) -> str:
    return json.dumps(
        [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    )


FORMS: dict[str, Callable[[Mapping[str, Sequence[Any]]], str]] = {
    "table": plain,
    "csv": _csv,
    "json": _json,
}
"""How tables are written, by the name that `--format` takes."""


def check_form(form: str) -> None:
    if form not in FORMS:
        allowed = ", ".join(FORMS)
        raise typer.BadParameter(f"{form!r} is none of {allowed}", param_hint="--format")
