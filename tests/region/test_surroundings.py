"""Surroundings on scenes whose distances and counts are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tube_scene import SPACINGS, Scene

from lungpipe.errors import DatasetError, FeatureError, GeometryError, RegionError
from lungpipe.geometry import Geometry
from lungpipe.radiomics import Extractor
from lungpipe.radiomics import surroundings as plugin
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.region.contacts import ContactSettings
from lungpipe.region.gaps import gap_mm, mask_surface_mm
from lungpipe.region.surroundings import SurroundingsSettings, surroundings
from lungpipe.volume import CTVolume, Mask

C, R = (28.3, 27.8, 28.4), 5.0
SIZE = (56.0, 56.0, 56.0)


def at(**offsets):
    """A place from the nodule's centre, mm."""
    return tuple(c + offsets.get(axis, 0.0) for axis, c in zip("zyx", C, strict=True))


def along(axis, **offsets):
    """Both ends of a line through the whole scene along an axis."""
    k = "zyx".index(axis)
    return tuple(tuple(end if j == k else p for j, p in enumerate(at(**offsets))) for end in (0.0, 56.0))


def measured(scene, **changes):
    airways = scene.airways() if scene.lumen.any() else None
    return surroundings(scene.volume(), scene.mask(), scene.lungs(), airways, SurroundingsSettings(**changes))


def scene(spacing_mm=SPACINGS[1]):
    return Scene(spacing_mm, SIZE).nodule(C, R)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_distances_are_right_to_half_a_voxel(spacing_mm):
    """A vessel across the slices, an airway within one and a plane pleura lie as far from the nodule as they were put."""
    half_mm = max(spacing_mm) / 2
    step = spacing_mm[2]
    plane_mm = (math.floor((C[2] + R + 9.0) / step) + 0.5) * step  # on the faces of voxels, where a mask can say it
    made = scene(spacing_mm).pleura(2, plane_mm)
    made.vessel(*along("z", y=R + 3.2 + 1.5), 1.5).airway(*along("x", y=-(R + 7.0 + 2.0)), 2.0, 0.8)
    found = measured(made)
    assert found["distance_vessel_mm"] == pytest.approx(3.2, abs=step / 2)
    assert found["distance_airway_mm"] == pytest.approx(7.0, abs=half_mm)
    assert found["distance_pleura_mm"] == pytest.approx(plane_mm - C[2] - R, abs=half_mm)
    assert (found["n_vessels"], found["n_airways"]) == (0, 0)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize(("run", "away"), [("z", "y"), ("x", "y"), ("y", "z")])
@pytest.mark.parametrize("gap_mm", [3.2, 5.1])
def test_a_vessel_that_passes_by_is_as_far_as_it_was_put(spacing_mm, run, away, gap_mm):
    """Across the slices and along them: within half of the largest voxel side, and none of them counts as touching."""
    found = measured(scene(spacing_mm).vessel(*along(run, **{away: R + gap_mm + 1.5}), 1.5))
    assert found["distance_vessel_mm"] == pytest.approx(gap_mm, abs=max(spacing_mm) / 2)
    assert found["n_vessels"] == 0


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_branches_that_touch_or_point_are_counted(spacing_mm):
    """Two vessels run into the nodule, one ends 5 mm before it on its axis, one passes by and one ends aside: three."""
    made = scene(spacing_mm)
    made.vessel(at(y=R - 1), at(y=24), 1.5).vessel(at(x=R - 1, y=-1), at(x=20, y=-20), 1.5)
    made.vessel(at(x=-(R + 5)), at(x=-25), 1.5)
    made.vessel(*along("z", y=-(R + 7), x=-8), 1.5)
    made.vessel(at(y=R + 6, x=-13), at(y=R + 6, x=-27), 1.2)
    found = measured(made)
    assert found["n_vessels"] == 3
    assert found["distance_vessel_mm"] == 0.0


@pytest.mark.parametrize("direction", [(0, 1, 0), (1, 0, 0), (-1, 1, 1), (0, -2, 1)])
def test_a_branch_points_if_the_line_on_from_it_meets_the_nodule(direction):
    """An end 5 mm away on a line to the centre points at it from any side; one turned aside by 60 degrees does not."""
    u = np.divide(direction, np.linalg.norm(direction))
    aside = np.cross(u, (0.3, 0.5, -0.8))
    aside = 0.5 * u + math.sqrt(0.75) * aside / np.linalg.norm(aside)
    end = np.add(C, (R + 5 + 1.5) * u)
    for way, count in ((u, 1), (aside, 0)):
        assert measured(scene((1.0, 0.7, 0.7)).vessel(end, end + 16 * way, 1.5))["n_vessels"] == count


