"""Types of the compiled module `short_rows.pyx`."""

from typing import Any

LONGEST: int

def places(a: Any, least: bool) -> Any: ...
