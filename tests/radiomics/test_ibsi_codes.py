"""The IBSI codes of PyRadiomics' features, held against IBSI's list and, by value, against IBSI's two phantoms."""

import csv
import re

import numpy as np
import pytest
import SimpleITK as sitk
from radiomics import getFeatureClasses, imageoperations
from scipy import stats

from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.ibsi_codes import AGGREGATIONS, describe, original_features
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.volume import CTVolume, Mask

FEATURES = original_features()
SAME = {name: feature for name, feature in FEATURES.items() if feature.definition == "same"}
AXES = {f"original_shape_{axis}AxisLength" for axis in ("Least", "Minor", "Major")}
KURTOSIS = "original_firstorder_Kurtosis"
#: Other codes of IBSI that fit too. The first two are one quantity by mathematics. Skewness hardly knows whether it is
#: taken of HU or of bins; that it is HU is tested by itself.
ALSO_FIT = {
    ("original_glcm_ClusterTendency", "OEEB"),
    ("original_glcm_DifferenceAverage", "8S9J"),
    ("original_firstorder_Skewness", "88K1"),
}


def published(real_data, name):
    """Value and tolerance of each published feature, by family, code and aggregation."""
    with (real_data / "ibsi-reference" / name).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ibsi_code"] and row["value"]]
    return {
        (row["family_code"], row["ibsi_code"], row["aggregation_code"]): (float(row["value"]), float(row["tolerance"]))
        for row in rows
    }


def agrees(value, reference):
    """Within IBSI's tolerance; a tolerance of 0 means equal after rounding to three significant digits."""
    expected, tolerance = reference
    return abs(value - expected) <= tolerance if tolerance else float(f"{value:.3g}") == expected


def key(feature):
    return feature.family_code, feature.ibsi_code, feature.aggregation


def disagreeing(values, references, names):
    return {name for name in names if not agrees(values[name], references[key(FEATURES[name])])}


@pytest.fixture(scope="module")
def digital(real_data):
    """Features of IBSI's digital phantom, a bin a grey level, and what IBSI published for it."""
    folder = real_data / "ibsi1-digital-phantom" / "nifti"
    image = sitk.ReadImage(str(folder / "image" / "phantom.nii.gz"))
    hu = sitk.GetArrayFromImage(image).astype(np.int16)
    inside = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mask" / "mask.nii.gz"))) > 0
    frame = Geometry(hu.shape, image.GetSpacing()[::-1], (0.0, 0.0, 0.0))
    settings = RadiomicsSettings(bin_width_hu=1.0, spacing_mm=None)
    (values,) = PyRadiomics()(CTVolume(hu, frame), [Mask(inside, frame)], settings)
    return values, published(real_data, "ibsi1_digital_phantom.csv"), int(inside.sum())


