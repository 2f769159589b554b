"""pandas in traced functions: frames are arguments by content, and what they give is traced."""

import pickle

import numpy as np
import pytest
from eager import eager

import lima

pd = pytest.importorskip("pandas")


def frame():
    return pd.DataFrame({"a": np.arange(6.0), "b": [1, 2, 3, 4, 5, 6], "c": list("xyzxyz")})


@lima.traced
def gram(df):
    X = df[["a", "b"]].to_numpy(dtype=float)
    return X.T @ X


def changed(change):
    df = frame()
    found = change(df)
    return df if found is None else found


SAME = {
    "itself": lambda df: df,
    "a copy": lambda df: df.copy(),
    "read again": lambda df: pickle.loads(pickle.dumps(df)),
}
OTHERS = {
    "an element": lambda df: df.iloc.__setitem__((0, 0), 9.0),
    "another column's element": lambda df: df.iloc.__setitem__((0, 2), "q"),
    "a missing value": lambda df: df.iloc.__setitem__((0, 2), None),
    "a dtype": lambda df: df.astype({"b": float}),
    "a nullable dtype": lambda df: df.astype({"b": "Int64"}),
    "a category": lambda df: df.astype({"c": "category"}),
    "a name": lambda df: df.rename(columns={"c": "d"}),
    "the name of the columns": lambda df: df.rename_axis(columns="n"),
    "the index": lambda df: df.set_index(np.arange(6) + 1),
    "the name of the index": lambda df: df.rename_axis("n"),
    "an index of dates": lambda df: df.set_index(pd.date_range("2020", periods=6)),
    "an index of two levels": lambda df: df.set_index(["b", "c"], drop=False),
    "the order of columns": lambda df: df[["b", "a", "c"]],
    "rows": lambda df: df.iloc[:5],
    "one column more": lambda df: df.assign(d=1),
    "flags": lambda df: df.set_flags(allows_duplicate_labels=False),
}


def same(found, wanted):
    assert type(found) is type(wanted) is np.ndarray and found.dtype == wanted.dtype
    assert found.tobytes() == wanted.tobytes() and found.shape == wanted.shape


@pytest.mark.parametrize("name", SAME)
def test_equal_frames_are_one_argument(name):
    with eager() as s:
        gram(frame())
        same(gram(changed(SAME[name])), gram.__wrapped__(frame()))
        assert s.stats.function_hits == 1, gram.cache_info().refusal


@pytest.mark.parametrize("name", OTHERS)
def test_frames_that_differ_in_anything_are_two(name):
    with eager() as s:
        gram(frame())
        other = changed(OTHERS[name])
        same(gram(other), gram.__wrapped__(other))
        assert s.stats.function_hits == 0
        same(gram(changed(OTHERS[name])), gram.__wrapped__(other))
        assert s.stats.function_hits == (0 if name == "flags" and not other.flags else 1)


def test_the_layout_of_a_frame_in_memory_is_part_of_the_key():
    total = lima.traced(lambda df: df.to_numpy().sum())
    x = np.random.default_rng(1).normal(size=(50, 3))
    with eager() as s:
        apart = pd.DataFrame({0: x[:, 0]})
        apart[1], apart[2] = x[:, 1], x[:, 2]
        for df in (pd.DataFrame(x), apart):
            assert total(df) == df.to_numpy().sum()
        assert s.stats.function_hits == 0


def test_a_frame_that_was_changed_in_place_is_never_stale():
    df = frame()
    with eager() as s:
        for k in range(3):
            df.iloc[0, 0] = k
            same(gram(df), gram.__wrapped__(df))
        df["a"] += 1
        same(gram(df), gram.__wrapped__(df))
        assert s.stats.function_hits == 0


def test_series_and_indexes_are_arguments_too():
    f = lima.traced(lambda s, index: (s.to_numpy() * 2).sum() + len(index))
    s, i = pd.Series([1.0, 2.0], name="n"), pd.Index([1, 2], name="m")
    with eager() as session:
        for series, index in ((s, i), (s.copy(), i.copy()), (s.rename("o"), i), (s, i.rename("o"))):
            assert f(series, index) == 8.0
        assert session.stats.function_hits == 1
        assert f(s, pd.RangeIndex(3)) == 9.0
        assert f(s, pd.MultiIndex.from_product([[1, 2], ["a"]])) == 8.0


def test_what_a_frame_gives_is_traced():
    seen = []

    def work(df, s):
        for x in (df.values, df.to_numpy(), df["a"].values, df["a"].to_numpy(), s.values,
                  df[df["a"] > 1]["a"].to_numpy(), np.asarray(s), np.array(df)):  # fmt: skip
            seen.append(type(x))
            assert isinstance(x, np.ndarray)
        return df["a"].to_numpy() @ s.to_numpy()

    df = frame()[["a", "b"]]
    found = lima.traced(work)(df, df["b"])
    assert set(seen) == {lima.Array}
    assert "matmul" in lima.lineage(found).log()
    assert type(df) is pd.DataFrame and type(df.values) is np.ndarray