def test_a_vessel_through_the_nodule_counts_twice_and_one_beside_it_once():
    """In and out are two branches; running past within 1.5 mm is one."""
    through = scene().vessel(*along("x"), 1.5)
    assert measured(through)["n_vessels"] == 2
    past = scene().vessel(*along("z", y=R + 1.1 + 2.0), 2.0)
    assert measured(past)["n_vessels"] == 1
    farther = scene().vessel(*along("z", y=R + 2.2 + 2.0), 2.0)
    assert measured(farther)["n_vessels"] == 0
    assert measured(farther, contacts=ContactSettings(touch_mm=3.0))["n_vessels"] == 1


def test_airways_are_counted_through_their_wall():
    """An airway whose lumen ends at the nodule behind its wall touches it; its share of the ball is its volume."""
    made = scene().airway(at(x=R + 1.0 + 1.5), at(x=40), 1.5, 0.8)
    found = measured(made)
    assert found["n_airways"] == 1
    ball_mm3 = 4 / 3 * math.pi * ((R + 20) ** 3 - R**3)
    lumen_mm3 = math.pi * 1.5**2 * (20 - 2.5) + 2 / 3 * math.pi * 1.5**3
    assert found["airway_volume_fraction"] == pytest.approx(lumen_mm3 / ball_mm3, rel=0.15)


def test_volume_fractions_count_lung_alone():
    """With wall in half of the ball a vessel's share of the lung in it doubles."""
    made = scene().vessel(*along("z", x=-12), 2.0)
    whole = measured(made)["vessel_volume_fraction"]
    tube_mm3 = math.pi * 2.0**2 * 2 * math.sqrt((R + 20) ** 2 - 12**2)
    ball_mm3 = 4 / 3 * math.pi * ((R + 20) ** 3 - R**3)
    assert whole == pytest.approx(tube_mm3 / ball_mm3, rel=0.15)
    walled = measured(made.pleura(2, C[2] + R + 0.5))
    # Of the ball a cap is cut off at R + 0.5 from its middle.
    high = 20 - 0.5
    cap_mm3 = math.pi * high**2 * (3 * (R + 20) - high) / 3
    assert walled["vessel_volume_fraction"] == pytest.approx(tube_mm3 / (ball_mm3 - cap_mm3), rel=0.15)


def test_a_nodule_at_the_pleura_touches_it():
    """A nodule that grows into the wall has the distance 0."""
    made = scene().pleura(2, C[2] + 3.0)
    made.wall &= ~made.inside
    assert measured(made)["distance_pleura_mm"] == pytest.approx(0.0, abs=0.1)


def test_what_cannot_be_known_is_missing():
    """Without a tree all of the airways is NaN, without bronchi the hilum, without vessel or fissure their distances."""
    found = measured(scene())
    missing = {name for name, value in found.items() if math.isnan(value)}
    assert missing == {
        "distance_pleura_mm",
        "distance_airway_mm",
        "distance_vessel_mm",
        "distance_fissure_mm",
        "distance_hilum_mm",
        "n_airways",
        "airway_volume_fraction",
        "relative_hilum_pleura",
    }
    assert found["n_vessels"] == found["vessel_volume_fraction"] == 0


@pytest.mark.parametrize("spacing_mm", SPACINGS[:2])
def test_a_fissure_is_found_where_it_is_seen(spacing_mm):
    """A sheet of 1 mm and 300 HU more than lung, 8 mm from the nodule, is found there."""
    made = scene(spacing_mm)
    made._paint(lambda z, y, x: np.abs(y - (C[1] + R + 8.0)) - 0.5 + 0 * (z + x), -550.0)
    assert measured(made)["distance_fissure_mm"] == pytest.approx(8.0, abs=0.7)


def test_side_height_and_hilum_follow_from_lungs_and_bronchi():
    """In a box of left lung the nodule's height is that of its centre, and the hilum is the end of the bronchus."""
    made = scene((1.0, 0.7, 0.7))
    frame = made.frame
    z, y, x = np.meshgrid(
        *[np.arange(n) * s for n, s in zip(frame.shape, frame.spacing_mm, strict=True)], indexing="ij"
    )
    labels = np.where((x > 24) & (x < 50) & (z > 10), 2, 0).astype(np.uint8)
    trachea = (z > 30) & (np.abs(x - 6) < 3) & (np.abs(y - 28) < 3)
    bronchus = (np.abs(z - 30) < 3) & (x > 6) & (x < 22) & (np.abs(y - 28) < 3)
    lungs = replace(made.lungs(), voxels=labels, airways=Mask(trachea | bronchus, frame))
    found = surroundings(made.volume(), made.mask(), lungs, None)
    assert found["side"] == 2
    assert found["relative_height"] == pytest.approx((C[0] - 11) / (55 - 11), abs=0.03)
    # The last 10 mm of the bronchus end at x = 22; its middle is 5 mm before.
    gap = np.linalg.norm(np.subtract(C, (30, 28, 17))) - R
    assert found["distance_hilum_mm"] == pytest.approx(gap, abs=0.8)
    expected = found["distance_hilum_mm"] / (found["distance_hilum_mm"] + found["distance_pleura_mm"])
    assert found["relative_hilum_pleura"] == pytest.approx(expected)


