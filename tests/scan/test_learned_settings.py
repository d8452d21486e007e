"""What a run must know of networks before any of them runs: memory, a GPU, and whose scans they have seen."""

import pytest

from lungpipe.geometry import Geometry
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.scan import settings_from
from lungpipe.scan.memory import NETWORK_BYTES, projected_bytes


def settings(*methods, datasets=(), **parameters):
    return settings_from(
        methods=methods,
        preset="default",
        radii_mm=(0,),
        kinds=("shell",),
        clip="none",
        exclude_neighbours=False,
        extractor="nested",
        radiomics=RadiomicsSettings(),
        parameters=parameters,
        datasets=datasets,
    )


@pytest.mark.parametrize(
    ("device", "resource"), [("cpu", ""), ("cuda", "GPU"), ("cuda:1", "GPU"), ("auto", "")]
)  # fmt: skip
def test_a_network_on_a_gpu_needs_a_worker_that_has_one(device, resource):
    """Only a device that must be a GPU is asked of workers; classical methods ask nothing."""
    assert settings("otsu", "network", network={"device": device}).resource == resource
    assert settings("otsu").resource == ""


def test_a_network_takes_memory_of_its_own():
    """A worker that runs one needs more than one that runs none."""
    assert settings("network").learned
    assert not settings("otsu").learned
    frame = Geometry((10, 20, 30), (1.0, 1.0, 1.0))
    more = projected_bytes(frame, needs_lungs=False, learned=True) - projected_bytes(frame, needs_lungs=False)
    assert more == NETWORK_BYTES


def test_a_cohort_that_a_network_has_seen_is_told():
    """Where the data sets share patients the record says so; elsewhere, and of classical methods, it says nothing."""
    seen = settings("otsu", "network", datasets=("phantom", "lidc-idri")).names()["trained_on_this_cohort"]
    assert list(seen) == ["network"]
    assert "LIDC-IDRI" in seen["network"]
    assert "trained_on_this_cohort" not in settings("otsu", "network", datasets=("own",)).names()
    assert "trained_on_this_cohort" not in settings("otsu", datasets=("lidc-idri",)).names()
