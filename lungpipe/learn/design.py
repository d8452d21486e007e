"""Which nodules teach and which test: a published split as a fold, and no patient or image on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from lungpipe.errors import DatasetError
from lungpipe.learn.folds import CLASSES, Fold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Design = Literal["cross-validation", "split"]
#: Parts of a split.
TRAIN, VALIDATION, TEST = "train", "validation", "test"


def split_fold(split: pd.Series[str] | None, labels: NDArray[np.int64]) -> Fold:
    """Make the fold that a data set's own split gives: train and validation teach, test tests.

    Everything that is chosen is chosen on the validation rows, or by inner folds where there are none; the model is then
    fitted to train and validation rows. Rows without a part take no part.

    Parameters
    ----------
    split : Series of str, n rows, or None
        ``"train"``, ``"validation"``, ``"test"`` or empty.
    labels : ndarray of int, shape (n,)

    Raises
    ------
    DatasetError
        If there is no split, or one class is missing in train, test or a validation part.
    """
    parts = np.asarray([] if split is None else split.fillna("").astype(str))
    rows = {part: np.flatnonzero(parts == part) for part in (TRAIN, VALIDATION, TEST)}
    for part in (TRAIN, VALIDATION, TEST):
        missing = [name for value, name in CLASSES.items() if not np.any(labels[rows[part]] == value)]
        if missing and (part != VALIDATION or len(rows[part])):
            raise DatasetError(
                f"benchmark.design is 'split', but no {' or '.join(missing)} nodule is in the part {part!r} "
                f"({', '.join(f'{name}: {len(found)} nodules' for name, found in rows.items())}). Fill the annotations' "
                "column split, or set benchmark.design to 'cross-validation'."
            )
    train = np.sort(np.concatenate([rows[TRAIN], rows[VALIDATION]]))
    return Fold(0, 0, train, rows[TEST], rows[VALIDATION] if len(rows[VALIDATION]) else None)


def check_apart(folds: Sequence[Fold], patients: pd.Series[str], voxels_sha256: pd.Series[str] | None = None) -> None:
    """Refuse folds that have a patient, or one image under two names, among both what teaches and what tests.

    Parameters
    ----------
    folds : sequence of Fold
    patients : Series of str, n rows
        Pseudonym of each row's patient.
    voxels_sha256 : Series of str, n rows, optional
        Fingerprint of the HU of each row's scan; empty ones are not compared.

    Raises
    ------
    DatasetError
    """
    known = {"patient": pd.factorize(patients)[0]}
    if voxels_sha256 is not None:
        known["image (the same HU, whatever its name)"] = pd.factorize(voxels_sha256.replace("", None))[0]
    for fold in folds:
        validation = fold.train[:0] if fold.validation is None else fold.validation
        sides = [(fold.train, fold.test), (np.setdiff1d(fold.train, validation), validation)]
        for teaching, testing in sides:
            for what, codes in known.items():
                twice = np.intersect1d(codes[teaching], codes[testing])
                twice = twice[twice >= 0]
                if len(twice):
                    rows = np.flatnonzero(codes == twice[0])
                    names = sorted(set(patients.iloc[rows]))
                    raise DatasetError(
                        f"{len(twice)} {what} on both sides of a fold, the first of {', '.join(names)}: what was learned "
                        "would be tested on what it was learned from. Give both rows one patient_id, move them to one part "
                        "of the split, or take one of them out."
                    )
