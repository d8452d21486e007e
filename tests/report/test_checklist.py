"""The checklists: their items, and what makes an item reported, partial or a person's."""

import csv
import io
import re
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
from report_tables import make_exclusions, make_nodules, make_predictions, make_scores, make_series

from lungpipe import plugins
from lungpipe.errors import DatasetError
from lungpipe.report import checklist as module
from lungpipe.report.checklist import CHECKLISTS, RULES, checklist, checklist_content, evaluate, summary
from lungpipe.report.checklists.facts import OTHER, PARTIAL, PERSON, REPORTED, STANDARD, facts_of
from lungpipe.report.html import environment
from lungpipe.report.page import Report, report_html

#: Items, and rows with their lettered parts, by the published lists (sources in the data files).
PUBLISHED = {"clear": (58, 58), "metrics": (30, 30), "tripod_ai": (27, 52), "claim": (44, 44), "ibsi": (76, 104)}

RUN = {
    "title": "a run",
    "intensities": "measured",
    "recipe": {
        "cohort": {"dataset": "generic"},
        "quality": {"min_slices": 5},
        "segment": {"quality": {"min_voxels": 10}},
        "benchmark": {
            "design": "cross-validation",
            "classifiers": ["logistic", "random_forest", "knn"],
            "group": "patient_id",
            "inner_folds": 3,
            "selection": "mrmr",
            "n_features": [10],
            "max_correlation": 0.9,
            "balance": "weights",
            "harmonise": "",
        },
    },
    "pseudonym_key_fingerprint": "01234567",
    "environment": {"lungpipe": "0.1.0", "python": "3.11.7", "code_sha256": "ab", "packages": {"numpy": "2.4.6"}},
    "inputs": {"files": {"read": 48, "left_out": 0}, "volumes": {"S": "a"}, "annotations_sha256": "cd"},
    "seeds": {"benchmark": 7},
    "artefacts": {"volume": {"made": 48, "reused": 0}},
    "scans": {"excluded": 0},
    "plugins": {
        "classifiers": {"logistic": "1", "random_forest": "1", "knn": "1"},
        "extractor": {"name": "nested", "version": "2", "parameters": {}},
        "segmenters": {name: {"name": name, "version": "3", "parameters": {}} for name in ("otsu", "rater-1", "rater-2")},
        "regions": [{"kind": "nodule", "radius_mm": 0.0}],
        "exclude_neighbours": True,
        "clip": "lung",
        "radiomics": {
            "spacing_mm": None,
            "interpolator": "sitkBSpline",
            "interpolation": "float32",
            "normalise": None,
            "resegment": None,
            "filters": ["original"],
            "parameters": {},
            "texture": dict.fromkeys(("bin_width", "bin_count", "bin_origin", "weighting", "symmetrical_glcm", "distances", "gldm_a", "force_2d")),
        },
    },
}  # fmt: skip


def whole_series():
    """Series whose headers lack nothing."""
    table = make_series().assign(modality="CT", tube_current_ma=200.0, exposure_mas=40.0, slice_thickness_mm=1.0)
    return table.assign(spacing_y_mm=table["spacing_x_mm"], kernel=table["kernel"].fillna("B30f"))


def whole_nodules():
    """Nodules under pseudonyms, each with a label, a size and other masks to agree with."""
    table = make_nodules().assign(
        size_class=lambda t: np.where(t["malignant"].fillna(0) == 1, "4A", "3"), disagreement=0.1
    )
    table = scanned(table)
    return table.assign(malignant=table["malignant"].fillna(0))


def scanned(table):
    """A table of nodules with the series of each patient, and pseudonyms in the place of names."""
    number = table["patient_id"].str[1:].astype(int)
    return table.assign(series_uid=(10**12 + number).map("2.25.{}".format), patient_id=named(table["patient_id"]))


def named(patients):
    """Pseudonyms in the place of patients."""
    return "P-AAAAAAAA" + patients.str[1:].str.translate(str.maketrans("0123456789", "ABCDEFGHIJ"))


def whole_scores():
    """Scores with baselines of size and tests against the choice."""
    table = make_scores()
    table = table[(table["region"] == "nodule") | (table["radius_mm"] == 8) | (table["selection"] == "inside")]
    volume = table.iloc[[0]].assign(segmenter="baseline", region="volume", radius_mm=np.nan, selection="baseline")
    nothing = dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
    return pd.concat([table, volume], ignore_index=True).assign(
        **nothing, p_holm=lambda t: t["selection"].ne("inside").map({True: 0.5, False: np.nan})
    )


