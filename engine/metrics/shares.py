"""The arrays that figures are made from, and division that says what nothing over nothing is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def share(part: ArrayLike, whole: ArrayLike, empty: float = 0.0) -> Floats:
    """part / whole, element by element, `empty` where the whole is not positive."""
    parts, wholes = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    divided: Floats = np.divide(parts, wholes, out=np.full(parts.shape, empty), where=wholes > 0)
    return divided
