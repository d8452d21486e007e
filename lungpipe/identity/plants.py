"""A made-up person, and how to plant one in files of every kind."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import secrets
import sqlite3
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from lungpipe.identity.terms import Term


@dataclass(frozen=True, slots=True)
class Canary:
    """A made-up name, id and date, other ones in each audit."""

    name: str
    patient_id: str
    date: str

    @property
    def terms(self) -> tuple[Term, ...]:
        """What is to be found."""
        return Term("name", self.name), Term("id", self.patient_id), Term("date", self.date)

    @property
    def spoken(self) -> str:
        """As one text: the name as people write it, the date as Germans do."""
        family, given = self.name.split("^")
        return f"{given} {family.upper()}; {self.patient_id}; {self.date[6:]}.{self.date[4:6]}.{self.date[:4]}"

    @property
    def coded(self) -> str:
        """As one text, in DICOM's writing."""
        return f"{self.name}; {self.patient_id}; {self.date}"


#: Plants the person in a copy of a real file in the folder, or in a file that it makes there.
Plant = Callable[[Path, Path | None, Canary], None]


def make_canary() -> Canary:
    """Make up a person whom nobody knows."""
    letters = [secrets.choice("bcdfghjklmnpqrstvwxz") + secrets.choice("aeiouy") for _ in range(8)]
    family, given = "".join(letters[:5]).capitalize(), "".join(letters[5:]).capitalize()
    digits = "".join(secrets.choice("0123456789") for _ in range(6))
    date = f"18{secrets.randbelow(90) + 10}{secrets.randbelow(12) + 1:02d}{secrets.randbelow(28) + 1:02d}"
    return Canary(f"{family}^{given}", f"{secrets.choice('GKQVXZ')}-{digits}", date)


def _parquet_cell(folder: Path, sample: Path | None, canary: Canary) -> None:
    table = pq.read_table(sample) if sample else pa.table({"value": pa.array([1.0, 2.0])})
    columns = {name: table[name] for name in table.column_names}
    rows = max(1, table.num_rows)
    text = pa.array([""] * (rows - 1) + [canary.coded]).dictionary_encode()
    if not table.num_rows:
        columns = {}
    pq.write_table(pa.table({**columns, "planted": text}), sample or folder / "made.parquet")


def _parquet_metadata(folder: Path, sample: Path | None, canary: Canary) -> None:
    table = pq.read_table(sample) if sample else pa.table({"value": pa.array([1.0, 2.0])})
    notes = {**(table.schema.metadata or {}), "planted": canary.coded}
    pq.write_table(table.replace_schema_metadata(notes), sample or folder / "made.parquet")


def _zarr_attribute(folder: Path, sample: Path | None, canary: Canary) -> None:
    path = sample.parent if sample else folder / "made.zarr"
    group = zarr.open_group(path, mode="a", zarr_format=3)
    group.attrs["planted"] = {"deep": [canary.coded]}


def _zarr_values(folder: Path, _: Path | None, canary: Canary) -> None:
    group = zarr.open_group(folder / "made.zarr", mode="w", zarr_format=3)
    noise = np.random.default_rng(0).integers(0, 2, 4096).astype(np.uint8)
    content = np.frombuffer(f" the person is {canary.coded} ".encode(), np.uint8)
    group.create_array("raw", data=np.concatenate([noise, content, noise]), chunks=(1024,))


def _zarr_strings(folder: Path, _: Path | None, canary: Canary) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the string type has no final specification yet
        group = zarr.open_group(folder / "made.zarr", mode="w", zarr_format=3)
        group.create_array("names", data=np.asarray(["", canary.coded], dtype=np.dtypes.StringDType()))


def _json_value(folder: Path, sample: Path | None, canary: Canary) -> None:
    content: Any = json.loads(sample.read_bytes()) if sample else {}
    planted = {"content": content, "planted": [{"who": canary.coded}]}
    (sample or folder / "made.json").write_text(json.dumps(planted), encoding="utf-8")


def _json_escaped(folder: Path, _: Path | None, canary: Canary) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in canary.coded)
    (folder / "made.json").write_text(f'{{"planted": "{escaped}"}}', encoding="ascii")


def _json_pickled(folder: Path, _: Path | None, canary: Canary) -> None:
    wrapped = base64.b64encode(zlib.compress(pickle.dumps({"planted": canary.coded.split("; ")}))).decode()
    (folder / "made").write_text(json.dumps({"metadata": {}, "result": wrapped}), encoding="ascii")


def _html(folder: Path, sample: Path | None, added: str) -> None:
    page = sample.read_text(encoding="utf-8", errors="replace") if sample else "<!doctype html><html></html>"
    cut = page.rfind("</")
    (sample or folder / "made.html").write_text(page[:cut] + added + page[cut:], encoding="utf-8")


