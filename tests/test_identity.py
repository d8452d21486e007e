"""The identity audit: what it must find in each kind of file, and what it must leave alone."""

import base64
import bz2
import datetime
import gzip
import hashlib
import io
import json
import lzma
import pickle
import random
import sqlite3
import string
import struct
import tracemalloc
import uuid
import warnings
import zipfile
import zlib
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
import zarr
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.errors import DatasetError, LungpipeError
from lungpipe.identity import KINDS, Term, audit_workspace, known_terms, prove, search_identities
from lungpipe.identity.matcher import Matcher
from lungpipe.identity.pieces import CHUNK, EDGE, OVERLAP, Budget
from lungpipe.identity.search import pieces
from lungpipe.identity.terms import ordinary_words

NAME, ID, DATE = "Wurstmann^Gerlinde", "KH-77123", "19530217"
TERMS = (Term("name", NAME), Term("id", ID), Term("date", DATE))
LEAK = f"{NAME} {ID} {DATE}"
CLEAN = "P-ABCDEFGHIJKL S-MNOPQRSTUVWX"


def kinds(folder, terms=TERMS) -> set[str]:
    return {finding.kind for finding in search_identities(folder, terms)}


# ---- every kind of file -------------------------------------------------------------------------------------------


def parquet(folder, column, **metadata):
    table = pa.table({"value": [0.5] * len(column), "who": column})
    pq.write_table(table.replace_schema_metadata(metadata or None), folder / "t.parquet")


def parquet_text(folder, text):
    parquet(folder, pa.array(["x" * 50] * 300 + [text]))


def parquet_dictionary(folder, text):
    parquet(folder, pa.array(["x", text, "x"]).dictionary_encode())


def parquet_nested(folder, text):
    parquet(folder, pa.array([{"a": [], "b": None}, {"a": ["x", text], "b": 1}]))


def parquet_binary(folder, text):
    parquet(folder, pa.array([zlib.compress(text.encode())]))


def parquet_metadata(folder, text):
    parquet(folder, pa.array(["x"]), note=json.dumps({"deep": [text]}))


def parquet_column_metadata(folder, text):
    schema = pa.schema([pa.field("v", pa.float64(), metadata={"note": text})])
    pq.write_table(pa.table({"v": [1.0]}, schema=schema), folder / "t.parquet")


def parquet_column_name(folder, text):
    pq.write_table(pa.table({text: [1.0]}), folder / "t.parquet")


def zarr_attribute(folder, text):
    zarr.open_group(folder / "v.zarr", mode="w", zarr_format=3).attrs["x"] = {"y": [text]}


def zarr_bytes(folder, text):
    noise = np.zeros(3000, np.uint8)
    content = np.concatenate([noise, np.frombuffer(f"  patient: {text}    ".encode(), np.uint8), noise])
    zarr.open_group(folder / "v.zarr", mode="w", zarr_format=3).create_array("a/b", data=content, chunks=(999,))


