"""The lungs of simulated and real scans."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lung_scene import LABEL, MIDDLE_MM, dice, grid, ml, scene, stored

from data_catalog import load_dataset, read_annotations
from data_catalog.phantom.chest import CENTRE_MM, axial, noisy_hu
from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import read_image, read_volume
from lungpipe.errors import GeometryError, RegionError
from lungpipe.geometry import Geometry
from lungpipe.region.lung import Lungs, find_lungs, lung_mask
from lungpipe.scan.locate import locate
from lungpipe.segment.consensus import consensus_mask
from lungpipe.volume import CTVolume, Mask


def box_scene(vessel: bool = True) -> CTVolume:
    """Air, a body of soft tissue, and in it a box of lung with a vessel across."""
    hu = np.full((40, 80, 80), -1000, np.int16)
    hu[:, 10:70, 10:70] = 40
    hu[:, 20:60, 20:60] = -850
    if vessel:
        hu[:, 38:41, 20:60] = 30
    return CTVolume(hu, Geometry(hu.shape, (1.5, 1.0, 1.0)))


def test_lung_holds_its_vessels_and_not_the_wall():
    """A vessel within the lung belongs to it; chest wall and outside air do not."""
    lung = lung_mask(box_scene()).voxels
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


def test_two_ellipsoids_have_their_volumes_and_sides():
    """Each lung has the volume of its ellipsoid within 2 %, and the right one lies on the patient's right (LPS x < 0)."""
    made = scene()
    lungs = find_lungs(made.volume)
    for side, found in (("right", lungs.right), ("left", lungs.left)):
        assert found.volume_mm3 / 1000 == pytest.approx(ml(side), rel=0.02)
        assert found.centre_mm == pytest.approx(MIDDLE_MM[side], abs=1.0)
        assert dice(found.voxels, made.truth == LABEL[side]) > 0.99
    assert np.array_equal(lungs.mask.voxels, lung_mask(made.volume).voxels)
    assert lungs.airways.n_voxels == 0


@pytest.mark.parametrize(
    ("spacing_mm", "half_mm"), [((0.5, 1.5, 1.5), 12.0), ((1.0, 0.9, 0.9), 12.0), ((5.0, 0.9, 0.9), 70.0)]
)
def test_slices_of_any_thickness(spacing_mm, half_mm):
    """On slices of 0.5 to 5 mm the mask is the true one but for its border."""
    made = scene(grid(spacing_mm, (half_mm, 112.0, 155.0)))
    lungs = find_lungs(made.volume)
    assert dice(lungs.voxels == 1, made.truth == 1) > 0.985
    assert dice(lungs.voxels == 2, made.truth == 2) > 0.985


@pytest.mark.parametrize("bridge_mm", [5.0, 12.0])
def test_lungs_that_touch_are_parted(bridge_mm):
    """A bridge of lung between the two makes no one lung of them; the cut runs through the bridge."""
    made = scene(bridge_mm=bridge_mm)
    lungs = find_lungs(made.volume)
    for side, label in LABEL.items():
        found = lungs.voxels[made.truth == label]
        assert np.mean(found == label) > 0.98, side
        assert np.mean(found == 3 - label) < 0.002, side


def test_airways_are_given_back_and_are_no_lung():
    """Trachea and main bronchi are found whole, do not leak into the lung that they open into, and are no lung."""
    made = scene(trachea=True)
    lungs = find_lungs(made.volume)
    x = made.volume.frame.to_lps(np.argwhere(made.lumen))[:, 0]
    assert np.mean(lungs.airways.voxels[made.lumen][np.abs(x) < 25]) > 0.97
    assert np.mean(lungs.voxels[made.lumen][np.abs(x) < 35] > 0) < 0.01
    assert np.mean(made.lumen[lungs.airways.voxels]) > 0.85
    assert not np.any(lungs.airways.voxels & (lungs.voxels > 0))
    assert dice(lungs.voxels > 0, made.truth > 0) > 0.975


