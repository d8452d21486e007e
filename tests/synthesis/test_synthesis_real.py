"""Lesions put into a real scan, and a real nodule taken out of it."""

import numpy as np
import pytest
from lung_block import ball
from scipy import ndimage

from data_catalog.lidc import read_nodules
from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import read_volume
from lungpipe.nodule import Nodule
from lungpipe.region.lung import lung_mask
from lungpipe.segment.agreement import dice
from lungpipe.segment.annotated import consensus
from lungpipe.segment.boundary import ConnectedThreshold
from lungpipe.segment.cluster import Otsu
from lungpipe.synthesis import Look, inpainted, inserted, random_place, scanner_at, shape_of_mask
from lungpipe.synthesis.scanner import tissue_of
from lungpipe.synthesis.sharpness import sharpness_of

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def scan(lidc_0314):
    """Image, lungs and the nodule that four raters drew."""
    (series,) = index_series(lidc_0314).series
    volume = read_volume(series.files, series.geometry)
    (nodule,) = read_nodules(series.series_uid, series.patient_id, volume.frame)
    return volume, lung_mask(volume), consensus(nodule.raters)


def test_segmenters_find_what_was_put_in(scan):
    """Otsu and connected thresholds find balls and the scan's own nodule's shape elsewhere, Dice above 0.8 each."""
    volume, lung, nodule = scan
    sharpness = sharpness_of(volume)
    assert 0.3 < sharpness.in_plane_mm < 0.7
    assert 0.3 < sharpness.axial_mm < 1.0
    frame, found = volume.frame, []
    for seed, (shape, hu) in enumerate(((ball(4.0), 30.0), (ball(6.0), -300.0), (shape_of_mask(nodule), -13.0))):
        place = random_place(volume, lung, shape, seed=seed, margin_mm=3.0, clear_of_vessels=shape.reach_mm < 8)
        scanner = scanner_at(volume, place, lung, sharpness)
        assert 20 < scanner.noise.sd_hu < 60
        new, mask = inserted(volume, shape, place, Look(hu, 20.0), scanner, seed=seed, lung=lung)
        low, high = (np.array(corner) for corner in mask.bounds)
        centre, size = frame.to_lps((low + high - 1) / 2), ((high - low) * frame.spacing_mm)[::-1]
        asked = Nodule("", "", "", tuple(centre.tolist()), tuple(size.tolist()))
        found += [dice(segmenter(new, asked), mask) for segmenter in (Otsu(), ConnectedThreshold())]
    assert min(found) > 0.8


def test_a_real_nodule_gives_way_to_lung(scan):
    """Where the nodule was, HU have the mean of the lung tissue round it, and nothing beyond the margin is changed."""
    volume, lung, nodule = scan
    gone = inpainted(volume, nodule, seed=0)
    low, high = nodule.bounds
    box = tuple(a - 16 for a in low), tuple(b + 16 for b in high)
    before, after, inside = volume.crop(*box).hu, gone.crop(*box).hu, nodule.within(*box).voxels
    away_mm = ndimage.distance_transform_edt(~inside, sampling=volume.frame.spacing_mm)
    assert np.array_equal(before[away_mm > 3], after[away_mm > 3])
    near = tissue_of(before, lung.within(*box).voxels & (before < -500) & (away_mm > 3), volume.frame.spacing_mm)
    near &= away_mm < 10
    assert before[inside].mean() == pytest.approx(-13, abs=2)
    assert after[inside].mean() == pytest.approx(before[near].mean(), abs=25)
    assert after[inside].std() == pytest.approx(before[near].std(), rel=0.25)
