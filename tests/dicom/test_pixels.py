import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, JPEGLSLossless, JPEGLSNearLossless, RLELossless

from lungpipe.dicom.codes import CODES
from lungpipe.dicom.coverage import find_lung
from lungpipe.dicom.index import headers_of, index_archive, one_after_another
from lungpipe.dicom.memory import remember
from lungpipe.dicom.pixels import check_hu, check_pixels, digest_of
from lungpipe.dicom.read import read_volume, to_sitk
from lungpipe.dicom.series import Series
from lungpipe.dicom.source import of_paths
from lungpipe.dicom.thumbnail import thumbnail
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume

SPACING = (6.0, 3.6, 3.6)
#: Slices, lower end first, in which the analytic lungs lie.
LUNG_FROM, LUNG_TO = 8, 36


def chest(shape=(44, 96, 112)):
    """An elliptic trunk with two ellipsoids of lung, a windpipe from the lungs' middle to the top, and a table pad.

    The pad has the HU of lung, lies under the back and reaches the sides and ends of the image.
    """
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x, y = (x - 55.5) * SPACING[2], (y - 44) * SPACING[1]
    hu = np.full(shape, -1000.0)
    hu[np.broadcast_to((x / 170) ** 2 + (y / 110) ** 2 < 1, shape)] = 40
    middle, half = (LUNG_FROM + LUNG_TO) / 2, (LUNG_TO - LUNG_FROM) / 2
    for side in (-75, 75):
        hu[((x - side) / 50) ** 2 + (y / 75) ** 2 + ((z - middle) / half) ** 2 < 1] = -850
    hu[(np.hypot(x, y - 20) < 9) & (z > middle)] = -1000
    hu[np.broadcast_to((y > 112) & (y < 135), shape)] = -910
    noise = np.random.default_rng(0).normal(0, 12, shape)
    return np.clip(np.rint(hu + noise), -1024, 3071).astype(np.int16)


def volume(hu, spacing=SPACING):
    return CTVolume(np.ascontiguousarray(hu, dtype=np.int16), Geometry(hu.shape, spacing, (0.0, 0.0, 0.0)))


@pytest.fixture(scope="module")
def hu():
    return chest()


def codes_of(hu, spacing=SPACING):
    return check_hu(volume(hu, spacing))[0]


def series_of(folder):
    """The one series below a folder, with its headers."""
    with remember(None) as memory:
        (series,) = index_archive(folder, memory, one_after_another).series
        return series if series.is_volume_file else headers_of(memory, series)


@pytest.fixture
def write(tmp_path, dicom_writer, hu):
    """Write the chest (or other values) as a series and index it."""

    def write(change=None, values=hu, name="scan", spacing=SPACING, **options):
        dicom_writer(tmp_path / name, volume(values, spacing), change=change, **options)
        return series_of(tmp_path / name)

    return write


def test_whole_chest_is_clean(write):
    """A chest with all of its lungs has no code; its windpipe in the last slice and the table pad are no lung."""
    report = check_pixels(write())
    assert report.codes == ()
    assert report.detail == ""
    assert report.padding_voxels == 0
    assert re.fullmatch("[0-9a-f]{64}", report.digest)
    assert report.thumbnail_png


def test_lung_at_the_ends_of_the_stack(hu):
    """The lung is not covered where the first or last slice shows over a twentieth of its largest area."""
    assert codes_of(hu[LUNG_FROM - 1 : LUNG_TO + 1]) == set()
    assert codes_of(hu[22:]) == {"lung_not_covered"}
    assert codes_of(hu[:22]) == {"lung_not_covered"}
    assert codes_of(hu[::-1][22:]) == {"lung_not_covered"}


@pytest.mark.parametrize("sides", [np.s_[:, :, 40:], np.s_[:, :, :72], np.s_[:, 34:], np.s_[:, :54]])
def test_lung_at_the_edge_of_the_image(hu, sides):
    """An image that ends inside a lung, on any side, has a cut field of view, and covers the lung all the same."""
    assert codes_of(hu[sides]) == {"cut_field_of_view"}


@pytest.mark.parametrize("sides", [np.s_[:, :, 14:98], np.s_[:, 18:76]])
def test_body_at_the_edge_of_the_image(hu, sides):
    """An image that ends inside the chest wall is no cut lung."""
    assert codes_of(hu[sides]) == set()


@pytest.mark.parametrize(("radius_mm", "expected"), [(175, set()), (140, set()), (110, {"cut_field_of_view"})])
def test_lung_at_the_edge_of_the_circle(hu, radius_mm, expected):
    """A reconstructed circle that leaves out part of the lung is a cut field of view; a wider one is not.

    The lungs' outermost points lie 125 mm from the middle.
    """
    y, x = np.ogrid[: hu.shape[1], : hu.shape[2]]
    beyond = np.hypot((x - 55.5) * SPACING[2], (y - 44) * SPACING[1]) > radius_mm
    assert codes_of(np.where(beyond, -1024, hu)) == expected


