import base64
import copy
import io
import tracemalloc
import zipfile
import zlib

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from lungpipe.dicom.decode import decode
from lungpipe.dicom.image import open_image
from lungpipe.dicom.read import Padding, read_image, read_volume, read_with_padding, to_sitk
from lungpipe.dicom.source import Source
from lungpipe.errors import DatasetError, DicomError
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume

FRAME = Geometry((6, 32, 24), (2.5, 0.8, 0.7), (-10.0, 5.0, 40.0))
GDCM_SYNTAXES = (
    "ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian", "JPEGLosslessProcess14",
    "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless",
)  # fmt: skip
#: Made by encoders that are not the decoders here: values -2000 + 37 x + 611 y + 2048 of 6 x 5 pixels by liblj92, and
#: -2000 + 7 x + 113 y of 32 x 32 pixels by OpenJPEG, both in 12 bits, the latter signed.
LJPEG_12 = (
    "/9j/xAAXAAEBAQEAAAAAAAAAAAAAAAAJCgYL/8MACwwABgAFAQARAP/aAAgBAAAGAADgX6XS6XS0xpkmSZJlTGmSZJkmVMaZJkmSZUxpkmSZJlTG"
    "mSZJkmT/2Q=="
)
J2K_12 = (
    "/0//UQApAAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAABiwEB/1IADAAAAAEABQQEAAH/XAATQGBoaHBoaHBoaHBoaHBoaHD/ZAAl"
    "AAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjL/kAAKAAAAAABlAAH/k8fsBAl5wPwAZ/gCAAQEx8B9oFH8ggANAws+T2PAPqA4fsCg"
    "IhoVA3/sFU3AHzhIH4BANqGZzz2mLtwURoAAwAfCLAfaGl+nxzPfnawpXZxZKAMJCS2p4P/Z"
)


@pytest.fixture(scope="module")
def hu():
    """Noise over the whole range of 12 bits, even values."""
    return (np.random.default_rng(0).integers(-512, 1024, FRAME.shape) * 2).astype(np.int16)


@pytest.fixture
def write(tmp_path, dicom_writer, hu):
    """Write the series and return its files in z order; ``change`` as in ``dicom_writer``."""

    def write(change=None, values=hu, **options):
        dicom_writer(tmp_path / "series", CTVolume(values, FRAME), change=change, **options)
        return sorted((tmp_path / "series").iterdir(), key=lambda path: int(path.stem.split("-")[1]))

    return write


def _unsigned(dataset, _k):
    """Twelve unsigned bits in sixteen."""
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11


