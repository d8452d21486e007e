"""The cohort's flow adds up: what goes on and what leaves is what came, and the picture says what the table says."""

import xml.etree.ElementTree as ET

import pandas as pd
import pytest
from test_evaluation_section import tables

from lungpipe.report.cohort_flow import cohort_diagram, cohort_steps, flow_table


def workspace():
    """160 evaluated nodules, one without a label, two left out at segmentation, two on a quarantined series, one scan failed."""
    predictions, nodules, series = tables()
    nodules = nodules.assign(dataset="phantom", segmenter="otsu", malignant=1)
    last = nodules.iloc[[0]].assign(nodule_id="unlabelled", malignant=pd.NA)
    nodules = pd.concat([nodules, last], ignore_index=True).astype({"malignant": "Int64"})
    series = series.assign(dataset="phantom", verdict="accept", codes="")
    bad = {
        "patient_id": ["pq", "pf"],
        "series_uid": ["sq", "sf"],
        "dataset": "phantom",
        "verdict": ["quarantine", "accept"],
    }
    series = pd.concat([series, pd.DataFrame(bad).assign(codes=["missing_slice", ""])], ignore_index=True)
    rows = [
        ("quality", "sq", "", "missing_slice"),
        ("quality", "sq", "q1", "series_quarantined"),
        ("quality", "sq", "q2", "series_quarantined"),
        ("scan", "sf", "", "out_of_memory"),
        ("segment", "s000", "x1", "no_cluster"),
        ("features", "s000", "x1", "second_reason"),
        ("segment", "s001", "x2", "no_cluster"),
        ("segment", "s000", "n000", "by_another_segmenter"),
        ("index", "", "", "unreadable"),
    ]
    exclusions = pd.DataFrame(rows, columns=["stage", "series_uid", "nodule_id", "code"]).assign(patient_id="")
    return series, nodules, exclusions, predictions


@pytest.fixture(scope="module")
def steps():
    run = {"inputs": {"files": {"read": 900, "left_out": 3}}}
    return cohort_steps(*workspace(), dataset="phantom", segmenter="otsu", segmented_by="Otsu", run=run)


def test_each_step_counts_what_it_should(steps):
    """Series found and accepted; nodules on accepted series annotated, segmented, evaluated."""
    assert [(step.said, step.patients) for step in steps] == [
        ("162 series found", 162),
        ("161 series accepted", 161),
        ("163 nodules annotated", None),
        ("161 nodules segmented by Otsu", 160),
        ("160 nodules evaluated", 160),
    ]
    assert steps[4].parts == (("malignant", 80), ("benign", 80))


def test_what_leaves_is_counted_once_under_its_first_reason(steps):
    """Files, quarantine, a failed scan, nodules without a mask, and those without a label."""
    assert [step.left for step in steps] == [
        (("Files left out", 3, (("unreadable", 1),)), ("Series quarantined", 1, (("missing_slice", 1),))),
        (("Series that could not be processed", 1, (("out_of_memory", 1),)),),
        (("Nodules left out", 2, (("no_cluster", 2),)),),
        (("Nodules not evaluated", 1, (("no label", 1),)),),
        (),
    ]
    assert steps[0].count - 1 == steps[1].count
    assert steps[2].count - 2 == steps[3].count
    assert steps[3].count - 1 == steps[4].count


def test_diagram_and_table_say_the_same(steps):
    """Every count of the table stands in the picture and in its words."""
    root = ET.fromstring(cohort_diagram(steps, 1))
    text = " ".join("".join(one.itertext()) for one in root.iter() if one.tag == "text")
    table = flow_table({"phantom": steps})
    assert table["n"].sum() > 0
    for row in table.itertuples():
        assert str(row.n) in text
        assert not row.reason or row.reason in text
    assert "Series quarantined: 1 (missing_slice 1)." in root.get("aria-label")
    assert table.query("name == 'series found' and what == 'Files left out'")["n"].sum() == 3  # two without a reason


def test_without_a_benchmark_the_flow_ends_with_masks():
    """No predictions: the last step is segmentation; another segmenter's nodules are what it lacks."""
    series, nodules, exclusions, _ = workspace()
    found = cohort_steps(
        series, nodules, exclusions, None, dataset="phantom", segmenter="gmm", segmented_by="GMM", run={}
    )
    assert [step.count for step in found] == [162, 161, 163, 0]
    assert dict(found[2].left[0][2]) == {"no mask by GMM": 160, "no_cluster": 2, "by_another_segmenter": 1}
    assert cohort_diagram(found).startswith("<svg")
