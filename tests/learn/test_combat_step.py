"""ComBat inside a pipeline with a classifier learns from training rows, and from no label."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from lungpipe.errors import DatasetError
from lungpipe.learn.combat import Combat
from lungpipe.learn.combat_step import CombatStep

ROUTED = {"batch": True, "covariates": True}


@pytest.fixture
def cohort():
    """Two kernels that shift every feature; the first feature follows the label."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    batch = rng.choice(["soft", "sharp"], 200)
    x = rng.normal(size=(200, 6)) + np.where(batch == "sharp", 8.0, 0.0)[:, None]
    x[:, 0] += 2.0 * y
    return x, y, batch, pd.DataFrame({"age": rng.normal(60, 8, 200)})


def pipeline(step):
    step.set_fit_request(**ROUTED).set_transform_request(**ROUTED)
    return Pipeline([("combat", step), ("scale", StandardScaler()), ("classifier", LogisticRegression())])


def test_a_pipeline_is_the_steps_one_by_one(cohort):
    """Predictions are those of ComBat fitted on the training rows without labels, then the classifier."""
    x, y, batch, who = cohort
    train, test = np.arange(150), np.arange(150, 200)
    with config_context(enable_metadata_routing=True):
        model = pipeline(CombatStep())
        model.fit(x[train], y[train], batch=batch[train], covariates=who.iloc[train])
        found = model.predict_proba(x[test], batch=batch[test], covariates=who.iloc[test])
    alone = Combat().fit(x[train], batch=batch[train], covariates=who.iloc[train])
    ready = [alone.transform(x[k], batch=batch[k], covariates=who.iloc[k]) for k in (train, test)]
    classifier = Pipeline([("scale", StandardScaler()), ("classifier", LogisticRegression())]).fit(ready[0], y[train])
    np.testing.assert_array_equal(found, classifier.predict_proba(ready[1]))
    assert ((found[:, 1] > 0.5) == y[test]).mean() > 0.75


def test_labels_change_nothing(cohort):
    """Whatever the labels, location and scale are the same."""
    x, y, batch, who = cohort
    plain = Combat().fit(x, batch=batch, covariates=who)
    for labels in (y, 1 - y, None):
        found = CombatStep().fit(x, labels, batch=batch, covariates=who)
        np.testing.assert_array_equal(found.gamma_, plain.gamma_)
        np.testing.assert_array_equal(found.delta_, plain.delta_)
    with pytest.raises(DatasetError, match="is the label"):
        CombatStep().fit(x, y, batch=batch, covariates=who.assign(malignant=y))


def test_combat_itself_still_refuses_labels(cohort):
    """As a plain step of such a pipeline it stops, and says why."""
    x, y, batch, who = cohort
    with config_context(enable_metadata_routing=True), pytest.raises(DatasetError, match=r"labels \(y\)"):
        pipeline(Combat()).fit(x, y, batch=batch, covariates=who)