def zarr_strings(folder, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr says that its string type may change
        group = zarr.open_group(folder / "v.zarr", mode="w", zarr_format=3)
        group.create_array("names", data=np.asarray(["x", text], dtype=np.dtypes.StringDType()))


def zarr_pixels(folder, text):
    content = np.frombuffer((text + " " * (len(text) % 2)).encode(), "<i2")
    zarr.open_group(folder / "v.zarr", mode="w", zarr_format=3).create_array("ct", data=content)


def plain(encoding):
    def write(folder, text):
        (folder / "run.log").write_bytes(f"12:00 reading {text} now\n".encode(encoding))

    return write


def json_value(folder, text):
    (folder / "a.json").write_text(json.dumps({"a": [{"b": text}], "n": 1}))


def json_key(folder, text):
    (folder / "a.json").write_text(json.dumps({"a": {text: 1}}))


def escaped(text):
    return "".join(f"\\u{ord(c):04X}" for c in text)


def json_escaped(folder, text):
    (folder / "a.json").write_text('{"a": "' + escaped(text) + '"}')


def json_lines_escaped(folder, text):
    (folder / "a.jsonl").write_text('{"a": 1}\n{"a": "' + escaped(text) + '"}\n')


def json_in_json(folder, text):
    (folder / "a.json").write_text(json.dumps({"a": json.dumps({"b": json.dumps([text])})}))


def json_first_of_equal_keys(folder, text):
    (folder / "a.json").write_text(f'{{"a": "{text}", "a": "x"}}')


def html(folder, body):
    (folder / "index.html").write_text(f"<!doctype html>\n<html lang='en'><body>{body}</body></html>")


def html_text(folder, text):
    html(folder, f"<td>{text}</td>")


def html_entities(folder, text):
    html(folder, "".join(f"&#{ord(c)};" for c in text))


def html_csv(folder, text):
    html(
        folder,
        f"<a href='data:text/csv;charset=utf-8;base64,{base64.b64encode(f'a,{text},b'.encode()).decode()}'>x</a>",
    )


def html_svg_in_percent_codes(folder, text):
    html(folder, f"<img src='data:image/svg+xml,{''.join(f'%{b:02X}' for b in text.encode())}'>")


def png_bytes(kind: bytes, content: bytes) -> bytes:
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixels = zlib.compress(b"\0\0")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(kind, content) + chunk(b"IEND", b"")


def png_text(folder, text):
    (folder / "a.png").write_bytes(png_bytes(b"tEXt", b"Comment\0" + text.encode()))


def png_packed(folder, text):
    (folder / "a.png").write_bytes(png_bytes(b"zTXt", b"Comment\0\0" + zlib.compress(text.encode())))


def png_international(folder, text):
    (folder / "a.png").write_bytes(png_bytes(b"iTXt", b"Comment\0\1\0de\0x\0" + zlib.compress(text.encode())))


def html_png(folder, text):
    picture = png_bytes(b"zTXt", b"Comment\0\0" + zlib.compress(text.encode()))
    html(folder, f"<img src='data:image/png;base64,{base64.b64encode(picture).decode()}'>")


def sqlite(folder, *values, delete=False):
    with closing(sqlite3.connect(folder / "p.db")) as connection, connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE 'flow run' (a INTEGER PRIMARY KEY, b)")
        connection.executemany("INSERT INTO 'flow run' (b) VALUES (?)", [("x",)] * 2000 + [(v,) for v in values])
        if delete:
            connection.execute("DELETE FROM 'flow run' WHERE a > 2000")


def sqlite_text(folder, text):
    sqlite(folder, text)


def sqlite_json(folder, text):
    sqlite(folder, '{"parameters": {"a": "' + escaped(text) + '"}}')


def sqlite_blob(folder, text):
    sqlite(folder, gzip.compress(text.encode()))


def sqlite_deleted(folder, text):
    sqlite(folder, f"the parameters of this run were {text} and they were deleted", delete=True)


def sqlite_in_zip(folder, text):
    sqlite(folder, gzip.compress(text.encode()))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "p.db", "p.db")
    (folder / "p.db").unlink()


def stored_result(folder, text):
    content = base64.b64encode(zlib.compress(pickle.dumps({"a": (text, 1)}))).decode()
    (folder / "0a1b").write_text(json.dumps({"metadata": {"expiration": None}, "result": content}))


def stored_result_plain(folder, text):
    (folder / "0a1b").write_text(json.dumps({"result": base64.b64encode(pickle.dumps([text] * 3)).decode()}))


def pickled(folder, text):
    (folder / "a.pkl").write_bytes(pickle.dumps({"a": [text], "b": text.split()}))


def gzipped(folder, text):
    (folder / "a.csv.gz").write_bytes(gzip.compress(f"a,{text}".encode()))


def bzipped(folder, text):
    (folder / "a.bz2").write_bytes(bz2.compress(f"a,{text}".encode()))


def xzipped(folder, text):
    (folder / "a.xz").write_bytes(lzma.compress(f"a,{text}".encode()))


def zstandard(folder, text):
    (folder / "a.zst").write_bytes(bytes(pa.compress(f"a,{text} ".encode() * 40, "zstd")))