def test_an_open_mouth_does_not_empty_the_lungs():
    """Where trachea and lungs are joined to the air outside, the lungs are still found."""
    made = scene(trachea=True, open_mouth=True)
    assert dice(find_lungs(made.volume).voxels > 0, made.truth > 0) > 0.97


def test_lungs_full_of_emphysema_are_found():
    """Lungs that are nearly as dark as air, trachea beside them, are neither gas nor airways."""
    made = scene(trachea=True, lung_hu=-955.0)
    lungs = find_lungs(made.volume)
    assert dice(lungs.voxels > 0, made.truth > 0) > 0.97
    assert lungs.airways.n_voxels < 2.2 * np.count_nonzero(made.lumen)


def test_a_table_is_no_lung():
    """Foam as light as lung, within the shell of a table, is none, however large."""
    made = scene(table=True)
    lungs = find_lungs(made.volume)
    assert dice(lungs.voxels > 0, made.truth > 0) > 0.99


def test_gas_in_the_stomach_is_no_lung():
    """A bubble of 45 ml under the left lung is not taken for lung."""
    made = scene(stomach=True)
    lungs = find_lungs(made.volume)
    assert made.volume.frame.to_lps(np.argwhere(lungs.voxels))[:, 2].min() > -92
    assert dice(lungs.voxels == 2, made.truth == 2) > 0.99


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("trachea", [False, True])
def test_a_single_lung_has_its_side(side, half, trachea):
    """One lung alone is labelled by its side of the chest, in a whole chest and in a half one, with a trachea or none."""
    made = scene(grid((6.0, 3.2, 3.2)), sides=(side,), trachea=trachea)
    volume = made.volume
    if half:
        middle = volume.shape[2] // 2
        low, high = (0, middle + 10) if side == "right" else (middle - 10, volume.shape[2])
        part = volume.crop((0, 0, low), (*volume.shape[:2], high))
        volume = CTVolume(part.hu, part.geometry)
    lungs = find_lungs(volume)
    assert set(np.unique(lungs.voxels)) == {0, LABEL[side]}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lungs_that_the_image_cuts(axis):
    """Where lung reaches the image's border it is lung up to there, and the closing takes no more than elsewhere."""
    made = scene(trachea=True)
    start, stop = [0, 0, 0], list(made.volume.shape)
    cut = {0: (28, 50), 1: (40, 80), 2: (20, 110)}[axis]
    start[axis], stop[axis] = cut
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part = made.volume.crop(tuple(start), tuple(stop))
    lungs = find_lungs(CTVolume(part.hu, part.geometry))
    assert dice(lungs.voxels == 1, made.truth[window] == 1) > 0.96
    assert dice(lungs.voxels == 2, made.truth[window] == 2) > 0.96


@pytest.mark.parametrize("padding_hu", [-1024, -2000])
def test_padding_round_a_narrow_view_is_no_lung(padding_hu):
    """A round field of view that cuts both lungs leaves them lung up to its rim, and the air above the chest none."""
    made = scene(trachea=True)
    frame = made.volume.frame
    y, x = np.indices(frame.shape[1:]) * frame.spacing_mm[1]
    outside = np.hypot(x - x.mean(), y - y.mean()) > 112
    hu = np.where(outside, padding_hu, made.volume.hu).astype(np.int16)
    lungs = find_lungs(CTVolume(hu, frame))
    truth = np.where(outside, 0, made.truth)
    assert dice(lungs.voxels == 1, truth == 1) > 0.95
    assert dice(lungs.voxels == 2, truth == 2) > 0.95
    assert not np.any(lungs.voxels[:, outside])


def test_a_nodule_at_the_pleura_is_kept_in():
    """A ball of 8 mm radius at the chest wall belongs to the lung; the wall behind it does not."""
    made = scene(ball=True)
    lungs = find_lungs(made.volume)
    assert np.mean(lungs.voxels[made.ball] == 1) > 0.8
    assert np.mean(made.truth[lungs.voxels > 0] > 0) > 0.99
    without = scene(ball=False)
    assert dice(find_lungs(without.volume).voxels > 0, lungs.voxels > 0) > 0.999


