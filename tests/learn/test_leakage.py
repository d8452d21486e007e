"""Nothing that prepares features learns from the rows that are tested: each step, and the same step as a trap that does."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.folds import grouped_folds
from lungpipe.learn.models import Logistic
from lungpipe.learn.preparation import Harmonise, Preparation
from lungpipe.learn.reduce import CorrelationFilter, Select

N, COLUMNS = 60, 8
GROUPS = np.arange(N)
LABELS = np.arange(N) % 2
FOLD = grouped_folds(LABELS, GROUPS, 3, 0)[0]
#: Test rows that are changed, and those that must not notice.
CHANGED, KEPT = FOLD.test[::2], FOLD.test[1::2]
STEPS = {
    "imputation and scaling": Preparation(),
    "without weights": Preparation(balance="none"),
    "correlation": Preparation(max_correlation=0.8),
    "mrmr": Preparation(selection="mrmr", n_features=(2, 3)),
    "lasso": Preparation(selection="lasso", n_features=(2, 3)),
    "boruta": Preparation(selection="boruta", n_features=(3,)),
    "combat": Preparation(harmonise=True),
    "all": Preparation(0.8, "mrmr", (2, 3), harmonise=True),
}


@pytest.fixture(autouse=True)
def few_forests(monkeypatch):
    """Boruta with two small forests, which is enough to tell what it saw."""
    monkeypatch.setattr("lungpipe.learn.reduce._ROUNDS", 2)
    monkeypatch.setattr("lungpipe.learn.reduce._TREES", 4)


def table():
    """Features with gaps, echoes and one location a scanner; a weak signal; and the scanners."""
    rng = np.random.default_rng(4)
    batch = rng.integers(0, 3, N)
    features = rng.normal(size=(N, COLUMNS)) + 2.0 * batch[:, None]
    features[:, 0] += LABELS
    features[:, 1] = features[:, 0] + 0.3 * rng.normal(size=N)
    features[rng.random(features.shape) < 0.1] = np.nan
    return features, batch


def other(values):
    """A table whose changed rows are what no other row is."""

    def change(features, batch):
        features, batch = features.copy(), batch.copy()
        features[CHANGED] = values(len(CHANGED))
        return features, batch

    return change


def other_batches(features, batch):
    """The changed rows come from a scanner of another number, then from one that nobody has seen."""
    batch = batch.copy()
    batch[CHANGED] = np.where(np.arange(len(CHANGED)) % 2 == 0, (batch[CHANGED] + 1) % 3, 9)
    return features, batch


CHANGES = {
    "copies of the label": other(lambda n: np.repeat(1e3 * LABELS[CHANGED][:, None], COLUMNS, axis=1)),
    "huge": other(lambda n: np.full((n, COLUMNS), 1e90)),
    "one value and gaps": other(lambda n: np.where(np.arange(COLUMNS) == 0, 0.0, np.full((n, COLUMNS), np.nan))),
    "constant": other(lambda n: np.zeros((n, COLUMNS))),
    "batches": other_batches,
}


def evaluated(features, batch, preparation):
    return evaluate_configuration(
        features, LABELS, GROUPS, Logistic((0.1,)), [FOLD], 2, 0, preparation, batch if preparation.harmonise else None
    )


@pytest.mark.parametrize("step", STEPS)
def test_other_test_rows_change_nothing(step):
    """Whatever the other test rows hold, and whatever scanner they come from, a row's prediction has the same bits."""
    features, batch = table()
    before = evaluated(features, batch, STEPS[step])
    assert np.isfinite(before.p[0, FOLD.test]).all()
    for name, change in CHANGES.items():
        after = evaluated(*change(features, batch), STEPS[step])
        np.testing.assert_array_equal(after.p[0, KEPT], before.p[0, KEPT], err_msg=name)
        np.testing.assert_array_equal(after.inner_auc, before.inner_auc, err_msg=name)
        assert after.hyper_parameters == before.hyper_parameters, name


def imputed(features):
    return np.where(np.isnan(features), np.nanmedian(features, axis=0), features)


def scaled(features):
    return StandardScaler().fit_transform(imputed(features))


def without_batches(features, batch):
    return Harmonise().fit(np.column_stack([batch, features])).transform(np.column_stack([batch, features]))


#: The same steps fitted to all rows beforehand, and the change that gives each away.
TRAPS = {
    "imputation": (lambda x, b: imputed(x), "huge"),
    "scaling": (lambda x, b: scaled(x), "huge"),
    "correlation": (lambda x, b: CorrelationFilter(0.8).fit_transform(scaled(x)), "copies of the label"),
    "mrmr": (lambda x, b: Select("mrmr", 2).fit_transform(scaled(x), LABELS), "copies of the label"),
    "lasso": (lambda x, b: Select("lasso", 2).fit_transform(scaled(x), LABELS), "copies of the label"),
    "boruta": (lambda x, b: Select("boruta", 2).fit_transform(scaled(x), LABELS), "copies of the label"),
    "combat": (without_batches, "constant"),
    "combat by batches": (without_batches, "batches"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_step_fitted_to_all_rows_would_be_seen(trap):
    """Fitted to all rows beforehand, the same step lets the other test rows move a prediction: the check above does catch it."""
    leak, change = TRAPS[trap]
    features, batch = table()
    changed = CHANGES[change](features, batch)
    before = evaluated(leak(features, batch), batch, Preparation())
    after = evaluated(leak(*changed), changed[1], Preparation())
    assert not np.array_equal(after.p[0, KEPT], before.p[0, KEPT])


def test_labels_of_the_test_rows_change_nothing_either():
    """Every step fitted with the test rows' labels turned round gives the same predictions for all of them."""
    features, batch = table()
    turned = LABELS.copy()
    turned[FOLD.test] = 1 - turned[FOLD.test]
    for name, step in STEPS.items():
        before = evaluated(features, batch, step)
        after = evaluate_configuration(
            features, turned, GROUPS, Logistic((0.1,)), [FOLD], 2, 0, step, batch if step.harmonise else None
        )
        np.testing.assert_array_equal(after.p, before.p, err_msg=name)
