"""Which classes and functions a pickled model may name: those that models are made of, and none that acts by itself.

Whatever is not here is refused. A whole package is never allowed: numpy, pandas and scikit-learn all have functions that
read files, run programs or load another pickle. What may be called while loading is less than what may be named.
"""

from __future__ import annotations

import re

_CLASS = re.compile(r"_{0,2}[A-Z][A-Za-z0-9_]*")
_FUNCTION = re.compile(r"_?[a-z][a-z0-9_]*")
_CYTHON = re.compile(r"__pyx_unpickle_\w+")

_BUILTINS = "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple Ellipsis NotImplemented"
_ERRORS = "ValueError TypeError KeyError RuntimeError"
_NUMBERS = (
    "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 intc uintc intp uintp longlong ulonglong longdouble clongdouble "
    "float16 float32 float64 float128 complex64 complex128 complex256 str_ bytes_ void datetime64 timedelta64 object_ "
    "number integer signedinteger unsignedinteger inexact floating complexfloating generic"
)
_UFUNCS = (
    "abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh around cbrt ceil clip conjugate cos cosh deg2rad "
    "degrees divide exp exp2 expm1 fabs float_power floor floor_divide fmax fmin hypot isfinite isinf isnan log log10 log1p log2 "
    "logaddexp max maximum mean median min minimum mod multiply nan_to_num nanmax nanmean nanmedian nanmin nanstd nansum negative "
    "power prod ptp quantile rad2deg radians ravel reciprocal remainder rint round sign sin sinh sqrt square std subtract sum tan "
    "tanh trunc var"
)
_SPECIAL = "boxcox boxcox1p digamma entr erf erfc expit gammaln inv_boxcox inv_boxcox1p log_expit logit logsumexp psi softmax xlogy"
# Modules whose parts are named one by one; a class is called, as are the functions after the bar.
_EXACT = {
    "builtins": _BUILTINS + " " + _ERRORS,
    "__builtin__": _BUILTINS + " " + _ERRORS + " unicode long xrange",
    "copyreg": "_reconstructor __newobj__ __newobj_ex__",
    "copy_reg": "_reconstructor __newobj__ __newobj_ex__",
    "_codecs": "encode",
    "collections": "Counter OrderedDict defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "functools": "partial",
    "re": "_compile",
    "numpy": f"dtype ndarray matrix recarray record {_NUMBERS}",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "numpy.ma": "MaskedArray",
    "numpy.ma.core": "_mareconstruct MaskedArray MaskedConstant",
    "numpy.matrixlib.defmatrix": "matrix",
    "numpy.random": "RandomState Generator",
    "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "joblib.numpy_pickle": "NumpyArrayWrapper",
    "sklearn.neighbors._kd_tree": "newObj KDTree KDTree64 KDTree32 newObj64 newObj32",
    "sklearn.neighbors._ball_tree": "newObj BallTree BallTree64 BallTree32 newObj64 newObj32",
    "sklearn.metrics._dist_metrics": "newObj",
    "sklearn.utils._bunch": "Bunch",
    "scipy.spatial._ckdtree": "cKDTree",
    "scipy.spatial.ckdtree": "cKDTree",
    "pandas": "BooleanDtype Categorical CategoricalDtype CategoricalIndex DataFrame DatetimeIndex Float32Dtype Float64Dtype Index "
    "Int16Dtype Int32Dtype Int64Dtype Int8Dtype Interval IntervalIndex MultiIndex Period RangeIndex Series StringDtype Timedelta "
    "TimedeltaIndex Timestamp UInt16Dtype UInt32Dtype UInt64Dtype UInt8Dtype",
    "pyarrow.lib": "_restore_array py_buffer type_for_alias",
    "pandas.core.frame": "DataFrame",
    "pandas.core.series": "Series",
    "pandas.core.indexes.base": "Index _new_Index",
    "pandas.core.indexes.datetimes": "DatetimeIndex _new_DatetimeIndex",
    "pandas.core.indexes.multi": "MultiIndex",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.category": "CategoricalIndex",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "pandas.core.internals.blocks": "new_block",
    "pandas._libs.internals": "_unpickle_block BlockPlacement",
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.missing": "NAType",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
    "pandas._libs.tslibs.timedeltas": "_timedelta_unpickle",
    "pandas._libs.tslibs.nattype": "_nat_unpickle",
}
_NAMES = {module: frozenset(names.split()) for module, names in _EXACT.items()}
# Packages all of whose classes may be made, and which of their parts are no models.
_PACKAGES = (
    "sklearn",
    "lightgbm",
    "xgboost",
    "catboost",
    "imblearn",
    "category_encoders",
    "scipy.interpolate",
    "scipy.sparse",
    "scipy.spatial",
    "scipy.stats",
    "numpy.dtypes",
    "pandas.arrays",
    "pandas.core.arrays",
    "pandas.core.dtypes.dtypes",
)
_EXCEPT = (
    "sklearn.callback",
    "sklearn.datasets",
    "sklearn.externals",
    "sklearn.conftest",
    "sklearn.utils._repr_html",
    "sklearn.utils._show_versions",
    "sklearn.utils._test_common",
    "sklearn.utils._testing",
    "sklearn.utils.discovery",
    "sklearn.utils.estimator_checks",
    "sklearn.utils.parallel",
    "lightgbm.dask",
    "xgboost.collective",
    "xgboost.dask",
    "xgboost.spark",
    "xgboost.testing",
    "xgboost.tracker",
    "imblearn.utils.testing",
)
# Classes that such modules have imported from elsewhere, and that do something when they are made.
_NEVER = frozenset(
    [
        "Client",
        "Connection",
        "Listener",
        "Lock",
        "Memory",
        "MethodType",
        "ModuleType",
        "NamedTemporaryFile",
        "Parallel",
        "Parameter",
        "Path",
        "Popen",
        "Process",
        "Progress",
        "Queue",
        "SkipTest",
        "StringIO",
        "TemporaryDirectory",
        "Thread",
        "ThreadPool",
        "EllipsisType",
        "NotImplementedType",
    ]
)
_SPARSE = re.compile(r"(bsr|coo|csc|csr|dia|dok|lil)_(matrix|array)")
_DISTRIBUTION = re.compile(r"(rv_\w+|\w+_gen)")
_METRICS = ("sklearn", "scipy.spatial.distance", "scipy.stats")


