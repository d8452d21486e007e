"""What is seen at a nodule's place: inside the volume, in the lung, denser than its surroundings."""

from dataclasses import replace

import numpy as np
import pytest

from lungpipe.dicom import read
from lungpipe.dicom.source import Source
from lungpipe.errors import DatasetError, DicomError
from lungpipe.frame import Reading, look_at_grid, look_at_job, look_at_scan, sample
from lungpipe.frame.look import SCANS_LOOKED_AT
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.scan import ScanJob
from lungpipe.volume import CTVolume


def nodule(centre, size=None, frame="lps"):
    return Nodule("p", "s", "n", tuple(centre), size, frame=frame)


def seen(volume, centre, size=None):
    """The declared reading of one nodule."""
    return look_at_scan(volume, [nodule(centre, size)])[0].readings["lps"]


def half_lung(ball=None, ball_hu=30.0, spacing_mm=(1.5, 1.0, 1.0), noise_hu=20.0):
    """Lung of -850 HU where x < 60 mm and wall of 40 HU beyond; ``ball`` is (x, y, z, radius) in mm."""
    shape = tuple(round(n / s) for n, s in zip((75, 80, 120), spacing_mm, strict=True))
    frame = Geometry(shape, spacing_mm)
    points = frame.to_lps(np.indices(shape).transpose(1, 2, 3, 0))
    hu = np.where(points[..., 0] < 60, -850.0, 40.0)
    if ball is not None:
        hu[np.linalg.norm(points - ball[:3], axis=-1) <= ball[3]] = ball_hu
    hu += np.random.default_rng(1).normal(0, noise_hu, shape)
    return CTVolume(np.rint(hu).astype(np.int16), frame)


@pytest.mark.parametrize("hu", [30.0, -300.0, -700.0])
@pytest.mark.parametrize("spacing_mm", [(1.5, 1.0, 1.0), (5.0, 0.8, 0.8)])
@pytest.mark.parametrize("size", [None, (10.0, 10.0, 10.0)])
def test_a_nodule_is_denser_from_solid_to_faint(hu, spacing_mm, size):
    """A 10 mm ball in lung is denser than its surroundings, also as ground glass 150 HU above lung, on thick slices too."""
    volume = half_lung((30.0, 40.0, 35.0, 5.0), hu, spacing_mm)
    assert seen(volume, (30.0, 40.0, 35.0), size) == Reading(True, True, True)


@pytest.mark.parametrize("radius_mm", [2.0, 5.0, 9.0])
def test_a_point_without_size_serves_small_and_large_nodules(radius_mm):
    """A seed point in a ball of 4 to 18 mm is denser than its surroundings."""
    assert seen(half_lung((30.0, 40.0, 35.0, radius_mm)), (30.0, 40.0, 35.0)).denser


def test_a_core_smaller_than_a_voxel_is_its_nearest_voxel():
    """A 3 mm box half way between 5 mm slices has a core without a voxel centre, and is still denser."""
    volume = half_lung((30.0, 40.0, 35.0, 5.0), spacing_mm=(5.0, 0.8, 0.8))
    assert seen(volume, (30.0, 40.0, 37.4), (3.0,) * 3).denser


def test_lung_alone_is_not_denser_than_itself():
    """In lung of even density nothing is denser, though noise is there."""
    assert seen(half_lung(), (30.0, 40.0, 35.0), (6.0, 6.0, 6.0)) == Reading(True, True, False)


def test_a_nodule_on_the_pleura_is_in_the_lung_and_denser():
    """A ball that touches the chest wall from inside has every sign."""
    assert seen(half_lung((55.0, 40.0, 35.0, 5.0)), (55.0, 40.0, 35.0), (10.0,) * 3) == Reading(True, True, True)


@pytest.mark.parametrize(("depth_mm", "touches"), [(3.0, True), (5.5, True), (9.5, False), (20.0, False)])
def test_the_lung_ends_four_mm_and_a_radius_behind_its_border(depth_mm, touches):
    """A 6 mm box in the wall touches the lung up to 4 + 3 mm behind the border, give or take the mask's 1.5 mm."""
    reading = seen(half_lung(), (60.0 + depth_mm, 40.0, 35.0), (6.0,) * 3)
    assert reading.in_lung == touches
    assert not reading.denser or depth_mm < 5


def test_a_point_in_the_wall_beside_the_lung_is_not_denser():
    """Most of its surroundings are wall, so their median is."""
    assert seen(half_lung(), (65.0, 40.0, 35.0), (6.0,) * 3) == Reading(True, True, False)


