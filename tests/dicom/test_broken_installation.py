"""A library that cannot be imported is no fault of the files."""

import pytest

from lungpipe.dicom import index
from lungpipe.dicom.source import Source


def test_a_library_that_is_missing_is_not_told_of_a_file(monkeypatch, tmp_path):
    """The error comes up, so that no file is remembered as unreadable; any other error is the file's."""
    path = tmp_path / "image.dcm"
    path.write_bytes(b"no header at all")
    batch = [(str(tmp_path), Source(str(path)))]

    def fail(error):
        def read(*_):
            raise error

        return read

    monkeypatch.setattr(index, "_read_one", fail(ValueError("Jane Roe")))
    ((_, _, kind, found, _),) = index.read_headers(batch)
    assert kind == "error"
    assert "Jane" not in str(found)
    monkeypatch.setattr(index, "_read_one", fail(ImportError("half made")))
    with pytest.raises(ImportError):
        index.read_headers(batch)
