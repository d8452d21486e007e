"""A command's own Prefect server: only where nobody has one, and never longer than the command."""

import os
import signal
import subprocess
import sys
import time

import pytest

from flows import prefect_server
from flows.prefect_server import ADDRESS_VARIABLE, is_configured, start_early
from lungpipe.errors import LungpipeError


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A folder and a home in which nothing says where Prefect's server is."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("home/profiles.toml", "", True),
        ("prefect.toml", "", True),
        (".env", "PREFECT_API_URL=http://there/api", True),
        (".env", "OTHER=1", False),
        ("pyproject.toml", "[tool.prefect]\n", True),
        ("pyproject.toml", "[project]\n", False),
    ],
)
def test_a_server_in_a_file_is_left_to_prefect(nowhere, path, text, said):
    """Profiles and files of the folder count, where Prefect would read them."""
    assert not is_configured()
    (nowhere / path).write_text(text)
    assert is_configured() is said


@pytest.mark.parametrize("imported", [True, False])
def test_a_server_in_a_variable_starts_nothing(nowhere, monkeypatch, imported):
    """With an address, or once Prefect has read its settings, no process is started."""
    monkeypatch.setattr(prefect_server, "_start", None)
    monkeypatch.setattr(prefect_server, "_is_imported", lambda: imported)
    if not imported:
        monkeypatch.setenv(ADDRESS_VARIABLE, "http://there/api")
    start_early()()
    assert os.environ.get(ADDRESS_VARIABLE) == (None if imported else "http://there/api")


def test_a_server_that_does_not_start_is_told():
    """One that ends at once is an error with the way out, within moments."""
    server = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"], stdin=subprocess.PIPE)
    with pytest.raises(
        LungpipeError, match=r"ended with 1; start one with prefect server start, and set PREFECT_API_URL"
    ):
        prefect_server._wait_for(server, 1)
    prefect_server._end(server, 1)
    assert server.stdin.closed


def test_a_server_that_still_starts_is_not_waited_for():
    """A command that has nothing to do ends at once; the server has been told, and ends by itself."""
    server = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(3)"], stdin=subprocess.PIPE
    )
    start = time.monotonic()
    prefect_server._end(server, 1)
    assert time.monotonic() - start < 2
    assert server.wait(60) == 0


PROGRAM = """
import os, sys, time
from flows.prefect_server import ADDRESS_VARIABLE, start_early
ready = start_early()
ready()
print(os.environ[ADDRESS_VARIABLE], flush=True)
if sys.argv[1] == "stay":
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["end", "stay"])
def test_the_server_ends_with_its_command(nowhere, how):
    """After the command's end nothing listens any more, and neither does it after kill -9."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, how], stdout=subprocess.PIPE, text=True) as command:
        port = int(command.stdout.readline().split(":")[2].split("/")[0])
        if how == "stay":
            assert prefect_server._answers(port)
            command.send_signal(signal.SIGKILL)
        command.wait()
    deadline = time.monotonic() + 20
    while how == "stay" and prefect_server._answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not prefect_server._answers(port)
