"""What watching costs a scan: CPU of the process of the run, with nothing asked for, and with each thing that can be.

Ten thousand results of scans are told as the flow tells them, progress and status file included. Run it with standard error
sent to a file or /dev/null, as a service does.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from unittest.mock import patch

from lungpipe.scan import ScanResult
from lungpipe.store.place import Place
from lungpipe.watching.watch import watched
from tasks.progress import scan_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

SCANS = 10_000
STAGES = ("verify", "read", "store", "record", "locate", "write", "segment", "lung", "regions", "features")
KINDS = ("volume", "lung", "annotations", "masks otsu", "features otsu")


class _Job:
    def __init__(self, k: int) -> None:
        self.series_uid, self.patient_id = f"S-{k:012d}", f"P-{k:012d}"


@contextmanager
def collector() -> Iterator[str]:
    """Give the address of a server that takes everything."""

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def cpu_us_a_scan(**variables: str) -> float:
    """CPU microseconds a scan."""
    jobs = [_Job(k) for k in range(SCANS)]
    results = [
        ScanResult(
            job.series_uid,
            job.patient_id,
            made=dict.fromkeys(KINDS, 1),
            seconds=dict.fromkeys(STAGES, 0.2),
            began_s=time.time(),
            took_s=2.0,
        )
        for job in jobs
    ]
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, variables):
        place = Place.at(folder)
        begin = time.process_time()
        with watched(place, "cost") as watch, watch.stage("scans"), scan_progress(watch, jobs, place) as tell:
            for result in results:
                tell(result)
        return 1e6 * (time.process_time() - begin) / SCANS


def main() -> None:
    """Print a line a configuration."""
    for name in ("LUNGPIPE_LOG", "LUNGPIPE_METRICS_PORT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        os.environ.pop(name, None)
    cpu_us_a_scan()  # imports
    print(f"CPU a scan, {SCANS} scans of {len(STAGES)} stages and {len(KINDS)} artefacts")
    print(f"  nothing asked for  {cpu_us_a_scan():6.0f} us")
    print(f"  JSON log           {cpu_us_a_scan(LUNGPIPE_LOG='json'):6.0f} us")
    print(f"  metrics            {cpu_us_a_scan(LUNGPIPE_METRICS_PORT='0'):6.0f} us")
    with collector() as address:
        print(f"  spans              {cpu_us_a_scan(OTEL_EXPORTER_OTLP_ENDPOINT=address):6.0f} us")


if __name__ == "__main__":
    sys.exit(main())