def test_the_surface_at_the_airways_is_no_pleura():
    """Where lung borders on a bronchus there is no pleura; the next surface counts."""
    made = scene((1.0, 0.7, 0.7)).pleura(2, C[2] + R + 10.15)
    hole = made.airway(*along("z", y=R + 5.0 + 2.0), 2.0, 0.8).lumen
    lungs = made.lungs()
    labels = np.where(hole, 0, lungs.voxels).astype(np.uint8)
    found = surroundings(made.volume(), made.mask(), replace(lungs, voxels=labels), made.airways())
    assert found["distance_pleura_mm"] == pytest.approx(10.15, abs=0.5)


def test_a_moved_and_turned_image_changes_nothing():
    """Distances do not depend on where the patient lies or how the grid is turned about the vertical."""
    made = scene().vessel(*along("z", y=R + 4), 1.5)
    turned = Geometry(
        made.frame.shape, made.frame.spacing_mm, (3.0, 4.0, 5.0), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    )
    first = measured(made)
    made.frame = turned
    second = measured(made)
    for name in ("distance_vessel_mm", "n_vessels", "vessel_volume_fraction", "relative_height"):
        assert second[name] == pytest.approx(first[name]), name


def test_wrong_input_is_told():
    """An empty mask, a nodule far from the lungs, another image's masks and an impossible ball are refused."""
    made = scene()
    volume, nodule, lungs = made.volume(), made.mask(), made.lungs()
    with pytest.raises(RegionError, match="mask is empty"):
        surroundings(volume, Mask(np.zeros((2, 2, 2), bool), made.frame), lungs, None)
    with pytest.raises(RegionError, match="away from both lungs") as error:
        surroundings(volume, nodule, replace(lungs, voxels=np.zeros_like(lungs.voxels)), None)
    assert error.value.code == "nodule_outside_lung"
    other = Geometry(made.frame.shape, (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="own grid"):
        surroundings(volume, Mask(made.inside, other), lungs, None)
    with pytest.raises(DatasetError, match="radius of the ball"):
        SurroundingsSettings(ball_radius_mm=0.0)


def test_surfaces_of_two_balls_are_apart_as_their_centres_say():
    """The gap between two masks is right to a voxel, half of one for each surface."""
    frame = Geometry((40, 60, 90), (1.0, 0.7, 0.7))
    made = Scene(frame.spacing_mm, (40.0, 42.0, 63.0))
    one = made.nodule((20.3, 21.1, 15.2), 6.0).mask()
    made.inside[:] = False
    other = made.nodule((19.8, 20.6, 45.7), 8.0).mask()
    apart = float(np.linalg.norm(np.subtract((20.3, 21.1, 15.2), (19.8, 20.6, 45.7)))) - 14.0
    assert gap_mm(mask_surface_mm(one), mask_surface_mm(other)) == pytest.approx(apart, abs=0.7)


@pytest.fixture
def known_structures(monkeypatch):
    """Lungs without a search, and how often they were asked for."""
    asked = []

    def find(volume):
        asked.append(volume)
        labels = np.ones(volume.shape, np.uint8)
        return plugin_lungs(labels, volume.frame, airways=Mask(np.zeros(volume.shape, bool), volume.frame))

    from lungpipe.region.lung import Lungs as plugin_lungs

    def no_tree(volume, lungs):
        raise RegionError("no_airways_found", "none")

    monkeypatch.setattr(plugin, "find_lungs", find)
    monkeypatch.setattr(plugin, "airway_tree", no_tree)
    return asked


def test_the_extractor_finds_lungs_once_a_volume(known_structures):
    """All regions of a volume share their lungs; without airways the rest is still there, under its columns' names."""
    made = scene().vessel(*along("z", y=R + 4), 1.5)
    volume, region = made.volume(), made.mask()
    extractor = plugin.Surroundings()
    assert isinstance(extractor, Extractor)
    first = extractor(volume, [region], RadiomicsSettings())
    second = extractor(volume, [region], RadiomicsSettings())
    assert len(known_structures) == 1
    assert set(first[0]) == {*plugin.COLUMNS.values(), *plugin.TREE_COLUMNS.values()}
    assert math.isnan(first[0]["surroundings_TreeBranches"])
    assert math.isnan(first[0]["surroundings_CountAirways"])
    assert first[0]["surroundings_DistanceVessel_mm"] == second[0]["surroundings_DistanceVessel_mm"]


def test_no_lung_is_an_error_for_each_region():
    """A block of soft tissue has no lung: each region gets the reason, and nothing is raised."""
    frame = Geometry((20, 40, 40), (1.5, 1.0, 1.0))
    inside = np.zeros(frame.shape, bool)
    inside[8:12, 18:22, 18:22] = True
    volume = CTVolume(np.full(frame.shape, 40, np.int16), frame)
    found = plugin.Surroundings()(volume, [Mask(inside, frame)] * 2, RadiomicsSettings())
    assert [type(value) for value in found] == [FeatureError, FeatureError]
    assert {value.code for value in found} == {"no_lung_found"}