def test_cut_area_is_that_of_the_face(hu):
    """The cut area is that of the lung's section at the edge, less the rim that the coarse grid leaves out."""
    lung = find_lung(volume(hu[:, :, : 55 + 21]))  # 75 mm from the middle: through the left lung's centre
    ellipse_mm2 = np.pi * 75 * (LUNG_TO - LUNG_FROM) / 2 * SPACING[0]
    assert 0.7 * ellipse_mm2 < lung.cut_mm2 < ellipse_mm2


def test_body_without_lung(hu):
    """Slices below the lungs show none, whatever lies under the back; nor does a bottle of water."""
    assert codes_of(hu[: LUNG_FROM - 1]) == {"no_lung"}
    z, y, x = np.ogrid[:20, :60, :60]
    bottle = np.where(np.hypot(y - 30, x - 30) + 0 * z < 20, 0, -1000)
    assert codes_of(bottle) == {"no_lung"}


def test_cut_outs_of_lung_are_no_quarantine(ct, make_ct):
    """A cut-out with nothing but lung and a nodule shows HU and lung, however small the nodule."""
    for scan, _, _ in (ct, make_ct(radius_mm=3.0)):
        assert not {"not_hu", "no_lung"} & check_hu(scan)[0]


NOT_HU = {
    "grey levels": lambda hu: np.clip((hu + 1024) // 8, 0, 255),
    "no intercept": lambda hu: hu + 1024,
    "counts": lambda hu: np.where(hu > -200, np.abs(hu) * 30, 0),
    "magnetic resonance": lambda hu: np.where(hu > -500, 600 + hu, 20),
    "nothing but lung": lambda hu: np.full_like(hu, -850),
    "nothing but air": lambda hu: np.full_like(hu, -1000),
    "nothing but padding": lambda hu: np.full_like(hu, -1024),
    "nothing but water": np.zeros_like,
}


@pytest.mark.parametrize("kind", NOT_HU)
def test_values_that_are_no_hu(hu, kind):
    """Without both air (or lung) and soft tissue the values are not HU, and nothing is said of a lung."""
    found, details = check_hu(volume(NOT_HU[kind](hu)))
    assert found == {"not_hu"}
    assert "ml like soft tissue" in details[0]


def test_compression_is_recorded(write, tmp_path):
    """Compression without loss is a code of its own, and changes no digest; that with loss is another."""
    plain = check_pixels(write())
    codes = {}
    for syntax in (RLELossless, JPEGLSLossless, JPEGLSNearLossless):

        def compress(dataset, _k, syntax=syntax):
            extra = {"jls_error": 2} if syntax == JPEGLSNearLossless else {}
            dataset.PixelData = dataset.PixelData
            dataset["PixelData"].VR = "OW"
            dataset.compress(syntax, generate_instance_uid=False, **extra)

        codes[syntax] = check_pixels(write(compress, name=str(syntax)))
    assert codes[RLELossless].codes == codes[JPEGLSLossless].codes == ("compressed",)
    assert codes[RLELossless].digest == codes[JPEGLSLossless].digest == plain.digest
    assert codes[JPEGLSNearLossless].codes == ("lossy_compression",)
    assert codes[JPEGLSNearLossless].digest != plain.digest
    marked = check_pixels(write(lambda d, _k: setattr(d, "LossyImageCompression", "01"), name="marked"))
    assert marked.codes == ("lossy_compression",)


def test_same_pixels_have_one_digest(write, hu):
    """The digest follows HU, shape and spacing to a micrometre, not UIDs, patients, places or how HU are stored."""
    first = check_pixels(write(name="a")).digest
    again = check_pixels(write(name="b", patient_id="PAT-2", series="other", intercept=0.0)).digest
    assert first == again == digest_of(volume(hu))
    assert digest_of(volume(hu, (6.0, 3.6, 3.60004))) == first
    assert digest_of(volume(hu, (6.0, 3.6, 3.601))) != first
    changed = hu.copy()
    changed[3, 4, 5] += 1
    assert digest_of(volume(changed)) != first
    assert digest_of(volume(hu.reshape(hu.shape[0], hu.shape[2], hu.shape[1]))) != first


def test_padding_is_told_apart(write, hu):
    """Undeclared padding is a code with its count; declared padding is counted alone; both give the same digest."""
    padded = hu.copy()
    padded[:, :, :4] = -2000
    voxels = 4 * hu.shape[0] * hu.shape[1]
    undeclared = check_pixels(write(values=padded, intercept=0.0, name="a"))
    declared = check_pixels(write(lambda d, _k: d.add_new(0x00280120, "SS", -2000), padded, "b", intercept=0.0))
    assert undeclared.codes == ("undeclared_padding",)
    assert f"{voxels} voxels" in undeclared.detail
    assert declared.codes == ()
    assert undeclared.padding_voxels == declared.padding_voxels == voxels
    assert undeclared.digest == declared.digest


def _put(path, data, syntax):
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path)


