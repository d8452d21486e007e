import numpy as np
import pytest

from lungpipe.errors import CaseError
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.perturb import Scheme
from lungpipe.radiomics.perturbed_features import perturbed_features
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.region.expand import expand
from lungpipe.region.specs import ShellSpec
from lungpipe.volume import CTVolume, Mask


@pytest.fixture(scope="module")
def nodule(make_ct):
    """A ball in a lung far larger than what its copies keep."""
    volume, mask, _ = make_ct((1.25, 0.75, 0.8), (110, 170, 160), 5.0)
    noise = np.random.default_rng(2).normal(0, 60, volume.shape)
    return CTVolume(np.clip(volume.hu + noise, -1024, 600).astype(np.int16), volume.frame), mask


@pytest.mark.parametrize("filters", [("original", "log"), pytest.param(("square", "gradient"), marks=pytest.mark.slow)])
def test_the_copy_as_it_is_has_the_features_of_the_scan(nodule, filters):
    """What a copy keeps round the region is enough for every filter: its features are those of the whole scan."""
    volume, mask = nodule
    settings, spec = RadiomicsSettings(filters=filters, classes=(("firstorder", ()),)), ShellSpec("shell", 4.0)
    copies = {
        name: found
        for found, name in perturbed_features(volume, mask, "N", spec, Scheme(kinds=("rotation",)), Nested(), settings)
    }
    (expected,) = Nested()(volume, [expand(mask, spec)], settings)
    own = copies["none"]
    assert own.pop("dice") == 1.0
    assert list(own) == list(expected)
    for name, value in expected.items():
        assert own[name] == pytest.approx(value, rel=1e-9), name
    turned = copies["rotation 9"]
    image = filters[-1] if filters[-1] == "gradient" else "original"
    mean = f"{image}_firstorder_Mean"
    assert turned[mean] != expected[mean]
    assert turned[mean] == pytest.approx(expected[mean], rel=0.3)


def test_a_copy_without_features_says_why(nodule):
    """A nodule of one voxel that shrinks to nothing is a reason among the copies, not an end of them."""
    volume, mask = nodule
    centre = tuple(round(float(v)) for v in mask.frame.to_index(mask.centre_mm))
    tiny = Mask(np.ones((1, 1, 1), np.bool_), mask.frame, centre)
    scheme = Scheme(kinds=("growth",), growth_mm=(-3.0, 3.0))
    found = [
        f for f, _ in perturbed_features(volume, tiny, "N", ShellSpec("nodule"), scheme, Nested(), RadiomicsSettings())
    ]
    assert [isinstance(f, CaseError) for f in found] == [True, True, False]
