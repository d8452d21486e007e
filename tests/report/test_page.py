"""The page says what the tables hold, says "simulated" where it must, and loads nothing."""

import base64
import io
import re
import tomllib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from report_tables import RUN, make_exclusions, make_nodules, make_predictions, make_scores, make_series

from lungpipe.errors import DatasetError
from lungpipe.report.page import report_html
from lungpipe.report.settings_text import flat, toml
from lungpipe.report.summary import chosen_configurations, cohort_counts, scanner_table, score_rows, verdicts


def write_report(report, folder):
    path = folder / "index.html"
    path.write_text(report_html(report), encoding="utf-8")
    return path


class Page(HTMLParser):
    """Collects addresses, images and text."""

    def __init__(self, path):
        super().__init__()
        self.addresses, self.images, self.drawings, self.words, self.open = [], [], [], [], []
        self.downloads = {}
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        if "download" in found:
            assert found["download"] not in self.downloads
            self.downloads[found["download"]] = found["href"]
        if tag == "img":
            self.images.append(found)
        if found.get("role") == "img" and tag == "svg":
            self.drawings.append(found["aria-label"])
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Shapes of a drawing close themselves."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


@pytest.fixture(scope="module")
def standard(make_report, tmp_path_factory):
    """Write the report with everything in it, once."""
    folder = tmp_path_factory.mktemp("workspace") / "report"
    folder.mkdir()
    return write_report(make_report(), folder)


def test_page_is_one_file_that_loads_nothing(standard):
    """Every address is a fragment or data, every image has a text, tags are balanced and the page is under 3 MB."""
    path = standard
    assert path.name == "index.html"
    assert path.parent.name == "report"
    assert [one.name for one in path.parent.iterdir()] == ["index.html"]
    page = Page(path)
    assert not page.open
    assert all(one.startswith(("#", "data:")) for one in page.addresses)
    assert len(page.images) == 4
    assert all(len(one["alt"]) > 20 for one in page.images)
    assert len(page.drawings) == 6 * 4 + 1
    assert all(len(one) > 20 for one in page.drawings)
    assert not re.search("https?:", re.sub(r"data:[^\"]+", "", path.read_text(encoding="utf-8")))
    assert path.stat().st_size < 3e6


def test_verdict_sets_honest_beside_optimistic(standard):
    """The page gives the honest AUC with interval, the best on test with its simultaneous one, and the gap."""
    scores = make_scores()
    page = Page(standard)
    best = scores.loc[scores["auc"].idxmax()]
    assert "95 % interval 0.55 to 0.83. It excludes 0.5." in page.text
    assert f"95 % interval {best['auc_low_all']:.2f} to {best['auc_high_all']:.2f}, widened" in page.text
    assert f"{best['auc'] - 0.71:+.2f}" in page.text
    assert "50 nodules of 44 patients, 24 malignant" in page.text
    assert "Gaussian mixture, grown region 8 mm, logistic regression: 4 of 5" in page.text


def test_simulated_intensities_are_said_and_measured_ones_are_not(standard, make_report, tmp_path):
    """A simulated run has the banner and captions; a measured one has no such word anywhere."""
    simulated = Page(standard)
    measured = Page(write_report(make_report(intensities="measured"), tmp_path))
    assert simulated.text.count("Simulated intensities") == 6 + 50  # banner, captions, and the page of each nodule
    assert "simulated" not in measured.text.lower()


def test_run_beside_is_drawn_with_its_own_verdict(make_report, tmp_path):
    """A negative control gets its own picture, caption, honest figure and word on its intensities."""
    control = make_scores(effect=0.0)
    page = Page(write_report(make_report(beside=[("No effect planted", control, "simulated")]), tmp_path))
    assert len(page.images) == 5
    honest = control.iloc[-1]
    assert f"AUC {honest['auc']:.2f} ({honest['auc_low']:.2f} to {honest['auc_high']:.2f})" in page.text
    assert "No effect planted . Simulated intensities." in page.text or "No effect planted. Simulated" in page.text


