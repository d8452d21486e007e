"""ComBat takes batches out and leaves what covariates explain, sees no label, and learns from training rows alone."""

import numpy as np
import pandas as pd
import pytest
from combatlearn.core import ComBatModel
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from lungpipe.errors import DatasetError
from lungpipe.learn.combat import Combat
from lungpipe.learn.combat_bayes import posterior


def simulated(seed=0, n=120, p=15, batches=3, effect=1.5, shift=2.0):
    """Features, batches and covariates; the first five features follow ``size``, batches shift and stretch all."""
    rng = np.random.default_rng(seed)
    batch = np.array([f"kernel {k}" for k in np.sort(rng.integers(0, batches, n))])
    who = pd.DataFrame({"size": rng.normal(10, 3, n), "sex": rng.choice(["F", "M"], n)})
    level = np.unique(batch, return_inverse=True)[1]
    features = rng.normal(size=(n, p)) * np.linspace(0.7, 1.6, batches)[level][:, None]
    features += shift * rng.normal(size=(batches, 1))[level] + 0.3 * rng.normal(size=(batches, p))[level]
    features[:, :5] += effect * (who["size"].to_numpy()[:, None] - 10) / 3
    features[:, 5:8] += (who["sex"] == "M").to_numpy()[:, None]
    return features * np.logspace(-2, 4, p) + 5, batch, who


class Peer(ComBatModel):
    """combatlearn's design, standardisation, posterior means and adjustment, with priors over features.

    Its release 2.3.0 takes the moments of the priors over batches, feature by feature; Johnson, Li and Rabinovic
    (2007, section 3.2) take them over features, batch by batch. So its own function gets one batch at a time with features
    along the axis that it reduces (twice, as it has no priors for one column), and runs until nothing moves.
    """

    def _shrink_eb(self, gamma_hat, delta_hat, n_per_batch, batch_names):
        counts = np.array(list(n_per_batch.values()) if isinstance(n_per_batch, dict) else n_per_batch, dtype=float)
        pairs = [
            self._shrink_gamma_delta(
                np.column_stack([gamma, gamma]),
                np.column_stack([delta, delta]),
                np.full(len(gamma), count),
                parametric=True,
                max_iter=10_000,
                tol=1e-13,
            )
            for gamma, delta, count in zip(gamma_hat, delta_hat, counts, strict=True)
        ]
        return np.stack([gamma[:, 0] for gamma, _ in pairs]), np.stack([delta[:, 0] for _, delta in pairs])


@pytest.mark.parametrize("with_covariates", [False, True])
@pytest.mark.parametrize("reference", [None, "kernel 1"])
@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_an_independent_implementation(seed, reference, with_covariates):
    """combatlearn, priors taken as published, gives the same features to 1e-9 of a standard deviation, also on new rows."""
    features, batch, who = simulated(seed)
    new, new_batch, new_who = simulated(seed + 100)
    method = "fortin" if with_covariates or reference else "johnson"
    peer = Peer(method=method, eps=1e-300, reference_batch=reference)
    covariates = who if with_covariates else None
    names = {"discrete_covariates": who[["sex"]], "continuous_covariates": who[["size"]]} if with_covariates else {}
    new_names = {key: new_who[value.columns] for key, value in names.items()}
    peer.fit(pd.DataFrame(features), batch=batch, **names)
    own = Combat(reference=reference).fit(features, batch=batch, covariates=covariates)
    sd = features.std(axis=0)
    expected = peer.transform(pd.DataFrame(features), batch=batch, **names).to_numpy()
    found = own.transform(features, batch=batch, covariates=covariates)
    np.testing.assert_allclose(found / sd, expected / sd, atol=1e-9)
    expected = peer.transform(pd.DataFrame(new), batch=new_batch, **new_names).to_numpy()
    found = own.transform(new, batch=new_batch, covariates=new_who if with_covariates else None)
    np.testing.assert_allclose(found / sd, expected / sd, atol=1e-9)


