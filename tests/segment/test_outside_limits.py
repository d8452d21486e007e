"""Programs outside that crash, hang, eat memory or leave things behind: told by code, stopped with their children, cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lungpipe.errors import PluginError, SegmentationError
from lungpipe.nodule import Nodule
from lungpipe.segment.outside.command import Command
from lungpipe.segment.outside.supervise import GUARD, Finished, Room, environment_of, refuse_failure

MODEL = str(Path(__file__).with_name("outside_model.py"))
HIDDEN = ("1.2.840", "2001", "scan.nii", "/")


def run(ct, mode, log=None, **parameters):
    """Segment with our model outside in a bad mood; returns the error."""
    volume, _, centre = ct
    more = ("--log", str(log)) if log else ()
    limits = {"time_limit_s": 60.0, "memory_limit_gb": 2.0, **parameters}
    model = Command(
        command=(sys.executable, MODEL, "{input}", "{output}", "--mode", mode, *more), labels=(2,), **limits
    )
    return model(volume, Nodule("p", "s", "n", centre, (13.0,) * 3))


def failure(ct, mode, log=None, **parameters) -> SegmentationError:
    with pytest.raises(SegmentationError) as error:
        run(ct, mode, log, **parameters)
    return error.value


def processes_of(log: Path) -> list[int]:
    """Numbers of the processes that the model wrote down: its own and its child's."""
    words = [line.split() for line in log.read_text().splitlines()]
    return [int(word[1] if word[0] == "child" else word[0]) for word in words]


def room_of(log: Path) -> Path:
    """The folder that the program was given."""
    return Path(log.read_text().split()[1]).parent


def gone(pids, within_s=10.0) -> bool:
    """Whether no process of these runs any longer; a zombie does not run."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        alive = [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return True
        time.sleep(0.05)
    return False


def test_a_crash_is_told_with_its_last_words_and_without_identifiers(ct):
    """A program that fails gives its status and error line; UIDs, dates and paths in it are taken out."""
    error = failure(ct, "crash")
    assert error.code == "outside_failed"
    assert "exited with status 3; it said: ValueError: series <number> of <number> in <path> is odd" in error.message
    assert not any(word in error.message for word in HIDDEN)


def test_a_signal_is_told(ct):
    """A program that a signal ended is told with the signal's number."""
    assert "was ended by signal 11" in failure(ct, "killed").message


