"""What conda calls packages that the Python package index knows by another name, or does not know at all."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Optional

# conda's name -> the index's.
INDEX_NAMES = {
    "black-jupyter": "black",
    "brotlipy": "brotli",
    "dask-core": "dask",
    "faiss": "faiss-cpu",
    "importlib_metadata": "importlib-metadata",
    "keras-base": "keras",
    "matplotlib-base": "matplotlib",
    "mlflow-ui": "mlflow",
    "msgpack-python": "msgpack",
    "numpy-base": "numpy",
    "opencv": "opencv-python-headless",
    "plotly-orca": "plotly",
    "prefect-core": "prefect",
    "py-lightgbm": "lightgbm",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-xgboost-gpu": "xgboost",
    "pytables": "tables",
    "python-graphviz": "graphviz",
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "pytorch_geometric": "torch-geometric",
    "ruamel_yaml": "ruamel.yaml",
    "seaborn-base": "seaborn",
    "sqlalchemy-base": "sqlalchemy",
    "tensorflow-base": "tensorflow",
    "tensorflow-gpu": "tensorflow",
}
# Part of every environment; which of them there is is the image's business.
TOOLS = frozenset({"pip", "setuptools", "wheel", "python_abi"})

_BROUGHT = "the packages of the index bring what they need of it, so remove the line"
_CUDA = "the index's torch, tensorflow and jax bring CUDA along, so remove the line, or choose an image with it in environment.image"
_NO_PYTHON = "it is no Python package, so remove the line, and choose an image that has it in environment.image"
# What to do about names, each a whole one or, with a *, the beginning of many.
_ADVICE = {
    _CUDA: "cudatoolkit* cudnn nccl pytorch-cuda pytorch-mutex cuda cuda-* libcublas* libcufft* libcurand* libcusolver* "
    "libcusparse* libnpp* libnvjpeg*",
    _BROUGHT: "blas libblas libcblas liblapack openblas libopenblas nomkl "
    "llvm-openmp _openmp_mutex _libgcc_mutex libgcc* libstdcxx* libgfortran* libgomp libffi libzlib libuuid libnsl "
    "libsqlite libexpat libxcrypt openssl ca-certificates ncurses readline tk xz bzip2 zlib sqlite ld_impl_* libpng "
    "libtiff libwebp* jpeg freetype lz4-c zstd",
    _NO_PYTHON: "gcc gcc_* gxx gxx_* gfortran gfortran_* clang clangxx compilers c-compiler cxx-compiler make git curl "
    "wget ffmpeg nodejs openjdk pandoc libsndfile poppler tesseract r-* bioconductor-* perl perl-*",
    "there is no conda here, so remove the line": "conda conda-* mamba anaconda anaconda-*",
}


def advice(name: str) -> Optional[str]:
    """What to do about a package of conda that the index certainly does not have; None for all others."""
    return next(
        (words for words, names in _ADVICE.items() if any(fnmatchcase(name, each) for each in names.split())), None
    )
