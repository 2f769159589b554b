"""Frames that traced functions return are reused: equal ones, which nobody else holds."""

import copy
import datetime
import pickle

import numpy as np
import pytest
from eager import eager

import lima

pd = pytest.importorskip("pandas")


def frame():
    return pd.DataFrame(
        {
            "a": np.arange(6.0),
            "b": [1, 2, 3, 4, 5, 6],
            "c": list("xyzxyz"),
            "e": np.arange(6.0) ** 2,
        }
    )


def seen(x):
    """All that a program can see of a frame, its layout in memory included."""
    if isinstance(x, (list, tuple)):
        return type(x), [seen(v) for v in x]
    if isinstance(x, dict):
        return [(k, seen(v)) for k, v in x.items()]
    if isinstance(x, np.ndarray):
        return x.dtype, x.shape, x.strides, x.tobytes(), x.flags.writeable
    if isinstance(x, pd.Index):
        return type(x), x.dtype, x.names, x.tolist(), str(getattr(x, "freq", None))
    if not isinstance(x, (pd.DataFrame, pd.Series)):
        return type(x), repr(x)
    assert type(x) in (pd.DataFrame, pd.Series)
    blocks = [
        (type(b).__name__, b.mgr_locs.as_array.tolist(), seen(b.values))
        if type(b.values) is np.ndarray and not b.values.dtype.hasobject
        else (type(b).__name__, b.mgr_locs.as_array.tolist(), type(b.values), list(b.values))
        for b in x._mgr.blocks
    ]
    name = x.name if x.ndim == 1 else None
    flags = x.flags.allows_duplicate_labels, x.attrs
    return type(x), [seen(axis) for axis in x.axes], repr(blocks), repr(name), repr(flags), repr(x)


RETURNS = {
    "columns more": lambda df: df.assign(d=df["a"].to_numpy() * 2),
    "groups": lambda df: df.groupby("c")[["a", "b"]].mean(),
    "a transformed column": lambda df: df.groupby("c")["a"].transform("sum"),
    "a description": lambda df: df.describe(),
    "a merge": lambda df: df.merge(df, on="c"),
    "sorted": lambda df: df.sort_values("c").reset_index(drop=True),
    "a correlation": lambda df: df[["a", "b"]].corr(),
    "several blocks of one dtype": lambda df: df[["a", "b"]].assign(x=1.0, y=2.0),
    "a rolling mean": lambda df: df["a"].rolling(2).mean(),
    "rows": lambda df: df.loc[np.array([True, False] * 3)],
    "a pivot": lambda df: df.pivot_table(index="c", columns="b", values="a"),
    "two levels": lambda df: df.set_index(["c", "b"]).sort_index(),
    "categories": lambda df: df.astype({"c": "category"}).assign(b=(df["b"] * 2).astype("Int64")),
    "a missing value": lambda df: df.assign(c=df["c"].where(df["a"] > 2)),
    "a mask": lambda df: df["a"] > 2,
    "a name": lambda df: (df["a"] * 2).rename("twice"),
    "no name": lambda df: (df["a"] * 2).rename(None),
    "a name of the index": lambda df: (df * 2).rename_axis("n").rename_axis(columns="m"),
    "transposed": lambda df: df[["a", "b"]].T,
    "nothing left": lambda df: df[df["a"] > 1e9],
    "no columns": lambda df: df[[]],
    "flags": lambda df: (df * 2).set_flags(allows_duplicate_labels=False),
    "attrs": lambda df: (lambda x: (x.attrs.update(unit="m"), x)[1])(df * 2),
    "in containers": lambda df: {"deep": [df["a"] * 2, df.columns, (df.mean(numeric_only=True),)]},
    "twice the same": lambda df: (lambda x: [x, x])(df * 2),
    "with an array": lambda df: (df["a"] * 2, df["a"].to_numpy() * 2),
    "an index": lambda df: df.set_index("c").index,
    "the argument": lambda df: df,
    "the argument and another": lambda df: (df, df.assign(z=0)),
    "renamed": lambda df: df.rename(columns={"a": "A"}),
    "dates": lambda df: df.set_index(df["b"].astype("datetime64[ns]"))[["a"]],
    "an iloc": lambda df: df.iloc[np.argsort(-df["a"].to_numpy())],
    "a column": lambda df: df["a"],
    "first rows": lambda df: df[["a", "b"]].iloc[:3],
    "every other row": lambda df: df[["a", "e", "b"]].iloc[1::2],
    "part of a block": lambda df: df.loc[2:4, ["e"]],
    "a row": lambda df: df[["a", "e"]].iloc[2],
    "a column of a part": lambda df: df.iloc[1:4]["e"],
    "logarithms": lambda df: np.log1p(df["a"]),
}
NOT_KEPT = {
    "rows the other way": lambda df: df[["a", "e"]].iloc[::-1],
    "a masked column": lambda df: df.astype({"b": "Int64"}),
    "rows of text": lambda df: df.iloc[:3],
}


