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
from lungpipe.dicom.read import read_volume
from lungpipe.errors import SegmentationError
from lungpipe.nodule import Nodule
from lungpipe.scan.locate import locate
from lungpipe.segment.agreement import dice
from lungpipe.segment.consensus import consensus_mask
from lungpipe.segment.quality import measure_quality
from lungpipe.segment.verdict import MaskLimits, codes_of
from lungpipe.volume import CTVolume, Mask

METHODS = ("otsu", "kmeans", "gmm", "fcm")
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


@pytest.mark.slow
def test_every_texture_of_the_embedded_cohort(capsys):
    """Of 100 nodules of all textures no mask is empty or the whole box unsaid, and the default's mean Dice is 0.85 or more."""
    found = {(name, prompt): [] for name in METHODS for prompt in ("box", "point")}
    n_nodules = 0
    for volume, nodule, truth in cohort(86, 5):
        n_nodules += 1
        for (name, prompt), overlaps in found.items():
            asked = nodule if prompt == "box" else replace(nodule, size_mm=None)
            try:
                mask = plugins.find("segmenters", name)()(volume, asked)
            except SegmentationError:  # said, hence not silent
                overlaps.append(0.0)
                continue
            assert mask.n_voxels
            assert mask.volume_mm3 < 0.9 * np.prod(nodule.size_mm) or codes(mask, volume, nodule)
            overlaps.append(dice(mask, truth))
    lines = [f"{name}, {prompt}: mean Dice {np.mean(overlaps):.3f}" for (name, prompt), overlaps in found.items()]
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201  figures to look at
    assert n_nodules >= 100
    assert np.mean(found[DEFAULT_METHOD, "box"]) >= 0.85
    assert min(np.mean(overlaps) for overlaps in found.values()) >= 0.85


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