def features(n=20):
    """Two features of two regions."""
    rows = {"segmenter": "otsu", "region": np.repeat(["nodule", "shell"], n), "radius_mm": np.repeat([0.0, 8.0], n)}
    rows |= dict.fromkeys(("patient_id", "series_uid", "nodule_id"), "") | {"n_voxels": 9, "inner_mm": 0.0}
    values = np.linspace(0, 1, 2 * n)
    return pd.DataFrame(rows).assign(original_shape_Sphericity=values, original_glcm_Contrast=values)


def inside_predictions():
    """Predictions of the choice made inside the training folds; a patient's nodules are tested together."""
    table = make_predictions(make_scores()[lambda t: t["selection"] == "inside"])
    table["fold"] = table["patient_id"].str[1:].astype(int) % 5
    return scanned(table)


#: Tables of a run that lacks nothing, made once and not changed.
SERIES, NODULES, SCORES, PREDICTIONS = whole_series(), whole_nodules(), whole_scores(), inside_predictions()
EXCLUSIONS = make_exclusions()


def report(**fields):
    """A report of a run that lacks nothing, with any field replaced."""
    standard = {"title": "a run", "intensities": "measured", "run": RUN, "series": SERIES, "nodules": NODULES}
    standard |= {"exclusions": EXCLUSIONS, "scores": SCORES, "predictions": PREDICTIONS, "features": features()}
    return Report(**(standard | fields))


def statuses(report, stem):
    """Status of every item."""
    return {row.number: row.finding.status for row in evaluate(checklist(stem), facts_of(report))}


def changed(run, key, value=...):
    """Copy a record without a dotted key, or with another value there."""
    first, _, rest = key.partition(".")
    copy = dict(run)
    if rest:
        copy[first] = changed(copy[first], rest, value)
    elif value is ...:
        copy.pop(first)
    else:
        copy[first] = value
    return copy


@pytest.mark.parametrize("stem", CHECKLISTS)
def test_every_published_item_is_there_once(stem):
    """Numbers run from 1 without a gap, in order, with the published number of parts."""
    items = [item for section in checklist(stem)["section"] for item in section["items"]]
    numbers = [item["n"] for item in items]
    main, rows = PUBLISHED[stem]
    assert len(numbers) == len(set(numbers)) == rows
    assert list(dict.fromkeys(int(re.match(r"\d+", n).group()) for n in numbers)) == list(range(1, main + 1))
    assert checklist(stem)["main_items"] == main
    assert all(item["what"] and not item["what"].endswith(".") for item in items)


def test_weights_of_metrics_add_up_to_one_and_no_total_is_shown():
    """The published weights; the page forms no sum of them."""
    weights = [item["weight"] for section in checklist("metrics")["section"] for item in section["items"]]
    assert sum(weights) == pytest.approx(1.0, abs=1e-9)
    pages = environment()
    html = pages.get_template("checklist.html.j2").render(checklists=checklist_content(report()))
    part = html[html.index('id="checklist-metrics"') : html.index('id="checklist-tripod-ai"')]
    assert len(re.findall(r'<td class="n">0\.\d{4}</td>', part)) == 30
    assert "no claim that a checklist is fulfilled, and no score" in html


def test_every_rule_is_used_and_every_item_names_one():
    """No dead rule; a rule or key that there is not is refused by name."""
    items = [item for stem in CHECKLISTS for section in checklist(stem)["section"] for item in section["items"]]
    used = {item[key] for item in items for key in ("rule", "or", "and") if key in item}
    assert used == set(RULES)


@pytest.mark.parametrize(
    ("line", "words"),
    [('rule = "nonsense"', "no rule 'nonsense'"), ('rule = "person", wieght = 1', "unknown key 'wieght'")],
)
def test_a_broken_data_file_is_told(monkeypatch, tmp_path, line, words):
    """The item is named."""
    (tmp_path / "made.toml").write_text(f'[[section]]\nname = "a"\nitems = [{{ n = "1", what = "b", {line} }}]\n')
    monkeypatch.setattr(module.resources, "files", lambda _: tmp_path)
    with pytest.raises(DatasetError, match=f"made.toml, item 1: {words}"):
        checklist("made")