@pytest.mark.parametrize("name", RETURNS)
def test_a_frame_that_is_returned_is_reused(name):
    function = RETURNS[name]
    wanted = seen(function(frame()))
    traced = lima.traced(function)
    with eager() as s:
        for k in range(3):
            df = frame()
            found = traced(df)
            assert seen(found) == wanted, k
            assert seen(df) == seen(frame())
        assert s.stats.function_hits == 2, traced.cache_info().refusal


@pytest.mark.parametrize("name", RETURNS)
def test_what_is_done_to_a_result_is_done_to_nothing_else(name):
    """Writes to a result, or to the argument, never show in a later result."""
    function = RETURNS[name]
    wanted = seen(function(frame()))
    traced = lima.traced(function)
    with eager():
        for _ in range(3):
            df = frame()
            found = traced(df)
            assert seen(found) == wanted
            other = function(copied := frame())
            for result, argument in ((found, df), (other, copied)):
                for x in parts(result):
                    spoil(x)
                argument.iloc[1, 0] = -8.0
                argument.index.name = "spoilt too"
            assert seen(found) == seen(other) and seen(df) == seen(copied)


def parts(x):
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        return [p for item in x for p in parts(item)]
    return [x]


def spoil(x):
    if isinstance(x, np.ndarray):
        if x.flags.writeable:
            x[0] = -5
        return
    if isinstance(x, pd.Index):
        x.names = ["spoilt"] * x.nlevels
        return
    if not isinstance(x, (pd.DataFrame, pd.Series)):
        return
    if x.size:
        where = (0,) * x.ndim
        x.iloc[where] = x.iloc[(-1,) * x.ndim] if x.ndim == 1 else x.iloc[-1, 0]
    x.index.names = ["spoilt"] * x.index.nlevels
    if x.ndim == 2:
        x["new"] = 1
    x.attrs["spoilt"] = 1


@pytest.mark.parametrize("name", NOT_KEPT)
def test_a_part_of_an_argument_is_not_kept(name):
    traced = lima.traced(NOT_KEPT[name])
    with eager() as s:
        for _ in range(2):
            assert seen(traced(frame())) == seen(NOT_KEPT[name](frame()))
        assert s.stats.function_hits == 0
        assert "shares memory" in traced.cache_info().refusal


def test_axes_that_are_those_of_an_argument_still_are():
    def work(df):
        s = pd_series(df)
        return s, s.index is df.index

    pd_series = lambda df: df["a"] * 2  # noqa: E731
    with eager() as session:
        plain = frame()
        wanted, same = work(plain)
        for _ in range(2):
            df = frame()
            found, is_one = lima.traced(work)(df)
            assert is_one is same and (found.index is df.index) is (wanted.index is plain.index)
        assert session.stats.function_hits == 1


def test_frames_that_differ_in_what_the_call_makes_are_not_confused():
    f = lima.traced(lambda df, k: df[["a"]] * k)
    with eager() as s:
        for k in (2, 2.0, 3, True, np.float32(2)):
            assert seen(f(frame(), k)) == seen(f.__wrapped__(frame(), k))
        assert s.stats.function_hits == 0


def test_a_frame_in_a_list_that_is_an_argument():
    def work(df, out):
        out.append(df * 2)
        return len(out)

    with eager() as s:
        for _ in range(2):
            numbers, out = frame()[["a", "b"]], []
            assert lima.traced(work)(numbers, out) == 1
            assert seen(out[0]) == seen(numbers * 2)
        assert s.stats.function_hits == 1


def test_inner_calls_reuse_frames_and_their_arrays_are_traced():
    inner = lima.traced(lambda df: df[["a", "b"]] * 2)

    @lima.traced
    def outer(df, k):
        x = inner(df).to_numpy()
        return x.T @ x + k, type(x) is lima.Array

    with eager() as s:
        for k in (1, 2, 3):
            found, is_traced = outer(frame(), k)
            x = (frame()[["a", "b"]] * 2).to_numpy()
            assert found.tolist() == (x.T @ x + k).tolist() and is_traced
        assert s.stats.function_hits == 2


