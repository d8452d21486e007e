"""The page of a corruption ladder shows what its table holds."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from lungpipe.corrupt import CORRUPTIONS, SEVERITIES
from lungpipe.corrupt.summary import means, trends
from lungpipe.errors import DatasetError
from lungpipe.report import style
from lungpipe.report.ladder import CURVES, ladder_curves, ladder_html


def made(names=("noise", "dose"), n=4):
    """Dice falls by a tenth a severity, and differs between nodules; entropy rises."""
    rows = []
    for k in range(n):
        for name, severities in (("none", [0]), *((name, SEVERITIES) for name in names)):
            for s in severities:
                value = CORRUPTIONS[name].values[s - 1] if s else np.nan
                rows.append(
                    {"patient_id": f"P{k}", "series_uid": "S", "nodule_id": f"N{k}", "corruption": name, "severity": s}
                    | {
                        "value": value,
                        "unit": "",
                        "code": "",
                        "dice": 0.95 - 0.1 * s - 0.01 * k,
                        "entropy_bits": 0.1 * s,
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are drawn, to look into their axes."""
    figures = []

    def keep(*size):
        figures.append(style.Figure(figsize=size, layout="constrained"))
        return figures[-1]

    monkeypatch.setattr("lungpipe.report.ladder.new_figure", keep)
    return figures


def words(figure):
    return "\n".join(one.get_text() for one in figure.findobj(Text))


def test_each_corruption_has_a_panel_with_its_means(drawn):
    """A panel a corruption, its line the means from severity 0 on, its band the quartiles, its ticks the values."""
    ET.fromstring(ladder_curves(made(), "dice", simulated=False))
    panels = drawn[0].axes
    assert [one.get_title(loc="left") for one in panels] == ["Noise", "Share of dose"]
    for panel in panels:
        np.testing.assert_allclose(panel.lines[0].get_xdata(), np.arange(6))
        np.testing.assert_allclose(panel.lines[0].get_ydata(), 0.95 - 0.1 * np.arange(6) - 0.015)
        band = panel.collections[0].get_paths()[0].vertices
        at_start = band[np.isclose(band[:, 0], 0), 1]
        assert at_start.min() == pytest.approx(0.95 - 0.0225)  # quartiles of 0, 1, 2 and 3 hundredths
        assert at_start.max() == pytest.approx(0.95 - 0.0075)
    ticks = [one.get_text() for one in panels[1].get_xticklabels()]
    assert ticks == ["1", "0.5", "0.25", "0.1", "0.03", "0.01"]
    assert panels[0].get_xlabel() == "Severity (HU)"


def test_auc_is_drawn_with_its_interval(drawn):
    """The AUC's line and band are those of its own table."""
    auc = pd.DataFrame({"corruption": "blur", "severity": range(6), "auc": 0.9 - 0.05 * np.arange(6)})
    auc = auc.assign(auc_low=auc["auc"] - 0.1, auc_high=auc["auc"] + 0.05)
    ladder_curves(made(), "auc", simulated=False, auc=auc)
    (panel,) = drawn[0].axes
    np.testing.assert_allclose(panel.lines[0].get_ydata(), auc["auc"])
    assert panel.collections[0].get_paths()[0].vertices[:, 1].min() == pytest.approx(0.55)


def test_simulated_is_said_in_the_figure(drawn):
    """Figures of simulated intensities say so, others do not; drawing twice gives the same bytes."""
    table = made(("blur",))
    first, again = (ladder_curves(table, "dice", simulated=True) for _ in range(2))
    assert first == again
    ladder_curves(table, "dice", simulated=False)
    assert ["Simulated intensities" in words(one) for one in drawn] == [True, True, False]


@pytest.mark.parametrize("measure", ["mahalanobis", "auc"])
def test_what_has_no_value_is_refused(measure):
    """A figure that the table lacks cannot be drawn."""
    with pytest.raises(DatasetError, match=f"no row of the ladder has a value of {measure}"):
        ladder_curves(made(), measure, simulated=False)


def test_page_shows_what_the_table_has():
    """Headings for what there is and none for what there is not, the trends, and the means as a file to take along."""
    table = made().assign(mahalanobis=np.nan)
    page = ladder_html(
        table,
        means(table),
        trends(table, ("dice", "entropy_bits")),
        title="A <ladder>",
        about={"Segmenter": "otsu & co"},
        simulated=True,
    )
    assert "A &lt;ladder&gt;" in page
    assert "otsu &amp; co" in page
    assert page.count("<svg") == 2
    for name in CURVES:
        assert (f"<h2>{CURVES[name]}</h2>" in page) == (name in ("dice", "entropy_bits"))
    assert "<th>Share of dose</th><th>All</th>" in page
    assert re.search(r"<tr><th>Dice</th>(<td>[^<]*</td>)*<td>-1\.00 \(-1\.00\)</td></tr>", page)
    assert 'download="ladder-means.csv"' in page
    assert 'download="ladder-trends.csv"' in page
    assert not any(f'{attribute}="http' in page for attribute in ("src", "href"))