@pytest.fixture(scope="module")
def chest(real_data):
    """IBSI's CT phantom prepared as configuration C: 2 mm, trilinear, whole HU, -1000 to 400 HU; two regions and values.

    The grid is aligned by its centre, and a region is where the interpolated mask is at least one half; shape takes the
    region before HU are limited (IBSI reference manual, chapter 5).
    """
    folder = real_data / "ibsi1-ct-phantom" / "nifti"
    image, mask = (
        sitk.ReadImage(str(folder / part / f"{name}.nii.gz"), sitk.sitkFloat64)
        for part, name in (("image", "phantom"), ("mask", "mask"))
    )
    mask.CopyInformation(image)
    old, n = np.array(image.GetSpacing()), np.array(image.GetSize())
    size = np.ceil(n * old / 2.0).astype(int)
    first = ((n - 1) * old - (size - 1) * 2.0) / 2.0 / old
    origin = image.TransformContinuousIndexToPhysicalPoint(first.tolist())

    def resampled(one):
        grid = (size.tolist(), sitk.Transform(), sitk.sitkLinear, origin, [2.0] * 3, image.GetDirection())
        return sitk.GetArrayFromImage(sitk.Resample(one, *grid, 0.0, sitk.sitkFloat64))

    hu = np.rint(resampled(image)).astype(np.int16)
    inside = resampled(mask) >= 0.5
    frame = Geometry(hu.shape, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    limited = inside & (hu >= -1000) & (hu <= 400)
    return CTVolume(hu, frame), [Mask(inside, frame), Mask(limited, frame)], published(real_data, "ibsi1_config_C.csv")


def of_chest(chest):
    volume, regions, _ = chest
    whole, limited = PyRadiomics()(volume, regions, RadiomicsSettings(bin_width_hu=25.0, spacing_mm=None))
    return {name: (whole if "_shape_" in name else limited)[name] for name in FEATURES}


@pytest.fixture(scope="module")
def chest_values(chest):
    """Features of the CT phantom as PyRadiomics numbers its grey levels."""
    return of_chest(chest)


@pytest.fixture(scope="module")
def renumbered_values(chest):
    """The same with grey level 1 at -1000 HU, the lower end of the re-segmentation range."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imageoperations, "getBinEdges", lambda _values, **_: np.arange(-1000.0, 426.0, 25.0))
        return of_chest(chest)


def test_every_feature_of_pyradiomics_is_described():
    """The list names what PyRadiomics computes by default for a volume, no more and no less."""
    expected = {
        f"original_{kind}_{name}"
        for kind, found in getFeatureClasses().items()
        if kind != "shape2D"
        for name, deprecated in found.getFeatureNames().items()
        if not deprecated
    }
    assert set(FEATURES) == expected
    assert len(FEATURES) == 107


def test_the_extractor_and_the_list_agree(ct):
    """Every column that the extractor makes has a description, and every described feature a column."""
    volume, mask, _ = ct
    (values,) = PyRadiomics()(volume, [mask], RadiomicsSettings(spacing_mm=None))
    assert set(values) == set(FEATURES)


def test_no_code_is_used_twice():
    """Codes are four letters and digits, aggregations are known, and no two features claim one code."""
    codes = [feature.ibsi_code for feature in FEATURES.values() if feature.ibsi_code]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[0-9A-Z]{4}", code) for code in codes)
    assert {feature.aggregation for feature in FEATURES.values()} <= set(AGGREGATIONS)
    absent = {name for name, feature in FEATURES.items() if feature.definition == "not in IBSI"}
    assert absent == {
        "original_firstorder_TotalEnergy",
        "original_glcm_MCC",
        *(f"original_shape_Maximum2DDiameter{plane}" for plane in ("Column", "Row", "Slice")),
    }
    assert {name for name, feature in FEATURES.items() if feature.definition == "differs"} == {KURTOSIS, *AXES}


@pytest.mark.real_data
def test_codes_and_names_are_those_of_ibsi(real_data):
    """Family, name and code of every mapped feature stand in IBSI's list; one code is in the reference values alone."""
    with (real_data / "ibsi-reference" / "ibsi_feature_codes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    plain = {(r["family_code"], r["code"]): re.sub(r"\\ :sup:`(\w+)`", r"\1", r["feature"]) for r in rows}
    families = {r["family_code"]: r["family"] for r in rows}
    with (real_data / "ibsi-reference" / "ibsi1_digital_phantom.csv").open(newline="") as file:
        plain |= {(r["family_code"], "5QRC"): r["feature"] for r in csv.DictReader(file) if r["ibsi_code"] == "5QRC"}
    for feature in FEATURES.values():
        assert families[feature.family_code] == feature.family
        if feature.ibsi_code:
            assert plain[feature.family_code, feature.ibsi_code] == feature.ibsi_name, feature.name


@pytest.mark.real_data
def test_same_definition_means_the_published_value_of_the_digital_phantom(digital):
    """Every feature marked "same" has IBSI's published value on the digital phantom."""
    values, references, _ = digital
    assert disagreeing(values, references, SAME) == set()


@pytest.mark.real_data
def test_what_differs_differs_as_described(digital, renumbered_values, chest):
    """Kurtosis is larger by 3; axis lengths are sqrt((n - 1) / n) of IBSI's, which shows where voxels are few."""
    values, references, n = digital
    assert not agrees(values[KURTOSIS], references[key(FEATURES[KURTOSIS])])
    assert agrees(values[KURTOSIS] - 3, references[key(FEATURES[KURTOSIS])])
    assert agrees(renumbered_values[KURTOSIS] - 3, chest[2][key(FEATURES[KURTOSIS])])
    assert disagreeing(values, references, AXES)
    corrected = {name: values[name] * np.sqrt(n / (n - 1)) for name in AXES}
    assert disagreeing(corrected, references, AXES) == set()
    # The published values are rounded to three digits, which is finer than their tolerance.
    assert all(float(f"{v:.3g}") == references[key(FEATURES[name])][0] for name, v in corrected.items())
    for name in ("original_firstorder_TotalEnergy", "original_firstorder_Energy"):
        per_voxel = 8.0 if name.endswith("TotalEnergy") else 1.0
        assert values[name] == pytest.approx(567 * per_voxel)


@pytest.mark.real_data
def test_same_definition_means_the_published_value_of_the_ct_phantom(renumbered_values, chest):
    """On real CT, with grey level 1 where IBSI has it, every feature marked "same" is within IBSI's tolerance."""
    assert disagreeing(renumbered_values, chest[2], SAME) == set()


@pytest.mark.real_data
def test_numbered_features_are_those_that_follow_the_numbering(chest_values, renumbered_values, chest):
    """With PyRadiomics' own numbering the features marked "numbered" move, and no other does."""
    moved = {name for name in FEATURES if chest_values[name] != pytest.approx(renumbered_values[name], rel=1e-9)}
    assert moved == {name for name, feature in FEATURES.items() if feature.numbered}
    # The number of levels, 54 or 56, moves these two by less than IBSI's tolerance.
    assert disagreeing(chest_values, chest[2], SAME) == moved - {"original_glcm_Idn", "original_glcm_Idmn"}


@pytest.mark.real_data
def test_the_phantoms_leave_no_choice_of_code(digital, renumbered_values, chest):
    """No other code of IBSI fits a feature on both phantoms, but three known ones: the mapping is forced."""
    values, references, _ = digital
    families = {FEATURES[name].name.split("_")[1]: set() for name in SAME}
    for feature in SAME.values():
        families[feature.name.split("_")[1]].add((feature.family_code, feature.aggregation))
    fitting = {
        (name, other[1])
        for name in SAME
        for other in references.keys() & chest[2].keys()
        if (other[0], other[2]) in families[name.split("_")[1]]
        and agrees(values[name], references[other])
        and agrees(renumbered_values[name], chest[2][other])
    }
    assert fitting == {(name, feature.ibsi_code) for name, feature in SAME.items()} | ALSO_FIT


@pytest.mark.real_data
def test_skewness_is_that_of_hu(renumbered_values, chest):
    """Skewness is SciPy's of the HU, not of the bins."""
    volume, (_, limited), _ = chest
    hu = volume.hu[limited.within((0, 0, 0), limited.frame.shape).voxels].astype(float)
    found = renumbered_values["original_firstorder_Skewness"]
    assert found == pytest.approx(stats.skew(hu), rel=1e-9)
    assert found != pytest.approx(stats.skew(np.floor(hu / 25.0)), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "code", "unit"),
    [
        ("original_firstorder_Variance", "ECT3", "HU^2"),
        ("wavelet-LLH_firstorder_Variance", "ECT3", "HU^2"),
        ("wavelet-HHH_glcm_Contrast", "ACUI", "1"),
        ("log-sigma-3-0-mm-3D_firstorder_Mean", "Q4LE", "HU"),
        ("gradient_firstorder_Mean", "Q4LE", "HU/mm"),
        ("gradient_firstorder_Energy", "N8CA", "(HU/mm)^2"),
        ("gradient_firstorder_TotalEnergy", "", "(HU/mm)^2 mm3"),
        ("squareroot_firstorder_Median", "Y12H", "HU"),
        ("lbp-3D-m1_firstorder_Energy", "N8CA", "1"),
        ("lbp-2D_firstorder_TotalEnergy", "", "mm3"),
        ("lbp-3D-k_firstorder_Entropy", "TLU2", "bit"),
    ],
)
def test_filtered_images_keep_the_code_and_change_the_unit(name, code, unit):
    """A feature of a filtered image has the code of its original, the unit of its intensities, and says its filter."""
    feature = describe(name)
    assert (feature.name, feature.ibsi_code, feature.unit) == (name, code, unit)
    assert name.startswith("original") or feature.note


@pytest.mark.parametrize(
    "name", ["original_glcm_Kontrast", "wavelet-LLH_shape_Sphericity", "mystery_glcm_Contrast", "glcm_Contrast", ""]
)
def test_unknown_names_are_not_described(name):
    """A name that PyRadiomics does not use has no description; shape has no filtered image."""
    assert describe(name) is None


def test_filter_names_are_those_of_pyradiomics(ct):
    """Image types that PyRadiomics itself yields are known here."""
    volume, mask, _ = ct
    window = mask.bounds
    image = sitk.GetImageFromArray(volume.crop(*window).hu.astype(np.float32))
    inside = sitk.GetImageFromArray(mask.within(*window).voxels.astype(np.uint8))
    for make in ("Wavelet", "LoG", "Square", "SquareRoot", "Logarithm", "Exponential", "Gradient"):
        for _, name, _ in getattr(imageoperations, f"get{make}Image")(image, inside, sigma=[1.5, 3.0]):
            assert describe(f"{name}_glcm_Contrast").ibsi_code == "ACUI"
