"""A small cohort, and what an undisturbed run makes of it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from night import HEADER, PATIENTS, RECIPE, Undisturbed, table

from flows.cohort import cohort
from tasks.cluster import ADDRESS_VARIABLE


@pytest.fixture
def workers(server_and_workers, monkeypatch):
    """The shared workers, which runs of this test use."""
    monkeypatch.setenv(ADDRESS_VARIABLE, server_and_workers)
    return server_and_workers


@pytest.fixture
def own_workers(server_and_workers, monkeypatch):
    """Runs of this test start workers of their own."""
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory, make_ct, dicom_writer):
    """Twelve patients with one nodule each."""
    folder = tmp_path_factory.mktemp("night")
    lines = [HEADER]
    for k in range(PATIENTS):
        volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0 + 0.1 * k, seed=k)
        uid = dicom_writer(folder / "dicom" / f"p{k}", volume, patient_id=f"patient-{k}")
        lines.append(",".join(map(str, [f"patient-{k}", f"nodule-{k}", uid, *centre, 11, 11, 11, k % 2])))
    (folder / "nodules.csv").write_text("\n".join(lines) + "\n")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


@pytest.fixture(scope="session")
def night_key(tmp_path_factory):
    path = tmp_path_factory.mktemp("night-key") / "key"
    path.write_text("a key of these nights alone")
    return path


@pytest.fixture(autouse=True)
def same_key(night_key, monkeypatch):
    """All runs have the same pseudonyms, so that their tables can be compared."""
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(night_key))


@pytest.fixture(scope="session")
def undisturbed(server_and_workers, recipe, night_key, tmp_path_factory):
    """A run of the cohort that nothing befalls."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUNGPIPE_KEY_FILE", str(night_key))
        patch.setenv(ADDRESS_VARIABLE, server_and_workers)
        start = time.monotonic()
        cohort(str(recipe), str(workspace))
        return Undisturbed(table(workspace, "features"), time.monotonic() - start)


@pytest.fixture
def rng(request):
    """Random moments that differ from test to test, and are the same in every run."""
    return np.random.default_rng(sum(map(ord, request.node.name)))
