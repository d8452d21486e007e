"""A report made from the tables of `report_tables`."""

import pytest
from report_tables import RUN, make_exclusions, make_nodules, make_predictions, make_scores, make_series, make_tile

from lungpipe.report.page import Report


@pytest.fixture(scope="session")
def make_report():
    """Return a function that makes a report, with any field replaced."""

    def make(**fields):
        scores = make_scores()
        standard = {
            "title": "Phantom cohort, effect 1 to 8 mm",
            "intensities": "simulated",
            "run": RUN,
            "series": make_series(),
            "nodules": make_nodules(),
            "exclusions": make_exclusions(),
            "scores": scores,
            "predictions": make_predictions(scores),
            "tiles": [make_tile(i) for i in range(6)],
            "planted_radius_mm": 8.0,
        }
        return Report(**(standard | fields))

    return make
