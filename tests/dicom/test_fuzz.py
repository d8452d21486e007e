"""Hostile files: whatever is done to a DICOM file, indexing and looking at it ends soon, in little memory, with a verdict."""

from __future__ import annotations

import multiprocessing
import random
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from lungpipe.curate import Look, look
from lungpipe.dicom.index import headers_of, index_archive, read_headers
from lungpipe.dicom.memory import remember
from lungpipe.dicom.quality import QualitySettings
from lungpipe.dicom.source import Source
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume

LIMIT_S = 5.0
LIMIT_BYTES = 1 << 30
HEAD = 132  # the preamble and magic stay, so that every mutant claims to be DICOM
VRS = [b"UI", b"SQ", b"UN", b"OB", b"DS", b"US", b"FD", b"AT", b"LT", b"XX", b"\0\0"]
LENGTHS = [0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0x10000000, 1]


def bit_flips(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice([1, 4, 64])):
        data[draw.randrange(HEAD, len(data))] ^= 1 << draw.randrange(8)


def truncation(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(HEAD, len(data)) :]


def absurd_length(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(HEAD, len(data) - 4)
    data[at : at + 4] = struct.pack("<L", draw.choice(LENGTHS))


def absurd_element(data: bytearray, draw: random.Random) -> None:
    """Overwrite the header of a real element: find an explicit VR and change its length."""
    places = [i for i in range(HEAD, len(data) - 12) if data[i : i + 2] in (b"UI", b"DS", b"US", b"OW", b"SQ", b"LO")]
    if places:
        at = draw.choice(places) + 2
        data[at : at + 2] = struct.pack("<H", draw.choice([0xFFFF, 0xFFFE, 0x8000, 0]))
        data[at + 2 : at + 6] = struct.pack("<L", draw.choice(LENGTHS))


def wrong_vr(data: bytearray, draw: random.Random) -> None:
    places = [
        i for i in range(HEAD, len(data) - 2) if data[i : i + 2] in (b"UI", b"DS", b"US", b"OW", b"CS", b"LO", b"IS")
    ]
    for at in draw.sample(places, min(len(places), 3)):
        data[at : at + 2] = draw.choice(VRS)


def deep_sequence(data: bytearray, draw: random.Random) -> None:
    """Open thousands of sequences inside each other before the series UID."""
    at = data.find(b"\x08\x00\x60\x00")
    depth = draw.choice([50, 900, 5_000])
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    data[max(at, HEAD) : max(at, HEAD)] = nested


MUTATIONS = [bit_flips, truncation, absurd_length, absurd_element, wrong_vr, deep_sequence]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, dicom_writer):
    """Two slices under each encoding: lists of file contents."""
    folder = tmp_path_factory.mktemp("pairs")
    frame = Geometry((2, 12, 10), (2.0, 0.7, 0.8), (-30.0, 12.5, -400.0))
    hu = np.random.default_rng(0).integers(-1000, 500, frame.shape).astype(np.int16)
    dicom_writer(folder / "plain", CTVolume(hu, frame))
    found = [[p.read_bytes() for p in sorted((folder / "plain").iterdir())]]
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless):
        contents = []
        for path in sorted((folder / "plain").iterdir()):
            dataset = pydicom.dcmread(path)
            if syntax == RLELossless:
                dataset.compress(RLELossless, generate_instance_uid=False)
            else:
                dataset.file_meta.TransferSyntaxUID = syntax
            pydicom.dcmwrite(folder / "one.dcm", dataset, implicit_vr=syntax.is_implicit_VR, little_endian=True)
            contents.append((folder / "one.dcm").read_bytes())
        found.append(contents)
    return found


def mutate(content: bytes, draw: random.Random) -> bytes:
    data = bytearray(content)
    draw.choice(MUTATIONS)(data, draw)
    return bytes(data)


def own_series(content: bytes, number: int) -> bytes:
    """The same file with a series UID of its own, of the same length."""
    body = 144 + struct.unpack_from("<L", content, 140)[0]  # behind the file meta information
    if b"1.2.840.10008.1.2.1.99" in content[:body]:
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        plain = zlib.decompress(content[body:], -zlib.MAX_WBITS)
        return content[:body] + packer.compress(_renumber(plain, number)) + packer.flush()
    return content[:body] + _renumber(content[body:], number)