@given(order=st.permutations([0, 1, 2]), reverse=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=5, deadline=None)
def test_storing_does_not_matter(order, reverse):
    """Mirrored, permuted or feet first in storage: the same voxels, and right stays right."""
    volume = scene(grid((5.0, 3.0, 2.8)), trachea=True, bridge_mm=6.0).volume
    lungs = find_lungs(volume)
    turned = find_lungs(stored(volume, tuple(order), reverse))
    assert turned.right.centre_mm[0] < -60 < 60 < turned.left.centre_mm[0]
    for found, expected in ((turned.voxels, lungs.voxels), (turned.airways.voxels, lungs.airways.voxels)):
        back = np.transpose(expected, order)[tuple(slice(None, None, -1 if r else 1) for r in reverse)]
        assert np.array_equal(found, back)


def test_a_mirrored_patient_changes_sides():
    """A header that mirrors the patient makes the right lung the left one: labels follow the frame, not the picture."""
    volume = scene(bridge_mm=6.0).volume
    frame = volume.frame
    mirrored = Geometry(
        frame.shape, frame.spacing_mm, (-frame.origin_mm[0], *frame.origin_mm[1:]), (-1.0, *frame.direction[1:])
    )
    lungs, other = find_lungs(volume), find_lungs(CTVolume(volume.hu, mirrored))
    assert other.right.centre_mm[0] < -60
    assert dice(other.voxels == 1, lungs.voxels == 2) > 0.99


def test_lungs_of_the_analytic_chest():
    """The phantom's chest of archives has two lungs beside its heart and liver, and airways between them."""
    planes = axial()
    first = planes.first_mm[0]
    frame = Geometry((len(planes.first_mm), *planes.size), (5.0, 2.7, 2.7), first)
    lungs = find_lungs(CTVolume(noisy_hu(planes, np.random.default_rng(0)), frame))
    assert lungs.right.centre_mm[0] < CENTRE_MM[0] - 50 < CENTRE_MM[0] + 50 < lungs.left.centre_mm[0]
    assert 0.85e6 < lungs.right.volume_mm3 < 1.25e6
    assert lungs.airways.n_voxels > 0


def test_a_belly_has_no_lungs():
    """Gas in the bowel of a scan below the lungs is none."""
    planes = axial()
    frame = Geometry((len(planes.first_mm), *planes.size), (5.0, 2.7, 2.7), planes.first_mm[0])
    with pytest.raises(RegionError, match="no aerated component"):
        find_lungs(CTVolume(noisy_hu(planes, np.random.default_rng(0), lungs=False), frame))


def test_lungs_are_labels_with_airways_on_one_block():
    """A crop takes labels and airways along; other types and airways of another block are refused."""
    frame = Geometry((4, 5, 6), (1.0, 1.0, 1.0))
    labels = np.zeros(frame.shape, np.uint8)
    labels[1, 1, 1], labels[2, 2, 2] = 1, 2
    lungs = Lungs(labels, frame)
    assert (lungs.right.n_voxels, lungs.left.n_voxels, lungs.mask.n_voxels, lungs.airways.n_voxels) == (1, 1, 2, 0)
    part = lungs.crop((1, 1, 1), (2, 3, 4))
    assert (part.shape, part.airways.shape, part.mask.n_voxels) == ((1, 2, 3), (1, 2, 3), 1)
    with pytest.raises(GeometryError, match="uint8"):
        Lungs(labels.astype(np.int16), frame)
    with pytest.raises(GeometryError, match="another block"):
        Lungs(labels, frame, (0, 0, 0), Mask(np.zeros((1, 5, 6), bool), frame))


def timed(volume):
    """The lungs of a real scan, whose airways are apart from them, in far less than a minute."""
    start = time.process_time()
    lungs = find_lungs(volume)
    assert time.process_time() - start < 40
    assert not np.any(lungs.airways.voxels & (lungs.voxels > 0))
    return lungs