def test_frames_that_hold_what_has_no_bytes_are_not_kept():
    class Thing:
        pass

    for value in (Thing(), [1], np.zeros(2), {1: 2}):

        def work(df, value=value):
            return df.assign(z=[value] * 6)

        traced = lima.traced(work)
        with eager() as s:
            for _ in range(2):
                assert traced(frame())["z"].tolist()[0] is value
            assert s.stats.function_hits == 0


class Own(pd.DataFrame):
    @property
    def _constructor(self):
        return Own


def test_frames_of_users_classes_are_not_kept():
    traced = lima.traced(lambda df: Own(df["a"].to_numpy().reshape(2, 3) * 2))
    with eager() as s:
        for _ in range(2):
            assert type(traced(frame())) is Own
        assert s.stats.function_hits == 0


def test_a_series_made_of_a_traced_array_can_be_written():
    def inside(x):
        s = pd.Series(x * 2)
        s.iloc[0] = 5.0
        return s

    x = np.arange(4.0)
    found = lima.traced(lambda x: pd.Series(x * 2))(x)
    found.iloc[0] = 5.0
    assert seen(found) == seen(inside(x)) == seen(lima.traced(inside)(x))
    assert pickle.loads(pickle.dumps(found)).equals(copy.deepcopy(found))


# --------------------------------------------------------------------------- pandas by its name

USES = {
    "a frame": lambda x: pd.DataFrame(x @ x.T),
    "a frame of columns": lambda x: pd.DataFrame({"a": x[:, 0] * 2, "b": [1, 2, 3]}),
    "a series": lambda x: pd.Series(np.exp(x[:, 0]), name="e", index=list("abc")),
    "joined": lambda x: pd.concat([pd.DataFrame(x), pd.DataFrame(x * 2)], ignore_index=True),
    "merged": lambda x: pd.merge(pd.DataFrame({"k": [1, 2]}), pd.DataFrame({"k": [2, 3]}), on="k"),
    "bins": lambda x: pd.Series(pd.cut(x[:, 0], 3).codes),
    "quantiles": lambda x: pd.qcut(pd.Series(x[:, 0]), 2, labels=False),
    "dummies": lambda x: pd.get_dummies(pd.Series(list("aba"))),
    "counts": lambda x: pd.crosstab(pd.Series([1, 1, 2]), pd.Series([1, 2, 2])),
    "numbers only": lambda x: pd.DataFrame(x).groupby(pd.Series([0, 1, 0])).sum().to_numpy().sum(),
    "records": lambda x: pd.DataFrame.from_records([(1, 2.0), (3, 4.0)], columns=["a", "b"]),
    "dtypes": lambda x: pd.DataFrame(x).astype(pd.Int64Dtype()),
    "missing": lambda x: pd.Series([1, None, 3], dtype="Int64").fillna(pd.NA),
    "an interval": lambda x: pd.Series([1, 2], index=pd.Index([3, 4], name="i")),
}


@pytest.mark.parametrize("name", USES)
def test_calls_that_mention_pandas_are_reused(name):
    function, x = USES[name], np.arange(9.0).reshape(3, 3)
    wanted = seen(function(x))
    traced = lima.traced(function)
    with eager() as s:
        for _ in range(3):
            found = traced(x.copy())
            assert seen(found) == wanted
            for part in parts(found):
                spoil(part)
        assert s.stats.function_hits == 2, traced.cache_info().refusal


def _writing(x, path):
    pd.DataFrame(x).to_csv(path)
    return x.sum()


def _reading(path):
    return pd.read_csv(path).sum().sum()


def _sampling(x):
    return pd.DataFrame(x).sample(2)


def _setting(x):
    pd.marked = x.sum()
    return pd.DataFrame(x)


def _options(x):
    return pd.get_option("display.width"), pd.DataFrame(x)


def _today(x):
    return pd.Timestamp("today"), x.sum()


def _clock(x):
    return pd.Series(["now"]).astype("datetime64[ns]"), x.sum()


def _passing(x):
    return (lambda module: module.DataFrame(x))(pd)


def _reached(x):
    return getattr(pd, "Data" + "Frame")(x)


def _called(x, effect):
    return effect(pd.DataFrame(x))


