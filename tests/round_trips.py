"""Programs written from a lineage: run with NumPy alone, and traced again."""

import types

import numpy as np

import lima
from lima import histories, leaves, spans, tasks
from lima.op import clone


def known(results):
    """Those results whose lineage is known: a program may return numbers of Python as well."""
    found = {}
    for name, x in results.items():
        try:
            lima.lineage(x)
        except lima.UnknownLineage:
            continue
        found[name] = x
    return found


def strangers():
    """What was made before is not known by content."""
    tasks.forget()
    histories.forget()
    spans.forget()


def written(record):
    """The text of the program for a lineage, and its function."""
    text = record.to_python()
    module = types.ModuleType("written")
    exec(compile(text, "written.py", "exec"), vars(module))
    return text, module.program


def as_tuple(results, record):
    return results if len(record.outputs) > 1 else (results,)


def assert_round_trip(record, results):
    """The program for `record` gives the bits of `results`, and traced again their digests."""
    text, program = written(record)
    given = [leaves.find(node.digest) for node in record.leaves]
    assert all(a is not None for a in given)

    def fresh():
        return [clone(a) if isinstance(a, np.ndarray) else a for a in given]

    for name, found in zip(record.outputs, as_tuple(program(*fresh()), record), strict=True):
        found, wanted = np.asarray(found), np.asarray(results[name])
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
        assert found.tobytes() == wanted.tobytes(), name
    strangers()
    with lima.session(reuse="none"):
        again = as_tuple(lima.traced(program)(*fresh()), record)
        for (name, node), x in zip(record.outputs.items(), again, strict=True):
            if not node.is_leaf:
                assert lima.lineage(x).outputs["result"].digest == node.digest, name
    return text