def test_posterior_means_fulfil_the_published_equations():
    """Location and scale solve Johnson's equations for the priors' moments over features, term by term."""
    rng = np.random.default_rng(4)
    rows = rng.normal(rng.normal(0.5, 0.4, 8), rng.uniform(0.5, 2, 8), (9, 8))
    gamma, delta = posterior(rows, mean_only=False)
    mean, variance = rows.mean(axis=0), rows.var(axis=0, ddof=1)
    tau2, m, s2 = mean.var(ddof=1), variance.mean(), variance.var(ddof=1)
    shape, rate = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    for g in range(8):
        assert gamma[g] == pytest.approx(
            (9 * tau2 * mean[g] + delta[g] * mean.mean()) / (9 * tau2 + delta[g]), rel=1e-10
        )
        squares = ((rows[:, g] - gamma[g]) ** 2).sum()
        assert delta[g] == pytest.approx((rate + squares / 2) / (9 / 2 + shape - 1), rel=1e-10)
    gamma, delta = posterior(rows, mean_only=True)
    assert gamma == pytest.approx((9 * tau2 * mean + mean.mean()) / (9 * tau2 + 1))
    assert (delta == 1).all()


def test_a_feature_without_values_takes_the_priors_means():
    """Where a batch has no value of a feature its location and scale are what the other features have on average."""
    rows = np.random.default_rng(5).normal(1, 2, (10, 6))
    rows[:, 2] = np.nan
    gamma, delta = posterior(rows, mean_only=False)
    others = np.delete(rows, 2, axis=1)
    assert gamma[2] == pytest.approx(others.mean())
    assert delta[2] == pytest.approx(others.var(axis=0, ddof=1).mean())


@pytest.mark.parametrize("mean_only", [False, True])
def test_batches_vanish_and_a_planted_effect_stays(mean_only):
    """Batch means (and scales) become one, and the slope on the covariate is the planted one."""
    features, batch, who = simulated(7, n=600)
    found = Combat(mean_only=mean_only).fit_transform(features, batch=batch, covariates=who)
    unit = np.logspace(-2, 4, features.shape[1])
    slope = np.polyfit(who["size"], found[:, :5] / unit[:5], 1)[0]
    assert slope == pytest.approx(np.full(5, 0.5), abs=0.05)
    residual = (found - 5) / unit
    residual[:, :5] -= 0.5 * (who["size"].to_numpy()[:, None] - 10)
    residual[:, 5:8] -= (who["sex"] == "M").to_numpy()[:, None]
    means = np.stack([residual[batch == name].mean(axis=0) for name in np.unique(batch)])
    spread = np.stack([residual[batch == name].std(axis=0) for name in np.unique(batch)])
    raw = np.stack([((features - 5) / unit)[batch == name][:, 8:].mean(axis=0) for name in np.unique(batch)])
    assert np.ptp(raw, axis=0).min() > 1
    assert np.ptp(means, axis=0).max() < 0.25  # its standard error is 0.1
    assert (spread.max(axis=0) / spread.min(axis=0)).max() < 1.2 or mean_only
    assert not mean_only or (spread.max(axis=0) / spread.min(axis=0)).min() > 1.5