def test_features_only_run_says_why_there_is_no_benchmark(make_report, tmp_path):
    """Without scores, labels, exclusions and tiles the page stands and says what a benchmark needs."""
    nodules = make_nodules().head(1).assign(malignant=pd.array([None], dtype="Int64"))
    fields = {"scores": None, "predictions": None, "nodules": nodules, "tiles": (), "series": make_series(1)}
    page = Page(write_report(make_report(**fields, exclusions=make_exclusions().head(0), run={}), tmp_path))
    assert "No benchmark was run." in page.text
    assert "needs the [benchmark] section" in page.text
    assert "1 without label , from 1 patient" in page.text or "1 without label, from 1 patient" in page.text
    assert "Nothing was excluded." in page.text
    assert not page.images
    own = Page(write_report(make_report(**fields, no_benchmark="Only two patients."), tmp_path))
    assert "Only two patients." in own.text


def test_tables_without_any_row_still_give_a_page(make_report, tmp_path):
    """A cohort of which everything was excluded, and scores without an AUC, are shown, not a stack trace."""
    empty = {"series": make_series(1).head(0), "nodules": make_nodules().head(0), "tiles": ()}
    assert "No benchmark" in Page(write_report(make_report(**empty, scores=None, predictions=None), tmp_path)).text
    figures = ["auc", "auc_low", "auc_high", "auc_low_all", "auc_high_all"]
    scores = make_scores()
    scores[figures] = np.nan
    page = Page(write_report(make_report(scores=scores), tmp_path))
    assert "No configuration has an AUC" in page.text
    assert "No configuration could be chosen" in page.text


def test_every_exclusion_is_listed_and_escaped(standard):
    """All rows appear with stage, ids, code and message; markup in a message is text."""
    text = Page(standard).text
    for row in make_exclusions().to_dict("records"):
        for name in ("stage", "patient_id", "series_uid", "code", "message"):
            assert row[name] in text
    assert "<-1000" not in standard.read_text(encoding="utf-8")


def test_downloads_hold_the_tables(standard):
    """The CSV links decode to the numbers of every chart and table, and each has a name of its own."""
    page = Page(standard)
    tables = {
        name: pd.read_csv(io.BytesIO(base64.b64decode(href.partition(",")[2]))) for name, href in page.downloads.items()
    }
    rows = {name.removesuffix(".csv"): len(table) for name, table in tables.items()}
    assert rows.pop("roc") > 100
    assert rows.pop("cohort_flow") >= 5
    assert rows.pop("figures") > 5
    assert rows == {
        "auc_against_radius": 84,
        "calibration": 2,
        "decision": 99,
        "nodules": 50,
        "exclusions": 3,
        "scores": 85,
        "checklist-clear": 58,
        "checklist-metrics": 30,
        "checklist-tripod-ai": 52,
        "checklist-claim": 44,
        "checklist-ibsi": 104,
    }
    np.testing.assert_allclose(tables["scores.csv"]["auc"], make_scores()["auc"])


def test_recipe_and_versions_are_there(standard):
    """The recipe is shown as TOML that reads back, with versions, timings and seeds."""
    text = Page(standard).text
    for words in ("packages.scikit-learn 1.9.1", "stages.scans 93.4", "methods = "):
        assert words in text
    assert tomllib.loads(toml(RUN["recipe"]))["regions"] == RUN["recipe"]["regions"]
    assert "annotations" not in toml(RUN["recipe"])
    assert toml("[run]\nworkers = 2\n") == "[run]\nworkers = 2\n"
    assert tomllib.loads(toml({"a": 1, "b": {"c": {"d": "x"}}})) == {"a": 1, "b": {"c": {"d": "x"}}}
    assert flat({"a": {"b": 1, "c": "x"}, "d": None}) == [("a.b", "1"), ("a.c", "x"), ("d", "null")]


def test_foreign_kind_of_intensities_is_refused(make_report, tmp_path):
    """Anything but "simulated" and "measured" stops the report, also for a run beside."""
    with pytest.raises(DatasetError, match='not "phantom"'):
        write_report(make_report(intensities="phantom"), tmp_path)
    with pytest.raises(DatasetError, match='not ""'):
        write_report(make_report(beside=[("x", make_scores(), "")]), tmp_path)


