"""The chain on real CT, against values known for these scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk

from data_catalog import load_dataset
from flows.config import load_config
from flows.plan import check_config, plan_run
from lungpipe.assemble import assemble
from lungpipe.curate import curate, curate_folder
from lungpipe.dicom.index import index_series, one_after_another
from lungpipe.dicom.memory import memory_path, remember
from lungpipe.dicom.read import geometry_of, read_volume
from lungpipe.lineage.originals import originals_of
from lungpipe.lineage.trace import trace_nodule
from lungpipe.nodule import Nodule
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.region.expand import expand
from lungpipe.region.specs import ShellSpec
from lungpipe.scan import process_scan, rows_path
from lungpipe.segment.annotated import consensus
from lungpipe.segment.pins import PinsKMeans
from lungpipe.store.parts import gather_rows
from lungpipe.store.place import Place
from lungpipe.volume import CTVolume

pytestmark = pytest.mark.real_data

RECIPES = Path(__file__).parents[1] / "recipes"
#: Where the 64-voxel patches of the published demo begin in the full CT, (z, y, x); their own headers are wrong.
PATCH_START = {
    "DLCS_0001_01": (171, 305, 88),
    "DLCS_0001_02": (308, 172, 338),
    "DLCS_0002_01": (270, 148, 185),
}
EDGE = 24


@pytest.fixture(scope="module", params=PATCH_START)
def pins_case(request, real_data):
    """One demo nodule: HU recovered from its patch at the right place, its row, its published mask and features."""
    folder, name = real_data / "pins-demo", request.param
    patch = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"patch_{name}.nii.gz")))
    image = sitk.ReadImage(str(folder / f"kmeans2mm_{name}.nii.gz"))
    hu = np.rint(patch.astype(np.float64) * 1500 - 1000).astype(np.int16)
    start = PATCH_START[name]
    padded = np.pad(hu, EDGE, mode="reflect")  # the interpolator's support beyond the patch
    z, y, x = (s - EDGE for s in start)
    volume = CTVolume(padded, geometry_of(image), (z, y, x))
    rows = pd.read_csv(folder / "DLCSD24_Annotations_N2.csv")
    features = pd.read_csv(folder / "PyRadiomics_CandidateSeg_DLCSD24_knn_expand_2.0mm.csv")
    position = int(rows.index[rows["nodule_id"] == name][0])
    row = rows.iloc[position]
    centre, size = (row["coordX"], row["coordY"], row["coordZ"]), (row["w"], row["h"], row["d"])
    nodule = Nodule(row["patient-id"], name, name, centre, size)
    return name, volume, nodule, sitk.GetArrayFromImage(image) > 0, features.iloc[position]


def test_pins_masks_are_bit_identical(pins_case):
    """k-means and the 2 mm cuboid of the published tool come out voxel for voxel."""
    _, volume, nodule, published, _ = pins_case
    grown = expand(PinsKMeans()(volume, nodule), ShellSpec("grown", 2.0, "cuboid"))
    assert published.sum() > 1000
    assert np.array_equal(grown.within((0, 0, 0), volume.frame.shape).voxels, published)


def test_pins_features_are_those_published(pins_case):
    """All 107 features of DLCS_0001_01 agree to 1e-6; the others' patches are clipped, so their shape alone does."""
    name, volume, nodule, _, published = pins_case
    grown = expand(PinsKMeans()(volume, nodule), ShellSpec("grown", 2.0, "cuboid"))
    found = PyRadiomics()(volume, [grown], RadiomicsSettings(interpolation="int16"))[0]
    columns = [c for c in published.index if c.startswith("original_")]
    assert len(columns) == 107
    compared = columns if name == "DLCS_0001_01" else [c for c in columns if "_shape_" in c]
    for column in compared:
        assert found[column] == pytest.approx(float(published[column]), rel=1e-6), column


