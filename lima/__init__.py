"""lima: lineage tracing and reuse for NumPy programs.

>>> import numpy as np, lima
>>> @lima.traced
... def ridge(X, y, reg):
...     return np.linalg.solve(X.T @ X + reg * np.eye(X.shape[1]), X.T @ y)
>>> ridge(np.eye(2), np.ones(2), 1.0)
array([0.5, 0.5])
"""

from lima.aligned import Difference
from lima.api import (
    RuleInfo,
    explain,
    lineage,
    load_log,
    read,
    recompute,
    rules,
    save,
    to_python,
)
from lima.array import Array, array
from lima.ask import blame, diff, reached, sql, tables, verify
from lima.block import disabled, traced
from lima.compare import Diff
from lima.environment import compiled
from lima.errors import (
    ConfigError,
    InternalError,
    LimaError,
    LogError,
    NotCanonical,
    QueryError,
    ReplayError,
    StoreError,
    StoreWarning,
    TracingError,
    UnknownLineage,
    UnsupportedError,
)
from lima.explained import Explanation
from lima.ledger import Estimate
from lima.nonfinite import Blame
from lima.ops.coverage import Coverage, coverage
from lima.parfor import parfor
from lima.record import Lineage
from lima.replay import ReplayWarning
from lima.script import run_script
from lima.sessions import Session, configure, session
from lima.stats import Stats
from lima.store import Store
from lima.verification import Verification
from lima.what_if import estimate

__version__ = "0.1.0"
__compiled__ = compiled()

__all__ = [
    "Array",
    "Blame",
    "ConfigError",
    "Coverage",
    "Diff",
    "Difference",
    "Estimate",
    "Explanation",
    "InternalError",
    "LimaError",
    "Lineage",
    "LogError",
    "NotCanonical",
    "QueryError",
    "ReplayError",
    "ReplayWarning",
    "RuleInfo",
    "Session",
    "Stats",
    "Store",
    "StoreError",
    "StoreWarning",
    "TracingError",
    "UnknownLineage",
    "UnsupportedError",
    "Verification",
    "array",
    "blame",
    "configure",
    "coverage",
    "diff",
    "disabled",
    "estimate",
    "explain",
    "lineage",
    "load_log",
    "parfor",
    "reached",
    "read",
    "recompute",
    "rules",
    "run_script",
    "save",
    "session",
    "sql",
    "tables",
    "to_python",
    "traced",
    "verify",
]
