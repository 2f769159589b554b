"""The namespace of the array API standard: `lima.numpy`, and what the standard asks for beyond it.

Libraries that are written against the standard get it from `x.__array_namespace__()`. NumPy's own
namespace lacks some of version 2025.12, and leaves open what such libraries rely on, the order of
`unique_values` for one; `lima.numpy` has NumPy's meaning to the letter. So there are two.

>>> import lima
>>> xp = lima.array([2.0, 3.0, 2.0]).__array_namespace__()
>>> xp.sort(xp.unique_values(xp.asarray([2.0, 3.0, 2.0])), descending=True)
Array([3., 2.], shape=(2,), dtype=float64, op='flip')
"""

from __future__ import annotations

import sys
import types
from typing import Any, NamedTuple

import numpy as np

import lima.numpy as xp

__array_api_version__ = "2025.12"

_EMPTY = np.zeros(0)


def supporting(api_version: Any) -> types.ModuleType:
    """This namespace, if it supports that version of the standard; otherwise NumPy's ValueError."""
    if api_version != __array_api_version__:
        _EMPTY.__array_namespace__(api_version=api_version)
    return sys.modules[__name__]


def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """As `numpy.clip`."""
    return xp.clip(x, min, max)


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """As `numpy.sort`, in either order."""
    found = xp.sort(x, axis=axis, stable=stable)
    return xp.flip(found, axis=axis) if descending else found


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """As `numpy.argsort`, in either order; equal elements keep their order."""
    if not descending:
        return xp.argsort(x, axis=axis, stable=stable)
    from_end = xp.argsort(xp.flip(x, axis=axis), axis=axis, stable=stable)
    return x.shape[axis] - 1 - xp.flip(from_end, axis=axis)


def unique_values(x: Any, /) -> Any:
    """As `numpy.unique_values`, in ascending order."""
    return xp.unique(x, equal_nan=False)


class FloatInfo(NamedTuple):
    """The limits of a floating point type, as Python numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


def finfo(type: Any, /) -> FloatInfo:
    """The limits of a floating point type, or of that of an array."""
    f = np.finfo(type.dtype if isinstance(type, np.ndarray) else type)
    eps, highest, lowest, normal = map(float, (f.eps, f.max, f.min, f.smallest_normal))
    return FloatInfo(f.bits, eps, highest, lowest, normal, f.dtype)


def _fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """As `numpy.fft.fftfreq`, with a dtype."""
    found = xp.fft.fftfreq(n, d=d, device=device)
    return found if dtype is None else found.astype(dtype)


def _rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """As `numpy.fft.rfftfreq`, with a dtype."""
    found = xp.fft.rfftfreq(n, d=d, device=device)
    return found if dtype is None else found.astype(dtype)


def _eig(x: Any, /) -> Any:
    """As `numpy.linalg.eig`; the result is complex, whatever the eigenvalues are."""
    found = xp.linalg.eig(x)
    return type(found)(*map(_complex, found))


def _eigvals(x: Any, /) -> Any:
    """As `numpy.linalg.eigvals`; the result is complex."""
    return _complex(xp.linalg.eigvals(x))


def _complex(x: Any) -> Any:
    return x.astype(np.result_type(x.dtype, np.complex64), copy=False)


class __array_namespace_info__(np.__array_namespace_info__):  # type: ignore[misc]  # noqa: N801
    """What the namespace can do, on which devices, with which dtypes."""

    def devices(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one device there is."""
        return tuple(super().devices())


class _Extension(types.ModuleType):
    """A sub-namespace: the functions given, and those of `base`."""

    def __init__(self, name: str, base: types.ModuleType, **own: Any) -> None:
        super().__init__(name, base.__doc__)
        self.__dict__.update(own)
        for function in own.values():
            function.__name__ = function.__name__.lstrip("_")
        self._base = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_base"], name)

    def __dir__(self) -> list[str]:
        return dir(self._base)


def __getattr__(name: str) -> Any:
    return getattr(xp, name)


def __dir__() -> list[str]:
    return sorted({*dir(xp), *globals()})


linalg = _Extension(f"{__name__}.linalg", xp.linalg, eig=_eig, eigvals=_eigvals)
fft = _Extension(f"{__name__}.fft", xp.fft, fftfreq=_fftfreq, rfftfreq=_rfftfreq)
