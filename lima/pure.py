"""The closed world: what the code of a call may use if the call is to be reused as a whole (D7).

Everything here neither reads nor changes anything outside of its arguments. What is not listed is
refused, which costs reuse of whole calls, never a result.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BUILTINS = _words("""
    abs all any ascii bin bool bytearray bytes callable chr classmethod complex delattr dict divmod
    enumerate filter float format frozenset getattr hasattr hash hex int isinstance issubclass iter
    len list map max min next object oct ord pow property range repr reversed round set setattr
    slice sorted staticmethod str sum super tuple type zip NotImplemented Ellipsis
    __build_class__ __debug__ __name__ __qualname__ __module__
""")
"""Builtins. What they change is an argument, which is looked at; `vars`, `dir`, `id`, `globals`,
`eval`, `exec`, `open`, `print`, `input` and the rest are not among them."""

MODULES = _words("""
    numpy scipy lima math cmath itertools functools operator collections dataclasses typing
    statistics enum abc fractions string copy numbers types bisect heapq contextlib __future__
""")
"""Top-level modules. Not `decimal`, `locale`, `re`, ...: they read settings of the process or keep
something between calls."""

OPAQUE = _words("pandas matplotlib pyarrow polars torch tensorflow jax dask xarray")
"""Packages that are not listed, and so large that their functions are not walked to find out."""

PANDAS = _words("""
    DataFrame Series Index RangeIndex MultiIndex CategoricalIndex IntervalIndex IntervalDtype
    Categorical CategoricalDtype Interval Timedelta NamedAgg Grouper IndexSlice NA NaT
    Int8Dtype Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype
    Float32Dtype Float64Dtype BooleanDtype StringDtype
    concat merge merge_asof merge_ordered get_dummies from_dummies cut qcut crosstab pivot
    pivot_table melt lreshape wide_to_long unique value_counts factorize to_numeric to_timedelta
    timedelta_range interval_range isna isnull notna notnull array
""")
"""Names of pandas without effects. Not `Timestamp`, `to_datetime`, `date_range`, ...: of a time of
day alone they make one of today."""

FRAME_EFFECTS = _words("""
    to_csv to_excel to_parquet to_json to_sql to_pickle to_hdf to_feather to_stata to_clipboard
    to_gbq to_html to_latex to_markdown to_string to_orc to_xml to_iceberg plot hist boxplot style
    sample info query eval pipe now today utcnow strftime
""")
"""Methods of frames that write, draw, read the clock or the locale, or read variables that the code
does not name. As text they are refused too: `df.agg("sample")`."""

OF_THE_CLOCK = re.compile(r"\s*(?:\d?\d:\d|(?:now|today)\s*(?:\0|$))", re.IGNORECASE)
"""Text of which pandas may make a time of today; of a time of day NumPy makes none."""


def tells_time(text: str, pandas: bool) -> bool:
    """Whether text may be taken for a time of today."""
    return bool(OF_THE_CLOCK.match(text)) and (pandas or ":" not in text)


GENERATORS = _words("reprlib")
"""More modules whose code may stand in a class: `dataclass` takes methods from there."""

LIMA = _words("Array array traced numpy")
"""Names of lima: the others read or change the session."""

NUMPY_PARTS = _words("""
    linalg fft random polynomial ma emath char strings rec exceptions dtypes typing lib testing
    stride_tricks scimath array_utils mixins core _core umath multiarray
""")
"""Submodules of NumPy."""

SCIPY_PARTS = _words("""
    linalg special fft ndimage signal constants interpolate integrate optimize sparse spatial
    distance stats blas lapack csgraph
""")
"""Submodules of SciPy. Not `io`, `datasets`, `cluster`, `interpolative`, `qmc`, ...: they read
files or draw random numbers that cannot be seen."""

FILES_AND_SETTINGS = _words("""
    dump
    savez savez_compressed savetxt loadtxt genfromtxt fromfile fromregex memmap open_memmap tofile
    DataSource seterr seterrcall geterrcall setbufsize getbufsize set_printoptions get_printoptions
    printoptions set_string_function array2string array_repr array_str set_default_printstyle
    read_array write_array show_config show_runtime load_library temppath tempdir
""")
"""Names that mean files or settings of the process wherever they are met."""

HIDDEN_RANDOMNESS = _words("""
    rvs random_state samples kde_random random_array rand_array bootstrap permutation_test
    monte_carlo_test differential_evolution dual_annealing basinhopping shgo resample eigs eigsh
    svds lobpcg onenormest expm_multiply qmc_quad kmeans kmeans2 quadratic_assignment
    clarkson_woodruff_transform
    cluster_vq check_grad interpolative
""")
"""Names of SciPy and Python that draw random numbers which lima cannot see."""

REFLECTION = _words("""
    __globals__ __code__ __closure__ __builtins__ __subclasses__ __getattribute__ __traceback__
    __annotations__ __annotate__ get_annotations get_type_hints
    __import__ gi_frame cr_frame tb_frame f_globals f_locals f_back f_builtins __loader__ __spec__
""")
"""Attributes that lead out of what the code says it uses."""

EFFECTS = FILES_AND_SETTINGS | HIDDEN_RANDOMNESS | REFLECTION
"""Names that are refused wherever the code mentions them."""

MODULE_EFFECTS = EFFECTS | _words("""
    load save test info read source disp run redirect_stdout redirect_stderr chdir
""")
"""Names that are refused as attributes of a module; elsewhere they are everyday words."""

GETTERS = _words("getattr attrgetter methodcaller vars __dict__")
"""What can reach an attribute that the code does not name."""