def nodules_of(name, index, folder=None):
    """Annotated nodules, each with its series, volume and place in it."""
    for nodule in read_annotations(load_dataset(name), folder, index).nodules:
        (one,) = (s for s in index.series if s.series_uid == nodule.series_uid)
        volume = read_volume(one.files, one.geometry)
        yield volume, locate(nodule, volume, one.files)


@pytest.mark.real_data
def test_lungs_of_a_whole_scan_and_its_nodule(lidc_0314):
    """LIDC-IDRI-0314: 2 to 8 l, a right lung made small by a collapsed lobe, and the nodule of four raters within it."""
    found = [(v, n) for v, n in nodules_of("lidc-idri", index_series(lidc_0314)) if len(n.raters) == 4]
    ((volume, nodule),) = found
    lungs = timed(volume)
    assert 2e6 < lungs.mask.volume_mm3 < 8e6
    assert 0.5e6 < lungs.right.volume_mm3 < lungs.left.volume_mm3
    assert lungs.right.centre_mm[0] < lungs.airways.centre_mm[0] < lungs.left.centre_mm[0]
    assert 15e3 < lungs.airways.volume_mm3 < 80e3
    agreed = consensus_mask(nodule.raters)
    inside = lungs.voxels[tuple(slice(a, b) for a, b in zip(agreed.start, agreed.stop, strict=True))][agreed.voxels]
    assert np.mean(inside == 1) > 0.98


@pytest.mark.slow
@pytest.mark.real_data
def test_lungs_of_thick_slices_beside_a_large_tumour(lung_dx):
    """Lung-PET-CT-Dx A0001: both kernels give the same lungs, and the tumour's box lies on the left lung alone."""
    both = []
    for volume, nodule in nodules_of("lung-pet-ct-dx", index_series(lung_dx), lung_dx / "Annotation"):
        lungs = timed(volume)
        assert 4e6 < lungs.mask.volume_mm3 < 7e6
        assert lungs.left.volume_mm3 < lungs.right.volume_mm3
        assert lungs.right.centre_mm[0] < lungs.airways.centre_mm[0] < lungs.left.centre_mm[0]
        half = np.asarray(nodule.size_mm)[::-1] / 2 / volume.frame.spacing_mm
        centre = volume.frame.to_index(nodule.centre_mm)
        box = tuple(slice(int(a), int(b) + 1) for a, b in zip(np.ceil(centre - half), centre + half, strict=True))
        assert np.mean(lungs.voxels[box] == 2) > 0.3
        assert not np.any(lungs.voxels[box] == 1)
        both.append(lungs.voxels > 0)
    assert dice(*both) > 0.97


@pytest.mark.real_data
def test_lungs_of_a_cropped_chest(real_data):
    """PyRadiomics' lung1 ends within the lungs: both are found, and the nodule at 5 mm slices lies within the right one."""
    folder = real_data / "pyradiomics-lung1"
    hu, frame = read_image(folder / "lung1_image.nrrd")
    nodule, _ = read_image(folder / "lung1_label.nrrd")
    lungs = timed(CTVolume(hu, frame))
    assert 2e6 < lungs.mask.volume_mm3 < 5e6
    assert lungs.right.centre_mm[0] < lungs.airways.centre_mm[0] < lungs.left.centre_mm[0]
    assert np.mean(lungs.voxels[nodule == 1] > 0) > 0.98


@pytest.mark.real_data
def test_a_half_chest_has_its_lung(real_data):
    """The IBSI phantom shows a right lung, half filled by a tumour and without a trachea: it is the right one."""
    hu, frame = read_image(real_data / "ibsi1-ct-phantom" / "nifti" / "image" / "phantom.nii.gz")
    lungs = timed(CTVolume(hu, frame))
    assert lungs.airways.n_voxels == 0
    assert 0.8e6 < lungs.right.volume_mm3 < 1.6e6
    assert lungs.left.volume_mm3 < 0.1e6
