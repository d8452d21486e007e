"""Charts show every line and figure they should."""

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from report_tables import CLASSIFIERS, HONEST, make_predictions, make_scores

from lungpipe.errors import DatasetError
from lungpipe.report import style
from lungpipe.report.figures import _curve, auc_against_radius, auc_limits, configuration_name, roc_curves, roc_points


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are drawn, to look into their axes."""
    figures = []

    def keep(*size):
        figures.append(style.Figure(figsize=size, layout="constrained"))
        return figures[-1]

    monkeypatch.setattr("lungpipe.report.figures.new_figure", keep)
    return figures


def test_radius_chart_has_a_panel_a_classifier_and_a_line_a_segmenter(drawn):
    """Each panel has four lines whose heights are the AUCs, the line at 0.5, and the planted radius."""
    scores = make_scores()
    ET.fromstring(auc_against_radius(scores, planted_radius_mm=8.0))
    panels = drawn[0].axes
    assert len(panels) == len(CLASSIFIERS)
    line = next(one for one in panels[1].lines if one.get_label() == "Gaussian mixture")
    wanted = scores.query("segmenter == 'gmm' and classifier == 'random_forest'").sort_values("radius_mm")
    np.testing.assert_array_equal(line.get_ydata(), wanted["auc"])
    np.testing.assert_allclose(line.get_xdata(), wanted["radius_mm"], atol=0.5)
    assert any(np.allclose(one.get_ydata(), 0.5) for one in panels[1].lines)
    assert any(np.allclose(one.get_xdata(), 8.0) for one in panels[1].lines)


def test_radius_chart_draws_each_kind_of_region_from_the_nodule_on(drawn):
    """With grown regions and shells there are two rows of panels, both starting at radius 0."""
    auc_against_radius(make_scores(kinds=("grown", "shell")))
    panels = drawn[0].axes
    assert len(panels) == 2 * len(CLASSIFIERS)
    for panel in panels:
        assert min(np.min(line.get_xdata()) for line in panel.lines if len(line.get_xdata()) == 7) < 0.5


def test_charts_are_the_same_bytes_each_time():
    """Drawing twice gives identical files, without a date."""
    scores = make_scores()
    assert auc_against_radius(scores) == auc_against_radius(scores)
    assert "<dc:date>" not in auc_against_radius(scores)


def test_simulated_is_said_in_the_figures(drawn):
    """Figures of simulated intensities say so, others do not."""
    scores = make_scores()
    rows = make_predictions(scores.head(1))
    for simulated in (True, False):
        auc_against_radius(scores, simulated=simulated)
        roc_curves({"a": rows}, {"a": HONEST}, simulated=simulated)
    said = ["Simulated intensities" in all_text(figure) for figure in drawn]
    assert said == [True, True, False, False]


def all_text(figure):
    """Return every text in a figure."""
    return "\n".join(one.get_text() for one in figure.findobj(Text))


def test_limits_hold_all_intervals_and_one_half():
    """Shared limits reach from the lowest lower limit to the highest upper one, and hold 0.5."""
    high, low = (
        pd.DataFrame({"auc_low": [0.62], "auc_high": [0.93]}),
        pd.DataFrame({"auc_low": [0.31], "auc_high": [0.6]}),
    )
    assert auc_limits([high, low]) == pytest.approx((0.29, 1.01))
    assert auc_limits([high])[0] < 0.5


def test_roc_curve_is_the_hand_made_one():
    """Malignant 0.9, 0.6 against benign 0.6, 0.1: the tie is one slanted step from (0, 1/2) to (1/2, 1)."""
    x, y = _curve(pd.DataFrame({"y": [1, 0, 1, 0], "p": [0.9, 0.6, 0.6, 0.1]}), "hand")
    np.testing.assert_allclose(x, [0, 0, 0.5, 1])
    np.testing.assert_allclose(y, [0, 0.5, 1, 1])


def test_roc_legend_gives_auc_and_interval(drawn):
    """The legend names each curve with its AUC and limits; repeats are averaged into one line."""
    rows = make_predictions(make_scores().head(1))
    twice = pd.concat([rows, rows.assign(repeat=1)])
    roc_curves({"honest": rows, "twice": twice}, {"honest": HONEST, "twice": HONEST}, simulated=False)
    assert "honest: 0.71 (0.55 to 0.83)" in all_text(drawn[0])
    single, mean = drawn[0].axes[0].lines[1:3]
    even = np.interp(np.linspace(0, 1, 101), single.get_xdata(), single.get_ydata())
    np.testing.assert_allclose(mean.get_ydata()[1:], even)


def test_styles_differ_in_colour_marker_and_dashes():
    """Five names get five colours, markers and dash patterns; names beyond the palette still get a style of their own."""
    five = style.styles(list("abcde"))
    assert len({one.colour for one in five.values()}) == 5
    assert len({one.marker for one in five.values()}) == 5
    assert len({str(one.dash) for one in five.values()}) == 5
    many = style.styles([str(i) for i in range(14)])
    assert len({(one.colour, str(one.dash)) for one in many.values()}) == 14


def test_configuration_is_named_in_words():
    """Plug-in names become the field's words; unknown ones stay."""
    row = {"segmenter": "gmm", "region": "shell", "radius_mm": 8.0, "classifier": "mine"}
    assert configuration_name(row) == "Gaussian mixture, shell 8 mm, mine"
    assert configuration_name(row | {"region": "nodule", "radius_mm": 0.0}) == "Gaussian mixture, nodule alone, mine"


def test_roc_points_are_the_curve_that_is_drawn():
    """The table holds the tie of the hand-made curve as one step, under the curve's name."""
    rows = pd.DataFrame({"y": [1, 0, 1, 0], "p": [0.9, 0.6, 0.6, 0.1], "repeat": 0})
    table = roc_points({"hand": rows})
    assert set(table["curve"]) == {"hand"}
    np.testing.assert_allclose(table["false_positive_rate"], [0, 0, 0.5, 1])
    np.testing.assert_allclose(table["true_positive_rate"], [0, 0.5, 1, 1])


def test_unusable_figures_are_refused():
    """Figures without data and one-class curves are refused with a reason."""
    scores = make_scores()
    with pytest.raises(DatasetError, match="No configuration has an AUC"):
        auc_against_radius(scores.assign(auc=np.nan))
    with pytest.raises(DatasetError, match="No ROC"):
        roc_curves({}, {}, simulated=False)
    with pytest.raises(DatasetError, match="one class only"):
        roc_curves({"a": make_predictions(scores.head(1)).assign(y=1)}, {"a": HONEST}, simulated=False)
