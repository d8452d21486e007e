"""A full disk stops a run with its reason, and once there is room the run goes on."""

import os
import subprocess

import pytest
from night import assert_as_undisturbed, finished, processed

from flows.cohort import cohort
from lungpipe.errors import LungpipeError


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, and a way to change its size in KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size_kib: int, options: str = "") -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"{options}size={size_kib}k", "tmpfs", str(folder)]
        return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount(1700):
        pytest.skip("mounting a small tmpfs needs root and the right to mount")
    yield folder, lambda size_kib: mount(size_kib, "remount,")
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(recipe, undisturbed, workers, small_disk):
    """The run ends with what is missing, keeps the scans that it finished, and after that does the others alone."""
    folder, resize = small_disk
    with pytest.raises((LungpipeError, OSError), match=r"no room was left on the disk|No space left on device"):
        cohort(str(recipe), str(folder))
    before = finished(folder)
    assert 0 < len(before) < undisturbed.features["series_uid"].nunique()
    assert not (folder / "tables" / "features.parquet").exists()
    assert resize(100_000)
    cohort(str(recipe), str(folder))
    assert_as_undisturbed(folder, undisturbed)
    assert processed(folder) <= undisturbed.features["series_uid"].nunique() - len(before)
