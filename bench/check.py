"""Self-check at tiny sizes: the measured variants of each program do give the same answer."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Console

from bench.harness import bit_equal, first_line, leaves, load, load_traced
from bench.rows import Workload

TOLERANCE = 1e-8


def check(rows: list[Workload], with_lima: bool, console: Console) -> bool:
    """Print a line per comparison; whether all of them held."""
    passed = [_report(console, row.name, *line) for row in rows for line in _lines(row, with_lima)]
    console.print(f"{sum(passed)} of {len(passed)} comparisons hold")
    return all(passed)


def _report(console: Console, name: str, what: str, compare: Callable[[], bool]) -> bool:
    try:
        held, note = compare(), ""
    except Exception as error:
        held, note = False, f" ({first_line(error)})"
    console.print(f"{'ok  ' if held else 'FAIL'} {name}: {what}{note}", markup=False)
    return held


def _lines(row: Workload, with_lima: bool) -> Iterator[tuple[str, Callable[[], bool]]]:
    module = load(row.module)
    expected = module.plain(*module.data(**row.tiny))
    if module.hand is not None:
        by_hand = module.hand(*module.data(**row.tiny))
        yield "hand agrees with plain", lambda: close(by_hand, expected)
    if with_lima:
        for session, options in row.sessions.items():
            yield from _lima_lines(row, session, options, expected)


def _lima_lines(
    row: Workload, session: str, options: Mapping[str, object], expected: Any
) -> Iterator[tuple[str, Callable[[], bool]]]:
    bitwise = {**options, "exactness": "bitwise"}
    yield (
        f"{session}, cold and warm, has the bits of plain under exactness='bitwise'",
        lambda: all(bit_equal(result, expected) for result in _twice(row, bitwise)),
    )
    yield (
        f"{session}, cold and warm, agrees with plain under the default exactness",
        lambda: all(close(result, expected) for result in _twice(row, options)),
    )


def _twice(row: Workload, options: Mapping[str, object]) -> list[Any]:
    """The results of two runs in one lima session; the second may take all from the cache."""
    import lima

    traced = lima.traced(load_traced(row.module).plain)
    with lima.session(**options):
        return [traced(*load(row.module).data(**row.tiny)) for _ in range(2)]


def close(a: Any, b: Any) -> bool:
    """Whether two results have the same shapes and agree to 1e-8, relative or absolute."""
    return all(
        x.shape == y.shape and np.allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE)
        for x, y in zip(leaves(a), leaves(b), strict=True)
    )