def test_uses_of_pandas_with_effects_are_never_left_out(tmp_path):
    x, path = np.arange(9.0).reshape(3, 3), str(tmp_path / "x.csv")
    programs = [
        (_writing, (x, path)), (_reading, (path,)), (_sampling, (x,)), (_setting, (x,)),
        (_options, (x,)), (_today, (x,)), (_clock, (x,)), (_passing, (x,)), (_reached, (x,)),
        (_called, (x, lambda df: df.to_csv(path))), (_called, (x, lambda df: df.sample(2))),
    ]  # fmt: skip
    for function, args in programs:
        with eager() as s:
            for _ in range(2):
                lima.traced(function)(*args)
            assert s.stats.function_hits == 0, function.__name__


@pytest.mark.filterwarnings("ignore")
def test_options_of_pandas_are_part_of_the_key():
    def work(x):
        return pd.Series(["a", None]).dtype == object, pd.DataFrame(x)

    x, traced = np.arange(4.0).reshape(2, 2), lima.traced(work)
    with eager() as s:
        for infer in (True, False, True):
            with pd.option_context("future.infer_string", infer):
                assert traced(x)[0] == work(x)[0]
        assert s.stats.function_hits == 1, traced.cache_info().refusal


def test_a_function_of_pandas_that_was_replaced_is_not_pandas(monkeypatch):
    traced = lima.traced(lambda x: pd.concat([pd.Series(x), pd.Series(x)]))
    x = np.arange(3.0)
    with eager() as s:
        assert len(traced(x)) == 6
        monkeypatch.setattr(pd, "concat", lambda items: items[0])
        assert len(traced(x)) == 3
        assert s.stats.function_hits == 0
        monkeypatch.undo()
        assert len(traced(x)) == 6
        assert s.stats.function_hits == 1


def test_names_imported_from_pandas():
    scope = {"__name__": "a_program_with_frames"}
    text = (
        "from pandas import DataFrame, concat\ndef f(x):\n    return concat([DataFrame(x)] * 2)\n"
    )
    exec(text, scope)
    x, traced = np.arange(4.0).reshape(2, 2), lima.traced(scope["f"])
    with eager() as s:
        for _ in range(2):
            assert seen(traced(x)) == seen(scope["f"](x))
        assert s.stats.function_hits == 1, traced.cache_info().refusal


# --------------------------------------------------------------------------- what else there is


def with_attribute(value):
    df = frame()
    df.factor = value
    return df


def with_labelled_index(value):
    df = frame()
    df.index = pd.Index(df["c"], name="c")
    df.index.factor = value
    return df


def in_zone(hours):
    zone = datetime.timezone(datetime.timedelta(hours=hours), "X")
    return pd.Series(pd.DatetimeIndex(["2020-01-01"] * 3).tz_localize("UTC").tz_convert(zone))


def in_steps(step):
    return pd.Series(np.arange(4.0), index=pd.date_range("2024-01-01", periods=4, freq=step))