def run_recipe(name: str, workspace: Path, *overrides: str) -> tuple[pd.DataFrame, pd.DataFrame, list]:
    """Run a shipped recipe's scans in this process; feature rows, exclusions and planned nodules."""
    config = load_config(RECIPES / name, list(overrides))
    _, settings = check_config(config)
    spec = load_dataset(config.cohort.dataset)
    plan = plan_run(config, spec, curate_folder(Path(config.cohort.dicom)))
    results = [process_scan(job, settings, workspace) for job in plan.jobs]
    assert not [r.exclusion for r in results if r.exclusion]
    rows = gather_rows(Place.at(workspace), [rows_path(ref) for r in results for ref in r.parts])
    return rows["features"], rows["exclusions"], plan.nodules


@pytest.mark.slow
def test_lidc_0314_has_every_region_of_its_nodule(lidc_0314, tmp_path):
    """The nodule that four raters drew has features for 4 methods, 7 radii and 2 kinds, at the HU known for it."""
    features, exclusions, nodules = run_recipe("lidc-0314.toml", tmp_path, f"cohort.dicom={lidc_0314}")
    assert len(exclusions) == 0
    four = [n for n in nodules if len(n.raters) == 4]
    assert len(four) == 1
    mine = features[features["nodule_id"] == four[0].nodule_id]
    found = set(zip(mine["segmenter"], mine["region"], mine["radius_mm"], strict=True))
    regions = {("nodule", 0.0)} | {(kind, float(r)) for kind in ("grown", "shell") for r in (2, 4, 6, 8, 10, 12)}
    assert found == {(m, kind, r) for m in ("otsu", "kmeans", "gmm", "fcm") for kind, r in regions}
    assert mine.filter(like="original_").notna().all().all()
    series = index_series(lidc_0314).series[0]
    volume = read_volume(series.files, series.geometry)
    agreed = consensus(four[0].raters)
    # The box of all four outlines, whose pixels lie one outside the lesion.
    bounds = np.asarray([mask.bounds for mask in four[0].raters])
    low, high = np.subtract(bounds[:, 0].min(axis=0), (0, 1, 1)), np.add(bounds[:, 1].max(axis=0), (0, 1, 1))
    box = tuple(low.tolist()), tuple(high.tolist())
    hu, inside = volume.crop(*box).hu, agreed.within(*box).voxels
    assert hu[inside].mean() == pytest.approx(-13, abs=1)
    assert hu[~inside].mean() == pytest.approx(-764, abs=8)


def test_lidc_0314_is_traced_to_its_slices(lidc_0314, tmp_path):
    """A row of the real scan leads back to its 275 SOP instances, to its mask's settings and to package versions."""
    overrides = [f"cohort.dicom={lidc_0314}", "segment.methods=['otsu']", "regions.radii_mm=[0]", "regions.clip='none'"]
    config = load_config(RECIPES / "lidc-0314.toml", overrides)
    spec, settings = check_config(config)
    place = Place.at(tmp_path)
    with remember(memory_path(lidc_0314)) as memory:
        curation = curate(lidc_0314, memory, one_after_another, config.quality.settings())
    plan = plan_run(config, spec, curation)
    assemble(place, plan, [process_scan(job, settings, tmp_path) for job in plan.jobs])
    found = trace_nodule(place, plan.nodules[0].nodule_id)
    originals = originals_of(found.patient_id, found.series_uid)
    slices = [pydicom.dcmread(p, stop_before_pixels=True) for p in lidc_0314.rglob("*.dcm")]
    slices.sort(key=lambda one: one.ImagePositionPatient[2])
    assert len(found.instances) == 275
    assert [originals.instances[uid] for uid in found.instances] == [one.SOPInstanceUID for one in slices]
    (mask,) = (entry for entry in found.artefacts.values() if entry.kind == "masks")
    assert mask.settings["segmenter"]["parameters"]["keep_margin_mm"] == 2.0
    (environment,) = found.environments.values()
    assert environment.settings["packages"]["scikit-image"]


@pytest.mark.slow
def test_lung_dx_gives_features_for_both_series(lung_dx, tmp_path):
    """Both kernels of A0001 give every region of every lesion; nothing is excluded."""
    overrides = [f"cohort.dicom={lung_dx}", f"cohort.annotations={lung_dx / 'Annotation'}"]
    features, exclusions, nodules = run_recipe("lung-pet-ct-dx.toml", tmp_path, *overrides)
    assert len(exclusions) == 0
    assert features["series_uid"].nunique() == 2
    assert len(features) == len(nodules) * 4 * 13