def test_missing_decoder_is_named(write):
    """Without a decoder the detail says which transfer syntax, and what to install."""
    series = write()
    for source in series.files:
        _put(Path(source.path), b"\xff\x4f\xff\x51" + bytes(60), HTJ2KLossless)
    report = check_pixels(series_of(Path(series.files[0].path).parent))
    assert report.codes == ("missing_decoder",)
    assert "pip install" in report.detail
    assert report.digest == report.thumbnail_png.decode() == ""


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _spoil(path):
    content = bytearray(path.read_bytes())
    content[-8000:] = b"\xff" * 8000
    path.write_bytes(content[:200] + b"\xff" * 500 + content[700:])


@pytest.mark.parametrize(("harm", "said"), [(_truncate, "truncated"), (_spoil, "slice 3"), (Path.unlink, "gone")])
def test_unreadable_pixels_are_a_code(write, harm, said):
    """A truncated, damaged or vanished slice is a code that says which slice; the picture shows another one."""
    series = write()
    harm(Path(series.files[2].path))
    report = check_pixels(series)
    assert report.codes == ("unreadable_pixels",)
    assert said in report.detail
    assert "slice 3" in report.detail
    assert report.digest == ""
    assert report.thumbnail_png


def test_grid_of_another_file(write):
    """A grid that the pixels do not have is a code, even one that no memory holds; so is a series without a grid."""
    series = write()
    for shape in ((44, 96, 113), (43, 96, 112), (44, 65535, 65535)):
        wrong = replace(series, geometry=Geometry(shape, SPACING, (0.0, 0.0, 0.0)))
        assert check_pixels(wrong).codes == ("unreadable_pixels",)
    assert check_pixels(replace(series, geometry=None)).codes == ()


def test_volume_files_are_checked(tmp_path, hu):
    """A NIfTI is looked at like a series; a truncated one is unreadable."""
    path = tmp_path / "scan.nii"
    grid = Geometry(hu.shape, SPACING, (0.0, 0.0, 0.0))
    sitk.WriteImage(to_sitk(hu[22:], replace(grid, shape=(22, 96, 112))), str(path))
    series = series_of(tmp_path)
    report = check_pixels(series)
    assert report.codes == ("lung_not_covered",)
    assert report.digest == digest_of(volume(hu[22:]))
    assert report.thumbnail_png == thumbnail(series)
    path.write_bytes(path.read_bytes()[:-1000])
    report = check_pixels(series)
    assert report.codes == ("unreadable_pixels",)
    assert report.thumbnail_png == b""


def test_every_code_is_known(write, hu):
    """The codes that reading may raise are among those that a recipe can judge."""
    spoils = (
        lambda d, _k: d.__delattr__("RescaleSlope"),
        lambda d, _k: setattr(d, "PhotometricInterpretation", "RGB"),
        lambda d, _k: setattr(d, "BitsStored", 40),
        lambda d, _k: setattr(d, "PixelData", b"\0\0"),
    )
    for number, change in enumerate(spoils):
        report = check_pixels(write(change, name=str(number)))
        assert len(report.codes) == 1
        assert set(report.codes) <= set(CODES)


def _pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_picture_is_the_middle_slice_in_the_lung_window(write):
    """The picture shows -1350 to 150 HU from black to white: air 59, lung 85, muscle 236; its sides follow the mm."""
    png = thumbnail(write())
    shown = _pixels(png)
    assert Image.open(io.BytesIO(png)).mode == "L"
    assert shown.shape == (96, 112)
    for (y, x), expected in {(5, 5): 59.5, (44, 55 + 21): 85, (60, 56): 236}.items():
        assert shown[y - 2 : y + 3, x - 2 : x + 3].mean() == pytest.approx(expected, abs=3)


def test_picture_is_small_and_square_in_mm(write):
    """A large slice shrinks to 160 pixels, and pixels that are not square are made so."""
    values = np.zeros((5, 400, 320), dtype=np.int16)
    values[:, :, :160] = -1000
    shown = _pixels(thumbnail(write(values=values, spacing=(5.0, 1.0, 0.5))))
    assert shown.shape == (160, 64)
    assert (shown[:, :31] == 60).all()
    assert (shown[:, 33:] == 230).all()


