"""`scipy.sparse` under lima: SciPy's answer, with lineage, reuse, log and program."""

import contextlib
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sparse_samples import CALLS, FORMS, arguments, same

import lima
from lima.formats import taken
from lima.ops import of_scipy

of_scipy.provide("scipy.sparse.linalg")


def outcome(call):
    """The result of a call, or its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(), None
        except Exception as error:
            return None, error


@contextlib.contextmanager
def keeping():
    """A session that keeps whatever it is offered."""
    with lima.session(exactness="bitwise") as s:
        s.cache.worth = 0
        s.call_seconds = -1
        yield s
        s.cache.check()


LEVELS = [None, None, "operation", "operation", "none"]
"""Whole calls cold and warm, operations cold and warm, no reuse."""


@pytest.mark.parametrize("text", CALLS)
def test_a_call_is_scipys_cold_and_warm(text):
    for form in FORMS:
        plain = arguments(form)
        wanted, error = outcome(lambda plain=plain: CALLS[text](*plain))
        with keeping():
            for level in LEVELS:
                given = arguments(form)
                work = lima.traced(CALLS[text], reuse=level)
                found, fault = outcome(lambda given=given, work=work: work(*given))
                assert (type(fault), str(fault)) == (type(error), str(error)), (form, level)
                same(found, wanted, f"{form} {level}")
                if error is None:
                    same(given, plain, f"{form} {level}: arguments")


# Without lineage: plain results, matrices, LIL and DOK, and what SciPy draws random numbers for.
UNTRACED = (
    "isinstance", "A.__class__.__name__", "A.nnz,", "A.has_", "splu", "svds", "eigsh", "A.tolil",
    "A.todok", "A.todense",
)  # fmt: skip


@pytest.mark.parametrize("form", [FORMS[1], FORMS[4], FORMS[5], FORMS[7], FORMS[9]])
def test_a_call_has_lineage_log_and_program(form, tmp_path):
    inputs = dict(zip("ABxXYmi", arguments(form), strict=True))
    for k, (text, call) in enumerate(CALLS.items()):
        wanted, error = outcome(lambda call=call: call(*arguments(form)))
        if error is not None or text.startswith(UNTRACED) or any(u in text for u in UNTRACED[4:7]):
            continue
        record = lima.traced(call).lineage(*arguments(form))
        results = [
            r
            for r in (wanted if isinstance(wanted, (tuple, list)) else [wanted])
            if sp.issparse(r) or isinstance(r, (np.ndarray, np.generic))
        ]
        if not record.outputs:
            continue
        path = tmp_path / f"log{k}"
        lima.save(path, record, leaf_data=True, inputs=inputs)
        log = lima.load_log(path)
        assert log == record
        again = lima.recompute(log)
        again = list(again.values()) if isinstance(again, dict) else [again]
        if len(again) == len(results):
            for found, result in zip(again, results, strict=True):
                assert equal(found, result), text
        assert all(map(equal, again, program_of(log))), text


def equal(found, wanted):
    """Equal bits; NumPy's 0-d arrays for its scalars."""
    if sp.issparse(wanted):
        mine, parts = taken(found), taken(wanted)
        return mine[:3] == parts[:3] and all(map(equal, mine.arrays, parts.arrays))
    f, w = np.asarray(found), np.asarray(wanted)
    return (f.dtype, f.shape, f.tobytes()) == (w.dtype, w.shape, w.tobytes())


def program_of(log):
    """What the written program of a log gives, run here."""
    scope = {"__name__": "program"}
    exec(lima.to_python(log), scope)
    leaves = [np.load(log.data_dir / f"{leaf.digest.hex()}.npy") for leaf in log.leaves]
    found = scope["program"](*leaves)
    return found if isinstance(found, tuple) else (found,)
