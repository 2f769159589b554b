"""Hypothesis strategies that several test files share."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lima.node import Ref, Unique

KINDS = (
    *("?", "i1", "<i4", ">i8", "u2", "u8", "f2", "<f4", ">f8", "f8", "c8", "c16"),
    *("M8[D]", "m8[25s]", "U3", "S2", "V3"),
)

floats = st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("<d", struct.pack("<Q", n))[0])
"""All floats by their bits, so with every NaN."""

dtypes = st.one_of(
    st.sampled_from(KINDS).map(np.dtype),
    st.just(np.dtype([("a", "<i2"), ("b", ">f4", (2,)), ("c", [("d", "S1")])])),
)
"""Dtypes with an encoding, not `longdouble`: the padding in it is arbitrary memory."""


@st.composite
def arrays(draw: Any) -> np.ndarray[Any, Any]:
    """Arrays of any dtype, bits and memory order, empty ones and views with steps included."""
    dtype = draw(dtypes)
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype.kind in "?U":  # not every memory is one of these
        a = np.zeros(shape, dtype)
    else:
        a = np.ndarray(shape, dtype, raw).copy() if size else np.zeros(shape, dtype)
    form = draw(st.sampled_from(["C", "F", "reversed", "stepped", "broadcast"]))
    if form == "F":
        return np.asfortranarray(a)
    if form == "reversed" and shape:
        return a[::-1]
    if form == "stepped" and shape:
        return np.repeat(a, 2, axis=-1)[..., ::2]
    return np.broadcast_to(a, (2, *shape)) if form == "broadcast" else a


scalars = arrays().filter(lambda a: a.size > 0).map(lambda a: a.reshape(-1)[0])
"""NumPy scalars of any dtype and bits."""

sliced = st.one_of(st.none(), st.integers(-9, 9))

atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**300), 2**300),
    floats,
    st.builds(complex, floats, floats),
    st.text(st.characters(), max_size=8),
    st.binary(max_size=8),
    st.builds(slice, sliced, sliced, sliced),
    st.just(...),
    st.integers(0, 3).map(Ref),
    st.builds(Unique, st.text(max_size=3), st.binary(min_size=16, max_size=16)),
    dtypes,
    scalars,
    arrays(),
)

keys = st.one_of(st.text(max_size=4), st.integers(), st.tuples(st.integers(), st.booleans()))

params = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.builds(slice, inner, inner, inner),
    ),
    max_leaves=8,
)
"""Values with an encoding: whatever may be a parameter or a literal of a node."""