def zip_entry(folder, text):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", f"hello {text}")
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.zip", gzip.compress(inner.getvalue()))


def zip_name(folder, text):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(f"images/{text}/1.dcm", "")


def dicom(folder, text):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    inner = Dataset()
    inner.TextValue = text
    dataset.ContentSequence = [inner]
    pydicom.dcmwrite(folder / "a.dcm", dataset, enforce_file_format=True)


def file_name(folder, text):
    (folder / f"CT {text}.txt").touch()


def folder_name(folder, text):
    (folder / "a" / text / "b").mkdir(parents=True)


def link_target(folder, text):
    (folder / "link").symlink_to(folder / "nowhere" / text)


WRITERS = [
    parquet_text, parquet_dictionary, parquet_nested, parquet_binary, parquet_metadata, parquet_column_metadata,
    parquet_column_name, zarr_attribute, zarr_bytes, zarr_strings, zarr_pixels, json_value, json_key, json_escaped,
    json_lines_escaped, json_in_json, json_first_of_equal_keys, html_text, html_entities, html_csv,
    html_svg_in_percent_codes, png_text, png_packed, png_international, html_png, sqlite_text, sqlite_json,
    sqlite_blob, sqlite_deleted, sqlite_in_zip, stored_result, stored_result_plain, pickled, gzipped, bzipped, xzipped,
    zstandard, zip_entry, zip_name, dicom, file_name, folder_name, link_target,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_kind_of_file_is_searched(tmp_path, write):
    """A name, an id and a date are found in each kind of file, and nothing where pseudonyms stand instead."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    write(tmp_path / "bad", LEAK)
    write(tmp_path / "good", CLEAN)
    assert kinds(tmp_path / "bad") == {"name", "id", "date"}
    assert search_identities(tmp_path / "good", TERMS) == []


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-16"])
def test_text_is_found_in_each_encoding(tmp_path, encoding):
    """Text is read as UTF-8, Latin-1 and UTF-16 with and without a byte order mark; letters beyond ASCII too."""
    plain(encoding)(tmp_path, f"{LEAK} Müßiggänger^Ágnes")
    assert kinds(tmp_path) == {"name", "id", "date"}
    assert kinds(tmp_path, [Term("name", "MÜßIGGÄNGER^ÁGNES")]) == {"name"}
    assert kinds(tmp_path, [Term("name", "Müßiggang^Agnes")]) == set() or encoding.startswith("utf-16")


def test_dates_and_whole_numbers_of_tables_are_found(tmp_path):
    """A birth date is found in a date, a timestamp and an integer column, and an id of seven digits in an integer one."""
    columns = {
        "d": pa.array([datetime.date(1953, 2, 17)]),
        "t": pa.array([datetime.datetime(1953, 2, 17, 8)]),
        "n": pa.array([19530217]),
        "m": pa.array([7712345]),
    }
    for name, column in columns.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({name: column}), tmp_path / name / "t.parquet")
    for name in "dtn":
        assert kinds(tmp_path / name) == {"date"}, name
    assert kinds(tmp_path / "m", [Term("id", "7712345")]) == {"id"}


def test_a_finding_tells_the_place_and_hides_the_term(tmp_path):
    """A finding names file, column and row, kind and length; no finding has the term's text anywhere."""
    folder = tmp_path / f"scan {NAME}"
    folder.mkdir()
    parquet_text(folder, LEAK)
    json_key(folder, LEAK)
    zip_name(folder, LEAK)
    findings = search_identities(tmp_path, TERMS)
    cell = next(f for f in findings if f.path.endswith("t.parquet") and f.kind == "name")
    assert cell.place == "column who, row 300"
    assert cell.message == f"W\N{HORIZONTAL ELLIPSIS} ({len(NAME)} characters)"
    assert {f.path.rpartition("/")[2] for f in findings} == {
        cell.path.partition("/")[0],
        "t.parquet",
        "a.json",
        "a.zip",
    }
    told = repr(findings)
    for secret in ("Wurstmann", "Gerlinde", ID, DATE):
        assert secret not in told
    assert NAME not in repr(TERMS)


# ---- ways of writing ----------------------------------------------------------------------------------------------


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


# ---- what looks like a term and is none -----------------------------------------------------------------------------


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


def many_terms(n: int) -> list[Term]:
    rng = random.Random(5)

    def word(low, high):
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(low, high))).capitalize()

    terms = []
    for _ in range(n // 4):
        terms.append(Term("name", f"{word(4, 9)}^{word(4, 9)}"))
        terms.append(Term("id", rng.choice([f"A{rng.randint(100, 99999)}", str(rng.randint(10000, 10**8))])))
        terms.append(Term("date", f"{rng.randint(1930, 2025)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"))
        terms.append(Term("uid", f"1.2.840.113619.{rng.randint(1, 10**9)}.{rng.randint(1, 10**9)}"))
    return terms


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


# ---- size ---------------------------------------------------------------------------------------------------------


def test_chunks_hide_nothing(tmp_path):
    """A term is found wherever a large file is cut, once, at its place."""
    filler = b"all is well here and nobody is named \n"
    content = bytearray((filler * (5 * CHUNK // len(filler) + 1))[: 5 * CHUNK])
    names = [f"Xq{chr(97 + i)}zvbn^Pf{chr(97 + i)}wxy" for i in range(6)]
    last = len(content) - len(names[0])
    positions = [1, CHUNK - 7, CHUNK - EDGE + 30, 3 * CHUNK - OVERLAP + EDGE - 5, 4 * CHUNK, last]
    for name, position in zip(names, positions, strict=True):
        content[position - 1 : position + len(name) + 1] = f" {name} ".encode()[: len(content) - position + 1]
    content[40] = 0  # not text, so that it is read in chunks
    path = "/data/" + "x/" * 490 + "end"
    content[2 * CHUNK - 600 : 2 * CHUNK - 599 + len(path)] = f"{path} ".encode()
    (tmp_path / "big.bin").write_bytes(content)
    assert kinds(tmp_path, [Term("path", path)]) == {"path"}
    places = [finding.place for finding in search_identities(tmp_path, [Term("name", name) for name in names])]
    assert sorted(places) == sorted(f"byte {position}" for position in positions)


def test_chunks_invent_nothing(tmp_path):
    """A word that is cut by a chunk's end is not taken for the name that a part of it is."""
    before, behind = b" bratwurstmann ", b" wurstmanns "
    for word, start in ((before, CHUNK - OVERLAP - 5), (before, 2 * CHUNK - OVERLAP - 5), (behind, CHUNK - 10)):
        content = bytearray(b"all is well " * (3 * CHUNK // 12))
        content[40] = 0  # not text, so that it is read in chunks
        content[start : start + len(word)] = word
        (tmp_path / "big.bin").write_bytes(content)
        assert kinds(tmp_path) == set(), start


def test_memory_stays_flat(tmp_path):
    """Searching a file of 120 MB takes a few chunks of memory, not the file's size."""
    line = b"all is well here and nobody is named, not even once in this long line of text\n"
    with (tmp_path / "a.log").open("wb") as stream:
        for _ in range(120):
            stream.write((line * 13_000)[: 1 << 20])
    tracemalloc.start()
    try:
        assert search_identities(tmp_path, TERMS) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20


def test_matcher_agrees_with_a_plain_search():
    """On random text every term is found where Python's own search finds it between spaces, and nowhere else."""
    rng = random.Random(3)
    terms = many_terms(800)
    words = [t.text for t in terms if t.kind in {"id", "uid"} and (not t.text.isdigit() or len(t.text) >= 6)]
    others = ["".join(rng.choices(string.ascii_letters + string.digits, k=rng.randint(1, 12))) for _ in range(3000)]
    text = " ".join(rng.choices(words, k=300) + others + rng.choices(words, k=300))
    hits = {(h.start, h.stop) for h in Matcher([t for t in terms if t.text in set(words)]).anything(text.encode())}
    padded, expected = f" {text.lower()} ", set()
    for word in {w.lower() for w in words}:
        at = padded.find(f" {word} ")
        while at >= 0:
            expected.add((at, at + len(word)))
            at = padded.find(f" {word} ", at + 1)
    assert len(expected) > 400
    assert hits == expected


# ---- what cannot be opened ----------------------------------------------------------------------------------------


def damaged_parquet(folder):
    (folder / "a.parquet").write_bytes(b"PAR1" + b"x" * 100 + b"PAR1")


def damaged_gzip(folder):
    (folder / "a.gz").write_bytes(gzip.compress(b"hello" * 1000)[:-20])


def damaged_database(folder):
    sqlite(folder, "x")
    content = bytearray((folder / "p.db").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (folder / "p.db").write_bytes(content)


def damaged_zarr(folder):
    zarr_bytes(folder, CLEAN)
    next((folder / "v.zarr" / "a" / "b" / "c").iterdir()).write_bytes(b"nonsense")


def encrypted_zip(folder):
    zip_entry(folder, CLEAN)
    content = bytearray((folder / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # general purpose flag of the central entry: encrypted
    (folder / "a.zip").write_bytes(content)


def nested_too_deep(folder):
    content = b"hello"
    for _ in range(9):
        content = gzip.compress(content)
    (folder / "a.gz").write_bytes(content)


def linked_folder(folder):
    (folder / "link").symlink_to(folder.parent)


@pytest.mark.parametrize(
    "write",
    [damaged_parquet, damaged_gzip, damaged_database, damaged_zarr, encrypted_zip, nested_too_deep, linked_folder],
    ids=lambda write: write.__name__,
)
def test_what_cannot_be_opened_is_told(tmp_path, write):
    """A container that cannot be read is a finding: silence about it would be taken for innocence."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in")
    assert kinds(tmp_path / "in") == {"unsearched"}


def test_what_cannot_be_opened_does_not_give_a_name_away(tmp_path):
    """The name of an encrypted entry is masked where it is told."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("Wurstmann/a.txt", "x")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    findings = search_identities(tmp_path, TERMS)
    assert {f.kind for f in findings} == {"name", "unsearched"}
    assert "urstmann" not in repr(findings)


def test_a_bomb_is_not_expanded():
    """A stream that expands beyond the budget is given up and told."""
    bomb = gzip.compress(b"\0" * 5_000_000)
    found = list(pieces(io.BytesIO(bomb), Budget(1_000_000)))
    assert [item.reason for item in found if not hasattr(item, "content")] == ["it expands to more than the limit"]


def test_missing_folders_are_refused(tmp_path):
    """A folder that is not there is an error, not a clean bill."""
    with pytest.raises(DatasetError, match="does not exist"):
        search_identities(tmp_path / "none", TERMS)
    with pytest.raises(DatasetError, match="no workspace"):
        audit_workspace(tmp_path / "none", TERMS)


def test_several_folders_and_single_files_are_searched(tmp_path):
    """Other places are searched too, and told by their own name."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        html_text(tmp_path / name, LEAK)
    (tmp_path / "p.log").write_text(LEAK)
    found = search_identities([tmp_path / "one", tmp_path / "two", tmp_path / "p.log"], TERMS)
    assert {f.path for f in found} == {"index.html", "two/index.html", "p.log"}


# ---- known terms, controls, report --------------------------------------------------------------------------------


def test_known_terms_come_from_the_table_of_pseudonyms(tmp_path):
    """Patients, UIDs, paths and telling names are terms; nodules and images called like any other are not."""
    pseudonym = Pseudonymiser(b"k" * 32)
    for kind, original in (
        ("patient", "Mustermann^Erika"), ("patient", "7"), ("series", "1.2.3.4.5#2"), ("study", "1.2.840.10008.1.1"),
        ("nodule", "7/nodule-3"), ("nodule", "7/Mustermann-nodule"), ("series", "image_01"), ("instance", "IM000123"),
    ):  # fmt: skip
        pseudonym(kind, original)
    pseudonym.write_table(tmp_path / "t.csv")
    extra = Term("accession", "ACC-1")
    assert set(known_terms(tmp_path / "t.csv", [extra])) == {
        Term("id", "Mustermann^Erika"),
        Term("name", "Mustermann^Erika"),
        Term("id", "7"),
        Term("uid", "1.2.3.4.5"),
        Term("id", "Mustermann-nodule"),
        extra,
    }
    assert known_terms(tmp_path / "none.csv", [extra]) == [extra]
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(DatasetError, match="2 columns"):
        known_terms(tmp_path / "t.csv")


@pytest.fixture
def workspace(tmp_path):
    """A workspace with one file of each kind, pseudonymous, and neither ledger nor volumes."""
    root = tmp_path / "workspace"
    (root / "tables").mkdir(parents=True)
    (root / "report").mkdir()
    parquet(root / "tables", pa.array([CLEAN]))
    html_text(root / "report", CLEAN)
    zarr_attribute(root, CLEAN)
    sqlite(root, CLEAN)
    json_value(root, CLEAN)
    return root


def test_controls_prove_that_the_audit_sees(workspace):
    """Every control is found, in copies of the workspace's own files where it has the kind, which stay as they are."""
    before = {p: p.read_bytes() for p in workspace.rglob("*") if p.is_file()}
    controls = prove(workspace, TERMS)
    real = {control.place for control in controls if control.real}
    assert {"parquet cell", "json value", "html text", "sqlite cell", "zarr attribute"} <= real
    assert {"log line", "png text", "gzip"} <= {control.place for control in controls} - real
    assert {p: p.read_bytes() for p in workspace.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("reader", "blind"),
    [
        ("read_parquet", "parquet cell"),
        ("read_zarr_array", "zarr strings"),
        ("read_sqlite", "sqlite cell"),
        ("read_png", "png text"),
        ("read_pickle", "pickle in zlib"),
        ("read_compressed", "gzip inside zip"),
        ("read_dicom", "dicom value"),
    ],
)
def test_a_blind_reader_fails_loudly(workspace, monkeypatch, reader, blind):
    """If one reader finds nothing, no result is given and the error says where the audit was blind."""
    monkeypatch.setattr(f"lungpipe.identity.search.{reader}", lambda *_: iter(()))
    with pytest.raises(LungpipeError, match=blind):
        prove(workspace)


def test_a_damaged_sample_does_not_stop_the_controls(workspace):
    """Where the only file of a kind is damaged, the control makes one; the search tells of the damaged file."""
    damaged_parquet(workspace)
    (workspace / "tables" / "t.parquet").unlink()
    assert not next(c for c in prove(workspace) if c.place == "parquet cell").real


def test_the_report_says_what_was_looked_at(workspace):
    """The report counts files, bytes, terms and controls; findings are listed, terms masked, as text and as JSON."""
    html_text(workspace / "report", LEAK)
    (workspace.parent / "other.log").write_text(f"{ID}\n")
    report = audit_workspace(workspace, [*TERMS, Term("id", "median")], [workspace.parent / "other.log"])
    files = [p for p in workspace.rglob("*") if p.is_file()]
    assert (report.n_files, report.n_terms, report.n_not_searched) == (len(files) + 1, 3, 1)
    assert report.n_bytes == sum(p.stat().st_size for p in files) + len(ID) + 1
    assert not report.sound
    leaks = {(f.kind, f.path) for f in report.findings if f.kind in KINDS}
    assert leaks == {(k, "report/index.html") for k in ("name", "id", "date")} | {("id", "other.log")}
    text, values = report.as_text(), json.loads(json.dumps(report.as_dict()))
    assert "control: found the planted person in parquet cell" in text
    assert "missing_table: tables/series.parquet" in text
    assert values["sound"] is False
    assert len(values["findings"]) == len(report.findings)
    for secret in ("Wurstmann", "Gerlinde", ID, DATE):
        assert secret not in text + json.dumps(values)


def test_an_orphan_called_after_a_patient_is_not_named(workspace):
    """A difference from the ledger does not repeat a name that a file has."""
    (workspace / "parts" / "Wurstmann").mkdir(parents=True)
    report = audit_workspace(workspace, TERMS)
    assert {"orphan", "name"} <= {f.kind for f in report.findings}
    assert "Wurstmann" not in report.as_text()
