"""A worker that is killed takes nothing with it."""

import os
import signal
import threading

import numpy as np
import pytest
from distributed import Client
from night import assert_as_undisturbed

from flows.cohort import cohort


def kill_one(address, rng):
    """Kill one of the worker processes; its nanny starts another."""
    with Client(address, set_as_default=False) as client:
        processes = client.run(os.getpid, on_error="ignore")
    os.kill(int(rng.choice(sorted(processes.values()))), signal.SIGKILL)


def killed_once(recipe, workspace, address, undisturbed, rng):
    moment = threading.Timer(rng.uniform(0.05, 0.9) * undisturbed.seconds, kill_one, (address, rng))
    moment.start()
    cohort(str(recipe), str(workspace))
    moment.join()
    assert_as_undisturbed(workspace, undisturbed)


def test_a_killed_worker_changes_nothing(recipe, undisturbed, workers, tmp_path, rng):
    """One worker dies at a random moment of a run; features are as without that, and no scan is missing."""
    killed_once(recipe, tmp_path, workers, undisturbed, rng)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_worker_killed_at_ten_moments(recipe, undisturbed, workers, tmp_path, seed):
    """The same at ten random moments."""
    killed_once(recipe, tmp_path, workers, undisturbed, np.random.default_rng(seed))
