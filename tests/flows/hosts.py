"""Hosts of their own on one machine: network namespaces that share a switch; a cable can be pulled and put back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

NETWORK = "10.213.7"


def why_not() -> str | None:
    """Why hosts cannot be made here, if they cannot."""
    if os.geteuid() != 0:
        return "network namespaces are made by root alone"
    if shutil.which("ip") is None:
        return "the program ip is not installed (Debian: iproute2)"
    probe = f"lp{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces cannot be made: {made.stderr.strip()}"
    link = subprocess.run(
        ["ip", "-n", probe, "link", "add", "x0", "type", "veth", "peer", "name", "x1"],
        capture_output=True,
        text=True,
        check=False,
    )
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return f"pairs of interfaces cannot be made: {link.stderr.strip()}" if link.returncode else None


class Hosts:
    """Hosts by name, each with the address ``NETWORK.n`` in the order of their names."""

    def __init__(self, names: list[str], logs: Path) -> None:
        self.address = {name: f"{NETWORK}.{n}" for n, name in enumerate(names, 1)}
        self._space = {name: f"lp{os.getpid()}-{name}" for name in [*names, "switch"]}
        self._logs = logs
        self._running: list[subprocess.Popen] = []

    def set_up(self) -> None:
        """Make the hosts and join them by cables to the switch."""
        for space in self._space.values():
            _ip("netns", "add", space)
        switch = self._space["switch"]
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for name, address in self.address.items():
            space = self._space[name]
            port = f"to-{name}"
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
            _ip("-n", switch, "link", "set", port, "master", "br0", "up")
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "set", "eth0", "up")

    def tear_down(self) -> None:
        """End all that runs on the hosts, then the hosts; each step whatever became of the others."""
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._running:
            process.wait(30)
        for space in self._space.values():
            pids = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False).stdout
            for pid in pids.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)

    def start(self, name: str, log: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen:
        """Start a command on a host, its output in a log."""
        with (self._logs / log).open("w") as stream:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._space[name], *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def said(self, log: str) -> str:
        """What a command has written so far."""
        return (self._logs / log).read_text()

    def wait_for(self, log: str, words: str, timeout_s: float, after: int = 0) -> None:
        """Wait until a command has said something, beyond the first ``after`` characters."""
        end = time.monotonic() + timeout_s
        while words not in self.said(log)[after:]:
            if time.monotonic() > end:
                raise TimeoutError(f"{log} did not say {words!r} within {timeout_s} s:\n{self.said(log)[-3000:]}")
            time.sleep(0.1)

    def pull_cable(self, name: str) -> None:
        """Cut a host off."""
        _ip("-n", self._space["switch"], "link", "set", f"to-{name}", "down")

    def put_cable_back(self, name: str) -> None:
        """Join it again."""
        _ip("-n", self._space["switch"], "link", "set", f"to-{name}", "up")


@contextmanager
def hosts(names: list[str], logs: Path):
    """Hosts that are gone at the end, whatever happens in between."""
    made = Hosts(names, logs)
    try:
        made.set_up()
        yield made
    finally:
        made.tear_down()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
