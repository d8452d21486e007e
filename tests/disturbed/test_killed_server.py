"""The workflow server is a view on a run, not its ground: without it the run ends as it would have."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from night import PATIENTS, assert_as_undisturbed, finished, processed, start_run, wait_until
from test_killed_scheduler import free_port

from flows.cohort import cohort

#: The command line, as a user has it.
COMMAND = """
import sys
from flows.cli import main
if __name__ == "__main__":
    sys.argv = ["lungpipe", "run", sys.argv[1], "--workspace", sys.argv[2]]
    main()
"""


@pytest.fixture
def server(tmp_path_factory):
    """A Prefect server of its own: its process and address."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/api"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    wait_until(answers)
    yield process, address
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_killed_server_changes_nothing(recipe, undisturbed, workers, server, tmp_path):
    """The server is killed while scans are processed: every scan is done, the command says so, and nothing is done twice."""
    process, address = server
    run = start_run(recipe, tmp_path, COMMAND, PREFECT_API_URL=address)
    wait_until(lambda: len(finished(tmp_path)) >= 3)
    os.kill(process.pid, signal.SIGKILL)
    _, told = run.communicate(timeout=500)
    assert len(finished(tmp_path)) == PATIENTS, told
    if run.returncode:  # told as any failure, and one command from its end
        assert run.returncode == 3, told
        assert "resume with the same command" in told
        cohort(str(recipe), str(tmp_path))
        assert processed(tmp_path) == 0
    assert_as_undisturbed(tmp_path, undisturbed)
