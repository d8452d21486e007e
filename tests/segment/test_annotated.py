import numpy as np
import pytest

from lungpipe import plugins
from lungpipe.errors import SegmentationError
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.segment.annotated import Annotated, consensus
from lungpipe.segment.pins import fcm
from lungpipe.volume import CTVolume, Mask

FRAME = Geometry((6, 6, 6), (1.0, 1.0, 1.0))


def row(*columns: int) -> Mask:
    voxels = np.zeros((1, 1, 6), np.bool_)
    voxels[0, 0, list(columns)] = True
    return Mask(voxels, FRAME, (2, 3, 0))


def test_consensus_is_half_of_the_raters():
    """A voxel belongs to the consensus of four when two drew it, and of three when two did."""
    four = consensus((row(0, 1), row(1, 2), row(1, 2, 3), row(4)))
    assert np.flatnonzero(four.within((2, 3, 0), (3, 4, 6)).voxels).tolist() == [1, 2]
    three = consensus((row(0, 1), row(1), row(5)))
    assert np.flatnonzero(three.within((2, 3, 0), (3, 4, 6)).voxels).tolist() == [1]


def test_no_consensus_is_an_error():
    """Raters who nowhere agree, or do not exist, leave no mask."""
    with pytest.raises(SegmentationError) as error:
        consensus((row(0), row(1), row(2)))
    assert error.value.code == "no_consensus"
    with pytest.raises(SegmentationError) as error:
        consensus(())
    assert error.value.code == "no_annotated_mask"


def test_mask_of_another_grid_is_refused():
    """A mask drawn on another grid is not laid over the volume."""
    volume = CTVolume(np.zeros((6, 6, 6), np.int16), Geometry((6, 6, 6), (1.0, 1.0, 1.1)))
    with pytest.raises(SegmentationError) as error:
        Annotated()(volume, Nodule("p", "s", "n", (1.0, 1.0, 1.0), raters=(row(1),)))
    assert error.value.code == "mask_grid_differs"


def test_fuzzy_c_means_solves_a_hand_case():
    """Two tight groups are told apart, and equal memberships never arise from a seed."""
    hu = np.array([-900.0, -890.0, -880.0, 10.0, 20.0, 30.0])
    for seed in range(5):
        assert fcm(hu, seed).tolist() == [False] * 3 + [True] * 3


def test_single_raters_are_segmenters():
    """rater-1 and rater-2 give what each drew; a rater who is not there is an error of the nodule."""
    volume = CTVolume(np.zeros((6, 6, 6), np.int16), FRAME)
    nodule = Nodule("P", "S", "N", (0.0, 0.0, 0.0), raters=(row(0, 1), row(1, 2)))
    for name, columns in (("rater-1", [0, 1]), ("rater-2", [1, 2])):
        found = plugins.find("segmenters", name)()(volume, nodule)
        assert np.flatnonzero(found.within((2, 3, 0), (3, 4, 6)).voxels).tolist() == columns
    with pytest.raises(SegmentationError) as error:
        plugins.find("segmenters", "rater-3")()(volume, nodule)
    assert error.value.code == "no_such_rater"
