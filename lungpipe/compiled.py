"""How inner loops are compiled: by numba, on first use after an install, and kept on disk for every process after that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    F = TypeVar("F", bound=Callable[..., object])
else:
    F = TypeVar("F")


def strided(shape: Sequence[int], dtype: type[np.generic]) -> NDArray[Any]:
    """Make an array whose views along any axis numba takes for one and the same type.

    numba compiles a function anew for rows in C's order, in Fortran's, and in neither. Which a view of an array is depends on
    its sides of one voxel, so that a region of one slice would make a worker compile. This array is in neither order, unless it
    is a single line.

    Parameters
    ----------
    shape : sequence of int
    dtype : type
    """
    return np.empty([n + 1 for n in shape], dtype=dtype)[tuple(slice(0, n) for n in shape)]


def compiled(function: F) -> F:
    """Compile a function to machine code.

    The code is kept beside the module, or in the user's cache folder where that cannot be written, so a worker reads it and
    compiles nothing; where neither can be (``NUMBA_CACHE_DIR`` names another), each process compiles for itself. Arithmetic is
    IEEE's own, in the order written: no fast-math, no threads, so the same bits come out on one machine whatever runs beside it.
    Division by zero gives infinity or NaN, as in NumPy.

    Parameters
    ----------
    function : callable
        Of NumPy arrays and numbers. Other compiled functions that it calls belong in the same module: a change in another
        module would go unnoticed until the kept code is removed.
    """
    try:
        made: F = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder can be written: each process then compiles for itself
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return made