def test_without_the_covariate_its_effect_is_taken_for_a_batch_effect():
    """Where batches differ in size, leaving size out takes its effect with the batches; giving it keeps the effect."""
    rng = np.random.default_rng(8)
    batch = np.repeat(["a", "b"], 200)
    size = rng.normal(np.where(batch == "a", 0.0, 2.0), 1.0)
    features = size[:, None] + 0.1 * rng.normal(size=(400, 6)) + np.where(batch == "a", 0.0, 5.0)[:, None]
    kept = Combat().fit_transform(features, batch=batch, covariates=pd.DataFrame({"size": size}))
    lost = Combat().fit_transform(features, batch=batch)
    between = [float(np.mean(x[batch == "b"]) - np.mean(x[batch == "a"])) for x in (kept, lost)]
    assert between == pytest.approx([2.0, 0.0], abs=0.2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_rows_are_adjusted_one_by_one(seed, mean_only):
    """No adjusted row depends on another: alone, together and shuffled give the same bits."""
    features, batch, who = simulated(seed, n=60, p=6)
    model = Combat(mean_only=mean_only).fit(features, batch=batch, covariates=who)
    new, new_batch, new_who = simulated(seed + 1, n=20, p=6)
    together = model.transform(new, batch=new_batch, covariates=new_who)
    alone = [model.transform(new[[k]], batch=new_batch[[k]], covariates=new_who.iloc[[k]]) for k in range(20)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    order = np.random.default_rng(seed).permutation(20)
    shuffled = model.transform(new[order], batch=new_batch[order], covariates=new_who.iloc[order])
    np.testing.assert_array_equal(shuffled, together[order])


def test_missing_values_stay_and_count_for_nothing():
    """A gap stays a gap, other features stay as they were, and rows that are all gaps change no statistic."""
    features, batch, who = simulated(9)
    gapped = features.copy()
    gapped[::3, 2] = np.nan
    gapped[batch == "kernel 0", 11] = np.nan
    found = Combat().fit_transform(gapped, batch=batch, covariates=who)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(gapped))
    more = np.vstack([features, np.full((4, 15), np.nan)])
    names, table = np.append(batch, ["kernel 1"] * 4), pd.concat([who, who.head(4)], ignore_index=True)
    found = Combat().fit_transform(more, batch=names, covariates=table)[: len(features)]
    sd = features.std(axis=0)
    plain = Combat().fit_transform(features, batch=batch, covariates=who)
    np.testing.assert_allclose(found / sd, plain / sd, atol=1e-10)
    empty = np.column_stack([features, np.full(len(features), np.nan)])
    found = Combat().fit_transform(empty, batch=batch, covariates=who)
    np.testing.assert_allclose(found[:, :-1] / sd, plain / sd, atol=1e-10)
    assert np.isnan(found[:, -1]).all()


def test_flat_features_and_single_batches_stay_as_they_are():
    """A constant feature has no scale to adjust, and one batch has nothing to be brought to."""
    features, batch, _ = simulated(10)
    features[:, 4] = 7.0
    model = Combat().fit(features, batch=batch)
    assert np.flatnonzero(model.flat_).tolist() == [4]
    assert (model.transform(features, batch=batch)[:, 4] == 7.0).all()
    assert Combat().fit_transform(features, batch=["a"] * len(batch)) == pytest.approx(features, rel=1e-12)


def test_the_label_is_refused():
    """Neither y nor a covariate or batch of the label's name gets in."""
    features, batch, who = simulated()
    labels = np.arange(len(batch)) % 2
    with pytest.raises(DatasetError, match=r"labels \(y\)"):
        Combat().fit(features, labels, batch=batch)
    with pytest.raises(DatasetError, match=r"labels \(y\)"):
        Combat().fit_transform(features, labels, batch=batch)
    with pytest.raises(DatasetError, match="'malignant' is the label"):
        Combat().fit(features, batch=batch, covariates=who.assign(malignant=labels))
    with pytest.raises(DatasetError, match="'cancer' is the label"):
        Combat(label="cancer").fit(features, batch=batch, covariates=who.assign(cancer=labels))
    with pytest.raises(DatasetError, match="the batch is the label"):
        Combat().fit(features, batch=pd.Series(labels, name="malignant"))
    with pytest.raises(DatasetError, match="must be a DataFrame"):
        Combat().fit(features, batch=batch, covariates=labels[:, None])


def test_unseen_batches_are_refused_unless_told_how():
    """An unknown scanner stops the work; it stays as it is, or moves by the mean effect, where that was asked for."""
    features, batch, _ = simulated(11)
    new, stranger = features[:5] + 1, ["another"] * 5
    with pytest.raises(DatasetError, match="another was not among the training rows"):
        Combat().fit(features, batch=batch).transform(new, batch=stranger)
    model = Combat(reference="kernel 2", unseen="reference").fit(features, batch=batch)
    np.testing.assert_array_equal(model.transform(new, batch=stranger), new)
    np.testing.assert_array_equal(model.transform(new, batch=["kernel 2"] * 5), new)
    model = Combat(reference="kernel 2", unseen="pooled").fit(features, batch=batch)
    parts = [model.transform(new, batch=[name] * 5) for name in model.batches_]
    pooled = model.transform(new, batch=stranger)
    assert (pooled > np.min(parts, axis=0)).all()
    assert (pooled < np.max(parts, axis=0)).all()
    with pytest.raises(DatasetError, match="needs a reference batch"):
        Combat(unseen="reference").fit(features, batch=batch)
    with pytest.raises(DatasetError, match="refuse, reference, pooled"):
        Combat(unseen="ignore").fit(features, batch=batch)


def test_what_cannot_be_harmonised_is_refused():
    """Small batches are named with their counts; confounding, gaps and wrong sizes are told apart."""
    features, batch, who = simulated(12)
    few = batch.copy()
    few[0] = "rare"
    with pytest.raises(DatasetError, match=r"rare \(1\)"):
        Combat().fit(features, batch=few)
    with pytest.raises(DatasetError, match=r"kernel 0 \(\d+\)"):
        Combat(min_batch=len(batch)).fit(features, batch=batch)
    with pytest.raises(DatasetError, match="cannot be told apart"):
        Combat().fit(features, batch=batch, covariates=pd.DataFrame({"site": batch}))
    with pytest.raises(DatasetError, match="no training row is of the reference batch 'x'"):
        Combat(reference="x").fit(features, batch=batch)
    with pytest.raises(DatasetError, match=r"gaps: sex \(1\)"):
        Combat().fit(features, batch=batch, covariates=who.assign(sex=[None, *who["sex"][1:]]))
    with pytest.raises(DatasetError, match="1 of 120 rows have no batch"):
        Combat().fit(features, batch=[None, *batch[1:]])
    with pytest.raises(DatasetError, match="a batch for each of 120 rows"):
        Combat().fit(features, batch=batch[1:])
    sparse = features.copy()
    sparse[1:, 0] = np.nan
    with pytest.raises(DatasetError, match="1 features have too few values"):
        Combat().fit(sparse, batch=batch, covariates=who)
    with pytest.raises(DatasetError, match="1 features have no value in the reference"):
        Combat(reference="kernel 1").fit(
            np.where((batch == "kernel 1")[:, None] & (np.arange(15) == 3), np.nan, features), batch=batch
        )
    model = Combat().fit(features, batch=batch, covariates=who)
    with pytest.raises(DatasetError, match="covariates size, sex; found none"):
        model.transform(features, batch=batch)
    with pytest.raises(DatasetError, match="X was not among"):
        model.transform(features, batch=batch, covariates=who.assign(sex="X"))
    with pytest.raises(DatasetError, match="fitted to 15 features, found 14"):
        model.transform(features[:, 1:], batch=batch, covariates=who)


def test_it_is_a_scikit_learn_transformer():
    """It clones with its settings, keeps a DataFrame's labels, and fitting twice gives the same."""
    features, batch, who = simulated(13)
    model = clone(Combat(mean_only=True, reference="kernel 1", min_batch=5))
    assert model.get_params()["min_batch"] == 5
    table = pd.DataFrame(features, columns=[f"f{k}" for k in range(15)], index=np.arange(120) * 2)
    found = model.fit_transform(table, batch=batch, covariates=who)
    assert list(found.columns) == list(table.columns) == list(model.get_feature_names_out())
    assert found.index.equals(table.index)
    again = clone(model).fit(features, batch=batch, covariates=who).transform(features, batch=batch, covariates=who)
    np.testing.assert_array_equal(found.to_numpy(), again)
