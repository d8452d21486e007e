"""What counts as a term: however it is written, and not what only looks like one."""

import base64
import hashlib
import json
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from identity_files import (
    DATE,
    TERMS,
    dicom,
    html,
    html_text,
    json_value,
    kinds,
    many_terms,
    parquet,
    parquet_text,
    pickled,
    sqlite_text,
    zarr_attribute,
)

from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.errors import DatasetError
from lungpipe.identity import KINDS, Term, search_identities
from lungpipe.identity.matcher import Matcher
from lungpipe.identity.terms import ordinary_words


@pytest.mark.parametrize(
    "text",
    [
        "Wurstmann^Gerlinde", "WURSTMANN^GERLINDE^^Dr.", "Gerlinde Wurstmann", "wurstmann, gerlinde", "Wurstmann,Gerlinde",
        "gerlinde_wurstmann", "GerlindeWurstmann", "wurstmann", "GERLINDE", "Wurstmann0", "scan-Wurstmann.nii",
        "/data/Wurstmann/1.dcm", "Frau Gerlinde W.",
    ],
)  # fmt: skip
def test_a_name_is_found_however_it_is_written(tmp_path, text):
    """Both orders, any case, common separators, and each longer word alone."""
    (tmp_path / "a.log").write_text(f"reading {text} now")
    assert kinds(tmp_path) == {"name"}


@pytest.mark.parametrize("text", ["Wurstmanns", "Bratwurstmann", "Gerlindenhof", "Wurst mann", "Gerlind"])
def test_a_name_inside_another_word_is_none(tmp_path, text):
    """A name counts between characters that are no letters."""
    (tmp_path / "a.log").write_text(f"reading {text} now")
    assert kinds(tmp_path) == set()


@pytest.mark.parametrize("text", ["Mueller", "Muller", "MÜLLER", "Mu\u0308ller", "müller"])
def test_accents_may_be_lost(tmp_path, text):
    """A name with an umlaut is found in the spellings of systems without one."""
    (tmp_path / "a.log").write_text(f"reading {text} now", encoding="utf-8")
    assert kinds(tmp_path, [Term("name", "Müller^Jo")]) == {"name"}


def test_short_names_count_as_a_whole_only(tmp_path):
    """Of "Li^Na" the words alone are no finding; both together are."""
    (tmp_path / "a.log").write_text("Li and Na are elements, lina is a name")
    assert kinds(tmp_path, [Term("name", "Li^Na")]) == set()
    (tmp_path / "a.log").write_text("reading Na Li now")
    assert kinds(tmp_path, [Term("name", "Li^Na")]) == {"name"}