def _html_text(folder: Path, sample: Path | None, canary: Canary) -> None:
    _html(folder, sample, f"<p>{canary.spoken}</p>")


def _html_table(folder: Path, sample: Path | None, canary: Canary) -> None:
    content = base64.b64encode(f"who,what\n{canary.coded},x\n".encode()).decode()
    _html(folder, sample, f'<a href="data:text/csv;charset=utf-8;base64,{content}">planted</a>')


def _html_picture(folder: Path, sample: Path | None, canary: Canary) -> None:
    drawing = f"<svg xmlns='http://www.w3.org/2000/svg'><text>{canary.spoken}</text></svg>"
    _html(folder, sample, f'<img src="data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}">')


def _png_text(folder: Path, sample: Path | None, canary: Canary) -> None:
    content = sample.read_bytes() if sample else b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IEND", b"")
    planted = _png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(canary.coded.encode("latin-1")))
    (sample or folder / "made.png").write_bytes(content[:-12] + planted + content[-12:])


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _sqlite_cell(folder: Path, sample: Path | None, canary: Canary) -> None:
    with closing(sqlite3.connect(sample or folder / "made.db")) as connection, connection:
        connection.execute("CREATE TABLE planted (number INTEGER, who TEXT, packed BLOB)")
        packed = pickle.dumps(canary.date)
        connection.execute("INSERT INTO planted VALUES (1, ?, ?)", (canary.coded.rpartition(";")[0], packed))


def _log_line(folder: Path, sample: Path | None, canary: Canary) -> None:
    with (sample or folder / "made.log").open("a", encoding="utf-8") as stream:
        stream.write(f"\n12:00:00 | INFO | reading {canary.spoken}\n")


def _text_in_utf16(folder: Path, _: Path | None, canary: Canary) -> None:
    (folder / "made.txt").write_text(canary.spoken, encoding="utf-16")


def _gzip(folder: Path, _: Path | None, canary: Canary) -> None:
    (folder / "made.gz").write_bytes(gzip.compress(canary.spoken.encode()))


def _zip_entry(folder: Path, _: Path | None, canary: Canary) -> None:
    with zipfile.ZipFile(folder / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("slice.gz", gzip.compress(canary.coded.encode()))


def _zip_name(folder: Path, _: Path | None, canary: Canary) -> None:
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        archive.writestr(canary.coded.replace("; ", "/"), "")


def _zstd(folder: Path, _: Path | None, canary: Canary) -> None:
    with pa.CompressedOutputStream(str(folder / "made.zst"), "zstd") as stream:
        stream.write(canary.spoken.encode())


def _dicom_value(folder: Path, _: Path | None, canary: Canary) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = canary.name, canary.patient_id, canary.date
    dataset.save_as(folder / "made.dcm", enforce_file_format=True)


def _file_names(folder: Path, _: Path | None, canary: Canary) -> None:
    below = folder / canary.name.replace("^", "_") / f"CT_{canary.date}"
    below.mkdir(parents=True)
    (below / f"{canary.patient_id}.txt").touch()


#: What is planted, of which kind a real file is copied, a word of the place where it must be found, and how it is planted.
PLANTS: dict[str, tuple[str, str, Plant]] = {
    "parquet cell": ("parquet", "column planted", _parquet_cell),
    "parquet metadata": ("parquet", "metadata planted", _parquet_metadata),
    "zarr attribute": ("zarr", "attributes.planted.deep", _zarr_attribute),
    "zarr values": ("", "array values", _zarr_values),
    "zarr strings": ("", "array element", _zarr_strings),
    "json value": ("json", "planted[0].who", _json_value),
    "json escapes": ("", "planted", _json_escaped),
    "pickle in zlib in base64 in json": ("", "pickle at", _json_pickled),
    "html text": ("html", "byte", _html_text),
    "table inside html": ("html", "base64", _html_table),
    "drawing inside html": ("html", "base64", _html_picture),
    "png text": ("png", "PNG", _png_text),
    "sqlite cell": ("sqlite", "table planted", _sqlite_cell),
    "log line": ("log", "byte", _log_line),
    "UTF-16 text": ("", "byte", _text_in_utf16),
    "gzip": ("", "gzip", _gzip),
    "gzip inside zip": ("", "slice.gz: gzip", _zip_entry),
    "name of a zip entry": ("", "entry's name", _zip_name),
    "zstd": ("", "zstd", _zstd),
    "dicom value": ("", "(00", _dicom_value),
    "file and folder names": ("", "what it is called", _file_names),
}
