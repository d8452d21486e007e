"""The airway tree of a scan: followed into the lungs, cut off where it leaks."""

import time

import numpy as np
import pytest
from scipy import ndimage
from tree_scene import TUBES, scan

from lungpipe.errors import RegionError
from lungpipe.region.airways import airway_tree
from lungpipe.region.lung import Lungs, find_lungs
from lungpipe.volume import Mask


def whole(mask: Mask) -> np.ndarray:
    return mask.within((0, 0, 0), mask.frame.shape).voxels


@pytest.fixture(scope="module")
def sound():
    return scan()


def test_the_tree_is_followed_into_the_lungs(sound):
    """Lobar bronchi that the start lacks are found, to their ends, and nothing but them."""
    volume, lungs, lumen = sound
    found = whole(airway_tree(volume, lungs))
    assert 2 * np.count_nonzero(found & lumen) / (found.sum() + lumen.sum()) > 0.95
    for _, end, _ in TUBES[3:]:
        near = tuple(np.rint(volume.frame.to_index(end)).astype(int))
        assert found[near], end


@pytest.mark.slow
def test_a_leak_is_cut_off_and_other_branches_go_on():
    """Through a hole in one bronchus plain growing floods the lung; the tree stays as it is, but for that branch's end."""
    start, end, radius = TUBES[3]
    middle = np.add(start, np.multiply(0.6, np.subtract(end, start))) + np.array([0.0, 0.0, radius + 0.5])
    volume, lungs, lumen = scan(hole_at=middle)
    frame = volume.frame
    flooded, _ = ndimage.label(volume.hu < -840)
    seed = tuple(np.rint(frame.to_index(TUBES[0][0])).astype(int))
    assert np.count_nonzero(flooded == flooded[seed]) > 20 * np.count_nonzero(lumen)
    found = whole(airway_tree(volume, lungs))
    assert np.count_nonzero(found & ~lumen) < 0.03 * np.count_nonzero(lumen)
    for _, other_end, _ in TUBES[4:]:
        assert found[tuple(np.rint(frame.to_index(other_end)).astype(int))], other_end


def test_without_a_trachea_there_is_no_tree(sound):
    """Lungs whose central airways were not found are told so, with what to look at."""
    volume, lungs, _ = sound
    with pytest.raises(RegionError, match="trachea") as caught:
        airway_tree(volume, Lungs(lungs.voxels, lungs.frame))
    assert caught.value.code == "no_airways_found"


@pytest.mark.real_data
@pytest.mark.slow
def test_the_tree_of_a_real_scan(lidc_0314, capsys):
    """LIDC-IDRI-0314: segmental bronchi of both sides without a leak."""
    from lungpipe.dicom.index import index_series
    from lungpipe.dicom.read import read_volume
    from lungpipe.region.airway_graph import airway_graph, summary

    series = index_series(lidc_0314).series[0]
    volume = read_volume(series.files, series.geometry)
    lungs = find_lungs(volume)
    start = time.process_time()
    found = airway_tree(volume, lungs)
    seconds = time.process_time() - start
    graph = airway_graph(found)
    measures = summary(graph)
    with capsys.disabled():
        print(f"\nairways: {found.volume_mm3 / 1000:.1f} ml in {seconds:.1f} s, {measures}")  # noqa: T201
    assert 25_000 < found.volume_mm3 < 80_000
    assert 40 <= measures["n_branches"] <= 500
    assert 5 <= measures["max_generation"] <= 20
    assert 14 <= graph.branches[0].calibre_mm <= 26
    ends = np.array([branch.end_mm[0] for branch in graph.branches])
    middle = float(np.median(graph.branches[0].centreline_mm[:, 0]))
    assert (ends < middle - 40).any()
    assert (ends > middle + 40).any()


@pytest.mark.real_data
@pytest.mark.slow
def test_thick_slices_and_sharp_kernels_do_not_leak(lung_dx, capsys):
    """Lung-PET-CT-Dx A0001, 5 mm slices in two kernels: lobar bronchi, and no brush of noise in the lung."""
    from lungpipe.dicom.index import index_series
    from lungpipe.dicom.read import read_volume
    from lungpipe.region.airway_graph import airway_graph, summary

    for series in index_series(lung_dx).series:
        volume = read_volume(series.files, series.geometry)
        found = airway_tree(volume, find_lungs(volume))
        measures = summary(airway_graph(found))
        with capsys.disabled():
            print(f"\nairways: {found.volume_mm3 / 1000:.1f} ml, {measures}")  # noqa: T201
        assert found.volume_mm3 < 80_000
        assert 5 <= measures["n_branches"] <= 40
        assert measures["max_generation"] <= 8
