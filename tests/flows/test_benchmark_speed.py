"""The benchmark of the benchmark, at its quick size."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_workers_give_what_one_gives():
    """The script ends well, which it does only if predictions and scores have the same bytes, and prints its ratios."""
    script = ROOT / "benchmarks" / "benchmark_speed.py"
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, str(script), "--quick"],
        cwd=ROOT,
        env=where,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 segmenters x 2 regions x 3 classifiers = 6 configurations" in done.stdout
    assert re.search(r"two workers: \d+\.\d times as fast", done.stdout)
    assert "the same bit for bit" in done.stdout
