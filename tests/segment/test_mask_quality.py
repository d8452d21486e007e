"""Figures of a mask, and the codes and verdicts that they come to."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.judge_masks import excluded_masks, judged, without_excluded
from lungpipe.nodule import Nodule
from lungpipe.segment.quality import measure_quality
from lungpipe.segment.verdict import CODES, MaskLimits, codes_of, verdict_of
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table
from lungpipe.volume import CTVolume, Mask

FRAME = Geometry((30, 40, 40), (1.0, 1.0, 1.0))
CENTRE = (20.0, 20.0, 15.0)


def at(start, stop):
    """A cuboid of voxels."""
    return Mask(np.ones(np.subtract(stop, start), np.bool_), FRAME, start)


def ball(radius=6.0):
    z, y, x = np.indices(FRAME.shape)
    return Mask((z - 15) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 <= radius**2, FRAME)


def codes(mask, *, inside_hu=20, around_hu=-850, size_mm=(14.0, 14.0, 14.0), limits=None, **changes):
    whole = mask.within((0, 0, 0), FRAME.shape).voxels
    volume = CTVolume(np.where(whole, inside_hu, around_hu).astype(np.int16), FRAME)
    found = asdict(measure_quality(mask, volume, Nodule("p", "s", "n", CENTRE, size_mm)))
    row = {**found, "n_voxels": mask.n_voxels, "disagreement": float("nan"), **changes}
    return codes_of(row, limits or MaskLimits())


def test_a_sound_mask_has_no_code():
    """A ball of soft tissue within its box is accepted."""
    assert codes(ball()) == ()
    assert verdict_of((), MaskLimits()) == "accept"


def two_parts():
    voxels = ball().voxels.copy()
    voxels[15, 20, 30] = True
    return Mask(voxels, FRAME)


@pytest.mark.parametrize(
    ("code", "mask", "words"),
    [
        ("few_voxels", at((15, 20, 20), (17, 22, 22)), {}),
        ("few_slices", at((15, 17, 17), (16, 24, 24)), {}),
        ("touches_box", ball(9.0), {}),
        ("touches_edge", at((12, 16, 30), (18, 24, 40)), {}),
        ("leaks", at((11, 4, 16), (19, 36, 24)), {}),
        ("whole_box", at((8, 13, 13), (23, 28, 28)), {}),
        ("several_components", two_parts(), {}),
        ("centre_outside", at((12, 21, 17), (18, 27, 24)), {}),
        ("thin_sheet", at((15, 13, 13), (17, 28, 28)), {}),
        ("hu_implausible", ball(), {"inside_hu": -900}),
        ("hu_implausible", ball(), {"inside_hu": 1500}),
        ("calcified_core_only", ball(3.0), {"inside_hu": 400, "around_hu": 20}),
        ("disagreement", ball(), {"disagreement": 0.4}),
    ],
)
def test_each_fault_has_its_code(code, mask, words):
    """Every code is raised by a mask made to have its fault."""
    assert code in codes(mask, **words)


def test_a_calcified_nodule_in_lung_is_whole():
    """Calcification throughout is no fault where lung begins round it."""
    assert codes(ball(3.0), inside_hu=400) == ()


def test_every_code_is_tested():
    """No code is without a mask that raises it."""
    tried = {mark.args[1][k][0] for mark in test_each_fault_has_its_code.pytestmark for k in range(len(mark.args[1]))}
    assert tried | {"found_extent", "no_extent"} == set(CODES)


def test_limits_are_the_recipes():
    """A stricter limit raises the code, a recipe's verdict replaces the usual one, an unknown code is refused."""
    assert "few_voxels" in codes(ball(), limits=MaskLimits(min_voxels=100_000))
    assert verdict_of(("few_voxels",), MaskLimits()) == "warn"
    assert verdict_of(("few_voxels", "leaks"), MaskLimits(verdicts={"few_voxels": "exclude"})) == "exclude"
    assert verdict_of(("whole_box",), MaskLimits(verdicts={"whole_box": "accept"})) == "accept"
    assert verdict_of(("dropped_contour",), MaskLimits()) == "warn"
    for verdicts in ({"leak": "warn"}, {"leaks": "drop"}):
        with pytest.raises(DatasetError):
            MaskLimits(verdicts=verdicts)


def test_an_excluded_mask_leaves_the_features_and_says_so():
    """The mask stays in the table with its verdict, its features go, and an exclusion names the first code that did it."""
    example = SCHEMAS["nodules"].example
    masks = make_table(
        "nodules", [{**example, "segmenter": "otsu", "box_fraction": 0.95}, {**example, "segmenter": "fcm"}]
    )
    agreement = make_table(
        "agreement",
        [
            {**SCHEMAS["agreement"].example, "segmenter": name, "disagreement": d}
            for name, d in (("otsu", 0.5), ("fcm", 0.1))
        ],
    )
    limits = MaskLimits()
    table = judged(masks, agreement, limits).set_index("segmenter")
    assert table.loc["otsu", "verdict"] == "exclude"
    assert table.loc["otsu", "codes"] == "whole_box;disagreement"
    assert table.loc["fcm", ["verdict", "codes", "disagreement"]].tolist() == ["accept", "", 0.1]
    (row,) = excluded_masks(table.reset_index(), limits)
    assert (row["stage"], row["code"], row["nodule_id"]) == ("quality", "whole_box", example["nodule_id"])
    features = make_table("features", [{**SCHEMAS["features"].example, "segmenter": name} for name in ("otsu", "fcm")])
    assert without_excluded(features, table.reset_index())["segmenter"].tolist() == ["fcm"]
