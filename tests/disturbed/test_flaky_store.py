"""A store whose server fails now and then, or is silent, costs time and nothing else."""

import threading
import urllib.error
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import boto3
import pandas as pd
import pytest
from night import PATIENTS, assert_as_undisturbed

from flows.cohort import cohort
from lungpipe.store.place import Place

FAILS_EVERY, SILENT_EVERY = 10, 50
#: Longer than the client waits.
SILENT_S = 25.0
_OWN_HEADERS = {"connection", "transfer-encoding", "server", "date", "content-length", "expect"}


class Flaky(BaseHTTPRequestHandler):
    """Hands requests on to the real server, but every tenth fails, and every fiftieth gets no answer in time."""

    protocol_version = "HTTP/1.1"
    real = ""
    seen: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()
    closing = threading.Event()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        body = self.body()
        with self.lock:
            self.seen["requests"] += 1
            number = self.seen["requests"]
        if number % SILENT_EVERY == 0:
            self.seen["silent"] += 1
            self.closing.wait(SILENT_S)
            self.close_connection = True
            return
        if number % FAILS_EVERY == 0:
            self.seen["failed"] += 1
            self.give(503, {}, b"")
            return
        request = urllib.request.Request(self.real + self.path, data=body or None, method=self.command)
        request.add_header("Content-Type", "application/octet-stream")  # the library's own default is a form's
        for name, value in self.headers.items():
            if name.lower() not in _OWN_HEADERS:
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as found:
                self.give(found.status, dict(found.headers), found.read())
        except urllib.error.HTTPError as error:
            self.give(error.code, dict(error.headers), error.read())

    def body(self) -> bytes:
        """What was sent, in one piece or in chunks."""
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def give(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _OWN_HEADERS:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815  names of the library


@pytest.fixture
def flaky_store(monkeypatch):
    """An S3 server behind one that fails; gives a place in it, the address of the real one, and what was seen."""
    moto = pytest.importorskip("moto.server", reason="pip install 'moto[server]' s3fs")
    pytest.importorskip("s3fs")
    real = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    real.start()
    Flaky.real = "http://{}:{}".format(*real.get_host_and_port())
    Flaky.closing.clear()
    Flaky.seen.clear()
    front = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    thread = threading.Thread(target=front.serve_forever)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{front.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=Flaky.real).create_bucket(Bucket="night")
    yield "s3://night/workspace", Flaky.real, Flaky.seen
    Flaky.closing.set()
    front.shutdown()
    thread.join()
    front.server_close()
    real.stop()


@pytest.mark.slow
def test_a_store_that_fails_now_and_then_changes_nothing(recipe, undisturbed, own_workers, flaky_store, tmp_path):
    """With one request in ten refused and one in fifty unanswered, features are as ever and no scan is left out."""
    address, real, seen = flaky_store
    # A scan sends hundreds of requests, and each that is not answered costs twenty seconds.
    cohort(str(recipe), address, ["benchmark.classifiers=['knn']", "run.scan_timeout_s=3600"])
    print(dict(seen))  # noqa: T201  of interest to who waited for it
    assert seen["failed"] > seen["requests"] / 15
    assert seen["silent"] > seen["requests"] / 75
    client = boto3.client("s3", endpoint_url=real)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="night", Prefix="workspace/"):
        for one in page["Contents"]:
            if one["Key"].startswith("workspace/tables/"):
                path = tmp_path / one["Key"].removeprefix("workspace/")
                path.parent.mkdir(exist_ok=True)
                client.download_file("night", one["Key"], str(path))
    assert_as_undisturbed(tmp_path, undisturbed)
    assert Place.at(tmp_path).local
    assert len(pd.read_parquet(tmp_path / "tables" / "series.parquet")) == PATIENTS