def test_the_memory_of_a_frame_is_that_of_its_arrays():
    def work(df):
        x = df["a"].to_numpy()
        before = x.sum()
        df.iloc[0, 0] = 100.0
        return before, df["a"].to_numpy().sum(), x.flags.writeable

    df, other = frame(), frame()
    with eager():
        for _ in range(2):
            assert lima.traced(work)(df) == work(other)
            pd.testing.assert_frame_equal(df, other)


PROGRAMS = [
    lambda df: df,
    lambda df: df.assign(d=df["a"].to_numpy() * 2),
    lambda df: df.groupby("c").mean(),
    lambda df: df.groupby("c")["a"].transform("sum"),
    lambda df: (df.__setitem__("d", df["a"].to_numpy() + 1), df)[1],
    lambda df: (df.loc.__setitem__((df["a"] > 2, "a"), np.zeros(3)), df)[1],
    lambda df: df.describe(),
    lambda df: df.merge(df, on="c"),
    lambda df: df.sort_values("c").reset_index(drop=True),
    lambda df: pd.DataFrame(df[["a", "b"]].to_numpy() @ np.eye(2)),
    lambda df: pd.Series(np.exp(df["a"].to_numpy()), index=df["c"]),
    lambda df: pd.concat([df, df]),
    lambda df: pd.get_dummies(df["c"]),
    lambda df: pd.cut(df["a"].to_numpy(), 3),
    lambda df: {"deep": [df["a"], df.columns]},
    lambda df: np.log1p(df["a"]),
    lambda df: df["a"].to_numpy() - df["a"],
    lambda df: df["a"].rolling(2).mean(),
    lambda df: df.select_dtypes("number").apply(lambda c: float(c.to_numpy().sum())),
    lambda df: df.loc[np.array([True, False] * 3)],
    lambda df: df.iloc[np.argsort(-df["a"].to_numpy())],
    lambda df: df[["a", "b"]].corr(),
    lambda df: df["nothing"],
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(program):
    def outcome(function):
        df = frame()
        try:
            return pickle.dumps(normal(function(df))), pickle.dumps(df)
        except Exception as error:
            return type(error).__name__, str(error)

    wanted = outcome(program)
    with eager():
        traced = lima.traced(program)
        for _ in range(2):
            assert outcome(traced) == wanted


def normal(x):
    """A frame with what it holds laid out anew, so that equal ones have equal pickles."""
    if isinstance(x, dict):
        return {k: normal(v) for k, v in x.items()}
    if isinstance(x, list):
        return [normal(v) for v in x]
    assert "lima" not in type(x).__module__
    return type(x), repr(x), repr(getattr(x, "dtypes", None)), repr(getattr(x, "index", None))


def test_effects_of_frames_are_never_left_out(tmp_path):
    def write(df, path):
        df.to_csv(path)
        return df["a"].to_numpy().sum()

    def query(df):
        return df.query("a > @LIMIT")["a"].to_numpy().sum()

    def sample(df):
        return df.sample(3)["a"].to_numpy()

    with eager() as s:
        for k in range(2):
            lima.traced(write)(frame(), str(tmp_path / f"{k}.csv"))
            lima.traced(write)(frame(), str(tmp_path / "same.csv"))
            assert (tmp_path / "same.csv").exists()
            (tmp_path / "same.csv").unlink()
        traced = lima.traced(query)
        for limit in (1, 3):
            globals()["LIMIT"] = limit
            assert traced(frame()) == query(frame())
        np.random.seed(3)
        first, second = lima.traced(sample)(frame()), lima.traced(sample)(frame())
        np.random.seed(3)
        assert first.tolist() == sample(frame()).tolist()
        assert second.tolist() == sample(frame()).tolist()
        assert s.stats.function_hits == 0


def test_one_frame_twice_is_not_two_equal_ones():
    def work(df, other):
        df.iloc[0, 0] += 1
        return other["a"].to_numpy().sum(), df is other

    with eager():
        for _ in range(2):
            for make in (lambda: (frame(),) * 2, lambda: (frame(), frame())):
                assert lima.traced(work)(*make()) == work(*make())


def test_classes_are_restored_when_a_call_fails():
    df = frame()
    with pytest.raises(ZeroDivisionError):
        lima.traced(lambda df: 1 / 0)(df)
    assert type(df) is pd.DataFrame


def test_frames_in_objects_and_of_users_classes():
    class Model:
        def __init__(self, df):
            self.df = df

        @lima.traced
        def total(self):
            return self.df["a"].to_numpy().sum()

    class Own(pd.DataFrame):
        pass

    with eager():
        for k in range(2):
            model = Model(frame() if k else Own(frame()))
            assert model.total() == 15.0
            model.df.iloc[0, 0] = 5.0
            assert model.total() == 20.0
            assert type(model.df) is (pd.DataFrame if k else Own)
