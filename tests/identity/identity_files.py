"""Files of every kind with a text in them, and the person that the tests plant."""

import base64
import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import sqlite3
import string
import struct
import warnings
import zipfile
import zlib
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import zarr
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungpipe.identity import Term, search_identities

NAME, ID, DATE = "Wurstmann^Gerlinde", "KH-77123", "19530217"
TERMS = (Term("name", NAME), Term("id", ID), Term("date", DATE))
LEAK = f"{NAME} {ID} {DATE}"
CLEAN = "P-ABCDEFGHIJKL S-MNOPQRSTUVWX"


def kinds(folder, terms=TERMS) -> set[str]:
    return {finding.kind for finding in search_identities(folder, terms)}


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


def damaged_parquet(folder):
    (folder / "a.parquet").write_bytes(b"PAR1" + b"x" * 100 + b"PAR1")


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