def test_picture_says_nothing_but_pixels(write):
    """The PNG has a header, pixels and an end: no text, no time, no profile."""
    png = thumbnail(write())
    names, at = [], 8
    while at < len(png):
        names.append(png[at + 4 : at + 8])
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    assert names == [b"IHDR", b"IDAT", b"IEND"]
    assert b"Roe" not in png


@pytest.mark.parametrize("mark", ["burned_in", "secondary", "dose"])
def test_no_picture_of_text(write, mark):
    """A series whose pixels may hold text gets no picture, by its headers or, without them, by its codes."""
    series = write()
    assert thumbnail(series)
    headers = (*series.headers[:-1], replace(series.headers[-1], marks=frozenset({mark})))
    marked = replace(series, headers=headers)
    code = {"burned_in": "burned_in_annotation", "secondary": "secondary_capture", "dose": "dose_report"}[mark]
    for hidden in (marked, replace(series, headers=(), codes=(code,))):
        assert thumbnail(hidden) == b""
        assert check_pixels(hidden).thumbnail_png == b""


def test_pictures_of_quarantined_series(write, hu):
    """Colours become grey, inverted values are turned, other ranges are stretched; what cannot be decoded is empty."""
    ramp = np.broadcast_to(np.arange(112, dtype=np.uint8) * 2, (96, 112))

    def colours(dataset, _k):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.PixelData = np.repeat(ramp, 3).tobytes()

    def inverted(dataset, _k):
        del dataset.RescaleSlope
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.PixelData = ramp.astype("<i2").tobytes()

    rising = np.diff(_pixels(thumbnail(write(colours, name="colours")))[50].astype(int))
    assert rising.min() >= 0
    assert rising.sum() == 255
    falling = np.diff(_pixels(thumbnail(write(inverted, name="inverted")))[50].astype(int))
    assert falling.max() <= 0
    assert falling.sum() == -255
    assert thumbnail(write(lambda d, _k: setattr(d, "PixelData", b"\0\0"), name="empty")) == b""
    gone = Series("p", "s", "u", "CT", of_paths([Path("/nowhere/1.dcm"), Path("/nowhere/2.dcm")]))
    assert thumbnail(gone) == b""


def test_baseline_jpeg_is_lossy(write, hu):
    """Eight lossy bits are read, and told."""

    def change(dataset, k):
        grey = np.clip((hu[k].astype(int) + 1024) // 8, 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, "JPEG", quality=95)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.RescaleSlope, dataset.RescaleIntercept = 8, -1024
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    assert check_pixels(write(change)).codes == ("lossy_compression",)


@pytest.mark.real_data
def test_lidc_0314_pixels(lidc_0314):
    """LIDC-IDRI-0314 has no code, and cut at the ends or sides it has those that say so."""
    series = series_of(lidc_0314)
    assert check_pixels(series).codes == ()
    hu, spacing = read_volume(series.files, series.geometry).hu, series.geometry.spacing_mm
    assert codes_of(hu[137:], spacing) == {"lung_not_covered"}
    assert codes_of(hu[:, :, :330], spacing) == {"cut_field_of_view"}
    assert codes_of(hu[:19], spacing) == {"no_lung"}


@pytest.mark.real_data
def test_lung_dx_pixels(lung_dx):
    """Both kernels of Lung-PET-CT-Dx A0001 have no code, and a slab of shoulders or belly holds no lung."""
    with remember(None) as memory:
        table = index_archive(lung_dx, memory, one_after_another)
        stacks = [headers_of(memory, s) for s in table.series]
    assert len(stacks) == 2
    for series in stacks:
        assert check_pixels(series).codes == ()
        hu, spacing = read_volume(series.files, series.geometry).hu, series.geometry.spacing_mm
        assert codes_of(hu[:5], spacing) == codes_of(hu[-5:], spacing) == {"no_lung"}
        assert codes_of(hu[:, :, 150:], spacing) == {"cut_field_of_view"}
        assert codes_of(hu[32:], spacing) == {"lung_not_covered"}


@pytest.mark.real_data
def test_ibsi_phantom_pixels(real_data):
    """The IBSI phantom, a cut-out of one lung, is HU with lung that goes on beyond it."""
    path = real_data / "ibsi1-ct-phantom" / "nifti" / "image" / "phantom.nii.gz"
    grid = sitk.ReadImage(str(path))
    series = Series("p", "s", "u", "CT", of_paths([path]), geometry=_geometry(grid))
    assert check_pixels(series).codes == ("cut_field_of_view", "lung_not_covered")


def _geometry(image):
    return Geometry(image.GetSize()[::-1], image.GetSpacing()[::-1], image.GetOrigin(), image.GetDirection())
