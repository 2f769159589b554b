"""Types of the compiled module `columns.pyx`."""

from collections.abc import Callable
from typing import Any

KERNELS: dict[str, Callable[..., Any]]
