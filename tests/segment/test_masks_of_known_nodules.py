"""Masks against known ones: the simulated cohort's truth, radiologists' outlines, published cases."""

from dataclasses import asdict, replace
from itertools import combinations

import numpy as np
import pytest

from data_catalog import load_dataset, read_annotations
from data_catalog.phantom.candidates import read_candidates
from data_catalog.phantom.matching import match_pairs
from data_catalog.phantom.plan import plan_patients
from data_catalog.phantom.scene import nodule_cover, simulate
from flows.segment_command import DEFAULT_METHOD
from lungpipe import plugins
from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import read_image, read_volume
from lungpipe.errors import SegmentationError
from lungpipe.nodule import Nodule
from lungpipe.scan.locate import locate
from lungpipe.segment.agreement import dice
from lungpipe.segment.consensus import consensus_mask
from lungpipe.segment.prompt import with_extent
from lungpipe.segment.quality import measure_quality
from lungpipe.segment.verdict import MaskLimits, codes_of, verdict_of
from lungpipe.volume import CTVolume, Mask

METHODS = (
    "otsu",
    "kmeans",
    "gmm",
    "fcm",
    "connected_threshold",
    "confidence_connected",
    "random_walker",
    "saliency_contour",
    "morphological_snake",
)
TEXTURES = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0)


def cohort(patients, seed):
    """Simulated scans with nodules of every texture: image, annotation, true mask."""
    for number, patient in enumerate(plan_patients(match_pairs(read_candidates()), patients, seed)):
        texture = TEXTURES[number % len(TEXTURES)]
        textured = replace(patient, nodules=tuple(replace(n, texture=texture) for n in patient.nodules))
        scene = simulate(textured, 1.0, 8.0)
        volume = CTVolume(scene.hu, patient.grid)
        for k, (planned, centre) in enumerate(zip(textured.nodules, scene.centres_mm, strict=True)):
            window, share = nodule_cover(patient.grid, centre, planned.candidate.shape)
            truth = Mask(share >= 0.5, patient.grid, tuple(part.start for part in window))
            yield volume, Nodule("p", "s", f"{number}-{k}", centre, planned.candidate.shape.size_mm), truth


def codes(mask, volume, nodule):
    """What a run would say of a mask."""
    figures = {**asdict(measure_quality(mask, volume, nodule)), "n_voxels": mask.n_voxels, "disagreement": np.nan}
    return codes_of(figures, MaskLimits())


def overlaps_of(patients, seed):
    """Dice of every method from boxes and points; a mask far from the truth must have been said to be doubtful."""
    found = {(name, prompt): [] for name in METHODS for prompt in ("box", "point")}
    for volume, nodule, truth in cohort(patients, seed):
        for (name, prompt), overlaps in found.items():
            asked = nodule if prompt == "box" else with_extent(volume, replace(nodule, size_mm=None))
            try:
                mask = plugins.find("segmenters", name)()(volume, asked)
            except SegmentationError:  # said, hence not silent
                overlaps.append(0.0)
                continue
            overlaps.append(dice(mask, truth))
            said = (*asked.codes, *codes(mask, volume, asked))
            assert mask.n_voxels
            assert overlaps[-1] >= 0.5 or set(said) - {"found_extent"}, (name, prompt, nodule.nodule_id)
            assert mask.volume_mm3 < 0.9 * np.prod(nodule.size_mm) or said
    return found


@pytest.mark.slow
def test_no_bad_mask_is_silent():
    """Every mask of some nodules of all textures is near the truth, or has a code that says why it may not be."""
    found = overlaps_of(8, 23)
    assert len(found[METHODS[0], "box"]) >= 8
    assert min(np.mean(overlaps) for overlaps in found.values()) >= 0.8


@pytest.mark.slow
def test_every_texture_of_the_embedded_cohort(capsys):
    """Of 100 nodules of all textures no bad mask is silent, and every method's mean Dice is 0.85 or more, the default's too."""
    found = overlaps_of(86, 5)
    lines = [f"{name}, {prompt}: mean Dice {np.mean(overlaps):.3f}" for (name, prompt), overlaps in found.items()]
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201  figures to look at
    assert len(found[DEFAULT_METHOD, "box"]) >= 100
    assert DEFAULT_METHOD in METHODS
    assert min(np.mean(overlaps) for overlaps in found.values()) >= 0.85


@pytest.mark.slow
@pytest.mark.real_data
def test_methods_beside_the_four_raters(lidc_0314, capsys):
    """On the nodule that four radiologists drew, every method comes closer to their majority than the two least alike of them."""
    series = index_series(lidc_0314)
    volume = read_volume(series.series[0].files, series.series[0].geometry)
    nodules = read_annotations(load_dataset("lidc-idri"), None, series).nodules
    (nodule,) = (locate(n, volume, series.series[0].files) for n in nodules if len(n.raters) == 4)
    pairs = [dice(a, b) for a, b in combinations(nodule.raters, 2)]
    majority = consensus_mask(nodule.raters)
    found = {name: dice(plugins.find("segmenters", name)()(volume, nodule), majority) for name in METHODS}
    with capsys.disabled():
        print("\nraters' pairwise Dice", *(f"{value:.3f}" for value in sorted(pairs)))  # noqa: T201  figures to look at
        print("methods with the majority", *(f"{name} {value:.3f}" for name, value in found.items()))  # noqa: T201
    assert max(found.values()) >= min(pairs) - 0.10


def published(image, label):
    """A published CT and its tumour's mask."""
    voxels, frame = read_image(image)
    return CTVolume(np.asarray(voxels, np.int16), frame), Mask(np.asarray(read_image(label)[0]) > 0, frame)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("pyradiomics-lung1/lung1_image.nrrd", "pyradiomics-lung1/lung1_label.nrrd"),
        ("ibsi1-ct-phantom/nifti/image/phantom.nii.gz", "ibsi1-ct-phantom/nifti/mask/mask.nii.gz"),
    ],
    ids=["lung1", "IBSI phantom"],
)
@pytest.mark.parametrize("prompt", ["box", pytest.param("point", marks=pytest.mark.slow)])
def test_prompts_of_published_tumours(real_data, image, label, prompt, capsys):
    """From centre and box of the published outline the default method finds it (Dice 0.75), or the mask's codes warn."""
    volume, truth = published(real_data / image, real_data / label)
    low, high = np.asarray(truth.bounds)
    centre = tuple(truth.frame.to_lps((low + high - 1) / 2).tolist())
    size_mm = tuple(((high - low) * np.asarray(truth.frame.spacing_mm))[::-1].tolist())
    nodule = Nodule("p", "s", "n", centre, size_mm if prompt == "box" else None)
    nodule = with_extent(volume, nodule)
    mask = plugins.find("segmenters", DEFAULT_METHOD)()(volume, nodule)
    overlap, said = dice(mask, truth), (*nodule.codes, *codes(mask, volume, nodule))
    with capsys.disabled():
        print(f"\n{label} from its {prompt}: Dice {overlap:.3f}, codes {', '.join(said) or 'none'}")  # noqa: T201
    assert overlap >= 0.75 or verdict_of(said, MaskLimits()) == "warn"
