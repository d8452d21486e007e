"""Places to store in: a local folder, and a bucket of a real S3 server in the tests' own process."""

from __future__ import annotations

import uuid
import warnings

import pytest

from lungpipe.store.place import Place


@pytest.fixture(scope="session")
def s3_server():
    """Address of an S3 server; the usual variables of AWS lead to it while the session lasts."""
    with warnings.catch_warnings():
        moto = pytest.importorskip("moto.server", reason="pip install 'moto[server]' s3fs")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_server, monkeypatch):
    """What a user sets to reach a server of their own; nothing of it is ours."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def s3(s3_environment):
    """An empty place in a bucket of its own."""
    import s3fs

    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem().mkdir(bucket)
    return Place.at(f"s3://{bucket}/some/workspace")


@pytest.fixture
def local(tmp_path):
    """An empty place on a local disk."""
    return Place.at(tmp_path / "workspace")


@pytest.fixture(params=["local", "s3"])
def place(request):
    """Each kind of place in turn."""
    return request.getfixturevalue(request.param)
