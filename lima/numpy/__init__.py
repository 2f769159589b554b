"""A drop-in namespace: `import lima.numpy as np` traces without a decorator.

Every function gives `lima.Array`s, creation functions and generators included; a function of
Python and NumPy scalars alone, such as `np.sqrt(2.0)`, gives a NumPy scalar. Types, constants and
functions that ask for a shape or a dtype are NumPy's own, and so are all signatures and docstrings.
Plain arrays that are handed in without a copy, as by `np.asarray(x)`, remain what they are: they
are read anew at each use, and written in place. `lima.array(x)` copies them once.

The namespace conforms to the Python array API standard as far as NumPy does.

>>> import lima.numpy as np
>>> np.arange(3).sum()
Array(3, dtype=int64, op='sum')
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as _numpy

from lima.numpy.namespace import namespace_of

_namespace = namespace_of(_numpy)

for _name in ("linalg", "fft", "random"):  # for `from lima.numpy.linalg import solve`
    sys.modules[f"{__name__}.{_name}"] = getattr(_namespace, _name)


def __getattr__(name: str) -> Any:
    found = globals()[name] = getattr(_namespace, name)
    return found


def __dir__() -> list[str]:
    return dir(_numpy)
