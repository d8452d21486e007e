"""The classifier ``tabpfn``: a network trained beforehand on made-up tables, where its package and weights are at hand."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from lungpipe.errors import PluginError
from lungpipe.learn.models import standard_pipeline

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

#: Environment variable that names the file of weights: nothing is downloaded in a run.
WEIGHTS = "LUNGPIPE_TABPFN_WEIGHTS"


@dataclass(frozen=True, slots=True)
class TabPfn:
    """TabPFN (Hollmann et al. 2025, Nature 637:319): training rows are read by a network, and nothing is fitted.

    Package and weights are the user's: ``pip install tabpfn`` (Apache 2.0, needs torch), and a file of weights, whose licence
    may differ, named by the environment variable :data:`WEIGHTS`. The hash of the file is part of the run record.

    Parameters
    ----------
    ensemble : int
        Arrangements of the columns that are averaged.

    Raises
    ------
    PluginError
        If the package or the file is not there.
    """

    name: ClassVar[str] = "tabpfn"
    version: ClassVar[str] = "1"
    ensemble: int = 8
    weights_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        if find_spec("tabpfn") is None:
            raise PluginError(
                "the classifier 'tabpfn' needs the package tabpfn, which is not installed: pip install 'tabpfn>=8' (it brings "
                f"torch), get a file of its classifier weights, and name it in the environment variable {WEIGHTS}"
            )
        file = _weights()
        object.__setattr__(self, "weights_sha256", _sha256(file, file.stat().st_mtime_ns))

    def pipeline(self, seed: int) -> Pipeline:
        """Return the pipeline, on one core: configurations are spread over workers."""
        return standard_pipeline(LocalTabPfn(str(_weights()), self.ensemble, seed))

    def grid(self) -> dict[str, list[Any]]:
        """Return nothing to try."""
        return {}


class LocalTabPfn(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """TabPFN's classifier with weights from a file, on the processor."""

    def __init__(self, model_path: str, ensemble: int = 8, random_state: int = 0) -> None:
        self.model_path = model_path
        self.ensemble = ensemble
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  # scikit-learn's names
        """Keep the training rows."""
        from tabpfn import TabPFNClassifier  # type: ignore[import-not-found]  # the user's own

        self.model_ = TabPFNClassifier(
            model_path=self.model_path, n_estimators=self.ensemble, device="cpu", random_state=self.random_state
        ).fit(np.asarray(X), np.asarray(y))
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Probabilities of both classes, shape (n, 2)."""
        return np.asarray(self.model_.predict_proba(np.asarray(X)), dtype=np.float64)


def _weights() -> Path:
    """File of weights that the environment names."""
    named = os.environ.get(WEIGHTS, "")
    if not named or not Path(named).is_file():
        found = f"{named}, which is no file" if named else "nothing"
        raise PluginError(
            f"the classifier 'tabpfn' reads its weights from the file in the environment variable {WEIGHTS}; it names {found}. "
            "Set it for the flow and for every worker"
        )
    return Path(named)


@lru_cache(maxsize=2)
def _sha256(file: Path, changed_ns: int) -> str:
    del changed_ns
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