def test_a_centre_outside_the_volume_has_nothing():
    """Outside, no pixel is asked, but the nodule counts as looked at."""
    evidence = look_at_scan(half_lung(), [nodule((500.0, 0.0, 0.0))])[0]
    assert evidence.readings["lps"] == Reading(False, False, False)
    assert evidence.looked_at
    assert evidence.readings["lps"].level == 0


def test_a_size_that_is_no_nodules_costs_no_more_memory_than_a_large_one():
    """A box of a kilometre is cut to 100 mm and ends in an answer."""
    assert seen(half_lung((30.0, 40.0, 35.0, 5.0)), (30.0, 40.0, 35.0), (1e6,) * 3).inside


@pytest.mark.parametrize("corner", [(0.0, 0.0, 0.0), (119.0, 79.0, 73.5), (-0.4, 79.4, 0.0)])
def test_corners_of_the_volume_end_in_an_answer(corner):
    """Surroundings are cut off at the edge of the image."""
    assert seen(half_lung(), corner).inside


def test_a_scan_without_lung_tells_only_what_its_grid_tells():
    """Where no lung is found, no nodule counts as looked at."""
    volume = half_lung()
    solid = CTVolume(np.full(volume.shape, 40, dtype=np.int16), volume.frame)
    evidence = look_at_scan(solid, [nodule((30.0, 40.0, 35.0))])
    assert evidence == look_at_grid(solid.frame, [nodule((30.0, 40.0, 35.0))])
    assert not evidence[0].looked_at
    assert evidence[0].readings["lps"] == Reading(True)


def test_an_unknown_frame_is_refused():
    """A nodule whose frame nobody knows stops the check, with pixels and without."""
    with pytest.raises(DatasetError, match="'las'"):
        look_at_scan(half_lung(), [nodule((30.0, 40.0, 35.0), frame="las")])
    with pytest.raises(DatasetError, match="'las'"):
        look_at_grid(Geometry((5, 5, 5), (1.0, 1.0, 1.0)), [nodule((0.0, 0.0, 0.0), frame="las")])


def job(number, centres, frame="lps"):
    nodules = tuple(nodule((x, 0.0, 0.0), frame=frame) for x in centres)
    grid = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (float(number), 0.0, 0.0))
    return ScanJob("generic", "measured", f"P{number}", f"S{number}", (Source("gone.dcm"),), grid, nodules, "")


def test_the_volume_is_read_once_a_scan(monkeypatch):
    """However many nodules a scan has."""
    reads = []
    volume = half_lung()
    monkeypatch.setattr(read, "read_volume", lambda files, geometry: reads.append(files) or volume)
    found = look_at_job(replace(job(0, [10.0, 20.0, 30.0]), geometry=volume.frame))
    assert len(reads) == 1
    assert len(found) == 3
    assert all(item.looked_at for item in found)


def test_a_scan_that_cannot_be_read_still_tells_what_its_grid_tells(monkeypatch):
    """A damaged file takes the pixels' evidence of its scan alone."""

    def damaged(files, geometry):
        raise DicomError("unreadable_pixels", "damaged")

    monkeypatch.setattr(read, "read_volume", damaged)
    scan = job(0, [5.0, 900.0])
    assert look_at_job(scan) == look_at_grid(scan.geometry, scan.nodules)


def test_the_sample_is_the_same_in_every_order_and_under_every_pseudonym():
    """It follows grids and annotations; there are no more scans than promised."""
    jobs = [job(k, [k + 1.0]) for k in range(60)]
    renamed = [replace(item, patient_id=f"X{59 - k}", series_uid=f"Y{k}") for k, item in enumerate(jobs)]

    def grids(chosen):
        return [item.geometry.origin_mm for item in chosen]

    assert len(sample(jobs)) == SCANS_LOOKED_AT
    assert grids(sample(jobs)) == grids(sample(jobs[::-1])) == grids(sample(renamed))
    assert grids(sample(jobs)) != grids(jobs[:SCANS_LOOKED_AT])


def test_a_frame_that_few_rows_declare_is_sampled_too():
    """Two scans of 100 declare another frame: both are looked at; scans without nodules are not."""
    jobs = [job(k, [k + 1.0]) for k in range(98)] + [job(k, [1.0], "voxel") for k in (98, 99)] + [job(100, [])]
    chosen = sample(jobs)
    assert len(chosen) == SCANS_LOOKED_AT + 2
    assert sum(item.nodules[0].frame == "voxel" for item in chosen) == 2
