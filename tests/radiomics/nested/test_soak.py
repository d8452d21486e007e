import gc

import numpy as np
import psutil
import pytest

from lungpipe.geometry import Geometry
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.volume import CTVolume, Mask

#: What 45,000 extractions may add to a process, MiB: less than a tenth of a kilobyte each, so no leak of an array.
MOST_MIB = 4


@pytest.mark.slow
def test_memory_stays_flat_over_fifty_thousand_extractions():
    """Fifty thousand regions in one process leave its memory where it was after the first five thousand."""
    rng = np.random.default_rng(0)
    frame = Geometry((14, 14, 14), (1.0, 1.0, 1.0))
    volumes = [CTVolume(rng.normal(-300, 150, frame.shape).astype(np.int16), frame) for _ in range(8)]
    regions = []
    for radius in (2.5, 3.0, 4.0, 5.5):
        distance = np.linalg.norm(np.indices(frame.shape) - 6.5, axis=0)
        regions.append(Mask(distance <= radius, frame))
    settings = RadiomicsSettings(spacing_mm=None, filters=("original", "wavelet", "log"))
    original = RadiomicsSettings(spacing_mm=None)
    process, after = psutil.Process(), []
    for number in range(12_500):
        chosen = settings if number % 50 == 0 else original
        Nested()(volumes[number % 8], regions, chosen)
        if number in {1_250, 12_499}:
            gc.collect()
            after.append(process.memory_info().rss / 2**20)
    assert after[1] - after[0] < MOST_MIB, after