def test_a_run_that_lacks_nothing():
    """What each rule finds, item by item for one of each rule."""
    clear, metrics = statuses(report(), "clear"), statuses(report(), "metrics")
    tripod, claim, ibsi = (statuses(report(), stem) for stem in ("tripod_ai", "claim", "ibsi"))
    reported = [
        clear[n]
        for n in [
            "12",
            "15",
            "16",
            "19",
            "21",
            "22",
            "23",
            "24",
            "25",
            "26",
            "27",
            "28",
            "29",
            "30",
            "31",
            "32",
            "33",
            "37",
            "40",
            "41",
            "47",
        ]
    ]
    reported += [metrics[n] for n in ["6", "8", "10", "12", "13", "15", "18", "20", "21", "22", "25"]]
    reported += [tripod[n] for n in ["9b", "12a", "12b", "15", "21"]] + [
        claim[n] for n in ["11", "20", "23", "29", "32", "35", "38"]
    ]
    reported += [
        ibsi[n]
        for n in ["7", "8", "14", "15", "28", "31a", "31c", "46", "50b", "52", "55", "57", "59", "62", "66", "71", "74"]
    ]
    assert set(reported) == {REPORTED}
    partial = [clear[n] for n in ["8", "9", "11", "13", "18", "20", "34", "35", "36", "38", "39", "42", "44", "55"]]
    partial += (
        [metrics[n] for n in ["9", "16", "26"]]
        + [tripod[n] for n in ["12d", "14", "23a", "23b"]]
        + [claim["30"], claim["39"]]
    )
    assert set(partial) == {PARTIAL}
    assert {clear[n] for n in ["1", "14", "43", "53", "57"]} == {metrics["27"], claim["33"], ibsi["31b"]} == {PERSON}
    assert {metrics["17"], ibsi["3a"], ibsi["27"]} == {OTHER}


NO_BENCHMARK = {"scores": None, "predictions": None}
LACKING = {
    "no benchmark": (
        lambda: NO_BENCHMARK,
        {
            "clear": dict.fromkeys(
                ["9", "15", "30", "32", "33", "34", "35", "36", "37", "38", "39", "40", "41", "42", "47"], PERSON
            )
            | {"29": PARTIAL},
            "metrics": dict.fromkeys(["15", "16", "17", "18", "20", "21", "22", "24", "25", "26"], PERSON),
            "tripod_ai": dict.fromkeys(("12d", "14", "15", "21", "23a"), PERSON),
            "claim": dict.fromkeys(("20", "28", "30", "32", "39"), PERSON),
        },
    ),
    "no intervals": (
        lambda: {"scores": SCORES.assign(auc_low=np.nan, auc_high=np.nan)},
        {"clear": {"40": PERSON, "47": PARTIAL}, "metrics": {"21": PERSON}, "claim": {"29": PARTIAL, "37": PARTIAL}},
    ),
    "an interval of one AUC missing": (
        lambda: {"scores": SCORES.assign(auc_low=lambda t: t["auc_low"].where(t.index > 0))},
        {"clear": {"40": PARTIAL, "47": REPORTED}},
    ),
    "no tests": (
        lambda: {"scores": SCORES.drop(columns="p_holm")},
        {"clear": {"41": PERSON}, "claim": {"29": PARTIAL}},
    ),
    "no baselines": (
        lambda: {"scores": make_scores()},
        {"clear": {"42": PERSON, "48": PERSON}, "metrics": {"24": PERSON, "25": PARTIAL}, "ibsi": {"73": PERSON}},
    ),
    "nothing chosen inside": (
        lambda: {"scores": SCORES[lambda t: t["selection"] != "inside"]},
        {"clear": {"37": PERSON, "47": PERSON}, "metrics": {"18": PARTIAL, "26": PERSON}},
    ),
    "one configuration": (
        lambda: {"scores": SCORES[lambda t: (t["selection"] != "fixed") | (t.index == 0)]},
        {"claim": {"30": PERSON}},
    ),
    "no scanner column": (
        lambda: {"series": SERIES.drop(columns=["manufacturer", "model"])},
        {"clear": {"16": PARTIAL}, "ibsi": {"7": PERSON}, "tripod_ai": {"12d": PARTIAL}},
    ),
    "no column of scanners at all": (
        lambda: {"series": SERIES.drop(columns=["manufacturer", "model", "kernel"])},
        {"tripod_ai": {"12d": PERSON, "23b": PERSON}, "ibsi": {"31a": PERSON}},
    ),
    "kernels missing for some": (
        lambda: {"series": SERIES.assign(kernel=make_series()["kernel"])},
        {"ibsi": {"31a": PARTIAL}},
    ),
    "tube current missing for all": (
        lambda: {"series": SERIES.assign(tube_current_ma=np.nan)},
        {"ibsi": {"15": PERSON}},
    ),
    "an MRI among the series": (
        lambda: {"series": SERIES.assign(modality=["MR", *["CT"] * 47])},
        {"ibsi": {"3a": PERSON, "27": PERSON, "8": REPORTED}},
    ),
    "series without modality": (
        lambda: {"series": SERIES.drop(columns="modality")},
        {"ibsi": {"3a": PERSON, "8": PERSON}},
    ),
    "no verdicts": (lambda: {"series": SERIES.drop(columns="verdict")}, {"claim": {"35": PARTIAL}}),
    "an exclusion without a code": (
        lambda: {"exclusions": EXCLUSIONS.assign(code=["", "a", "b"])},
        {"claim": {"35": PARTIAL, "8": PARTIAL}},
    ),
    "an exclusion without a message": (
        lambda: {"exclusions": EXCLUSIONS.assign(message="")},
        {"claim": {"35": PARTIAL}},
    ),
    "no labels": (
        lambda: {"nodules": NODULES.drop(columns="malignant"), **NO_BENCHMARK},
        {"clear": {"18": PERSON}},
    ),
    "names in the place of pseudonyms": (
        lambda: {"nodules": NODULES.assign(patient_id="Roe")},
        {"claim": {"11": PARTIAL}},
    ),
    "nothing to agree with": (
        lambda: {"nodules": NODULES.drop(columns="disagreement")},
        {"clear": {"31": PERSON}},
    ),
    "neither sizes nor scanners": (
        lambda: {
            "nodules": NODULES.drop(columns="size_class"),
            "series": SERIES.drop(columns=["manufacturer", "kernel", "slice_thickness_mm"]).assign(spacing_z_mm=1.0),
        },
        {"clear": {"44": PERSON}, "tripod_ai": {"14": PERSON, "23a": PARTIAL}},
    ),
    "no features on the page": (
        lambda: {"features": None},
        {"clear": {"26": PERSON, "27": PERSON, "29": PERSON}, "metrics": {"16": PERSON, "17": PERSON}},
    ),
    "no images": (lambda: {"intensities": "none"}, {"clear": {"16": PERSON}, "ibsi": {"14": PERSON, "28": PERSON}}),
}


