"""What users give for an array -> a NumPy array of real numbers, without a copy where it is one.

In: arrays, lists, data frames, memory-mapped files, tensors of other libraries (by NumPy's protocol, or by DLPack).
Out: an array of booleans, integers or floats, in the shape and layout that it has.  Stands before data.py and
parameters.py, which check shapes and values; an error names the array and, where one element is to blame, its index.
"""

from __future__ import annotations

import mmap
import os
import sys
from numbers import Real
from typing import Any

import numpy as np

from ..errors import Quoted, SymnetError, complaint

Array = np.ndarray[Any, np.dtype[Any]]
KINDS = "biuf"


def real_array(value: Any, name: str) -> Array:
    """The array; SymnetError if it is none of real numbers."""
    if hasattr(value, "toarray"):
        raise complaint(name, Quoted(f"a sparse {type(value).__name__}"), "a dense array", f"Pass {name}.toarray().")
    if value is None:
        raise complaint(name, Quoted("None"), "an array")
    try:
        by_dlpack = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
        array: Array = np.from_dlpack(value) if by_dlpack else np.asarray(value)
    except Exception as error:  # whatever another library raises: it needs a gradient, is on another device, ...
        if isinstance(error, ValueError) and isinstance(value, list | tuple):
            raise complaint(name, Quoted("rows of different lengths"), "rows of equal length") from None
        found = Quoted(f"a {type(value).__name__} that gives no array ({type(error).__name__}: {_line(error)})")
        raise complaint(name, found, "an array of real numbers") from None
    if array.dtype.kind not in KINDS:
        raise _no_numbers(array, name)
    if "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        place = np.argwhere(np.ma.getmaskarray(value))[0]
        raise complaint(f"{name}{_index(place)}", Quoted("a masked element"), "an array without them")
    return array


def read_in_any_order(array: Array) -> None:
    """Of a mapped file that does not fit in memory rows come in any order: the system shall read no others ahead."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM") and len(base) > _memory():
        base.madvise(mmap.MADV_RANDOM)


def _memory() -> int:
    """Bytes of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _no_numbers(array: Array, name: str) -> SymnetError:
    found, expected = Quoted(f"an array of {array.dtype}"), "an array of real numbers"
    if array.dtype.kind not in "OUS" or not array.ndim:
        return complaint(name, found, expected)
    for place in np.ndindex(array.shape):
        element = array[place]
        if not isinstance(element, Real):
            advice = f"{name} is {found}."
            return complaint(
                f"{name}{_index(place)}", getattr(element, "item", lambda e=element: e)(), "a number", advice
            )
    return complaint(name, found, expected, f"Pass {name}.astype(float), or .astype(int) of integers.")


def _index(place: Any) -> str:
    return f"[{', '.join(str(int(k)) for k in place)}]"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
