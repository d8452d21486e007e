import numpy as np
import pytest

from lungpipe.errors import RegionError
from lungpipe.geometry import Geometry
from lungpipe.region.lung import lung_mask
from lungpipe.volume import CTVolume


def scene(vessel: bool = True) -> CTVolume:
    """Air, a body of soft tissue, and in it a box of lung with a vessel across."""
    hu = np.full((40, 80, 80), -1000, np.int16)
    hu[:, 10:70, 10:70] = 40
    hu[:, 20:60, 20:60] = -850
    if vessel:
        hu[:, 38:41, 20:60] = 30
    return CTVolume(hu, Geometry(hu.shape, (1.5, 1.0, 1.0)))


def test_lung_holds_its_vessels_and_not_the_wall():
    """A vessel within the lung belongs to it; chest wall and outside air do not."""
    lung = lung_mask(scene()).voxels
    assert lung[20, 39, 40]
    assert lung[20, 25, 25]
    assert not lung[20, 14, 40]
    assert not lung[20, 2, 2]
    assert lung[:, 20:60, 20:60].mean() > 0.97
    assert lung.sum() < 1.05 * 40 * 40 * 40


def test_no_lung_is_told():
    """An image without aerated tissue is an error that says what was found, not an empty mask."""
    hu = np.full((20, 40, 40), 40, np.int16)
    hu[5:8, 5:8, 5:8] = -800
    with pytest.raises(RegionError, match="largest"):
        lung_mask(CTVolume(hu, Geometry(hu.shape, (1.0, 1.0, 1.0))))