def _renumber(data: bytes, number: int) -> bytes:
    at = data.index(b"\x20\x00\x0e\x00")
    length = struct.unpack_from("<H", data, at + (6 if data[at + 4 : at + 6] == b"UI" else 4))[0]
    value = data[at + 8 : at + 8 + length].rstrip(b"\0")
    return data[: at + 8 + len(value) - 9] + b".%08d" % (10**7 + number) + data[at + 8 + len(value) :]


def explore(folder: str, results: multiprocessing.Queue) -> None:
    """In a process of its own: index the folder file by file and look at every stack; report times, memory and ends."""
    root = Path(folder)
    slowest = 0.0
    ends: Counter[str] = Counter()

    def timed(function, items):
        nonlocal slowest
        for position, item in enumerate(items):
            parts = [[one] for one in item] if function is read_headers else [item]
            outcome = []
            for part in parts:
                start = time.perf_counter()
                result = function(part)
                slowest = max(slowest, time.perf_counter() - start)
                outcome += result
            yield position, outcome if function is read_headers else result

    with remember(None) as memory:
        table = index_archive(root, memory, timed)

        known = set()
        for series in table.series:
            known.update(source.path for source in series.files)
            known.update(twin[1].path for twin in series.twins)
            start = time.perf_counter()
            report = look(Look(headers_of(memory, series), wholly=series.geometry is not None))
            slowest = max(slowest, time.perf_counter() - start)
            codes = {*series.codes, *report.codes}
            ends[QualitySettings().verdict(codes)] += len(series.files)
    for item in table.exclusions:
        ends[item.code] += 1
        known.add(item.file)
    ends["passed over"] = sum(count for _, count in table.others)
    missing = sum(str(path) not in known for path in root.iterdir()) - ends["passed over"]
    # Of this process alone: what getrusage says is inherited from the process that started it.
    peak = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    results.put((slowest, peak, missing, dict(ends)))


def run_apart(folder: Path) -> tuple[float, int, int, dict[str, int]]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=explore, args=(str(folder), results))
    process.start()
    outcome = results.get(timeout=400)
    process.join(60)
    assert process.exitcode == 0
    return outcome


@pytest.mark.parametrize("mutants", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_mutated_files_end_with_a_verdict(pairs, tmp_path, mutants):
    """Hundreds of mutants in an archive: no crash, none over 5 s, never 1 GiB, and each is in a series or an exclusion."""
    draw = random.Random(7)
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(mutants):
        sound, victim = draw.choice(pairs)
        (folder / f"{number:05d}-a").write_bytes(own_series(sound, number))
        (folder / f"{number:05d}-b").write_bytes(mutate(own_series(victim, number), draw))
    slowest, peak, missing, ends = run_apart(folder)
    assert slowest < LIMIT_S
    assert peak < LIMIT_BYTES
    assert missing == 0
    assert ends["unreadable_header"] > mutants // 20  # the mutations do bite
    assert ends["quarantine"] > mutants // 20


@settings(max_examples=50, deadline=5_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.randoms(use_true_random=False), rounds=st.integers(1, 4))
def test_no_mutant_header_raises(pairs, tmp_path, draw, rounds):
    """Reading a header that was changed in up to four ways gives a row, never an error."""
    content = draw.choice(draw.choice(pairs))
    for _ in range(rounds):
        content = mutate(content, draw) if len(content) > HEAD + 16 else content
    path = tmp_path / "mutant"
    path.write_bytes(content)
    ((_, name, kind, _, _),) = read_headers([(str(tmp_path), Source(str(path)))])
    assert name == "mutant"
    assert kind in ("image", "other", "error")


@pytest.mark.slow
def test_deflated_header_bomb_is_bounded(pairs, tmp_path):
    """A deflated data set of a gigabyte of zeros is refused in little memory."""
    import tracemalloc

    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    meta_end = pairs[2][0].find(b"1.2.840.10008.1.2.1.99") + 22
    path = tmp_path / "bomb.dcm"
    path.write_bytes(pairs[2][0][:meta_end] + body)
    tracemalloc.start()
    start = time.perf_counter()
    ((_, _, kind, _, _),) = read_headers([(str(tmp_path), Source(str(path)))])
    taken = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < LIMIT_S
    assert kind in ("error", "other")
    assert peak < 200e6