ALIKE = {
    "an attribute of a frame": (with_attribute, (2, 3), lambda df: df["a"].sum() * df.factor),
    "an attribute of an index": (
        with_labelled_index, (2, 3), lambda df: df["a"].sum() * df.index.factor,
    ),
    "zones of one name": (in_zone, (1, 2), lambda s: str(s.dt.tz_localize(None).iloc[0])),
    "holidays": (
        lambda day: in_steps(pd.offsets.CustomBusinessDay(holidays=[day])),
        ("2024-01-05", "2024-01-10"),
        lambda s: str(s.index.shift(1)[-1]),
    ),
    "normalized steps": (
        lambda on: in_steps(pd.offsets.BDay(normalize=on)),
        (False, True),
        lambda s: s.index.freq.normalize,
    ),
    "the order of text in memory": (
        lambda order: pd.DataFrame(np.array([["a", "b"], ["c", "d"]], dtype=object, order=order)),
        ("C", "F"),
        lambda df: df.to_numpy().flags.f_contiguous,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_frames_that_look_alike_are_not_confused(name):
    make, values, function = ALIKE[name]
    traced = lima.traced(function)
    with eager():
        for value in (*values, *values):
            assert traced(make(value)) == function(make(value)), value


def test_steps_and_zones_do_not_hinder_reuse():
    traced = lima.traced(lambda s: (s * 2, s.index.tz_localize("UTC")))
    with eager() as s:
        for _ in range(3):
            df = in_steps(pd.offsets.BDay())
            for found, wanted in zip(
                traced(df), (df * 2, df.index.tz_localize("UTC")), strict=True
            ):
                assert seen(found) == seen(wanted)
        assert s.stats.function_hits == 2, traced.cache_info().refusal


CLOCK = {
    "now in a column": (lambda: pd.Series(["now"]), lambda s: s.astype("datetime64[ns]")),
    "a time of day in a column": (lambda: pd.Series(["12:30"]), lambda s: s.astype("M8[ns]")),
    "a time of day that is written out": (
        frame, lambda df: pd.Series(["9:30", "12:30"]).astype("M8[ns]"),
    ),
    "now as an argument of NumPy": (lambda: "now", lambda when: np.datetime64(when)),
    "now that is written out": (lambda: "x", lambda x: np.datetime64("now")),
    "a method as an argument": (lambda: [frame(), "sample"], lambda a: a[0]["a"].agg(a[1])),
    "a method among others": (frame, lambda df: df["a"].agg(["sample", "cumsum"])),
    "formatted dates": (
        lambda: in_steps("D"), lambda s: s.index.strftime("%A"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOCK)
def test_what_is_asked_of_the_clock_or_drawn_is_never_reused(name):
    make, function = CLOCK[name]
    traced = lima.traced(function)
    with eager() as s:
        for _ in range(3):
            traced(make())
        assert s.stats.function_hits == 0
    assert traced.cache_info().refusal


def test_methods_and_accessors_of_users_are_not_pandas(monkeypatch):
    factor = [2.0]
    monkeypatch.setattr(
        pd.DataFrame, "scaled", lambda self: self["a"].sum() * factor[0], raising=False
    )
    traced = lima.traced(lambda df: df.scaled())
    with eager():
        assert traced(frame()) == 30.0
        factor[0] = 3.0
        assert traced(frame()) == 45.0


CATEGORIES = {
    "a column": (
        lambda df: df[["a"]].assign(b=pd.Categorical(["x", "y", "z"] * 2)),
        lambda x: x["b"].cat.categories,
    ),
    "an index": (lambda df: cats(df).groupby("c", observed=True)["a"].sum(),
                 lambda x: x.index.categories),
    "a level": (lambda df: cats(df).groupby(["c", "b"], observed=True)["a"].sum(),
                lambda x: x.index.levels[0].categories),
}  # fmt: skip


def cats(df):
    return df.astype({"c": "category"})


@pytest.mark.parametrize("name", CATEGORIES)
def test_categories_are_those_of_one_result(name):
    function, categories = CATEGORIES[name]
    traced = lima.traced(function)
    with eager() as s:
        for _ in range(3):
            found = traced(frame())
            assert seen(found) == seen(function(frame()))
            assert categories(found).name is None
            categories(found).name = "spoilt"
        assert s.stats.function_hits == 2, traced.cache_info().refusal


def test_categories_of_an_argument_are_still_those():
    traced = lima.traced(lambda df: df.assign(a=df["a"] * 2).iloc[np.arange(5, -1, -1)])
    with eager() as s:
        for _ in range(3):
            df = cats(frame())
            found = traced(df)
            assert found["c"].cat.categories is df["c"].cat.categories
        assert s.stats.function_hits == 2, traced.cache_info().refusal


def test_dates_of_an_index_can_be_written_and_are_those_of_one_result():
    traced = lima.traced(
        lambda df: df.set_index(df["b"].astype("datetime64[ns]") + pd.Timedelta(1))
    )
    wanted = None
    with eager() as s:
        for _ in range(3):
            found = traced(frame())
            wanted = wanted or seen(found.index)
            assert seen(found.index) == wanted
            found.index.asi8[0] = 99
        assert s.stats.function_hits == 2, traced.cache_info().refusal


def test_results_that_have_an_index_in_common_have_it_again():
    def sums(df):
        found = df.groupby("c")[["a"]].sum()
        return found, found * 2, found.index

    wanted = sums(frame())
    shared = wanted[0].index is wanted[1].index, wanted[0].index is wanted[2]
    traced = lima.traced(sums)
    with eager() as s:
        for _ in range(3):
            found = traced(frame())
            assert (found[0].index is found[1].index, found[0].index is found[2]) == shared
            assert found[0].index.name == "c"
            found[0].index.name = "spoilt"
        assert s.stats.function_hits == 2, traced.cache_info().refusal


def test_the_width_of_the_terminal_is_part_of_the_key(monkeypatch):
    traced = lima.traced(lambda df: repr(df))
    wide = pd.DataFrame(np.ones((2, 30)))
    with eager(), pd.option_context("display.max_columns", 0):
        for columns in ("40", "200", "40"):
            monkeypatch.setenv("COLUMNS", columns)
            assert traced(wide.copy()) == repr(wide)
