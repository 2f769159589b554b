"""lima: lineage tracing and reuse for NumPy programs.

>>> import numpy as np, lima
>>> @lima.traced
... def ridge(X, y, reg):
...     return np.linalg.solve(X.T @ X + reg * np.eye(X.shape[1]), X.T @ y)
>>> ridge(np.eye(2), np.ones(2), 1.0)
array([0.5, 0.5])
"""

from lima.array import Array, array
from lima.block import disabled, traced
from lima.errors import (
    ConfigError,
    InternalError,
    LimaError,
    LogError,
    NotCanonical,
    ReplayError,
    TracingError,
    UnknownLineage,
    UnsupportedError,
)
from lima.runtime import Session, configure, session
from lima.stats import Stats

__version__ = "0.1.0"

__all__ = [
    "Array",
    "ConfigError",
    "InternalError",
    "LimaError",
    "LogError",
    "NotCanonical",
    "ReplayError",
    "Session",
    "Stats",
    "TracingError",
    "UnknownLineage",
    "UnsupportedError",
    "array",
    "configure",
    "disabled",
    "session",
    "traced",
]