@pytest.mark.parametrize("lacking", LACKING)
def test_an_item_falls_when_its_evidence_is_missing(lacking):
    """From reported to partial or a person, and no further."""
    fields, expected = LACKING[lacking]
    made = report(**fields())
    for stem, items in expected.items():
        assert {n: statuses(made, stem)[n] for n in items} == items


RECORDS = [
    ("pseudonym_key_fingerprint", ..., "claim", {"11": PERSON}),
    ("environment", {}, "claim", {"23": PERSON}),
    ("environment.code_sha256", ..., "claim", {"23": PARTIAL}),
    ("environment.packages", {}, "clear", {"25": PARTIAL}),
    ("seeds.benchmark", None, "claim", {"24": PERSON}),
    ("artefacts", {}, "clear", {"12": PERSON}),
    ("inputs", {}, "clear", {"13": PARTIAL}),
    ("recipe.cohort", {}, "clear", {"13": PERSON}),
    ("recipe.quality", {}, "clear", {"11": PARTIAL}),
    ("recipe.benchmark.balance", ..., "clear", {"30": PARTIAL}),
    ("recipe.benchmark.selection", ..., "clear", {"33": PARTIAL}),
    ("recipe.benchmark.max_correlation", 1.0, "metrics", {"15": REPORTED}),
    ("recipe.benchmark.classifiers", ["logistic", "a-plugin"], "clear", {"29": PARTIAL, "32": PARTIAL, "34": PARTIAL}),
    ("plugins.classifiers", {}, "claim", {"27": PARTIAL}),
    ("plugins.segmenters", {}, "clear", {"19": PERSON, "20": PERSON, "31": PERSON}),
    ("plugins.segmenters", {"otsu": {"name": "otsu"}}, "clear", {"19": PARTIAL}),
    ("plugins.segmenters", {"otsu": {"version": "1", "parameters": {}}}, "metrics", {"9": PERSON, "10": REPORTED}),
    ("plugins.segmenters", {"raters": {"version": "1", "parameters": {}}}, "metrics", {"9": PERSON, "10": PARTIAL}),
    ("plugins.extractor", {}, "clear", {"25": PERSON}),
    ("plugins.extractor", {"name": "surroundings", "version": "1"}, "ibsi", {"50b": PERSON, "59": PERSON, "61": REPORTED}),
    ("plugins.radiomics", ..., "clear", {"21": PERSON, "22": PERSON, "23": PERSON, "24": PERSON, "28": PARTIAL}),
    ("plugins.radiomics.spacing_mm", ..., "clear", {"22": PARTIAL}),
    ("plugins.radiomics.texture.distances", ..., "ibsi", {"65": PERSON}),
    ("plugins.radiomics.texture.force_2d", ..., "ibsi", {"62": PARTIAL}),
    ("external", {"other": {"warnings": []}}, "claim", {"33": REPORTED}),
    ("external", {"other": {"warnings": ["the same patients"]}}, "claim", {"33": PARTIAL}),
    ("external", {"other": {"warnings": []}}, "clear", {"38": REPORTED}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "stem", "expected"), RECORDS)