def _edit(path, **values):
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def _transcode(path, syntax):
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def _put(path, codestream, syntax, **values):
    """Replace the pixels of a file by a codestream."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([codestream] if isinstance(codestream, bytes) else codestream)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def _code(files, geometry=FRAME):
    with pytest.raises(DicomError) as error:
        read_volume(files, geometry)
    return error.value.code, error.value.message


@pytest.mark.parametrize("change", [None, _unsigned], ids=["signed 16", "unsigned 12 in 16"])
@pytest.mark.parametrize("syntax", GDCM_SYNTAXES)
def test_transfer_syntaxes_give_the_same_voxels(write, hu, syntax, change):
    """Every lossless transfer syntax decodes to the values that were stored uncompressed."""
    files = write(change)
    before = [pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in files]
    for path in files:
        _transcode(path, syntax)
    assert all(
        pydicom.dcmread(path).file_meta.TransferSyntaxUID != old for path, old in zip(files, before, strict=True)
    )
    assert np.array_equal(read_volume(files, FRAME).hu, hu)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_pydicoms_own_encoders_give_the_same_voxels(write, hu, syntax):
    """RLE and JPEG-LS as pydicom writes them, the latter with the precision of the bits stored."""
    files = write(_unsigned)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
    assert np.array_equal(read_volume(files, FRAME).hu, hu)


def test_jpeg_lossless_of_another_encoder(write):
    """Twelve bits of JPEG Lossless by liblj92, taken as unsigned and as signed, come out as encoded."""
    y, x = np.mgrid[:6, :5]
    encoded = 48 + 37 * x + 611 * y
    path = write()[0]
    for signed in (0, 1):
        described = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed, "Rows": 6, "Columns": 5}
        _put(path, base64.b64decode(LJPEG_12), JPEGLosslessSV1, **described)
        stored, _ = decode(open_image(path.read_bytes()))
        assert np.array_equal(stored, np.where(encoded > 2047, encoded - 4096, encoded) if signed else encoded)


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_jpeg_2000_of_another_encoder(write, bits):
    """A signed codestream of 12 bits by OpenJPEG keeps its signs, also where the header says 16 bits."""
    y, x = np.mgrid[:32, :32]
    path = write()[0]
    _put(path, base64.b64decode(J2K_12), JPEG2000Lossless, BitsStored=bits, HighBit=bits - 1, Rows=32, Columns=32)
    stored, _ = decode(open_image(path.read_bytes()))
    assert np.array_equal(stored, -2000 + 7 * x + 113 * y)


def test_unsigned_codestream_of_signed_pixels(write, hu):
    """A JPEG 2000 encoder that knows no signs stores the same sixteen bits; the header says what they mean."""
    files = write(intercept=0.0)
    for path, values in zip(files, hu, strict=True):
        codestream = io.BytesIO()
        Image.fromarray(values.view(np.uint16)).save(codestream, "JPEG2000", irreversible=False)
        _put(path, codestream.getvalue(), JPEG2000Lossless)
    assert np.array_equal(read_volume(files, FRAME).hu, hu)


def test_lost_signs_are_refused(write):
    """Signed values of 16 bits in a codestream of 12 bits without signs could mean two things, so they mean none."""
    files = write()
    _put(files[2], base64.b64decode(LJPEG_12), JPEGLosslessSV1, Rows=6, Columns=5)
    code, message = _code([files[2]] * 2, Geometry((2, 6, 5), (1.0, 1.0, 1.0)))
    assert code == "unreadable_pixels"
    assert "negative" in message


def test_baseline_jpeg_decodes(write):
    """Eight bits of lossy JPEG come out as another decoder reads them."""
    path = write()[0]
    grey = np.tile(np.arange(24, dtype=np.uint8) * 10, (32, 1))
    codestream = io.BytesIO()
    Image.fromarray(grey).save(codestream, "JPEG", quality=90)
    described = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    _put(path, codestream.getvalue(), JPEGBaseline8Bit, **described)
    stored, _ = decode(open_image(path.read_bytes()))
    assert np.abs(stored.astype(int) - np.asarray(Image.open(codestream)).astype(int)).max() <= 1
    assert np.abs(stored.astype(int) - grey).mean() < 5


def test_each_slice_has_its_own_rescale(write, hu):
    """HU are slope times stored value plus intercept of the slice itself, rounded to the nearest, ties to even."""

    def change(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + k, -1000 + k / 2
        dataset.PixelData = (hu[k] // 4).astype("<i2").tobytes()

    files = write(change)
    k = np.arange(6)[:, None, None]
    expected = np.rint((hu // 4) * (0.5 + k) - 1000 + k / 2)
    assert np.any((hu // 4) * (0.5 + k) % 1 == 0.5)
    assert np.array_equal(read_volume(files, FRAME).hu, np.maximum(expected, -1024))


def test_values_beyond_int16_are_clipped(write):
    """A slope that carries values beyond 16 bits clips them; nothing wraps around."""
    values = np.full(FRAME.shape, 2000, dtype=np.int16)

    def change(dataset, _k):
        dataset.RescaleSlope, dataset.RescaleIntercept = 100, 0

    assert (read_volume(write(change, values), FRAME).hu == 32767).all()
    big = write(lambda dataset, _k: setattr(dataset, "RescaleIntercept", 40000), values)
    assert (read_volume(big, FRAME).hu == 32767).all()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d, k: k == 3 and d.__delattr__("RescaleSlope"), "missing_rescale"),
        (lambda d, k: k == 3 and setattr(d, "RescaleSlope", 0), "missing_rescale"),
        (lambda d, k: k == 3 and setattr(d, "PhotometricInterpretation", "PALETTE COLOR"), "wrong_photometric"),
        (lambda d, k: k == 3 and setattr(d, "BitsStored", 17), "wrong_bits"),
        (lambda d, k: k == 3 and setattr(d, "Rows", 31), "unreadable_pixels"),
        (lambda d, k: k == 3 and setattr(d, "NumberOfFrames", 2), "unreadable_pixels"),
        (lambda d, k: k == 3 and d.__delattr__("PixelData"), "unreadable_pixels"),
        (lambda d, k: k == 3 and setattr(d, "PixelData", d.PixelData * 2), "unreadable_pixels"),
    ],
)
def test_slice_that_is_no_hu_is_named(write, change, code):
    """A slice that cannot be taken as HU of the grid stops the reading, by code and by number."""
    found, message = _code(write(change))
    assert found == code
    assert message.startswith("slice 4:")


def test_inverted_display_keeps_its_values(write, hu):
    """MONOCHROME1 says how to show the values; what they are in HU follows from the rescale alone."""
    files = write(lambda dataset, _k: setattr(dataset, "PhotometricInterpretation", "MONOCHROME1"))
    assert np.array_equal(read_volume(files, FRAME).hu, hu)


def test_high_bit_above_the_stored_bits(write, hu):
    """Twelve bits at the top of sixteen, as PS3.5 8.1.1 allows, are shifted down; what lies below is left out."""

    def change(dataset, k):
        stored = (hu[k].astype(np.int32) + 1024).astype("<u2")
        dataset.PixelData = (stored << 4 | 9).astype("<u2").tobytes()
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 15

    assert np.array_equal(read_volume(write(change), FRAME).hu, hu)


def _padded(hu, value):
    values = hu.copy()
    values[:, :3] = value
    return values


@pytest.mark.parametrize(
    ("vr", "value", "limit", "padding"),
    [
        ("SS", -2000, None, Padding(432, 0)),
        ("US", 63536, None, Padding(432, 0)),  # -2000 as the same sixteen bits
        ("SS", -2100, -1990, Padding(432, 0)),  # a range
        ("SS", -1990, -2100, Padding(432, 0)),  # and its other end first
        ("SS", -2001, None, Padding(0, 432)),  # another value is not declared
        (None, None, None, Padding(0, 432)),
    ],
)
def test_padding_is_set_and_counted(write, hu, vr, value, limit, padding):
    """Padding as the header declares it, and anything else below -1024 HU, becomes -1024; both are counted."""

    def change(dataset, _k):
        if vr:
            dataset.add_new(0x00280120, vr, value)
        if limit:
            dataset.add_new(0x00280121, vr, limit)

    files = write(change, _padded(hu, -2000), intercept=0.0)
    volume, found = read_with_padding(files, FRAME)
    assert (volume.hu[:, :3] == -1024).all()
    assert np.array_equal(volume.hu[:, 3:], hu[:, 3:])
    assert found == padding


def test_declared_padding_may_lie_anywhere(write, hu):
    """A padding value that would be tissue as HU is padding still, and no voxel beside it is touched."""
    values = hu.copy()
    values[values == 40] = 42
    values[:, :3] = 40
    volume, found = read_with_padding(
        write(lambda d, _k: d.add_new(0x00280120, "SS", 40), values, intercept=0.0), FRAME
    )
    assert np.array_equal(volume.hu, np.where(values == 40, -1024, values))
    assert found == Padding(432, 0)


def test_padding_in_bits_that_are_not_stored(write, hu):
    """63536 in twelve of sixteen bits is the padding that the header declares, not 2096."""

    def change(dataset, k):
        stored = (hu[k].astype(np.int32) + 1024).astype("<u2")
        stored[:3] = 63536
        dataset.PixelData = stored.tobytes()
        _unsigned(dataset, k)
        dataset.add_new(0x00280120, "US", 63536)

    volume, found = read_with_padding(write(change), FRAME)
    assert (volume.hu[:, :3] == -1024).all()
    assert found == Padding(432, 0)


def _enhanced(path, hu, *, shared, order, syntax=None, cuts=1, table=True):
    """Write an enhanced CT: slope 2 (or by frame) and intercept -1024, frames in any order; the slope of each frame."""
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax or "1.2.840.10008.1.2.1"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.3"
    dataset.Modality, dataset.NumberOfFrames = "CT", len(hu)
    dataset.Rows, dataset.Columns = hu.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1

    def rescale(slope):
        item, group = Dataset(), Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, -1024, "HU"
        group.PixelValueTransformationSequence = Sequence([item])
        return group

    slopes = [2.0 if shared else (1.0, 2.0, 0.5)[i % 3] for i in range(len(hu))]
    dataset.SharedFunctionalGroupsSequence = Sequence([rescale(2.0) if shared else Dataset()])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([Dataset() if shared else rescale(s) for s in slopes])
    stored = [((hu[k].astype(float) + 1024) / slopes[i]).astype("<i2") for i, k in enumerate(order)]
    dataset.PixelData = b"".join(values.tobytes() for values in stored)
    dataset["PixelData"].VR = "OW"
    if syntax:
        codes = []
        for values in stored:
            one = Dataset()
            one.update({e.tag: copy.deepcopy(e) for e in dataset if e.tag.group == 0x0028})
            one.file_meta = pydicom.dataset.FileMetaDataset()
            one.file_meta.TransferSyntaxUID, one.NumberOfFrames = "1.2.840.10008.1.2.1", 1
            one.SOPClassUID, one.SOPInstanceUID, one.PixelData = dataset.SOPClassUID, "1.2.4", values.tobytes()
            one["PixelData"].VR = "OW"
            one.compress(syntax, generate_instance_uid=False)
            codes.append(get_frame(one.PixelData, 0, number_of_frames=1))
        dataset.PixelData = encapsulate(codes, fragments_per_frame=cuts, has_bot=table)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)


@pytest.mark.parametrize(
    ("syntax", "cuts", "table"),
    [(None, 1, True), (JPEGLSLossless, 1, True), (JPEGLSLossless, 1, False), (RLELossless, 3, True)],
)
@pytest.mark.parametrize("shared", [True, False])
def test_frames_of_an_enhanced_image(tmp_path, hu, shared, syntax, cuts, table):
    """Frames are read by number, each with its own or the shared slope, compressed in one or several fragments."""
    order = [3, 1, 5, 0, 4, 2]  # frame i shows slice order[i]
    even = (hu // 4 * 4).astype(np.int16)
    _enhanced(tmp_path / "ct.dcm", even, shared=shared, order=order, syntax=syntax, cuts=cuts, table=table)
    sources = [Source(str(tmp_path / "ct.dcm"), frame=order.index(k)) for k in range(6)]
    assert np.array_equal(read_volume(sources, FRAME).hu, even)


def test_frame_that_is_not_there(tmp_path, hu):
    """A frame beyond the last, fragments that do not fit the frames, and a file taken for one image are refused."""
    path = tmp_path / "ct.dcm"
    _enhanced(path, hu, shared=True, order=range(6))
    sources = [Source(str(path), frame=k) for k in range(6)]
    assert _code([*sources[:5], Source(str(path), frame=6)])[0] == "unreadable_pixels"
    assert _code([Source(str(path))] * 6)[0] == "unreadable_pixels"
    _enhanced(path, hu, shared=True, order=range(6), syntax=RLELossless, cuts=3, table=False)
    assert _code(sources)[0] == "unreadable_pixels"


def test_enhanced_image_takes_little_memory(tmp_path):
    """Frames are decoded one by one: the peak stays below the file and twice the volume."""
    frame = Geometry((120, 128, 128), (1.0, 1.0, 1.0))
    hu = np.random.default_rng(0).integers(-512, 500, frame.shape).astype(np.int16) * 2
    path = tmp_path / "ct.dcm"
    _enhanced(path, hu, shared=True, order=range(120))
    sources = [Source(str(path), frame=k) for k in range(120)]
    tracemalloc.start()
    volume = read_volume(sources, frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(volume.hu, hu)
    assert peak < 2 * hu.nbytes + path.stat().st_size


def test_zip_archives_are_read_in_place(write, hu, tmp_path):
    """Slices in a zip archive, and in two, give the same volume as files."""
    files = write()
    archives = [tmp_path / "a.zip", tmp_path / "b.zip"]
    for archive, part in zip(archives, (files[:4], files[4:]), strict=True):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            for path in part:
                opened.write(path, f"scan/{path.name}")
    sources = [Source(str(archives[k > 3]), f"scan/{path.name}") for k, path in enumerate(files)]
    assert np.array_equal(read_volume(sources, FRAME).hu, hu)
    archives[0].write_bytes(archives[0].read_bytes()[:-40])
    assert _code(sources)[0] == "unreadable_pixels"


def test_gone_file_and_wrong_number(write):
    """A file that vanished is told as such, and the number of files must be that of the slices."""
    files = write()
    assert _code(files[:5])[0] == "unreadable_pixels"
    files[4].unlink()
    code, message = _code(files)
    assert code == "unreadable_pixels"
    assert message.startswith("slice 5: a file is gone")
    assert str(files[4].parent) not in message


@pytest.mark.parametrize(
    "syntax", [None, "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
)
def test_truncated_file_is_never_filled_up(write, hu, syntax):
    """Wherever a file is cut, it is refused, or holds all its pixels; nothing is made up."""
    path = write()[0]
    if syntax:
        _transcode(path, syntax)
    content = path.read_bytes()
    frame = Geometry((1, 32, 24), (1.0, 1.0, 1.0))
    refused = 0
    for length in [*range(140, len(content), 97), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        try:
            assert np.array_equal(read_volume([path], frame).hu[0], hu[0])
        except DicomError:
            refused += 1
    assert refused > len(content) // 97 - 2
    path.write_bytes(content)
    assert np.array_equal(read_volume([path], frame).hu[0], hu[0])


def test_codestream_without_its_end_is_refused(write):
    """A codestream cut short before it was stored is refused, though its item is whole."""
    path = write()[0]
    _transcode(path, "JPEGLosslessProcess14_1")
    whole = get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1)
    _put(path, whole[: len(whole) // 2], JPEGLosslessSV1)
    assert _code([path], Geometry((1, 32, 24), (1.0, 1.0, 1.0)))[0] == "unreadable_pixels"
    _put(path, whole, JPEGLosslessSV1)
    assert read_volume([path], Geometry((1, 32, 24), (1.0, 1.0, 1.0))).shape == (1, 32, 24)


def test_missing_decoder_names_what_to_install(write):
    """Without a decoder the error names the transfer syntax and the package, not the data."""
    path = write()[0]
    _put(path, b"\xff\x4f\xff\x51" + bytes(60), HTJ2KLossless)
    code, message = _code([path], Geometry((1, 32, 24), (1.0, 1.0, 1.0)))
    assert code == "missing_decoder"
    assert "High-Throughput JPEG 2000" in message
    assert "pip install pylibjpeg pylibjpeg-openjpeg" in message
    _put(path, b"\0" * 60, "1.2.3.4.5555.19991231")
    code, message = _code([path], Geometry((1, 32, 24), (1.0, 1.0, 1.0)))
    assert code == "missing_decoder"
    assert "5555" not in message


@pytest.mark.parametrize("case", ["header", "codestream", "both", "frames", "deflated"])
def test_absurd_sizes_cost_nothing(write, monkeypatch, case):
    """What a hostile file announces, in its header, codestream or both, is refused before memory is taken."""
    path = write()[0]
    shape = (32, 24)
    if case == "frames":
        _edit(path, NumberOfFrames=2**31 - 1)
    elif case == "deflated":
        monkeypatch.setattr("lungpipe.dicom.image.MAX_INFLATED_BYTES", 4 << 20)
        meta = pydicom.filebase.DicomBytesIO()
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        pydicom.filewriter.write_file_meta_info(meta, dataset.file_meta)
        packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        packed = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(40)), packer.flush()])
        path.write_bytes(bytes(128) + b"DICM" + meta.getvalue() + packed)
    else:
        code = base64.b64decode(LJPEG_12)
        big = code.replace(b"\x0c\x00\x06\x00\x05", b"\x0c\x40\x00\x40\x00")
        assert big != code
        size = (6, 5) if case == "codestream" else (16384, 16384)
        _put(path, code if case == "header" else big, JPEGLosslessSV1, Rows=size[0], Columns=size[1])
        shape = size
    tracemalloc.start()
    assert _code([path] * 2, Geometry((2, *shape), (1.0, 1.0, 1.0)))[0] == "unreadable_pixels"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20


VOLUME_FILES = ("a.nii", "b.nii.gz", "c.nrrd", "d.mha", "e.mhd")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", VOLUME_FILES)
def test_truncated_volume_file_is_refused(tmp_path, hu, name, compressed):
    """A volume file that lacks its last bytes, or half of them, is an error in every format; whole, it is read."""
    path = tmp_path / name
    sitk.WriteImage(to_sitk(hu, FRAME), str(path), compressed)
    assert np.array_equal(read_volume([path], FRAME).hu, hu)
    assert read_image(path)[1].mismatch(FRAME, 1e-3) is None
    data = next(p for p in tmp_path.iterdir() if p.suffix.endswith("raw")) if name.endswith(".mhd") else path
    content = data.read_bytes()
    for length in (len(content) // 2, len(content) - 10, len(content) - 1):
        data.write_bytes(content[:length])
        assert _code([path])[0] == "unreadable_pixels"
        with pytest.raises(DatasetError):
            read_image(path)
    path.unlink()
    code, message = _code([path])
    assert code == "unreadable_pixels"
    assert "gone" in message


def test_volume_file_of_another_size_or_kind(tmp_path, hu):
    """A volume file must have the voxels that the index saw, and one value in each."""
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(to_sitk(hu, FRAME), str(path))
    assert _code([path], Geometry((6, 32, 25), (1.0, 1.0, 1.0)))[0] == "unreadable_pixels"
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([hu, hu], axis=-1), isVector=True), str(path))
    assert _code([path])[0] == "unreadable_pixels"


def test_volume_file_rounds_and_counts_padding(tmp_path):
    """Floating HU are rounded to the nearest; what is below -1024 or no number becomes -1024 and is counted."""
    values = np.array([-0.5, 0.5, 1.5, 40.4, -1024.4, -1024.6, -3024.0, np.nan, 1e6], dtype=np.float32).reshape(1, 3, 3)
    grid = Geometry((1, 3, 3), (1.0, 1.0, 1.0))
    sitk.WriteImage(to_sitk(values, grid), str(tmp_path / "a.nrrd"))
    volume, padding = read_with_padding([tmp_path / "a.nrrd"], grid)
    assert volume.hu.ravel().tolist() == [0, 0, 2, 40, -1024, -1024, -1024, -1024, 32767]
    assert padding == Padding(0, 3)


def test_gzip_members_and_bombs(tmp_path, hu):
    """A NIfTI packed in several gzip members is whole; one that inflates far beyond its voxels is refused."""
    import gzip

    plain, packed = tmp_path / "a.nii", tmp_path / "b.nii.gz"
    sitk.WriteImage(to_sitk(hu, FRAME), str(plain))
    content = plain.read_bytes()
    packed.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    assert np.array_equal(read_volume([packed], FRAME).hu, hu)
    packed.write_bytes(gzip.compress(content + bytes(8 << 20)))
    assert _code([packed])[0] == "unreadable_pixels"
