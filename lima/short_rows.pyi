"""Types of the compiled module `short_rows.pyx`."""

from collections.abc import Callable
from typing import Any

LONGEST: int
KERNELS: dict[str, Callable[[Any, bool], Any]]
