"""A run talks to nobody outside its machine: not for analytics, not for updates, not for a look-up of a name."""

import ipaddress
import re
import shutil
import subprocess
import sys

import pytest
from night import PROGRAM, assert_as_undisturbed

#: ``connect`` and the like with an address of IPv4 or IPv6, as strace prints them.
_ADDRESS = re.compile(r'(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")')


def strangers(trace: str) -> set[str]:
    """Addresses in a trace that are not this machine's own."""
    found = {one or other for one, other in _ADDRESS.findall(trace)}
    return {address for address in found if not ipaddress.ip_address(address).is_loopback}


def test_strangers_are_seen_in_a_trace():
    """Of addresses in a trace those beyond the loopback are named, look-ups of names among them."""
    trace = """
7 connect(5, {sa_family=AF_INET, sin_port=htons(4200), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
7 connect(5, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0
8 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0
8 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "2001:db8::7", &sin6_addr)}, 28) = -1
9 connect(4, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.53")}, 16) = 0
9 sendto(4, "..", 2, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("198.51.100.9")}, 16) = 2
"""
    assert strangers(trace) == {"2001:db8::7", "192.0.2.53", "198.51.100.9"}


@pytest.mark.slow
def test_a_run_talks_to_nobody(recipe, undisturbed, own_workers, tmp_path, monkeypatch):
    """Of a whole run with a server and workers of its own, every connection and every datagram stays on the machine."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    trace = tmp_path / "trace"
    words = [sys.executable, "-c", PROGRAM, str(recipe), str(tmp_path / "workspace")]
    calls = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)]
    done = subprocess.run([*calls, *words], capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_as_undisturbed(tmp_path / "workspace", undisturbed)
    seen = trace.read_text(errors="replace")
    assert '"127.0.0.1"' in seen  # the trace does see connections
    assert strangers(seen) == set()