def test_what_the_record_lacks_the_item_lacks(key, value, stem, expected):
    """Settings of ``run.json``, one missing or changed at a time."""
    found = statuses(report(run=changed(RUN, key, value)), stem)
    assert {n: found[n] for n in expected} == expected


def test_a_setting_of_null_is_a_statement():
    """No resampling and no normalisation are told; a missing key is not."""
    rows = {row.number: row for row in evaluate(checklist("ibsi"), facts_of(report()))}
    assert rows["51"].finding.said == "spacing_mm: none"
    assert rows["51"].finding.status == REPORTED
    assert statuses(report(run=changed(RUN, "plugins.radiomics.spacing_mm")), "ibsi")["51"] == PERSON


def test_a_patient_in_two_folds_is_no_grouped_split():
    """Two nodules of one patient in two test folds."""
    made = report()
    spread = made.predictions.assign(patient_id=lambda t: t["patient_id"].where(t.index != 1, t["patient_id"].iloc[0]))
    found = statuses(report(predictions=spread), "claim")
    assert (found["19"], found["20"], found["32"]) == (PARTIAL, PARTIAL, PARTIAL)
    assert statuses(report(predictions=spread), "metrics")["18"] == PARTIAL


def test_age_and_sex_where_the_tables_have_them():
    """Demographics are part of what is asked for, and named."""
    made = report(series=SERIES.assign(age_years=60.0, sex="F"))
    row = next(row for row in evaluate(checklist("claim"), facts_of(made)) if row.number == "36")
    assert row.finding.said == "age_years, sex"
    assert row.finding.status == PARTIAL  # by partition and clinical findings: a person


def test_a_recipe_as_text_is_read():
    """Records of older runs hold the recipe as it was written."""
    text = '[cohort]\ndataset = "generic"\n[benchmark]\nselection = "none"\nmax_correlation = 1.0\n'
    found = statuses(report(run=changed(RUN, "recipe", text)), "clear")
    assert (found["13"], found["33"]) == (PARTIAL, REPORTED)
    assert statuses(report(run=changed(RUN, "recipe", "not = a = recipe")), "clear")["33"] == PERSON


@pytest.mark.parametrize("fields", [{}, {**NO_BENCHMARK, "run": {"recipe": {}}}])
def test_every_link_leads_somewhere_on_the_page(fields):
    """Anchors of the evidence are sections that this page has."""
    html = report_html(report(**fields))
    part = html[html.index('id="checklists"') : html.index('<h2 id="recipe">')]
    targets = set(re.findall(r'href="#([^"]+)"', part))
    assert targets
    assert targets <= set(re.findall(r'id="([^"]+)"', html))


def test_counts_and_csv_hold_every_item():
    """The summary adds up, and the file has a row an item with its evidence."""
    for content in checklist_content(report()):
        assert sum(content["counts"].values()) == len(content["rows"])
        assert list(content["counts"])[:3] == [REPORTED, PARTIAL, PERSON]
        text = b64decode(content["csv"].partition("base64,")[2]).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["item"] for row in rows] == [row.number for row in content["rows"]]
        assert all(row["evidence"] for row in rows if row["status"] in (REPORTED, PARTIAL))
    assert summary([]) == {REPORTED: 0, PARTIAL: 0, PERSON: 0}


def test_what_is_said_of_pipelines_is_so():
    """Classifiers of which the page says that they impute and scale do."""
    for name in STANDARD:
        steps = plugins.find("classifiers", name)().pipeline(0).named_steps
        assert {"impute", "vary", "scale"} <= set(steps)
        assert steps["impute"].strategy == "median"
