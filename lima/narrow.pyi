"""Types of the compiled module `narrow.pyx`."""

from typing import Any

MOST: int
WIDEST: int
KINDS_OF: dict[Any, int]

def takes(x: Any, v: Any) -> bool: ...
def fits(v: Any) -> bool: ...
def lies(x: Any) -> bool: ...
def product(x: Any, v: Any, threads: int = 1) -> tuple[Any, int]: ...
def totals(x: Any) -> Any: ...
def reduced(
    before: Any,
    made: int,
    x: Any,
    v: Any,
    after: Any,
    read: int,
    left: int,
    width: int,
    dtype: Any,
    asked: tuple[tuple[Any, bool], ...],
    threads: int = 1,
    out: Any = None,
) -> tuple[list[Any] | None, int]: ...
def gram(
    before: Any,
    made: int,
    x: Any,
    w: Any,
    y: Any,
    columns: int,
    twice: bool,
    threads: int = 1,
) -> tuple[Any, int]: ...
def labelled(x: Any, labels: Any, first: int, count: int, threads: int = 1) -> Any: ...