@pytest.mark.parametrize(
    ("status", "tail"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        (1, "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        (137, ""),
        (-9, "working"),
    ],
)
def test_memory_that_ran_out_on_its_own_is_told(status, tail):
    """What PyTorch says without memory, and the kernel's or engine's kill, count as memory that ran out."""
    with pytest.raises(SegmentationError) as error:
        refuse_failure(Finished("exit", status, tail, 1.0, 10), 10.0, 4.0)
    assert error.value.code == "outside_out_of_memory"


def test_a_program_that_ends_well_is_no_failure():
    """Status 0 is no failure, whatever was printed."""
    refuse_failure(Finished("exit", 0, "no out of memory error", 1.0, 10), 10.0, 4.0)


def test_a_program_that_wants_the_network_is_told(ct):
    """A program that fails for want of a download is told so, and what to do; our dead proxy is what it met."""
    error = failure(ct, "fetch")
    assert error.code == "outside_wanted_network"
    assert "name their folder as weights" in error.message


def test_python_without_memory_is_told(ct):
    """A MemoryError of the program is memory that ran out."""
    assert failure(ct, "no-memory").code == "outside_out_of_memory"


@pytest.mark.parametrize("mode", [pytest.param("hang", marks=pytest.mark.slow), "hang-apart"])
def test_a_program_that_hangs_is_stopped_with_its_children(ct, tmp_path, mode):
    """At the time limit the program and its child are killed, also a child in a session of its own; the folder goes."""
    if mode == "hang-apart" and sys.platform != "linux":
        pytest.skip("only Linux says what became of children that left their group")
    log = tmp_path / "log"
    began = time.monotonic()
    error = failure(ct, mode, log, time_limit_s=4.0)
    assert error.code == "outside_timed_out"
    assert "limit of 4 s" in error.message
    assert time.monotonic() - began < 20
    assert len(processes_of(log)) == 2
    assert gone(processes_of(log), within_s=0.5)
    assert not room_of(log).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what became of children that left their group")
def test_a_child_that_outlives_the_program_is_killed(ct, tmp_path):
    """A program that ends well and leaves a process behind gives its mask; the process is killed."""
    log = tmp_path / "log"
    assert run(ct, "leave-child", log).n_voxels > 0
    assert len(processes_of(log)) == 2
    assert gone(processes_of(log), within_s=0.5)


@pytest.mark.parametrize("mode", ["eat", "eat-in-child"])
def test_memory_counts_for_all_processes_together(ct, mode):
    """A program, or its child, that fills more memory than allowed is stopped before it has taken much more."""
    error = failure(ct, mode, memory_limit_gb=0.5)
    assert error.code == "outside_out_of_memory"
    assert "its limit is 0.5 GB" in error.message
    seen_gb = float(error.message.split("stopped at ")[1].split()[0])
    assert 0.5 <= seen_gb < 1.5


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may refuse or fill such reservations")
def test_reserved_addresses_are_not_memory(ct):
    """A program that reserves 128 GB of addresses, as PyTorch does with CUDA, and fills little is not stopped."""
    assert run(ct, "reserve", memory_limit_gb=0.6).n_voxels > 0


def test_a_program_gets_a_known_environment_and_a_temporary_folder_of_its_own(ct, tmp_path, monkeypatch):
    """Variables that are not on the list stay here; those named in the recipe pass; the network's proxy is a dead end."""
    log = tmp_path / "log"
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("MODEL_LICENCE", "y")
    run(ct, "well", log, pass_environment=["MODEL_LICENCE"])
    text = log.read_text()
    assert "SECRET_TOKEN" not in text
    assert "LUNGPIPE_KEY_FILE" not in text
    assert "MODEL_LICENCE" in text
    assert not room_of(log).exists()
    assert environment_of({"A": "b"})["https_proxy"] == "http://127.0.0.1:9"


def test_a_program_that_went_away_after_planning_stops_the_run(ct, tmp_path):
    """A program that is no longer there when its turn comes is an error of the run, not of the scan."""
    program = tmp_path / "model"
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    model = Command(command=(str(program), "{input}", "{output}"))
    program.unlink()
    with pytest.raises(PluginError, match="outside_missing"):
        model(ct[0], Nodule("p", "s", "n", ct[2]))


def test_a_script_whose_interpreter_is_missing_is_told(ct, tmp_path):
    """A script with a first line that leads nowhere cannot be run, and is told as a missing program."""
    program = tmp_path / "model"
    program.write_text("#!/no/such/python\n")
    program.chmod(0o755)
    with pytest.raises(PluginError, match="outside_missing: no program 'model'"):
        Command(command=(str(program), "{input}", "{output}"))(ct[0], Nodule("p", "s", "n", ct[2]))


def test_much_output_is_read_and_its_end_kept():
    """A program that writes 20 MB neither blocks nor fills memory; the end of what it wrote is kept."""
    code = "print('x' * 20_000_000); print('the end')"
    with Room() as room:
        done = room.run([sys.executable, "-c", code], environment_of({}), time_limit_s=60, memory_limit_gb=1)
        folder = room.folder
    assert done.status == 0
    assert done.tail.endswith("the end\n")
    assert len(done.tail) <= 1 << 15
    assert not folder.exists()


def test_what_ends_a_container_is_run_in_any_case(tmp_path):
    """The command that removes a container runs after a time-out too."""
    mark = tmp_path / "removed"
    with Room() as room:
        done = room.run(
            [sys.executable, "-c", "import time; time.sleep(60)"],
            environment_of({}),
            time_limit_s=0.5,
            memory_limit_gb=1,
            afterwards=[sys.executable, "-c", f"open({str(mark)!r}, 'w')"],
        )
    assert done.reason == "time"
    assert mark.exists()


WORKER = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in jobs that a script put in the background
from pathlib import Path
import numpy as np
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.segment.outside.command import Command
from lungpipe.volume import CTVolume
volume = CTVolume(np.zeros((4, 4, 4), np.int16), Geometry((4, 4, 4), (1.0, 1.0, 1.0)))
model = Command(command=(sys.executable, sys.argv[1], "{input}", "{output}", "--mode", "hang", "--log", sys.argv[2]))
model.prepare(volume)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_worker_leaves_no_program_and_no_folder(tmp_path, how):
    """When the worker itself is killed, its program, the program's child, the guard and the folder are gone soon."""
    log = tmp_path / "log"
    worker = subprocess.Popen([sys.executable, "-c", WORKER, MODEL, str(log)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not (log.exists() and len(log.read_text().splitlines()) == 2) and time.monotonic() < until:
            time.sleep(0.05)
        guards = psutil.Process(worker.pid).children()
        assert any(str(GUARD) in guard.cmdline() for guard in guards)
        pids, room = [*processes_of(log), *(guard.pid for guard in guards)], room_of(log)
        assert room.exists()
        os.kill(worker.pid, how)
        worker.wait(timeout=20)
    finally:
        worker.kill()
        worker.wait()
    assert gone(pids)
    assert not room.exists()


def test_a_killed_guard_is_told(tmp_path):
    """When the guard is killed, the worker says so, and the folder goes; on Linux the program goes too."""
    mark = tmp_path / "pid"
    code = (
        f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); "
        f"os.kill(os.getppid(), {int(signal.SIGKILL)}); time.sleep(600)"
    )
    argv = [sys.executable, "-c", code]
    with Room() as room:
        folder = room.folder
        with pytest.raises(SegmentationError, match="watches the outside program was killed") as error:
            room.run(argv, environment_of({}), time_limit_s=60, memory_limit_gb=1)
    assert error.value.code == "outside_failed"
    assert not folder.exists()
    if sys.platform == "linux":
        assert gone([int(mark.read_text())])
