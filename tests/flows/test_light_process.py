"""The process that hands out the work loads nothing that does it: it must be small beside ten thousand scans."""

import json
import subprocess
import sys

import pytest

#: Libraries of tens of megabytes each.
HEAVY = {"SimpleITK", "numba", "highdicom", "radiomics", "pydicom", "sklearn", "matplotlib", "zarr", "torch"}
RECIPE = """
[cohort]
dicom = "images"
[segment]
methods = ["otsu", "kmeans"]
consensus = ["staple"]
[regions]
radii_mm = [0, 4, 8]
exclude_structures = ["vessels", "airways"]
"""
FLOW = """
import json, sys
from pathlib import Path
import flows.cohort
from flows.config import load_config
from flows.plan import check_config
spec, settings = check_config(load_config(Path(sys.argv[1])))
settings.names()
import pickle; pickle.dumps(settings)
{more}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def loaded(tmp_path, more=""):
    (tmp_path / "images").mkdir(exist_ok=True)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    words = [sys.executable, "-c", FLOW.format(more=more), str(recipe)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


def test_naming_what_a_run_comes_to_loads_no_heavy_library(tmp_path):
    """Recipe, plug-ins and settings, as far as they travel to workers, are plain Python."""
    assert loaded(tmp_path) == set()


@pytest.mark.slow
def test_what_works_loads_them(tmp_path):
    """So the check above can see them: what reads scans, draws and learns loads what it needs."""
    found = loaded(tmp_path, "import lungpipe.scan.process, lungpipe.report.page, tasks.learn")
    assert {"SimpleITK", "matplotlib", "sklearn"} <= found
