"""Which results depend on some rows of the data: compared with what changes when those change."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_rows import ROWS as ALL_ROWS
from test_rows import bound, calls_of

import lima
from lima import cli
from lima.op import evaluate
from lima.ops.reach import Part, reach_of
from lima.ops.reach_axes import Several

ROWS, COLUMNS = 12, 5
PLAIN = np.random.default_rng(0).standard_normal((ROWS, COLUMNS))
SQUARE = np.random.default_rng(1).standard_normal((ROWS, ROWS)) + 9.0 * np.eye(ROWS)
OTHER = np.random.default_rng(2).standard_normal((ROWS, COLUMNS))
PICKED = np.array([3, 1, 1, 8])
KEPT = np.arange(ROWS) % 4 != 1


def assigned(x):
    y = x.copy()
    y[2:5] = 0.0
    y[7] = x[1]
    return y


def written_through_a_view(x):
    y = x.copy()
    z = y.T[1:3]
    z += 1.0
    return y


def compressed(x):
    kept = KEPT if x.shape[0] == ROWS else np.arange(x.shape[0]) % 4 != 1
    return np.compress(kept, x, axis=0)


def shuffled(x):
    return x[np.random.default_rng(3).permutation(x.shape[0])]


def sorted_in_place(x):
    y = x.copy()
    y.sort(axis=1)
    return y


def copied(x):
    y = np.zeros_like(x)
    np.copyto(y[::2], x[::2])
    return y


STEPS = {
    "double": lambda x: 2.0 * x,
    "shift": lambda x: x + OTHER[: x.shape[0], : x.shape[1]],
    "exp": np.exp,
    "clip": lambda x: np.clip(x, -1.0, 1.0),
    "where": lambda x: np.where(x > 0.0, x, 0.5 * x),
    "half": lambda x: x[: max(x.shape[0] // 2, 1)],
    "tail": lambda x: x[x.shape[0] // 3 :],
    "every other": lambda x: x[::2],
    "reverse": lambda x: x[::-1],
    "flip": np.flipud,
    "columns": lambda x: x[:, : max(x.shape[1] - 1, 1)],
    "ellipsis": lambda x: x[..., :1],
    "picked": lambda x: x[PICKED % x.shape[0]],
    "masked": lambda x: x[np.arange(x.shape[0]) % 3 != 1],
    "taken": lambda x: np.take(x, [0, -1], axis=0),
    "shuffled": shuffled,
    "roll": lambda x: np.roll(x, 2, axis=0),
    "repeat": lambda x: np.repeat(x, 2, axis=0)[: x.shape[0]],
    "delete": lambda x: np.delete(x, 0, axis=0) if x.shape[0] > 1 else x,
    "stack": lambda x: np.vstack([x, OTHER[:, : x.shape[1]]])[-ROWS:],
    "join": lambda x: np.concatenate([x[1:], x[:1]]),
    "beside": lambda x: np.hstack([x, x[:, :1]])[:, 1:],
    "block": lambda x: np.block([[x[:, :1], x[:, 1:]]]),
    "reshape": lambda x: x.reshape(x.shape[1], x.shape[0]).T.copy(),
    "ravel": lambda x: x.ravel().reshape(x.shape),
    "flat": lambda x: x.T.flatten().reshape(x.shape),
    "twice": lambda x: x.T.T,
    "tril": np.tril,
    "centre": lambda x: x - x.mean(axis=0),
    "rows alone": lambda x: x - x.max(axis=1, keepdims=True),
    "normed": lambda x: x / (1.0 + np.linalg.norm(x, axis=1)[:, None]),
    "total": lambda x: x + x.sum(),
    "cumulated": lambda x: np.cumsum(x, axis=0),
    "cumulated back": lambda x: np.add.accumulate(x[::-1], axis=0)[::-1],
    "sorted rows": lambda x: np.sort(x, axis=1),
    "sorted": lambda x: np.sort(x, axis=0),
    "ranks": lambda x: np.argsort(x, axis=-1) * 1.0,
    "median": lambda x: x - np.median(x, axis=1, keepdims=True),
    "product": lambda x: x @ OTHER[: x.shape[1], : x.shape[1]],
    "dot": lambda x: np.dot(SQUARE[: x.shape[0], : x.shape[0]], x),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, OTHER[: x.shape[1], : x.shape[1]]),
    "gram": lambda x: (x @ x.T)[:, : x.shape[1]] + 0.0 * x[:, :1],
    "solve": lambda x: np.linalg.solve(SQUARE[: x.shape[0], : x.shape[0]], x),
    "outer": lambda x: np.outer(x[:, 0], x[0]),
    "assign": lambda x: assigned(x) if x.shape[0] > 7 else x,
    "through": lambda x: written_through_a_view(x) if x.shape[1] > 3 else x,
    "kept": lambda x: np.zeros_like(x) + x,
    "differences": lambda x: np.vstack([np.diff(x, axis=0), x[:1]]),
    "spectrum": lambda x: np.abs(np.fft.fft(x, axis=1)),
    "sorted in place": sorted_in_place,
    "copied": copied,
    "mixed": lambda x: x + np.fft.fft(x, axis=0).real,
    "smoothed": lambda x: np.stack(
        [np.convolve(c, [0.25, 0.5, 0.25], "same") for c in x.T], axis=1
    )[: x.shape[0]],
    "slopes": lambda x: np.gradient(x, axis=0) if x.shape[0] > 1 else x,
    "picked along": lambda x: np.take_along_axis(
        x, np.argsort(OTHER, axis=0)[: x.shape[0], : x.shape[1]] % x.shape[0], axis=0
    ),
    "noisy": lambda x: x + np.random.default_rng(5).standard_normal(x.shape),
    "tensordot": lambda x: np.tensordot(x, OTHER[: x.shape[1], : x.shape[1]], axes=1),
    "batched": lambda x: (x[None] @ np.stack([OTHER[: x.shape[1], : x.shape[1]]] * 2)).sum(axis=0),
    "summed labels": lambda x: np.einsum("...j,jk->...k", x, OTHER[: x.shape[1], : x.shape[1]]),
    "whitened": lambda x: (
        x @ np.linalg.inv(np.eye(x.shape[1]) + OTHER[: x.shape[1], : x.shape[1]] ** 2)
    ),
    "rotated": lambda x: x @ np.linalg.svd(OTHER[:, : x.shape[1]], full_matrices=False)[2],
    "padded": lambda x: np.pad(x, ((1, 1), (0, 0)), mode="edge")[: x.shape[0]],
    "inserted": lambda x: np.insert(x, 1, 0.0, axis=0)[: x.shape[0]],
    "compressed": compressed,
    "selected": lambda x: np.select([x > 0.5, x < -0.5], [x, 2.0 * x], 0.0),
    "cumulated flat": lambda x: np.cumsum(x).reshape(x.shape),
    "stretches": lambda x: np.add.reduceat(x, [0, x.shape[0] // 2], axis=0),
    "cast": lambda x: x.astype(np.float32).astype(float),
}


def run(x, names):
    for name in names:
        x = STEPS[name](x)
        if x.ndim != 2 or 0 in x.shape:
            break
    return x


programs = st.lists(st.lists(st.sampled_from(sorted(STEPS)), max_size=5), min_size=1, max_size=3)
lines = st.tuples(st.integers(0, ROWS - 1), st.integers(1, 4))


@given(programs, lines, st.none() | st.integers(0, COLUMNS - 1))
def test_what_changes_is_named(names, window, column):
    rows = range(window[0], min(sum(window), ROWS))
    with np.errstate(all="ignore"), lima.session():
        made = {str(k): run(lima.array(PLAIN, name="X"), one) for k, one in enumerate(names)}
        found = lima.reached(lima.lineage(**made), "X", rows=rows, columns=column)
        other = PLAIN.copy()
        other[rows.start : rows.stop, slice(None) if column is None else column] += 3.25
        for name, steps in zip(made, names, strict=True):
            then, now = run(PLAIN.copy(), steps), run(other.copy(), steps)
            if then.shape != now.shape:
                assert name in found
                continue
            changed = then != now
            if not changed.any():
                continue
            assert name in found, steps
            for axis, kept in enumerate(found[name].lines or ()):
                if kept is not None:
                    others = tuple(k for k in range(changed.ndim) if k != axis)
                    assert set(np.flatnonzero(changed.any(axis=others))) <= set(kept), steps


EXACT = {
    "half": (range(4), range(4)),
    "reverse": (range(4), range(8, 12)),
    "tail": (range(4), None),
    "picked": (range(1, 2), [1, 2]),
    "masked": (range(3), [0, 1]),
    "shuffled": (range(2), None),
    "stack": (range(12), None),
    "join": (range(1), [11]),
    "assign": (range(2, 5), None),
    "rows alone": (range(2, 5), range(2, 5)),
    "cumulated": (range(2, 5), range(2, 12)),
    "product": (range(2, 5), range(2, 5)),
    "einsum": (range(2, 5), range(2, 5)),
    "sorted rows": (range(2, 5), range(2, 5)),
    "through": (range(2, 5), range(2, 5)),
    "smoothed": (range(2, 5), range(1, 6)),
    "slopes": (range(3, 4), [2, 4]),
    "noisy": (range(2, 5), range(2, 5)),
    "tensordot": (range(2, 5), range(2, 5)),
    "batched": (range(2, 5), range(2, 5)),
    "summed labels": (range(2, 5), range(2, 5)),
    "whitened": (range(2, 5), range(2, 5)),
    "rotated": (range(2, 5), range(2, 5)),
    "padded": (range(2, 5), range(3, 6)),
    "inserted": (range(2, 5), range(3, 6)),
    "compressed": (range(2, 5), range(1, 4)),
    "selected": (range(2, 5), range(2, 5)),
    "cumulated flat": (range(2, 5), range(2, 12)),
    "stretches": (range(2, 5), [0]),
}


@pytest.mark.parametrize("name", EXACT)
def test_lines_are_followed(name):
    rows, wanted = EXACT[name]
    record = lima.lineage(r=STEPS[name](lima.array(PLAIN, name="X")))
    found = lima.reached(record, "X", rows=rows)
    if name in ("tail", "stack", "assign"):
        assert ("r" in found) == any(
            (
                STEPS[name](PLAIN)
                != STEPS[name](np.where(np.isin(range(12), rows)[:, None], 9, PLAIN))
            ).ravel()
        )
    elif name == "shuffled":
        places = np.flatnonzero(np.isin(np.random.default_rng(3).permutation(12), rows))
        assert list(found["r"].rows) == list(places)
    else:
        assert list(found["r"].rows) == list(wanted)


def test_columns():
    x = lima.array(PLAIN, name="X")
    record = lima.lineage(a=x[:, :2] * 2.0, b=x.T[3], c=x.sum(axis=0), d=x @ np.ones((5, 2)))
    found = lima.reached(record, "X", columns=[3])
    assert list(found) == ["b", "c", "d"] and found.others == ("a",)
    assert list(found["c"].rows) == [3] and found["b"].rows is None
    assert found["c"].columns is None and list(
        lima.reached(record, "X", columns=0)["a"].columns
    ) == [0]
    assert str(lima.reached(record, "X", rows=[1, 2, 3, 7], columns=0)) == (
        "a: rows 1 to 3, 7, columns 0\nc: rows 0\nd: rows 1 to 3, 7\nnot: b"
    )


def test_a_traced_model():
    @lima.traced
    def fit(X, y):
        train, test = X[:8], X[8:]
        beta = np.linalg.solve(train.T @ train + np.eye(5), train.T @ y[:8])
        return beta, test @ beta, test.sum(axis=1)

    beta, scores, sums = fit(PLAIN, np.ones(12))
    record = lima.lineage(beta=beta, scores=scores, sums=sums)
    late = lima.reached(record, PLAIN, rows=slice(9, 11))
    assert list(late) == ["scores", "sums"]
    assert list(late["scores"].rows) == [1, 2]
    assert list(lima.reached({"s": scores, "t": sums}, "X", rows=0)) == ["s"]
    early = lima.reached(record, "X", rows=0)
    assert list(early) == ["beta", "scores"] and early["scores"].rows is None


def test_of_a_log(tmp_path):
    x = lima.array(PLAIN, name="X")
    path = tmp_path / "x.lima"
    lima.save(path, picked=x[PICKED], rest=x[9:], leaf_data=True)
    found = lima.reached(path, "X", rows=range(4))
    assert list(found) == ["picked"] and list(found["picked"].rows) == [0, 1, 2]
    assert lima.reached(path, "X", rows=-1) and "picked" not in lima.reached(path, "X", rows=-1)


def test_indices_that_are_not_at_hand_mean_everything(tmp_path):
    x = lima.array(PLAIN, name="X")
    picked = x[lima.array(np.tile([5, 6, 7, 9, 2], 40), name="idx")]  # too many to be kept
    lima.save(tmp_path / "x.lima", picked=picked)
    del picked
    assert lima.reached(tmp_path / "x.lima", "X", rows=0)["picked"].rows is None


def test_lists_of_numbers_are_kept_for_logs(tmp_path):
    x = lima.array(PLAIN, name="X")
    lima.save(tmp_path / "x.lima", picked=x[[11, 2]], leaf_data=True)
    assert list(lima.reached(tmp_path / "x.lima", "X", rows=2)["picked"].rows) == [1]


def test_a_result_of_a_rule():
    with lima.session():
        x = lima.array(np.random.default_rng(5).standard_normal((3000, 40)), name="X")
        np.asarray(x.T @ x)
        z = np.hstack([x, np.ones((3000, 1))])
        record = lima.lineage(gram=z.T @ z, scores=z[:10] * 2.0)
    assert list(lima.reached(record, "X", rows=range(20, 30))) == ["gram"]


def test_what_cannot_be_asked():
    record = lima.lineage(r=lima.array(PLAIN, name="X") * 2.0)
    with pytest.raises(lima.UnknownLineage, match="there are 12, so there is no number 12"):
        lima.reached(record, "X", rows=range(10, 13))
    with pytest.raises(lima.UnknownLineage, match="there are 12, not 3"):
        lima.reached(record, "X", rows=[True, False, True])
    with pytest.raises(lima.UnknownLineage, match="give a number, range, slice"):
        lima.reached(record, "X", rows=0.5)
    with pytest.raises(lima.UnknownLineage, match="has nothing that 'Y' means"):
        lima.reached(record, "Y", rows=0)
    with pytest.raises(lima.UnknownLineage, match="has no columns"):
        lima.reached(lima.array(np.ones(3), name="v") + 1.0, "v", columns=0)
    assert not lima.reached(record, "X", rows=[])
    assert lima.reached(record, "X")["r"].rows is None


def test_large_arrays_take_no_memory_for_views():
    x = np.broadcast_to(np.zeros(1), (1,))
    x = lima.array(np.zeros((200_000, 3)), name="X")
    y = x[1000:].T[::-1].T[::2] * 2.0
    found = lima.reached(lima.lineage(y=y), "X", rows=range(1000, 1010))
    assert list(found["y"].rows) == [0, 1, 2, 3, 4]


def test_command(tmp_path, capsys):
    x = lima.array(PLAIN, name="X")
    lima.save(tmp_path / "x.lima", a=x[:4] * 2.0, b=x[4:] * 3.0)
    assert cli.main(["query", str(tmp_path / "x.lima"), "--uses", "X", "--rows", "2:6"]) == 0
    assert capsys.readouterr().out == "a: rows 2 to 3\nb: rows 0 to 1\n"
    assert cli.main(["query", str(tmp_path / "x.lima"), "--uses", "X", "--columns", "9"]) == 1
    assert "there are 5" in capsys.readouterr().err
    assert cli.main(["query", str(tmp_path / "x.lima"), "--rows", "2"]) == 2


# --------------------------------------------------------------------------- every row


STATING = [row for row in ALL_ROWS if reach_of(row) is not None]


def changed_lines(a, axis, line):
    """A copy of an array with one line changed."""
    b = np.array(a)
    at = (slice(None),) * axis + (line,)
    if b.dtype.kind == "b":
        b[at] = ~b[at]
    elif b.dtype.kind in "iufc":
        b[at] = b[at] + (3 if b.dtype.kind in "iu" else 3.25)
    else:
        return None
    return b


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("row", STATING, ids=lambda row: row.name)
def test_rows_state_no_box_that_is_too_small(row):
    for _, _, _, args, kwargs in calls_of(row):
        inputs, spec = bound(row, args, kwargs)
        for k, a in enumerate(inputs):
            if type(a) is not np.ndarray or not a.ndim or not a.size:
                continue
            for axis in range(a.ndim):
                for line in {0, a.shape[axis] // 2, a.shape[axis] - 1}:
                    check_box(row, spec, inputs, k, axis, line)


def check_box(row, spec, inputs, k, axis, line):
    parts = []
    for i, item in enumerate(inputs):
        if isinstance(item, np.ndarray | np.generic):
            shape = np.shape(item)
            lines = None
            if i == k:
                lines = [None] * len(shape)
                lines[axis] = np.arange(shape[axis]) == line
            parts.append(Part(shape, lines and tuple(lines), None if i == k else item))
        else:
            parts.append(item)
    try:
        found = reach_of(row)(row, spec, parts)
    except Exception:  # as the walk has it: then all of the result is meant
        return
    other = changed_lines(inputs[k], axis, line)
    if found is None or other is None:
        return
    data = [np.array(i) if isinstance(i, np.ndarray) else i for i in inputs]
    try:
        then = evaluate(row, spec, [*map(copy.copy, data)])
        data[k] = other
        now = evaluate(row, spec, data)
    except (ValueError, TypeError, IndexError, np.linalg.LinAlgError, FloatingPointError):
        return
    if type(found) is Several:
        found, then, now = zip(*[
            one for one in zip(found.parts, then, now, strict=True) if one[0] is not None
        ], strict=True)  # fmt: skip
    elif type(then) is tuple:
        found = [found] * len(then)
    else:
        found, then, now = [found], [then], [now]
    for part, x, y in zip(found, then, now, strict=True):
        if isinstance(x, dict):  # the state of a generator
            assert part.touched or x == y or str(x) == str(y)
            continue
        x, y = np.asarray(x), np.asarray(y)
        assert part.shape == x.shape
        changed = (x != y) & ~((x != x) & (y != y)) if x.shape == y.shape else np.ones(1, bool)
        if not changed.any():
            continue
        assert part.touched
        for n, kept in enumerate(part.lines):
            if kept is not None:
                others = tuple(m for m in range(changed.ndim) if m != n)
                assert not (changed.any(axis=others) & ~kept).any()


def test_columns_of_solutions_and_stacks():
    x = lima.array(PLAIN, name="X")
    record = lima.lineage(
        solved=np.linalg.solve(SQUARE, x),
        trace=np.trace(x),
        norms=np.linalg.det(np.stack([np.eye(2)] * ROWS) * x[:, 0][:, None, None]),
    )
    found = lima.reached(record, "X", columns=2)
    assert list(found["solved"].columns) == [2]
    assert "trace" in found and "norms" not in found
    assert "trace" not in lima.reached(record, "X", rows=0, columns=2)
    assert list(lima.reached(record, "X", rows=3)["norms"].rows) == [3]


def test_tuples_of_results():
    x = lima.array(np.stack([SQUARE[:4, :4], SQUARE[4:8, 4:8]]), name="X")
    values, vectors = np.linalg.eigh(x)
    record = lima.lineage(values=values, vectors=vectors)
    found = lima.reached(record, "X", rows=1)
    assert list(found["values"].rows) == [1] and list(found["vectors"].rows) == [1]