def may_be_called(module: str, name: str) -> bool:
    """Whether loading may make an object of this class, or call this function."""
    names = _NAMES.get(module)
    if names is not None and name in names:
        return True
    if not _is_of(module, _PACKAGES) or _is_left_out(module):
        return False
    if _CLASS.fullmatch(name):
        return name not in _NEVER
    if _is_of(module, ("scipy.sparse",)) and _SPARSE.fullmatch(name):
        return True
    if _is_of(module, ("scipy.stats",)) and _DISTRIBUTION.fullmatch(name):
        return True
    return bool(_is_of(module, ("sklearn",)) and _CYTHON.fullmatch(name))


def may_be_named(module: str, name: str) -> bool:
    """Whether a model may hold it: what may be called, and functions that an estimator is told to use later."""
    if may_be_called(module, name):
        return True
    if module in ("numpy", "numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):
        return name in _UFUNCS.split()
    if module == "scipy._lib.array_api_compat.numpy._aliases":
        return name in ("asarray",)
    if module in ("scipy.special", "scipy.special._ufuncs", "scipy.special._logsumexp"):
        return name in _SPECIAL.split()
    return _is_of(module, _METRICS) and not _is_left_out(module) and bool(_FUNCTION.fullmatch(name))


def _is_of(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in packages)


def _is_left_out(module: str) -> bool:
    return _is_of(module, _EXCEPT) or ".tests" in module
