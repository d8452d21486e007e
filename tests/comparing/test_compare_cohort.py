"""What changed in the cohort."""

import pandas as pd
from made_runs import held, name, nodule, record, who

from lungpipe.comparing.cohort import compare_cohorts
from lungpipe.comparing.matching import match_nodules
from lungpipe.store.schemas import SCHEMAS


def compared(first, second, key="A"):
    """Compare the cohorts of two workspaces given as tables."""
    one = held(record(), **first)
    other = held(record(key), **second)
    return compare_cohorts(one, other, match_nodules(one, other))


def excluded(number, code, stage="segment", whole=False, key="A"):
    """Row of the table of exclusions; ``whole`` for a series."""
    names = who(number, key) | ({"nodule_id": ""} if whole else {})
    return {**SCHEMAS["exclusions"].example, **names, "stage": stage, "code": code}


def series(number, verdict="accept", codes="", key="A"):
    """Row of the table of series."""
    names = {column: value for column, value in who(number, key).items() if column != "nodule_id"}
    return {**SCHEMAS["series"].example, **names, "verdict": verdict, "codes": codes}


def test_equal_cohorts_have_no_changes():
    """Every table of changes is empty."""
    tables = {
        "nodules": [nodule(0), nodule(1)],
        "exclusions": [excluded(5, "no_cluster")],
        "series": [series(0), series(1)],
    }
    found = compared(tables, tables)
    assert not any(len(table) for table in found.tables.values())
    assert found.masks.to_dict("records") == [{"segmenter": "otsu", "n": 2, "n_changed": 0}]


def test_a_missing_nodule_comes_with_the_other_runs_reason():
    """Nodule 1 has a code of its own, 2 that of its series, 3 none."""
    first = {"nodules": [nodule(n) for n in range(4)]}
    second = {
        "nodules": [nodule(0)],
        "exclusions": [excluded(1, "no_cluster"), excluded(2, "gap", "curate", whole=True)],
    }
    found = compared(first, second)
    reasons = dict(zip(found.only_a["nodule_id"], found.only_a["reason"], strict=True))
    assert reasons == {name("N", 1): "segment: no_cluster", name("N", 2): "curate: gap", name("N", 3): ""}
    assert found.n_nodules == (4, 1)
    assert found.exclusions.to_dict("records") == [
        {"stage": "curate", "code": "gap", "n_a": 0, "n_b": 1},
        {"stage": "segment", "code": "no_cluster", "n_a": 0, "n_b": 1},
    ]


def test_labels_that_changed_came_or_went_are_named():
    """Nodule 0 stays benign, 1 turns benign, 2 loses its label, 3 gets one."""
    first = {"nodules": [nodule(0), nodule(1), nodule(2), nodule(3, malignant=None)]}
    second = {"nodules": [nodule(0), nodule(1, malignant=0), nodule(2, malignant=None), nodule(3)]}
    found = compared(first, second).labels
    assert list(found["nodule_id"]) == [name("N", n) for n in (1, 2, 3)]
    assert found["label_a"].tolist()[:2] == [1, 0]
    assert pd.isna(found["label_a"][2])
    assert pd.isna(found["label_b"][1])
    assert found["label_b"].tolist()[::2] == [0, 1]


def test_labels_are_compared_across_keys():
    """The nodule keeps A's name; an equal label of the other is no change."""
    first = {"nodules": [nodule(0), nodule(1)]}
    second = {"nodules": [nodule(0, "B"), nodule(1, "B", malignant=0)]}
    found = compared(first, second, "B")
    assert list(found.labels["nodule_id"]) == [name("N", 1)]
    assert found.series is None


def test_masks_are_counted_by_segmenter():
    """One of two masks of otsu changed; gmm is in one run only."""
    first = {"nodules": [nodule(0), nodule(1), nodule(0, segmenter="gmm")]}
    second = {"nodules": [nodule(0), nodule(1, mask=99)]}
    assert compared(first, second).masks.to_dict("records") == [{"segmenter": "otsu", "n": 2, "n_changed": 1}]


def test_series_that_came_went_or_changed():
    """Series 0 stays, 1 is quarantined now, 2 is gone, 3 is new."""
    first = {"nodules": [nodule(0)], "series": [series(0), series(1), series(2)]}
    second = {"nodules": [nodule(0)], "series": [series(0), series(1, "quarantine", "missing_slice"), series(3)]}
    found = compared(first, second).series
    rows = {row["series_uid"]: (row["where"], row["verdict_a"], row["verdict_b"]) for row in found.to_dict("records")}
    assert rows == {
        name("S", 1): ("changed", "accept", "quarantine"),
        name("S", 2): ("only in A", "accept", ""),
        name("S", 3): ("only in B", "", "accept"),
    }
