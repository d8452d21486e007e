import ast
import json
import math

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from pyradiomics_oracle import CONVENTIONS, agree
from radiomics import featureextractor
from scipy import ndimage

from lungpipe.dicom.read import to_sitk
from lungpipe.errors import DatasetError, FeatureError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.oneoff import extract_with_parameter_file, read_pair
from lungpipe.radiomics.parameter_file import read_parameter_file

#: Files of the kind that PyRadiomics' users write: (what is special, text, whether the image holds whole numbers).
FILES = {
    "usual CT": """
        imageType:
          Original: {}
          LoG: {sigma: [1.0, 2.0, 3]}
          Wavelet: {}
        featureClass:
          shape:
          firstorder: []
          glcm: [Autocorrelation, JointAverage, ClusterShade, Contrast, Correlation, Imc1]
          glrlm:
          glszm:
          gldm:
        setting: {binWidth: 25, interpolator: sitkBSpline, resampledPixelSpacing: [1, 1, 1], label: 2,
                  resegmentRange: [-900, 400], resegmentMode: absolute, voxelArrayShift: 1000}
        """,
    "resampling alone": "setting: {resampledPixelSpacing: [1.5, 1.5, 1.5], binWidth: 20, label: 2}",
    "own pad distance": """
        imageType: {LoG: {sigma: [1.5]}, Gradient: {}, Square: {}, Exponential: {}}
        featureClass: {firstorder: [], ngtdm: []}
        setting: {resampledPixelSpacing: [1.1, 0, 0.9], padDistance: 8, binWidth: 13.5, label: 2}
        """,
    "in planes": """
        imageType: {Original: {}, Wavelet: {wavelet: db2}, LBP2D: {lbp2DRadius: 1.5, binWidth: 1}}
        featureClass: {glcm: [Contrast, Id], glrlm: [], glszm: [], gldm: [], ngtdm: []}
        setting: {force2D: true, force2Ddimension: 0, label: 2, distances: [1, 2]}
        """,
    "planes along y": """
        imageType: {Original: {}, Wavelet: {level: 2, start_level: 1}}
        featureClass: {glcm: [Contrast], glrlm: [RunEntropy], firstorder: [Mean, Energy]}
        setting: {force2D: true, force2Ddimension: 1, label: 2, binCount: 32}
        """,
    "weighted by distance": """
        featureClass: {glcm: [], glrlm: []}
        setting: {weightingNorm: euclidean, symmetricalGLCM: false, distances: [1, 3], label: 2, binWidth: 30}
        """,
    "each type its own bins": """
        imageType:
          Original: {binWidth: 40}
          LoG: {sigma: [2], binWidth: 3}
          Logarithm: {binCount: 16, weightingNorm: infinity}
          SquareRoot: {gldm_a: 2, distances: [2]}
          Gradient: {gradientUseSpacing: false}
        featureClass: {firstorder: [Entropy, Uniformity, StandardDeviation], gldm: [], ngtdm: [], glcm: [Idm, SumVariance]}
        setting: {label: 2, binWidth: 25}
        """,
    "normalised": """
        imageType: {Original: {}, Wavelet: {}, Square: {}, SquareRoot: {}, Logarithm: {}, Exponential: {}}
        featureClass: {firstorder: [], glszm: []}
        setting: {normalize: true, normalizeScale: 100, removeOutliers: 2, binWidth: 5, label: 2,
                  resampledPixelSpacing: [1, 1, 1]}
        """,
    "thresholds by sigma": """
        featureClass: {shape: [MeshVolume, Sphericity, Compactness1, Compactness2, SphericalDisproportion], firstorder: []}
        setting: {resegmentRange: [-1.5, 2], resegmentMode: sigma, resegmentShape: true, label: 2}
        """,
    "threshold by the maximum": """
        featureClass: {shape: [VoxelVolume], firstorder: [], glcm: []}
        setting: {resegmentRange: [0.2], resegmentMode: relative, label: 2, resampledPixelSpacing: [1, 1, 1],
                  interpolator: sitkLinear}
        """,
    "cropped first": """
        imageType: {Original: {}, Wavelet: {wavelet: haar}, LoG: {sigma: [1]}, Square: {}, Logarithm: {}}
        featureClass: {firstorder: [], glcm: [Contrast]}
        setting: {preCrop: true, padDistance: 3, label: 2}
        """,
    "spacing of the image": """
        imageType: {Original: {}, Wavelet: {}, Square: {}}
        featureClass: {firstorder: []}
        setting: {resampledPixelSpacing: [0.8, 0.7, 1.2], padDistance: 4, label: 2}
        """,
    "filters reach the border": """
        imageType: {Wavelet: {wavelet: dmey}, LoG: {sigma: [4.0]}, LBP2D: {binWidth: 1}}
        featureClass: {firstorder: []}
        setting: {label: 3}
        """,
    "nearest neighbour": """
        setting: {interpolator: sitkNearestNeighbor, resampledPixelSpacing: [1, 1, 1], label: 2}
        voxelSetting: {kernelRadius: 2}
        """,
    "numbered interpolator": """
        featureClass: {firstorder: []}
        setting: {interpolator: 2, resampledPixelSpacing: [2, 2, 2], label: 2, minimumROIDimensions: 3, minimumROISize: 10}
        """,
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Image and mask on disk: a textured ball (2), and a block in the corner of the image (3)."""
    folder = tmp_path_factory.mktemp("case")
    frame = Geometry((33, 44, 47), (1.2, 0.7, 0.8), (-12.0, 7.0, -90.0))
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=frame.shape), 1.2) * 900
    distance = np.linalg.norm((np.indices(frame.shape).T - (17, 20, 24)) * (1.2, 0.7, 0.8), axis=-1).T
    hu = np.rint(noise - 700 + 730 * (distance < 6)).astype(np.int16)
    labels = np.where(distance < 7, 2, 0).astype(np.uint8)
    labels[:4, :6, 41:] = 3
    image, mask = folder / "image.nrrd", folder / "mask.nrrd"
    sitk.WriteImage(to_sitk(hu, frame), str(image))
    sitk.WriteImage(to_sitk(labels, frame), str(mask))
    return image, mask


def by_pyradiomics(image, mask, parameters, **given):
    """PyRadiomics run the documented way."""
    found = featureextractor.RadiomicsFeatureExtractor(str(parameters)).execute(str(image), str(mask), **given)
    return {name: float(value) for name, value in found.items() if not name.startswith("diagnostics")}


@pytest.mark.filterwarnings("ignore:Applying `local_binary_pattern`:UserWarning")
@pytest.mark.parametrize(
    "extractor", [pytest.param(PyRadiomics(), marks=pytest.mark.slow), Nested()], ids=["pyradiomics", "nested"]
)
@pytest.mark.parametrize("special", FILES)
def test_parameter_file_gives_what_pyradiomics_gives(case, tmp_path, special, extractor):
    """Every feature of a parameter file equals PyRadiomics' execute() on the whole image, in its order of columns."""
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(FILES[special])
    agree(extract_with_parameter_file(*case, None, parameters, extractor), by_pyradiomics(*case, parameters))


def test_json_file_is_read(case, tmp_path):
    """PyRadiomics' parameters may come as JSON; a label of the command line goes before the file's."""
    parameters = tmp_path / "parameters.json"
    parameters.write_text(json.dumps({"featureClass": {"firstorder": ["Mean"]}, "setting": {"label": 3}}))
    agree(extract_with_parameter_file(*case, 2, parameters), by_pyradiomics(*case, parameters, label=2))


def test_one_plane_has_a_shape_of_its_own(case, tmp_path):
    """A region of one slice has PyRadiomics' shape2D; a thick one is refused, as PyRadiomics refuses it."""
    image, mask = case
    labels = sitk.ReadImage(str(mask))
    voxels = sitk.GetArrayFromImage(labels)
    voxels[:17] = voxels[18:] = 0
    plane = sitk.GetImageFromArray(voxels)
    plane.CopyInformation(labels)
    sitk.WriteImage(plane, str(tmp_path / "plane.nrrd"))
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("setting: {force2D: true, label: 2}\nfeatureClass: {shape2D: [], firstorder: [Mean]}")
    found = extract_with_parameter_file(image, tmp_path / "plane.nrrd", None, parameters)
    assert "original_shape2D_Perimeter" in found
    agree(found, by_pyradiomics(image, tmp_path / "plane.nrrd", parameters))
    with pytest.raises(FeatureError, match="one plane"):
        extract_with_parameter_file(image, mask, None, parameters)
    with pytest.raises(ValueError, match="2D shape"):
        by_pyradiomics(image, mask, parameters)


def test_mask_on_another_grid_is_corrected_if_asked(case, tmp_path):
    """correctMask puts a mask on the image's grid, geometryTolerance overlooks a shift; without them grids must agree."""
    image, mask = case
    labels = sitk.ReadImage(str(mask))
    small = labels[3:-2, 2:-4, 1:-1]
    near = sitk.Image(labels)
    near.SetOrigin(np.add(labels.GetOrigin(), 0.02).tolist())
    for name, changed in (("small.nrrd", small), ("near.nrrd", near)):
        sitk.WriteImage(changed, str(tmp_path / name))
    parameters = tmp_path / "parameters.yaml"
    words = {"label": 2}
    for name, more in (("small.nrrd", {"correctMask": True}), ("near.nrrd", {"geometryTolerance": 0.1})):
        other = tmp_path / name
        parameters.write_text(json.dumps({"featureClass": {"firstorder": []}, "setting": words}))
        with pytest.raises(DatasetError, match="correctMask"):
            extract_with_parameter_file(image, other, None, parameters)
        parameters.write_text(json.dumps({"featureClass": {"firstorder": []}, "setting": {**words, **more}}))
        found = extract_with_parameter_file(image, other, None, parameters)
        try:
            agree(found, by_pyradiomics(image, other, parameters))
        finally:
            sitk.ProcessObject.SetGlobalDefaultCoordinateTolerance(1e-6)
            sitk.ProcessObject.SetGlobalDefaultDirectionTolerance(1e-6)
        resampled = {**words, **more, "resampledPixelSpacing": [1, 1, 1]}
        parameters.write_text(json.dumps({"featureClass": {"firstorder": []}, "setting": resampled}))
        with pytest.raises(DatasetError, match="resampledPixelSpacing"):
            extract_with_parameter_file(image, other, None, parameters)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("setting: {binWidht: 25}", "binWidht"),
        ("setting: {binWidth: -1}", "binWidth"),
        ("imageType: {Wavelets: {}}", "Wavelets"),
        ("imageType: {Wavelet: {wavelet: nonsense}}", "nonsense"),
        ("imageType: {Wavelet: {wavelet: gaus1}}", "gaus1"),
        ("imageType: {Original: {padDistance: 9}}", "imageType.original.padDistance"),
        ("imageType: {LoG: {}}", "name sigma"),
        ("featureClass: {glcm: [Kontrast]}", "Kontrast"),
        ("featureClass: {shape2D: []}", "force2D"),
        ("setting: {label_channel: 1}", "label_channel"),
        ("setting: {resampledPixelSpacing: [1, 1]}", "three lengths"),
        ("setting: {resegmentRange: [1, 2, 3]}", "one or two limits"),
        ("nonsense: [", "no PyRadiomics parameter file"),
        ("", "no PyRadiomics parameter file"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path, text, told):
    """Misspelt, impossible and unsupported settings are refused before anything is read, never passed over."""
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(text)
    with pytest.raises(DatasetError, match=told):
        read_parameter_file(parameters)


def test_missing_file_is_told(tmp_path):
    """A path without a file is said to be one."""
    with pytest.raises(DatasetError, match="no parameter file at"):
        read_parameter_file(tmp_path / "none.yaml")


def test_reading_changes_nothing_outside(case, tmp_path):
    """Reading a file that asks for a geometry tolerance leaves ITK's own tolerance alone."""
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("setting: {geometryTolerance: 0.5, label: 2}")
    before = sitk.ProcessObject.GetGlobalDefaultCoordinateTolerance()
    asked = read_parameter_file(parameters)
    read_pair(*case, None, None, asked)
    assert (asked.label, asked.geometry_tolerance) == (2, 0.5)
    assert sitk.ProcessObject.GetGlobalDefaultCoordinateTolerance() == before


#: Relative difference from PyRadiomics' baseline, some of it of 2018; its own tests allow 0.03.
WORST = 1e-6
BASELINES = ("firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm", "shape", "shape2D")
#: Features of the baseline that PyRadiomics has marked deprecated since and computes only if they are named.
DEPRECATED = {"Compactness1", "Compactness2", "SphericalDisproportion", "StandardDeviation", "Dissimilarity"}


@pytest.fixture(scope="module")
def lung1(real_data):
    """PyRadiomics' test case lung1."""
    folder = real_data / "pyradiomics-lung1"
    return read_pair(folder / "lung1_image.nrrd", folder / "lung1_label.nrrd", 1)


@pytest.mark.real_data
@pytest.mark.parametrize("name", BASELINES)
def test_published_baseline_of_pyradiomics(real_data, lung1, tmp_path, name):
    """Every test case of PyRadiomics' own baseline for lung1 comes out, its settings read as a parameter file.

    In the case of one grey level, values that are conventions of PyRadiomics are NaN.
    """
    table = pd.read_csv(real_data / "pyradiomics-lung1" / "baseline" / f"baseline_{name}.csv", index_col=0, dtype=str)
    volume, region = lung1
    assert len(table.columns)
    for case_name in table.columns:
        column = table[case_name].dropna()
        words = ast.literal_eval(column["diagnostics_Configuration_Settings"])
        parameters = tmp_path / f"{case_name}.json"
        parameters.write_text(json.dumps({"setting": words, "featureClass": {name: None}}))
        mask = region.within((33, 0, 0), (34, *volume.shape[1:])) if name == "shape2D" else region
        (found,) = PyRadiomics()(volume, [mask], read_parameter_file(parameters).settings)
        expected = column[column.index.str.startswith("original_")].astype(float)
        compared = expected[expected.index.isin(list(found))]
        missing = set(expected.index) - set(found)
        assert {feature.split("_")[2] for feature in missing} <= DEPRECATED, missing
        for feature, value in compared.items():
            if math.isnan(found[feature]):
                assert value == CONVENTIONS[feature.removeprefix("original_")], (case_name, feature)
            else:
                assert found[feature] == pytest.approx(value, rel=WORST, abs=1e-9), (case_name, feature)
        assert len(compared) >= 5