def test_ideographic_names_are_found(tmp_path):
    """Each representation of a name is a name of its own (PS3.5, 6.2.1.2)."""
    terms = [Term("name", "Yamada^Tarou=山田^太郎=やまだ^たろう")]
    for number, (text, encoding) in enumerate(
        [("山田^太郎", "utf-8"), ("やまだ たろう", "utf-8"), ("山田 太郎", "utf-16-le"), ("tarou yamada", "utf-8")]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.log").write_bytes(f"reading the scan of {text} now".encode(encoding))
        assert kinds(folder, terms) == {"name"}, text


@pytest.mark.parametrize(
    "text", ["19530217", "1953-02-17", "17.02.1953", "02/17/1953", "19530217101112.5", "CT19530217_1"]
)
def test_a_date_is_found_however_it_is_written(tmp_path, text):
    """Four ways to write a date, alone or with a time; the term itself may have dashes."""
    (tmp_path / "a.log").write_text(f"on {text.replace('19530217101112.5', '1953-02-17T10:11:12.5')} there")
    assert kinds(tmp_path) == {"date"}
    assert kinds(tmp_path, [Term("date", "1953-02-17")]) == {"date"}


@pytest.mark.parametrize("text", ["119530217", "195302170", "0.19530217", "12.19530217 mm", "1953-02-170", "1953217"])
def test_digits_inside_numbers_are_no_dates(tmp_path, text):
    """A date or number counts between characters that are no digits, and not as the decimals of a number."""
    (tmp_path / "a.log").write_text(f"the value {text} there")
    assert kinds(tmp_path, [*TERMS, Term("id", "19530217")]) == set()


def test_a_date_inside_a_uid_is_found(tmp_path):
    """UIDs often hold the date of the study; that is a date."""
    (tmp_path / "a.log").write_text("uid 1.2.276.19530217.101112.4 there")
    assert kinds(tmp_path) == {"date"}


def test_uids_are_found_with_what_was_added_to_them(tmp_path):
    """A series UID is found, also where an instance's number follows it; a longer number in it is another UID."""
    uid = "1.2.826.0.1.3680043.8.498.1234"
    for text, found in ((uid, True), (f"{uid}.17", True), (f"{uid}5", False), (f"9{uid}", False)):
        (tmp_path / "a.log").write_text(f"series {text} there")
        assert (kinds(tmp_path, [Term("uid", uid)]) == {"uid"}) is found, text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_term_is_found(tmp_path, kind):
    """A term of each kind is found under its kind; an unknown kind is refused."""
    text = {"date": DATE, "path": "/data/Kurort/7", "uid": "1.2.3.4.5.6"}.get(kind, "Kurort-Xy")
    (tmp_path / "a.log").write_text(f"there is {text.lower()} here")
    assert kinds(tmp_path, [Term(kind, text)]) == {kind}
    with pytest.raises(DatasetError, match="phone"):
        Term("phone", "1")


def test_short_ids_count_as_whole_values_only(tmp_path):
    """An id of fewer than four characters is found as a cell, JSON string or attribute, and nowhere else."""
    terms = [Term("id", "12"), Term("id", "p7")]
    (tmp_path / "a.log").write_text("12 scans, p7, 12")
    html_text(tmp_path, "12")
    (tmp_path / "b.json").write_text(json.dumps({"a": "12 scans", "n": 12}))
    parquet_text(tmp_path, "12 p7")
    assert kinds(tmp_path, terms) == set()
    for write in (parquet_text, json_value, zarr_attribute, sqlite_text, dicom, pickled):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder, "P7")
        assert kinds(folder, terms) == {"id"}, write.__name__


@pytest.mark.parametrize("number", ["1", "12", "4711"])
def test_short_numbers_count_where_a_person_is_meant(tmp_path, number):
    """A version or a chunk called 1 is nobody; a cell of the column patient_id, the attribute series_uid are."""
    terms = [Term("id", number)]
    (tmp_path / number).touch()
    (tmp_path / "b.json").write_text(json.dumps({"versions": {"scan": number}, "hide": number}))
    parquet_text(tmp_path, number)
    assert kinds(tmp_path, terms) == set()
    (tmp_path / "b.json").write_text(json.dumps({"who": [{"patient_id": number}]}))
    pq.write_table(pa.table({"series_uid": ["x", number]}), tmp_path / "t.parquet")
    assert {f.path for f in search_identities(tmp_path, terms)} == {"b.json", "t.parquet"}


def test_short_numbers_need_a_word_for_a_person(tmp_path):
    """An id of four or five digits counts after a word such as "patient", or as a whole value, else it is any number."""
    terms = [Term("id", "4711")]
    log = tmp_path / "a.log"
    for text, found in (
        ("4711 voxels", False),
        ("took 4711 ms, 0.4711", False),
        ("reading patient 4711", True),
        ("patient_id=4711;", True),
        ("patients: 47115", False),
    ):
        log.write_text(f"line: {text}")
        assert (kinds(tmp_path, terms) == {"id"}) is found, text


