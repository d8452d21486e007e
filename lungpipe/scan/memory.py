"""What a scan takes, from its headers alone: memory of a worker, room in the store."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lungpipe.geometry import Geometry

#: A worker with everything imported and compiled, what nodules' crops take, and what it keeps of freed memory.
BASE_BYTES = 800 * 2**20
#: A worker that runs a network has PyTorch and its cubes besides.
NETWORK_BYTES = 640 * 2**20
#: Of HU in the store; compressed chest CT takes less (``docs/store.md``).
STORED_BYTES_A_VOXEL = 1.0
#: At the peak, for each voxel of the scan; ``benchmarks/scan_memory.py`` measures it.
BYTES_A_VOXEL, BYTES_A_VOXEL_WITH_LUNGS = 3.0, 6.0


def projected_bytes(frame: Geometry, *, needs_lungs: bool, learned: bool = False) -> int:
    """Peak memory of a worker that processes a scan, bytes.

    Parameters
    ----------
    frame : Geometry
        Of the whole scan, as its headers tell.
    needs_lungs : bool
        Whether the lungs are looked for in it.
    learned : bool
        Whether a network runs on it.
    """
    a_voxel = BYTES_A_VOXEL_WITH_LUNGS if needs_lungs else BYTES_A_VOXEL
    return BASE_BYTES + NETWORK_BYTES * learned + round(a_voxel * math.prod(frame.shape))


def stored_bytes(frame: Geometry) -> int:
    """Bytes that a scan takes in a workspace, rather too many than too few."""
    return round(STORED_BYTES_A_VOXEL * math.prod(frame.shape))
