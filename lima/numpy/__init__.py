"""A drop-in namespace: `import lima.numpy as np` traces without a decorator.

Every function gives `lima.Array`s, creation functions and generators included. Names without a
traced twin are NumPy's own.

>>> import lima.numpy as np
>>> np.arange(3).sum()
Array(3, dtype=int64, op='sum')
"""

from __future__ import annotations

from typing import Any

import numpy as _numpy

from lima.twin import always_traced

_namespace = always_traced(_numpy)


def __getattr__(name: str) -> Any:
    return getattr(_namespace, name)


def __dir__() -> list[str]:
    return dir(_numpy)
