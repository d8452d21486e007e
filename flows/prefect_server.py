"""Prefect's server for one command: it starts while the command still loads, and ends with it however that ends.

Left alone, Prefect starts one when its first flow does, and waits; and one whose command was killed goes on for ever.
"""

from __future__ import annotations

import atexit
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lungpipe.errors import LungpipeError

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS_VARIABLE = "PREFECT_API_URL"
#: Variables by which a person says where Prefect's server is.
_SAYING = (ADDRESS_VARIABLE, "PREFECT_PROFILE", "PREFECT_PROFILES_PATH", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE")
#: As in Prefect's own temporary server: no pages.
_TEMPORARY = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_START_WITHIN_S = 180.0
_END_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.05


def start_early() -> Callable[[], None]:
    """Start a server in the background, unless a person has one or Prefect was imported already.

    Prefect that is imported afterwards uses it. It ends after all else of this process, as Prefect sends its last words then.

    Returns
    -------
    callable
        Waits until the server answers, and raises a LungpipeError if it does not.
    """
    if is_configured() or _is_imported():
        return lambda: None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = _start(port)
    os.environ[ADDRESS_VARIABLE] = f"http://127.0.0.1:{port}/api"
    atexit.register(_end, server, port)
    return partial(_wait_for, server, port)


def _is_imported() -> bool:
    return "prefect" in sys.modules


def _start(port: int) -> subprocess.Popen[bytes]:
    # Not from the folder of the person, who may have one called flows. Ctrl-C is for the command, which tells the server its end.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.prefect_server", str(port)],
        env={**os.environ, **_TEMPORARY},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            how = "was silent" if server.returncode is None else f"ended with {server.returncode}"
            raise LungpipeError(
                f"Prefect's server {how}; start one with prefect server start, and set {ADDRESS_VARIABLE} to its address"
            )
        time.sleep(_LOOK_EVERY_S)


def _end(server: subprocess.Popen[bytes], port: int) -> None:
    """Tell the server the end, and wait for it; one that is still starting is not waited for, and ends when it has started."""
    if server.stdin is not None:
        server.stdin.close()
    try:
        server.wait(_END_WITHIN_S if _answers(port) else 0)
    except subprocess.TimeoutExpired:
        return


def is_configured() -> bool:
    """Whether variables or files say where Prefect's server is, in any of the places where Prefect looks."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    if (
        any(os.environ.get(name) for name in _SAYING)
        or (home / "profiles.toml").exists()
        or Path("prefect.toml").exists()
    ):
        return True
    return _mentions(Path(".env"), "PREFECT_") or _mentions(Path("pyproject.toml"), "[tool.prefect")


def _mentions(path: Path, words: str) -> bool:
    try:
        return words in path.read_text(errors="replace")
    except OSError:
        return False


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _serve(port: int) -> None:
    import uvicorn

    app = "prefect.server.api.server:create_app"
    server = uvicorn.Server(
        uvicorn.Config(app, factory=True, port=port, log_level="error", lifespan="on", timeout_graceful_shutdown=2)
    )

    def watch() -> None:
        sys.stdin.buffer.read()  # ends when the command does
        server.should_exit = True
        time.sleep(_START_WITHIN_S)  # it may still be making its database, which must not be left half made
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    server.run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
