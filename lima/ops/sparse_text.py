"""What a program defines where it calls `scipy.sparse`: the plain twin of `of_sparse.Run`."""

SPARSE = '''

def sparse(kind, shape, extras, *arrays):
    """The sparse array of SciPy's that consists of these arrays."""
    cls = getattr(scipy.sparse, kind)
    made = cls.__new__(cls)
    made.__dict__.update(_shape=shape, maxprint=50, data=arrays[0])
    if kind[:3] == "coo":
        made.__dict__.update(coords=tuple(arrays[1:]), has_canonical_format=False)
    elif kind[:3] == "dia":
        made.__dict__.update(offsets=arrays[1])
    else:
        made.__dict__.update(indices=arrays[1], indptr=arrays[2])
    made.__dict__.update(extras)
    return made
'''

SPARSE_ARRAYS = '''

def sparse_arrays(x):
    """The arrays that a sparse array consists of; None for what is none, or holds none."""
    if not scipy.sparse.issparse(x) or x.format in ("lil", "dok"):
        return None
    if x.format == "coo":
        return [x.data, *x.coords]
    return [x.data, x.offsets] if x.format == "dia" else [x.data, x.indices, x.indptr]
'''

SPARSE_CALL = '''

def sparse_call(function, places=None, **named):
    """A call of SciPy on sparse arrays that are given as their parts, and may be changed.

    Gives None, the arrays of the result, all arrays of the call, those of its sparse arrays; or
    the result itself if it is one array and nothing was changed.
    """
    given, held, operands = [], [], []

    def array(a):
        first = len(held) if places is None else places[len(held)]
        copy = a.copy(order="K") if type(a) is np.ndarray else a
        held.append(held[first] if first < len(held) else copy)
        given.append(a)
        return held[-1]

    def operand(x):
        if type(x) is np.ndarray or isinstance(x, np.generic):
            return array(x)
        if type(x) is tuple and len(x) > 1 and type(x[0]) is str:
            if x[0] == "operand again":
                return operands[x[1]]
            if x[0] == "np.matrix":
                return np.asarray(array(x[1])).view(np.matrix)
            if x[0][3:] in ("_array", "_matrix"):
                operands.append(sparse(*x[:3], *map(array, x[3:])))
                return operands[-1]
        if type(x) is dict:
            return {key: operand(value) for key, value in x.items()}
        return type(x)(map(operand, x)) if type(x) in (tuple, list) else x

    def parts(x):
        if any(x is o for o in operands) or type(x) in (type(None), bool, int, float, complex, str):
            return []
        if type(x) in (tuple, list):
            return [part for item in x for part in parts(item)]
        return sparse_arrays(x) or [np.asarray(x) if type(x) is np.matrix else x]

    def same(a, b):
        if a is b or not a.size:
            return a is b
        ends = [(c.__array_interface__["data"][0], c.shape, c.strides, c.dtype) for c in (a, b)]
        return ends[0] == ends[1]

    named = {key: operand(value) for key, value in named.items()}
    before = [sparse_arrays(o) for o in operands]
    if type(function) is str:
        function = getattr(type(named["self"]), function)
    call = inspect.BoundArguments(inspect.signature(function), named)
    found = function(*call.args, **call.kwargs)
    after = [sparse_arrays(o) for o in operands]
    kept = all(len(a) == len(b) and all(map(same, a, b)) for a, b in zip(before, after))
    kept = kept and all(a.tobytes() == b.tobytes() for a, b in zip(given, held))
    if kept and (isinstance(found, np.generic) or getattr(found, "flags", None) is not None):
        if type(found) is not np.matrix and found.flags.writeable is isinstance(found, np.ndarray):
            return found
    return [None, *parts(found), *held, *[a for arrays in after for a in arrays]]
'''

SAVED = '''

def saved(**results):
    """Results as `np.savez` takes them: a sparse array `A` as "A.kind", "A.shape", "A.0", ..."""
    found = {}
    for name, x in results.items():
        arrays = sparse_arrays(x)
        if arrays is None:
            found[name] = x
            continue
        found[f"{name}.kind"], found[f"{name}.shape"] = type(x).__name__, x.shape
        found.update((f"{name}.{k}", a) for k, a in enumerate(arrays))
    return found
'''

HELPERS = {
    "sparse": SPARSE,
    "sparse_arrays": SPARSE_ARRAYS,
    "sparse_call": SPARSE_CALL,
    "saved": SAVED,
}

NEEDS = {"sparse_call": "sparse", "sparse": "sparse_arrays"}