def test_counts_follow_the_way_of_the_data():
    """Series found, accepted and set aside; patients; nodules once whatever the number of segmenters; labels."""
    counts = dict(cohort_counts(make_series(), make_nodules(), make_exclusions()))
    assert counts == {
        "series found": 48,
        "series accepted": 47,
        "series set aside": 1,
        "patients": 44,
        "nodules segmented": 50,
        "malignant": 24,
        "benign": 25,
        "without label": 1,
        "exclusions": 3,
    }


def test_series_with_a_warning_are_accepted():
    """A warned series was worked on, so the page counts it as accepted and says of how many that is so."""
    series = make_series()
    series.loc[:4, "verdict"] = "warn"
    counts = dict(cohort_counts(series, make_nodules(), make_exclusions()))
    assert (counts["series accepted"], counts["of these with a warning"], counts["series set aside"]) == (47, 5, 1)


def test_scanners_are_grouped_with_ranges():
    """One row a scanner and kernel, missing kernels named, ranges of voltage and spacing; no columns, no table."""
    rows = scanner_table(make_series())
    assert sum(row["series"] for row in rows) == 48
    assert {row["kernel"] for row in rows} == {"B30f", "LUNG", "not given"}
    assert all(row["kV"] == "100 to 120" for row in rows)
    assert scanner_table(make_series()[["patient_id"]]) == []


def test_verdict_counts_choices_and_measures_the_gap():
    """Chosen configurations are counted over the folds, a fold without a choice is said, and the gap is best less honest."""
    scores = make_scores()
    one = verdicts(scores)[0]
    assert one["gap"] == pytest.approx(scores.query("selection == 'fixed'")["auc"].max() - 0.71)
    assert one["configurations"] == 84
    assert one["folds"] == 5
    assert chosen_configurations({"chosen": "[null, null]"}) == ([("none could be tuned", 2)], 2)
    assert chosen_configurations(None) == ([], 0)
    assert verdicts(make_scores(effect=0.0))[0]["shown"] is False


def test_scores_are_ordered_by_inner_auc():
    """The choice made inside comes first, then configurations by inner AUC, not by the AUC on test."""
    rows = score_rows(make_scores())
    assert rows[0]["selection"] == "inside"
    inner = [row["inner_auc"] for row in rows[1:]]
    assert inner == sorted(inner, reverse=True)


def test_predictions_of_a_part_of_the_configurations_draw_the_curves_there_are(make_report, tmp_path):
    """Without the predictions of the choice, or without any, the ROC section shrinks or goes."""
    scores = make_scores()
    some = make_predictions(scores[scores["classifier"] == "knn"])
    assert len(Page(write_report(make_report(predictions=some, tiles=()), tmp_path)).images) == 2
    assert len(Page(write_report(make_report(predictions=None, tiles=()), tmp_path)).images) == 1


def test_each_data_set_has_its_own_figures(make_report, tmp_path):
    """Scores of two data sets give two of each chart, section and flow; none is left out in silence, and no address comes twice."""
    first, nodules = make_scores(), make_nodules()
    scores = pd.concat([first, first.assign(dataset="second", auc=first["auc"] - 0.05)], ignore_index=True)
    predictions = make_predictions(first)
    both = pd.concat([predictions, predictions.assign(dataset="second")], ignore_index=True)
    tables = {"nodules": pd.concat([nodules, nodules.assign(dataset="second")]), "scores": scores, "predictions": both}
    path = write_report(make_report(**tables, tiles=()), tmp_path)
    page, html = Page(path), path.read_text(encoding="utf-8")
    assert len(page.images) == 2 * 4
    assert html.count('class="flow"') == 2
    for words in (
        "Figures of the honest choice: phantom",
        "Figures of the honest choice: second",
        "1 to 8 mm: second.",
    ):
        assert words in page.text
    assert {"roc.csv", "roc-2.csv", "calibration-2.csv", "decision-2.csv", "figures-2.csv"} <= set(page.downloads)
    addresses = re.findall(r' id="([^"]+)"', html)
    assert len(addresses) == len(set(addresses))
    assert html.count('class="nodule"') == 50
