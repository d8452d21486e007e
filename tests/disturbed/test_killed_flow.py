"""A run whose process is killed is finished by the same command, and only what was in flight is done again."""

import signal

import pytest
from night import PATIENTS, assert_as_undisturbed, finished, processed, start_run, wait_until

from flows.cohort import cohort
from tasks.cluster import ADDRESS_VARIABLE

#: The process kills itself a moment after it entered a stage.
KILLED_IN = """
import os, signal, sys, threading
from contextlib import contextmanager
from flows.cli import _prefect_environment
_prefect_environment()
import flows.cohort as module
stage_of_account = module.Account.stage
@contextmanager
def stage(self, name, *args, **more):
    with stage_of_account(self, name, *args, **more):
        if name == sys.argv[3]:
            threading.Timer(float(sys.argv[4]), os.kill, (os.getpid(), signal.SIGKILL)).start()
        yield
module.Account.stage = stage
if __name__ == "__main__":
    module.cohort(*sys.argv[1:3])
"""


def killed_while_scanning(recipe, undisturbed, workspace, at_least):
    run = start_run(recipe, workspace)
    wait_until(lambda: len(finished(workspace)) >= at_least)
    run.kill()
    _, told = run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL, told
    before = finished(workspace)
    cohort(str(recipe), str(workspace))
    assert_as_undisturbed(workspace, undisturbed)
    assert len(before) >= at_least
    assert processed(workspace) <= PATIENTS - len(before)


@pytest.mark.slow
def test_a_killed_run_is_resumed(recipe, undisturbed, own_workers, tmp_path):
    """Killed with three scans finished, the run leaves them finished: the second one works on the others alone."""
    killed_while_scanning(recipe, undisturbed, tmp_path, 3)


@pytest.mark.slow
@pytest.mark.parametrize("at_least", [1, 5, 9])
def test_a_run_killed_early_and_late(recipe, undisturbed, own_workers, tmp_path, at_least):
    """The same with fewer and with more scans finished."""
    killed_while_scanning(recipe, undisturbed, tmp_path, at_least)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["curate", "frame", "tables", "benchmark", "report"])
@pytest.mark.parametrize("after_s", [0.0, 0.2])
def test_a_run_killed_in_any_other_stage(recipe, undisturbed, workers, tmp_path, stage, after_s):
    """Killed at the beginning of any other stage or a moment later, it is finished by the second run, and no scan twice."""
    run = start_run(recipe, tmp_path, KILLED_IN, stage, str(after_s), **{ADDRESS_VARIABLE: workers})
    _, told = run.communicate(timeout=240)
    # A stage may be over before its moment has come; then the run was killed in the next one, or at its very end.
    assert run.returncode == -signal.SIGKILL, told
    before = finished(tmp_path)
    assert len(before) == (0 if stage in {"curate", "frame"} else PATIENTS) or stage == "frame"
    cohort(str(recipe), str(tmp_path))
    assert_as_undisturbed(tmp_path, undisturbed)
    assert processed(tmp_path) <= PATIENTS - len(before)
