"""TabPFN is the user's own: package and weights are asked for by name, and its hash is in the record."""

import hashlib
import sys
from dataclasses import asdict

import numpy as np
import pytest

from lungpipe import plugins
from lungpipe.errors import PluginError
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.folds import grouped_folds
from lungpipe.learn.tabpfn import WEIGHTS, TabPfn

#: What the adapter uses of the package: a classifier that takes a file of weights, and answers by the nearest class mean.
PACKAGE = """
import numpy as np

class TabPFNClassifier:
    def __init__(self, *, model_path, n_estimators, device, random_state):
        with open(model_path, "rb") as stream:
            assert stream.read() == b"weights"
        assert device == "cpu"

    def fit(self, X, y):
        self.means = [X[y == value].mean(axis=0) for value in (0, 1)]
        return self

    def predict_proba(self, X):
        away = np.stack([((X - mean) ** 2).sum(axis=1) for mean in self.means])
        p = 1 / (1 + np.exp(np.clip(away[1] - away[0], -50, 50)))
        return np.stack([1 - p, p], axis=1).astype(np.float32)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "tabpfn").mkdir()
    (tmp_path / "tabpfn" / "__init__.py").write_text(PACKAGE)
    (tmp_path / "weights.ckpt").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(WEIGHTS, str(tmp_path / "weights.ckpt"))
    yield tmp_path
    sys.modules.pop("tabpfn", None)


def test_it_is_evaluated_like_the_others(package):
    """Rows with a planted difference are told apart by the package's classifier, in folds of patients."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.normal(size=(60, 4)) + 3.0 * y[:, None]
    x[::7, 1] = np.nan
    patients = np.arange(60) // 2
    found = evaluate_configuration(
        x, y, patients, plugins.find("classifiers", "tabpfn")(), grouped_folds(y, patients, 3, 0), 2, 0
    )
    assert found.trained.all()
    assert found.p[0][y == 1].min() > found.p[0][y == 0].max()


def test_the_weights_are_in_the_record(package):
    """The file's hash is a parameter of the classifier, and other weights give another."""
    assert asdict(TabPfn())["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    (package / "other.ckpt").write_bytes(b"others")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WEIGHTS, str(package / "other.ckpt"))
        assert TabPfn().weights_sha256 == hashlib.sha256(b"others").hexdigest()


def test_what_is_missing_is_said(package, monkeypatch):
    """Without a file, and without the package, the error says what to get and where to name it."""
    monkeypatch.setenv(WEIGHTS, str(package / "nowhere.ckpt"))
    with pytest.raises(PluginError, match=rf"{WEIGHTS}.*nowhere.ckpt, which is no file"):
        TabPfn()
    monkeypatch.delenv(WEIGHTS)
    with pytest.raises(PluginError, match=f"{WEIGHTS}; it names nothing"):
        TabPfn()
    monkeypatch.setattr("lungpipe.learn.tabpfn.find_spec", lambda _: None)
    with pytest.raises(PluginError, match="pip install 'tabpfn>=8'"):
        TabPfn()
