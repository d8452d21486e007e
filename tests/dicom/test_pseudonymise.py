import base64
import hashlib
import stat

import pytest

from lungpipe.dicom.pseudonymise import Pseudonymiser, key_path, load_pseudonymiser
from lungpipe.errors import DatasetError


def test_pseudonyms_follow_the_key():
    """One key gives one pseudonym an identifier; another key, kind or identifier gives another."""
    first, again, other = Pseudonymiser(b"a" * 32), Pseudonymiser(b"a" * 32), Pseudonymiser(b"b" * 32)
    assert first("patient", "Jane") == again("patient", "Jane")
    assert first("patient", "Jane") != other("patient", "Jane")
    assert first("patient", "Jane").split("-")[1] != first("series", "Jane").split("-")[1]
    assert first("patient", "Jane") != first("patient", "Joan")
    assert "Jane" not in first("patient", "Jane")
    assert first("patient", "") == ""
    assert first.fingerprint != other.fingerprint


def test_pseudonym_is_hmac_sha256():
    """The value is RFC 2104's H(K xor opad, H(K xor ipad, text)) with SHA-256, its first twelve base-32 digits."""
    key = (b"k" * 32).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + b"patient\0Jane").digest()
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).digest()
    assert Pseudonymiser(b"k" * 32)("patient", "Jane") == "P-" + base64.b32encode(outer).decode()[:12]


def test_uid_is_128_bits_of_hmac_under_the_uuid_root():
    """A UID becomes 2.25. and the number of the first 128 bits of RFC 2104's HMAC, the same for the same key alone."""
    key = (b"k" * 32).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + b"uid\x001.2.840.1").digest()
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).digest()
    uid = Pseudonymiser(b"k" * 32).uid("1.2.840.1")
    assert uid == f"2.25.{int(outer[:16].hex(), 16)}"
    assert len(uid) <= 64  # PS3.5 section 9.1
    assert uid != Pseudonymiser(b"l" * 32).uid("1.2.840.1")
    assert uid != Pseudonymiser(b"k" * 32).uid("1.2.840.2")
    assert Pseudonymiser(b"k" * 32).uid("") == ""


def test_key_is_made_once_outside_any_workspace(tmp_path, monkeypatch):
    """Without a key one is made in the user's configuration folder, readable by the user alone, and then kept."""
    monkeypatch.delenv("LUNGPIPE_KEY_FILE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first, made = load_pseudonymiser()
    assert made
    assert key_path().is_relative_to(tmp_path)
    assert stat.S_IMODE(key_path().stat().st_mode) == 0o600
    second, made = load_pseudonymiser()
    assert not made
    assert second.key == first.key


def test_named_key_must_exist_and_be_long(tmp_path, monkeypatch):
    """A named key that is missing or short is an error, never replaced by a default."""
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(DatasetError, match="does not exist"):
        load_pseudonymiser()
    (tmp_path / "none").write_text("short")
    with pytest.raises(DatasetError, match="at least"):
        load_pseudonymiser()


def test_table_of_pseudonyms_grows_and_is_private(tmp_path):
    """The table keeps what earlier runs wrote, adds what is new, and only its owner reads it."""
    path = tmp_path / "table.csv"
    for name in ("Jane", "Joan"):
        pseudonym = Pseudonymiser(b"a" * 32)
        pseudonym("patient", name)
        pseudonym.write_table(path)
    assert [line.split(",")[1] for line in path.read_text().splitlines()] == ["Jane", "Joan"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