def test_hashes_uuids_and_pseudonyms_hold_no_ids(tmp_path):
    """Digits and letters inside hashes, UUIDs, pseudonyms and colours are no ids and names."""
    digest = hashlib.sha256(b"x").hexdigest()
    some_uuid = "19530217-4711-4abc-8def-0123456789ab"
    pseudonym = Pseudonymiser(b"k" * 32)("patient", "x")
    (tmp_path / "a.log").write_text(
        f"{digest} {some_uuid} a{DATE}bcdef012 {pseudonym} key=P-ANNA2AAAAAAA; 17{some_uuid}17"
    )
    terms = [Term("id", digest[5:13]), Term("date", DATE), Term("name", "Anna^Xy"), Term("id", pseudonym[2:9])]
    terms += [Term("id", "AB1953"), Term("id", "0067")]
    assert kinds(tmp_path, terms) == set()
    (tmp_path / "a.log").write_text("P-ANNA key=ANNA; ")
    assert kinds(tmp_path, terms) == {"name"}


def test_pixels_and_base64_spell_no_names(tmp_path):
    """Pixels of soft tissue have the values of letters, and base64 is made of them; neither is text."""
    pixels = "!#<;=wurstmann+&%$<".encode("utf-16-le")
    (tmp_path / "tissue.raw").write_bytes(b"\x00\xfc" * 50 + pixels + b"\x00\xfc" * 50)
    html(tmp_path, f"<img src='data:image/png;base64,{'iVBORw0KGgo' + 'A' * 60}/Gerd/{'A' * 63}'>")
    assert kinds(tmp_path, [*TERMS, Term("name", "Gerd^Xy")]) == set()
    (tmp_path / "tissue.raw").write_bytes(
        b"\x00\xfc" * 50 + "name: wurstmann, g".encode("utf-16-le") + b"\x00\xfc" * 50
    )
    html(tmp_path, "<a href='data/Gerd/a.png'>")
    assert {f.path for f in search_identities(tmp_path, [*TERMS, Term("name", "Gerd^Xy")])} == {
        "tissue.raw",
        "index.html",
    }


@pytest.mark.slow
def test_noise_holds_nobody(tmp_path):
    """Eight thousand terms are not found in compressed data, pixels, hashes, UUIDs, measurements and base64."""
    rng = np.random.default_rng(0)
    noise = rng.bytes(3_000_000)
    (tmp_path / "noise.bin").write_bytes(noise)
    tissue = np.rint(rng.normal(50, 25, (40, 150, 150))).astype(np.int16)
    (tmp_path / "tissue.raw").write_bytes(tissue.tobytes())
    zarr.open_group(tmp_path / "v.zarr", mode="w", zarr_format=3).create_array("ct", data=tissue)
    (tmp_path / "values.csv").write_text("\n".join(map(repr, rng.normal(size=60_000).tolist())))
    (tmp_path / "hashes.txt").write_text(
        "\n".join(hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(20_000))
    )
    (tmp_path / "uuids.txt").write_text(
        "\n".join(str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(20_000))
    )
    html(tmp_path, f"<img src='data:image/png;base64,{base64.b64encode(noise).decode()}'>")
    column = pa.array([hashlib.sha256(bytes([i])).hexdigest()[:16] for i in range(256)] * 20)
    parquet(tmp_path, column)
    assert search_identities(tmp_path, many_terms(8000)) == []


def test_ordinary_words_are_left_out_and_counted(tmp_path):
    """A surname that is a word of every page is searched with its given name only; an id that is one, not at all."""
    assert {"page", "value", "median"} <= ordinary_words()
    assert ordinary_words().isdisjoint({"wurstmann", "gerlinde", "mustermann", "erika"})
    terms = [Term("name", "Page^Wilhelmine"), Term("id", "median")]
    (tmp_path / "a.log").write_text("the page shows the median")
    assert kinds(tmp_path, terms) == set()
    (tmp_path / "a.log").write_text("Page, Wilhelmine")
    assert kinds(tmp_path, terms) == {"name"}
    assert Matcher([*terms, Term("name", "Page")]).unsearchable == [Term("id", "median"), Term("name", "Page")]
